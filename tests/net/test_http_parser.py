"""The answer parser: the same verdict however the bytes are cut, and every cap exactly where it stands."""

import gc
import weakref
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd.errors import ProbeError
from statusd.net.http_parser import ResponseParser
from statusd.net.limits import MAX_HEAD_BYTES, MAX_HEADER_FIELDS, MAX_INFORMATIONAL, max_wire_bytes

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def parse(*pieces, max_body=100, ends=False):
    """Feed `pieces` as the client does, which stops at a complete answer."""
    parser = ResponseParser(where="there", max_body=max_body)
    for piece in pieces:
        if parser.is_complete:
            break
        parser.feed(piece)
    if ends and not parser.is_complete:
        parser.end()
    return parser


def verdict(*pieces, max_body=100):
    """What the client would make of `pieces` and the end of the connection."""
    try:
        parser = parse(*pieces, max_body=max_body, ends=True)
    except ProbeError as error:
        return error.reason
    return parser.status, parser.headers, parser.body


def refusal(*pieces, max_body=100, ends=False):
    with pytest.raises(ProbeError) as caught:
        parse(*pieces, max_body=max_body, ends=ends)
    return caught.value.reason


ANSWERS = {
    "length": OK + b"Content-Length: 5\r\nX-Empty:\r\nX-A: 1\r\nx-a: 2\r\n\r\nhello",
    "chunked": CHUNKED + b"3;ext=1\r\nhel\r\n2\r\nlo\r\n0\r\nTrailer: x\r\n\r\n",
    "interim": b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok",
    "until the end": OK + b"X: y\r\n\r\nhello",
    "old": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "not modified": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5000\r\n\r\n",
    "cut": OK + b"Content-Length: 5\r\n\r\nhel",
    "cut chunk": CHUNKED + b"5\r\nhel",
    "two answers": OK + b"Content-Length: 2\r\n\r\nok" + OK + b"Content-Length: 0\r\n\r\n",
    "closing, and more": OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nokmore",
    "garbage": b"SSH-2.0-OpenSSH_9.2\r\n",
    "bad length": OK + b"Content-Length: -5\r\n\r\nhello",
    "coded": OK + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok",
    "switching": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nfoo",
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_a_cut_at_any_byte_changes_nothing(answer):
    whole = verdict(answer)
    assert verdict(*(answer[index : index + 1] for index in range(len(answer)))) == whole
    for cut in range(1, len(answer)):
        assert verdict(answer[:cut], answer[cut:]) == whole


@given(
    name=st.sampled_from(sorted(ANSWERS)),
    position=st.integers(0, 200),
    noise=st.binary(max_size=6),
    cuts=st.lists(st.integers(0, 200), max_size=4),
)
def test_damaged_answers_are_refused_or_read_the_same_however_cut(name, position, noise, cuts):
    answer = ANSWERS[name]
    damaged = answer[:position] + noise + answer[position + len(noise) :]
    edges = [0, *sorted(cuts), len(damaged)]
    pieces = [piece for start, end in pairwise(edges) if (piece := damaged[start:end])]
    assert verdict(*pieces) == verdict(damaged)


@given(st.binary(max_size=300))
def test_any_bytes_give_a_probe_error_or_an_answer(data):
    verdict(data)
    verdict(OK + data)
    verdict(CHUNKED + data)


def test_what_a_good_answer_holds():
    parser = parse(ANSWERS["length"])
    assert (parser.status, parser.body) == (200, b"hello")
    assert parser.headers == {"content-length": "5", "x-empty": "", "x-a": "1, 2"}
    assert parser.is_reusable


def test_trailers_are_not_header_fields():
    assert parse(ANSWERS["chunked"]).headers == {"transfer-encoding": "chunked"}
    assert parse(ANSWERS["chunked"]).body == b"hello"


def test_interim_fields_do_not_leak_into_the_final_answer():
    parser = parse(ANSWERS["interim"])
    assert (parser.status, parser.headers, parser.body) == (200, {"content-length": "2"}, b"ok")


@pytest.mark.parametrize(
    ("answer", "is_reusable"),
    [
        (OK + b"Content-Length: 0\r\n\r\n", True),
        (OK + b"Connection: close\r\nContent-Length: 0\r\n\r\n", False),
        (OK + b"Connection: keep-alive, close\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", True),
        (
            b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            False,
        ),
        (OK + b"\r\nuntil the end", False),
        (CHUNKED + b"0\r\n\r\n", True),
        (ANSWERS["two answers"], False),
        (ANSWERS["closing, and more"], False),
        (b"HTTP/1.1 204 No Content\r\n\r\nbody where none may be", False),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", True),
    ],
)
def test_only_a_clean_end_leaves_the_connection_usable(answer, is_reusable):
    parser = parse(answer, ends=True)
    assert parser.is_complete
    assert parser.is_reusable is is_reusable


@pytest.mark.parametrize(
    "answer",
    [
        ANSWERS["garbage"],
        b"-ERR unknown command\r\n",
        b"RTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"<html>",
        b"HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        ANSWERS["switching"],
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 150 Odd\r\nContent-Length: 2\r\n\r\nok" + OK + b"Content-Length: 0\r\n\r\n",
        ANSWERS["bad length"],
        ANSWERS["coded"],
        OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        OK + b"Content-Length: 2, 2\r\n\r\nok",
        OK + b"Content-Length: 99999999999999999999\r\n\r\nok",
        OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: gzip\r\n\r\nok",
        OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        CHUNKED + b"zz\r\n",
        CHUNKED + b"2\r\nabc\r\n",
        OK + b"A: b\r\n folded\r\n\r\n",
        OK + b"A : b\r\n\r\n",
        OK + b"A: b\x00\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    ],
)
def test_what_is_not_http_is_a_protocol_error(answer):
    assert refusal(answer, ends=True) == "protocol_error"


@pytest.mark.parametrize("answer", [b"", b"HT", OK, ANSWERS["cut"], ANSWERS["cut chunk"], CHUNKED])
def test_an_answer_that_breaks_off_is_lost(answer):
    assert refusal(*([answer] if answer else []), ends=True) == "connection_lost"


def test_an_interim_answer_and_then_the_end_is_lost():
    assert refusal(b"HTTP/1.1 100 Continue\r\n\r\n", ends=True) == "connection_lost"


def test_identity_coding_and_an_empty_coded_answer_are_taken():
    assert parse(OK + b"Content-Encoding: identity\r\nContent-Length: 2\r\n\r\nok").body == b"ok"
    assert parse(b"HTTP/1.1 302 Found\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n").status == 302


@pytest.mark.parametrize(
    "framed",
    [
        lambda body: OK + b"Content-Length: %d\r\n\r\n%b" % (len(body), body),
        lambda body: CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body),
        lambda body: OK + b"\r\n" + body,
    ],
    ids=["length", "chunked", "until the end"],
)
def test_the_body_cap_is_exact(framed):
    assert parse(framed(b"x" * 100), ends=True).body == b"x" * 100
    assert refusal(framed(b"x" * 101), ends=True) == "too_large"


def test_a_length_over_the_cap_is_refused_before_any_of_the_body():
    assert refusal(OK + b"Content-Length: 1000000000\r\n\r\n") == "too_large"


def head(size):
    start = OK + b"Content-Length: 0\r\nX: "
    return start + b"x" * (size - len(start) - 4) + b"\r\n\r\n"


@pytest.mark.parametrize("step", [1, 1000, 1 << 20])
def test_the_head_cap_is_exact_however_cut(step):
    def pieces(size):
        data = head(size)
        return [data[start : start + step] for start in range(0, size, step)]

    assert parse(*pieces(MAX_HEAD_BYTES)).status == 200
    assert refusal(*pieces(MAX_HEAD_BYTES + 1)) == "too_large"


def test_a_head_at_the_cap_may_have_a_body_in_the_same_piece():
    data = head(MAX_HEAD_BYTES).replace(b"Length: 0", b"Length: 9") + b"123456789"
    assert parse(data).body == b"123456789"


def test_interim_heads_count_towards_the_head_cap():
    interim = b"HTTP/1.1 102 Processing\r\nX: " + b"x" * 10_000 + b"\r\n\r\n"
    assert refusal(interim, interim) == "too_large"


@pytest.mark.parametrize("template", [OK + b"%b\r\n", CHUNKED + b"0\r\n%b\r\n"], ids=["header", "trailer"])
def test_the_field_cap_is_exact(template):
    taken = 1 if template.startswith(CHUNKED) else 0
    fields = b"A: b\r\n" * (MAX_HEADER_FIELDS - taken)
    assert parse(template % fields, ends=True).is_complete
    assert refusal(template % (fields + b"A: b\r\n"), ends=True) == "too_large"


def test_the_interim_cap_is_exact():
    interim = b"HTTP/1.1 102 Processing\r\n\r\n"
    final = OK + b"Content-Length: 0\r\n\r\n"
    assert parse(interim * MAX_INFORMATIONAL + final).status == 200
    assert refusal(interim * (MAX_INFORMATIONAL + 1) + final) == "too_large"


def test_the_wire_cap_is_exact():
    cap = max_wire_bytes(100)
    start = CHUNKED + b"1;"
    end = b"\r\nx\r\n0\r\n\r\n"
    filler = cap - len(start) - len(end)
    assert parse(start, b"e" * filler + end).body == b"x"
    assert refusal(start, b"e" * (filler + 1) + end) == "too_large"


def test_a_probe_error_of_the_caller_is_not_taken_for_ours():
    def ask_again(first):
        # a plugin may ask a second path while it handles the first one's error
        try:
            raise first
        except ProbeError:
            return refusal(b"HTTP/1.1 2x0\r\n\r\n"), refusal(OK + b"Content-Length: 101\r\n\r\n")

    assert ask_again(ProbeError("refused", "the first attempt")) == ("protocol_error", "too_large")


def test_it_leaves_no_cycle_behind():
    gc.disable()
    try:
        parser = parse(ANSWERS["length"])
        parser.dispose()
        ghost = weakref.ref(parser)
        del parser
        assert ghost() is None
    finally:
        gc.enable()
