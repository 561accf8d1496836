import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd import ProbeError, parse_json, parse_object
from statusd.model import jsontext
from tests.model.strategies import json_values


@given(json_values)
def test_what_json_writes_is_read_back(value):
    assert parse_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1e999}',
        b"-1e309",
        b"[1" + b"0" * 309 + b".0]",
        b'{"a": 1} {}',
        b'{"a": "\\ud800"}',
        b'{"a": "\xff"}',
        b"\xef\xbb\xbf{}",
        b'{"a": 01}',
        b"1" * 5000,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        "{}".encode("utf-16"),
    ],
)
def test_what_rfc_8259_or_the_caps_do_not_allow_is_bad_json(body):
    with pytest.raises(ProbeError) as caught:
        parse_json(body)
    assert caught.value.reason == "bad_json"


@pytest.mark.parametrize(
    "text",
    [
        "2.2250738585072011e-308",
        "5e-324",
        "1e-400",
        "-0.0",
        "1E5",
        "1.7976931348623157e308",
        "9007199254740993.0",
    ],
)
def test_numbers_are_read_as_python_reads_them(text):
    # Of these msgspec's own reader takes up to twenty times as long as Python's, and nobody else is served meanwhile.
    assert repr(parse_json(f"[{text}]".encode())) == f"[{float(text)!r}]"
    assert jsontext._DECODER.float_hook is not None


def test_integers_of_4300_digits_are_read_whole():
    assert parse_json(b"9" * 4300) == 10**4300 - 1


@given(st.binary(max_size=200))
def test_arbitrary_bytes_give_a_value_or_bad_json(body):
    try:
        parse_json(body)
    except ProbeError as error:
        assert error.reason == "bad_json"  # noqa: PT017  # either outcome is right; only other exceptions are not


@pytest.mark.parametrize("body", [b"[]", b"1", b'"x"', b"null"])
def test_an_object_is_wanted(body):
    with pytest.raises(ProbeError, match="not a JSON object"):
        parse_object(body)


def test_a_page_is_named_as_such():
    with pytest.raises(ProbeError, match="HTML or XML") as caught:
        parse_json(b"\n <!DOCTYPE html><title>Welcome</title>")
    assert caught.value.reason == "bad_json"
