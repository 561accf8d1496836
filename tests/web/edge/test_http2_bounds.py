"""What an HTTP/2 client may not do: fill the daemon, keep it busy for nothing, hold a connection or a request for ever."""

import gc
import struct
import tracemalloc
from contextlib import suppress

import pytest
import trio
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from trio.testing import lockstep_stream_pair, memory_stream_pair, wait_all_tasks_blocked

from statusd.web.edge.connection import Connection
from statusd.web.edge.http2 import Http2, _Parser
from statusd.web.edge.http2_flight import Flight
from statusd.web.edge.http2_frames import EACH_SECOND, PATIENCE, RESET
from statusd.web.edge.http2_outlet import Outlet
from statusd.web.edge.http2_stream import Stream
from statusd.web.edge.limits import Limits
from statusd.web.edge.stopping import FIRST, GLANCE
from statusd.web.edge.talk import Talk
from tests.web.client import CONTEXT, BigView, Web, read_all
from tests.web.edge.h2client import (
    ACK,
    PREFACE,
    SETTINGS,
    dial,
    frame,
    frames_in,
    goaways,
    headers,
    request_fields,
)

LIMITS = Limits()
WAIT = "/state?since=7&wait=60"
CALM = [ErrorCodes.ENHANCE_YOUR_CALM]


@pytest.fixture
async def site(nursery, autojump_clock):
    return Web.open(nursery, BigView(context=CONTEXT))


async def send_raw(site, *packets, pair=None):
    """Return the client's end of a connection that was sent `packets`, and the connection's end."""
    client = await dial(site, pair, is_opened=False)
    for packet in packets:
        await client.stream.send_all(packet)
    return client.stream, client.ended


async def raw(site, *packets):
    """Return what came for `packets` until the server closed, and how many seconds that took."""
    stream, ended = await send_raw(site, *packets)
    began = trio.current_time()
    data = await read_all(stream)
    seconds = trio.current_time() - began
    await stream.aclose()
    await ended.wait()
    return data, seconds


# Time


@pytest.mark.parametrize(
    "packet", [b"", PREFACE[:5], PREFACE + SETTINGS, PREFACE + SETTINGS + headers()[:-1]]
)
async def test_the_first_request_has_its_time(site, autojump_clock, packet):
    data, seconds = await raw(site, packet) if packet else await raw(site)
    assert seconds == LIMITS.header_timeout
    assert all(kind == 4 for kind, *_ in frames_in(data))


async def test_frames_that_ask_for_nothing_do_not_keep_a_connection(site, autojump_clock):
    stream, _ = await send_raw(site, PREFACE + SETTINGS + ACK)
    began = trio.current_time()
    site.nursery.start_soon(each_second, stream, frame(6, b"12345678"))
    await read_all(stream)
    assert trio.current_time() - began == LIMITS.header_timeout


async def each_second(stream, packet):
    try:
        while True:
            await stream.send_all(packet)
            await trio.sleep(1)
    except trio.BrokenResourceError:
        pass


async def test_neither_do_they_between_requests(site, autojump_clock):
    client = await dial(site)
    await client.get("/health")
    began = trio.current_time()
    site.nursery.start_soon(each_second, client.stream, frame(6, b"12345678"))
    await client.until_closed()
    assert trio.current_time() - began == LIMITS.idle_timeout
    assert site.edge.traffic.limited["idle_timeout"] == 1


@pytest.mark.parametrize("flags", [0, 4])
async def test_a_header_that_has_begun_has_its_time(site, autojump_clock, flags):
    client = await dial(site)
    await client.get("/health")
    packet = headers(3, flags=flags)
    await client.stream.send_all(packet[: len(packet) - (5 if flags else 0)])
    assert await client.until_closed() == LIMITS.header_timeout


async def test_an_answer_that_does_not_come_ends_that_request_alone(nursery, autojump_clock):
    async def app(scope, receive, send):
        if scope["path"] == "/hang":
            await trio.sleep_forever()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] == "/half":
            await trio.sleep_forever()
        await send({"type": "http.response.body", "body": b"well"})

    site = Web.open(nursery, app=app)
    client = await dial(site)
    began = trio.current_time()
    hanging, half = await client.ask("/hang"), await client.ask("/half")
    assert (await client.answer(hanging)).reset == ErrorCodes.CANCEL
    assert (await client.answer(half)).reset == ErrorCodes.CANCEL
    assert trio.current_time() - began == LIMITS.request_timeout
    assert (await client.get("/")).body == b"well"
    assert site.edge.traffic.limited["request_timeout"] == 2


# Windows


@pytest.mark.parametrize("has_front", [True, False])
async def test_a_window_that_stays_shut_ends_that_request_alone(site, autojump_clock, has_front):
    if not has_front:
        site.edge.front = None
    client = await dial(site, INITIAL_WINDOW_SIZE=0)
    began = trio.current_time()
    number = await client.ask("/state")
    assert (await client.answer(number)).reset == ErrorCodes.CANCEL
    assert trio.current_time() - began == LIMITS.send_timeout
    assert client.got[number].status == 200
    assert (await client.get("/health", "HEAD")).status == 200
    assert site.edge.traffic.limited["send_timeout"] == 1


async def test_a_client_that_takes_a_little_now_and_then_has_its_time(site, autojump_clock):
    """Enough for no 64 KiB in their time."""
    client = await dial(site)
    client.is_acknowledging = False
    number = await client.ask("/big")

    async def sip():
        while not client.is_closed and client.got[number].reset is None:
            await trio.sleep(1)
            client.h2.increment_flow_control_window(1000, number)
            client.h2.increment_flow_control_window(1000)
            await client.flush_quietly()

    site.nursery.start_soon(sip)
    began = trio.current_time()
    assert (await client.answer(number)).reset == ErrorCodes.CANCEL
    assert trio.current_time() - began <= 2 * LIMITS.send_timeout


async def test_windows_of_one_byte_end_the_connection(site, autojump_clock):
    client = await dial(site, INITIAL_WINDOW_SIZE=1)
    client.is_acknowledging = False
    number = await client.ask("/openapi.json")
    while await client.read():
        if client.got[number].body:
            client.h2.increment_flow_control_window(1, number)
            await client.flush_quietly()
    assert [code for code, _ in client.terminated] == CALM
    assert len(client.got[number].body) <= PATIENCE + 2
    assert site.edge.traffic.limited["http2_frames"] == 1


@pytest.mark.parametrize("step", [4096, 32768])
async def test_windows_as_clients_open_them_are_no_flood(nursery, autojump_clock, step):
    """Go opens by 4 KiB, both windows each time."""
    client = await dial(Web.open(nursery, BigView(context=CONTEXT, size=3 << 20)))
    client.is_acknowledging = False
    number, taken = await client.ask("/big"), 0
    got = client.got[number]
    while not got.is_whole:
        assert await client.read()
        while len(got.body) - taken >= step and not got.is_whole:
            taken += step
            client.h2.increment_flow_control_window(step, number)
            client.h2.increment_flow_control_window(step)
            await client.flush()
    assert len(got.body) == 3 << 20


async def test_an_event_stream_waits_for_its_window_for_ever(site, autojump_clock):
    client = await dial(site, INITIAL_WINDOW_SIZE=0)
    number = await client.ask("/events")
    await trio.sleep(1000)
    client.h2.increment_flow_control_window(100, number)
    await client.flush()
    while len(client.got[number].body) < 100:
        assert await client.read()
    assert site.edge.traffic.limited["send_timeout"] == 0


async def test_a_window_that_grows_too_large_ends_that_request_alone(site, autojump_clock):
    client = await dial(site)
    number = await client.ask(WAIT)
    await client.stream.send_all(frame(8, struct.pack(">I", (1 << 31) - 1), stream=number))
    assert (await client.answer(number)).reset == ErrorCodes.FLOW_CONTROL_ERROR
    assert (await client.get("/health")).status == 200


# Floods

BURST = int(PATIENCE) + 1
FLOODS = {
    "ping": frame(6, b"12345678"),
    "ping answers": frame(6, b"12345678", flags=1),
    "settings": SETTINGS,
    "settings answers": ACK,
    "windows": frame(8, struct.pack(">I", 1)),
    "priority of streams to come": frame(2, struct.pack(">IB", 0, 1), stream=99),
    "an unknown kind": frame(0xBE, b"x"),
    "alternative services": frame(0xA, b"\0\1ah3", stream=0),
    "empty data": frame(0, stream=1),
    "tiny data": frame(0, b"a", stream=1),
    "padding": frame(0, b"\xff" + bytes(255), flags=8, stream=1),
    "leaving": frame(7, struct.pack(">II", 0, 0)),
}


@pytest.mark.parametrize("packet", FLOODS.values(), ids=FLOODS)
async def test_a_flood_ends_the_connection(site, autojump_clock, packet):
    opening = PREFACE + SETTINGS + headers(1, flags=4, method=b"POST")
    data, seconds = await raw(site, opening, packet * (2 * BURST))
    assert goaways(data)[-1:] == CALM
    assert seconds < LIMITS.header_timeout
    assert site.edge.traffic.limited["http2_frames"] == 1
    assert not site.edge.guard.failures


@pytest.mark.parametrize("packet", [FLOODS["ping"], FLOODS["windows"], FLOODS["settings"]])
async def test_a_few_of_them_do_not(site, autojump_clock, packet):
    client = await dial(site)
    for _ in range(40):
        assert (await client.get("/health")).status == 200
        await client.stream.send_all(packet * int(EACH_SECOND))
        await trio.sleep(1)
    assert (await client.get("/health")).status == 200


@pytest.mark.parametrize("has_front", [True, False])
async def test_requests_that_are_taken_back_again_and_again_end_the_connection(
    site, autojump_clock, has_front
):
    """CVE-2023-44487."""
    if not has_front:
        site.edge.front = None
    packets = [
        headers(number, path=WAIT.encode()) + frame(3, bytes(4), stream=number)
        for number in range(1, 4001, 2)
    ]
    data, _ = await raw(site, PREFACE + SETTINGS, b"".join(packets))
    assert goaways(data) == CALM
    served = sum(site.edge.traffic.requests.values())
    assert served <= PATIENCE / RESET + 1
    assert site.edge.traffic.waiting == 0


async def test_requests_that_the_server_is_made_to_reset_end_the_connection(site, autojump_clock):
    """CVE-2025-8671."""
    window = struct.pack(">I", (1 << 31) - 1)
    packets = [
        headers(number, path=WAIT.encode()) + frame(8, window, stream=number) for number in range(1, 4001, 2)
    ]
    data, _ = await raw(site, PREFACE + SETTINGS, b"".join(packets))
    assert goaways(data) == CALM
    assert sum(site.edge.traffic.requests.values()) <= PATIENCE / RESET + 1


@pytest.mark.parametrize("payload", [b"", b"\x00\x01a\x01b" * 3000])
async def test_a_header_that_goes_on_and_on_ends_the_connection(site, autojump_clock, payload):
    rest = b"".join(frame(9, payload, stream=1) for _ in range(1500))
    data, _ = await raw(site, PREFACE + SETTINGS + headers(flags=1) + rest)
    assert goaways(data)[0] in {ErrorCodes.ENHANCE_YOUR_CALM, ErrorCodes.PROTOCOL_ERROR}


async def test_answers_to_a_client_that_does_not_read_are_bounded(site, autojump_clock):
    """Each byte it sends asks for one in return."""
    stream, ended = await send_raw(site, PREFACE + SETTINGS, pair=lockstep_stream_pair())
    began = trio.current_time()
    with pytest.raises(trio.BrokenResourceError):
        while True:
            await stream.send_all(FLOODS["ping"] * 20)
            await trio.sleep(0.5)
    await ended.wait()
    assert trio.current_time() - began <= 2 * LIMITS.send_timeout


async def test_neither_do_answers_to_requests_pile_up(nursery, autojump_clock):
    """Its windows are open, and it reads nothing at all."""
    body = bytes(10_000)

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(body)})

    site = Web.open(nursery, app=app)
    client = await dial(site, lockstep_stream_pair(), is_opened=False)
    opening = PREFACE + frame(4, struct.pack(">HI", 4, (1 << 31) - 1)) + frame(8, struct.pack(">I", 1 << 30))
    requests = b"".join(headers(number) for number in range(1, 40_001, 2))
    tracemalloc.start()
    try:
        with suppress(trio.BrokenResourceError):
            await client.stream.send_all(opening + requests)
        await client.ended.wait()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


# What is kept


async def test_settings_of_no_meaning_are_not_kept(site, autojump_clock):
    client = await dial(site)
    await client.get("/health")
    for start in range(10, 60_000, 2000):
        entries = b"".join(struct.pack(">HI", number, 1) for number in range(start, start + 2000))
        await client.stream.send_all(frame(4, entries))
    assert (await client.get("/health")).status == 200
    assert len(parser_of(client).remote_settings) < 10


def parser_of(client):
    return client.connection._talk._http._parser


async def test_no_more_is_remembered_for_a_client_than_we_want(site, autojump_clock):
    client = await dial(site, HEADER_TABLE_SIZE=1 << 30)
    assert (await client.get("/health")).status == 200
    assert parser_of(client).encoder.header_table_size == 4096


async def test_closed_streams_are_forgotten(site, autojump_clock):
    client = await dial(site)
    for _ in range(1100):
        await client.get("/health", "HEAD")
    assert len(parser_of(client).streams) < 3
    assert len(parser_of(client)._closed_streams) <= 1000


async def test_one_request_too_many_at_a_time_is_refused(site, autojump_clock):
    client = await dial(site)
    client.h2.remote_settings = client.h2.remote_settings.__class__(client=False)  # before it knows our bound
    numbers = []
    for _ in range(103):
        client.h2.remote_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = 1000
        client.h2.remote_settings.acknowledge()
        numbers.append(await client.ask(WAIT))
    for number in numbers[100:]:
        assert (await client.answer(number)).reset == ErrorCodes.REFUSED_STREAM
    assert [(await client.answer(number)).status for number in numbers[:100]] == [200] * 100
    assert site.edge.traffic.limited["http2_streams"] == 3


@pytest.mark.parametrize("limit", [1, 3])
async def test_after_as_many_requests_as_allowed_those_in_flight_are_answered(nursery, autojump_clock, limit):
    site = Web.open(nursery, requests=limit)
    client = await dial(site)
    numbers = [await client.ask(WAIT) for _ in range(5)]
    await client.until_closed()
    assert client.terminated == [(ErrorCodes.NO_ERROR, numbers[limit - 1])]
    assert [client.got[number].status for number in numbers[:limit]] == [200] * limit
    assert [client.got[number].reset for number in numbers[limit:]] == [ErrorCodes.REFUSED_STREAM] * (
        5 - limit
    )
    assert sum(site.edge.traffic.requests.values()) == limit


async def test_a_client_that_leaves_gets_what_it_has_asked_for(site, autojump_clock):
    client = await dial(site)
    number = await client.ask(WAIT)
    await client.stream.send_all(FLOODS["leaving"])
    await client.until_closed()
    assert client.got[number].status == 200
    assert client.got[number].is_whole


# What is no HTTP/2


@pytest.mark.parametrize(
    ("packets", "code"),
    {
        "HTTP/1.1": ([b"GET /health HTTP/1.1\r\n\r\n"], ErrorCodes.PROTOCOL_ERROR),
        "no settings": ([PREFACE, headers()], ErrorCodes.PROTOCOL_ERROR),
        "an answer to settings first": ([PREFACE, ACK], ErrorCodes.PROTOCOL_ERROR),
        "a frame that is too large": (
            [PREFACE, SETTINGS, b"\x00\x40\x01\x00\x00" + bytes(4)],
            ErrorCodes.FRAME_SIZE_ERROR,
        ),
        "a push": ([PREFACE, SETTINGS, frame(5, bytes(4), flags=4, stream=1)], ErrorCodes.PROTOCOL_ERROR),
        "an even stream": ([PREFACE, SETTINGS, headers(2)], ErrorCodes.PROTOCOL_ERROR),
        "stream 0": ([PREFACE, SETTINGS, headers(0)], ErrorCodes.PROTOCOL_ERROR),
        "data without a request": ([PREFACE, SETTINGS, frame(0, b"a", stream=1)], ErrorCodes.PROTOCOL_ERROR),
        "a continuation of nothing": (
            [PREFACE, SETTINGS, frame(9, b"", stream=1)],
            ErrorCodes.PROTOCOL_ERROR,
        ),
        "a window by nothing": ([PREFACE, SETTINGS, frame(8, bytes(4))], ErrorCodes.PROTOCOL_ERROR),
        "a window beyond all": (
            [PREFACE, SETTINGS, frame(8, struct.pack(">I", (1 << 31) - 1))],
            ErrorCodes.FLOW_CONTROL_ERROR,
        ),
        "half a setting": ([PREFACE, SETTINGS, frame(4, b"abc")], ErrorCodes.FRAME_SIZE_ERROR),
        "a bad setting": ([PREFACE, frame(4, struct.pack(">HI", 4, 1 << 31))], ErrorCodes.FLOW_CONTROL_ERROR),
        "a bad header": (
            [PREFACE, SETTINGS, frame(1, b"\xff\xff\xff", flags=5, stream=1)],
            ErrorCodes.PROTOCOL_ERROR,
        ),
        "padding that is too long": (
            [PREFACE, SETTINGS, frame(0, b"\xffa", flags=8, stream=1)],
            ErrorCodes.PROTOCOL_ERROR,
        ),
        "too long a body": (
            [
                PREFACE,
                SETTINGS,
                headers(fields=[*request_fields(method=b"POST"), (b"content-length", b"1")], flags=4),
                frame(0, b"abc", stream=1),
            ],
            ErrorCodes.PROTOCOL_ERROR,
        ),
        "another frame within a header": (
            [PREFACE, SETTINGS, headers(flags=1), frame(6, bytes(8))],
            ErrorCodes.PROTOCOL_ERROR,
        ),
    }.values(),
)
async def test_what_is_no_http_2_ends_the_connection_with_the_reason(site, autojump_clock, packets, code):
    data, seconds = await raw(site, b"".join(packets))
    assert goaways(data) == [code]
    assert seconds <= LIMITS.linger_timeout
    assert not site.edge.guard.failures


async def test_what_came_before_it_is_answered(site, autojump_clock):
    data, _ = await raw(site, PREFACE + SETTINGS + headers() + headers(2))
    kinds = [kind for kind, _, stream, _ in frames_in(data) if stream == 1 or kind == 7]
    assert kinds == ([1, 0, 7] if site.edge.front else [7])


async def test_our_settings_say_what_is_served(site, autojump_clock):
    data, _ = await raw(site, PREFACE + SETTINGS + ACK)
    payload = frames_in(data)[0][3]
    settings = dict(struct.iter_unpack(">HI", payload))
    assert settings[SettingCodes.MAX_CONCURRENT_STREAMS] == 100
    assert settings[SettingCodes.MAX_HEADER_LIST_SIZE] == LIMITS.header_bytes
    assert settings[SettingCodes.ENABLE_PUSH] == 0
    assert settings[SettingCodes.ENABLE_CONNECT_PROTOCOL] == 0


async def test_an_exception_ends_that_connection_alone(site, autojump_clock):
    """Whatever the next bug is: it comes out of the connection, around which the listener has put its guard."""
    failed = trio.Event()

    async def guarded(connection):
        await site.edge.guard.run("connection", connection.run)
        failed.set()

    ours, theirs = memory_stream_pair()
    connection = Connection(stream=theirs, edge=site.edge, is_h2=True)
    site.nursery.start_soon(guarded, connection)
    await ours.send_all(PREFACE + SETTINGS + headers(path=WAIT.encode()))
    await wait_all_tasks_blocked()
    connection._talk._http._on_event = lambda _: 1 / 0
    await ours.send_all(headers(3))
    await failed.wait()
    assert site.edge.guard.failures == {"connection": 1}
    assert (await (await dial(site)).get("/health")).status == 200


# The end of the server


async def stop(site):
    site.edge.is_stopping = True
    for connection in site.ended:
        connection.finish()


async def test_an_idle_connection_ends_when_the_server_stops(site, autojump_clock):
    client = await dial(site)
    await client.get("/health")
    await stop(site)
    assert await client.until_closed() < 0.1
    assert client.terminated == [(ErrorCodes.NO_ERROR, (1 << 31) - 1), (ErrorCodes.NO_ERROR, 1)]


async def test_requests_in_flight_are_answered_and_streams_end_when_the_server_stops(site, autojump_clock):
    client = await dial(site)
    events = await client.ask("/events")
    while not client.got[events].body:
        await client.read()
    waiting, big = await client.ask(WAIT), await client.ask("/big")
    await wait_all_tasks_blocked()
    await stop(site)
    late = await client.ask("/health")  # sent before the client knew
    began = trio.current_time()
    await client.answer(events)
    assert trio.current_time() - began <= 2 * GLANCE  # one for what is ready, one for what was asked
    assert client.got[events].is_whole
    assert (await client.answer(late)).status == 200
    assert len((await client.answer(big)).body) == 8 << 20
    assert (await client.answer(waiting)).status == 200
    assert client.terminated[-1] == (ErrorCodes.NO_ERROR, late)
    await client.until_closed()


async def test_what_comes_after_the_end_was_announced_is_refused(site, autojump_clock):
    client = await dial(site)
    waiting = await client.ask(WAIT)
    await wait_all_tasks_blocked()
    await stop(site)
    await trio.sleep(1)
    late = await client.ask("/health")
    assert (await client.answer(waiting)).status == 200
    assert client.got[late].reset == ErrorCodes.REFUSED_STREAM


async def test_a_connection_that_begins_as_the_server_stops_ends(site, autojump_clock):
    await stop(site)
    client = await dial(site)
    await client.until_closed()
    await client.ended.wait()
    assert trio.current_time() < FIRST + 0.2


async def test_a_stream_ends_whole_although_its_window_has_shrunk_below_nothing(site, autojump_clock):
    client = await dial(site)
    client.is_acknowledging = False
    number = await client.ask("/events")
    while b"data:" not in client.got[number].body:
        await client.read()
    shut = struct.pack(">HI", SettingCodes.INITIAL_WINDOW_SIZE, 0)  # RFC 9113, section 6.9.2
    await client.stream.send_all(frame(4, shut))
    await wait_all_tasks_blocked()
    await stop(site)
    await client.until_closed()
    assert client.got[number].is_whole  # a frame without data needs no window (section 6.9)
    await client.ended.wait()
    assert not site.edge.guard.failures


async def test_a_stream_of_which_nothing_is_read_ends_when_the_server_stops(site, autojump_clock):
    client = await dial(site, INITIAL_WINDOW_SIZE=0)
    number = await client.ask("/events")
    await wait_all_tasks_blocked()
    await stop(site)
    await client.until_closed()
    assert client.got[number].is_whole
    await client.ended.wait()


async def test_abort_ends_whatever_is_in_flight_at_once(site, autojump_clock):
    client = await dial(site, lockstep_stream_pair(), is_opened=False)
    await client.stream.send_all(PREFACE + SETTINGS + headers(path=b"/big") + headers(3, path=b"/events"))
    await wait_all_tasks_blocked()
    client.connection.abort()
    await client.ended.wait()
    assert trio.current_time() == 0


@pytest.mark.parametrize("path", ["/health", "/metrics", "/nope", "/events", WAIT])
@pytest.mark.parametrize("is_taken_back", [True, False])
async def test_nothing_of_a_connection_waits_for_a_garbage_collection(
    site, autojump_clock, path, is_taken_back
):
    async def live():
        client = await dial(site)
        number = await client.ask(path)
        if path not in {"/events", WAIT}:
            await client.answer(number)
        elif is_taken_back:
            await wait_all_tasks_blocked()
            client.h2.reset_stream(number, ErrorCodes.CANCEL)
            await client.flush()
        await client.stream.aclose()
        await client.ended.wait()
        site.ended.clear()

    await live()  # what is made once, for all
    gc.collect()
    gc.disable()
    try:
        await live()
        await trio.lowlevel.checkpoint()
        kinds = (Connection, Talk, Http2, Flight, Stream, Outlet, _Parser)
        left = [type(one).__name__ for one in gc.get_objects() if isinstance(one, kinds)]
    finally:
        gc.enable()
    assert left == []
