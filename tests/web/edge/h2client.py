"""A client that speaks HTTP/2 on a memory stream; and frames by hand, for what the library would not send."""

import struct
from contextlib import suppress

import attrs
import trio
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    InformationalResponseReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.settings import SettingCodes, Settings
from trio.testing import memory_stream_pair

from statusd.web.edge.connection import Connection
from tests.openapi import hold_refusal

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = bytes.fromhex("000000040000000000")
ACK = bytes.fromhex("000000040100000000")
HOST = "status.example"


@attrs.define
class Got:
    """What came on a stream."""

    status: int = 0
    headers: dict = attrs.field(factory=dict)
    body: bytes = b""
    is_whole: bool = False
    reset: int | None = None
    informed: list = attrs.field(factory=list)


def frame(kind, payload=b"", *, flags=0, stream=0):
    """Return a frame by hand."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def literal(name, value):
    """Return a field, literal and never indexed (RFC 7541, section 6.2.3), of any length."""
    return b"\x10" + _text(name) + _text(value)


def _text(data):
    if len(data) < 127:
        return bytes([len(data)]) + data
    rest, length = len(data) - 127, b"\x7f"
    while rest >= 128:
        length += bytes([rest % 128 + 128])
        rest //= 128
    return length + bytes([rest]) + data


def block(*fields):
    return b"".join(literal(name, value) for name, value in fields)


def request_fields(path=b"/health", method=b"GET", authority=b"status.example"):
    return [(b":method", method), (b":scheme", b"http"), (b":path", path), (b":authority", authority)]


def headers(stream=1, *, fields=None, flags=0x05, **pseudo):
    """Return a HEADERS frame; by default a whole request."""
    return frame(
        1, block(*(fields if fields is not None else request_fields(**pseudo))), flags=flags, stream=stream
    )


class Client:
    """A client; `got` is what came, by stream."""

    def __init__(self, stream, connection, ended, **settings):
        self.stream = stream
        self.connection = connection
        self.ended = ended
        config = H2Configuration(
            client_side=True,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
            header_encoding="utf-8",
        )
        self.h2 = H2Connection(config)
        values = {SettingCodes[name]: value for name, value in settings.items()}
        self.h2.local_settings = Settings(client=True, initial_values=values)
        self.left = b""
        self.got = {}
        self.terminated = []
        self.is_acknowledging = True
        self.is_closed = False

    async def open(self):
        self.h2.initiate_connection()
        await self.flush()

    async def flush(self):
        if data := self.h2.data_to_send():
            await self.stream.send_all(data)

    async def ask(self, path, method="GET", fields=(), body=None, *, is_end=True):
        """Send a request; return its stream."""
        number = self.h2.get_next_available_stream_id()
        pseudo = [(":method", method), (":scheme", "http"), (":path", path)]
        if not any(name == ":authority" for name, _ in fields):
            pseudo.append((":authority", HOST))
        self.h2.send_headers(number, [*pseudo, *fields], end_stream=is_end and body is None)
        if body is not None:
            for start in range(0, len(body) or 1, 16384):
                piece = body[start : start + 16384]
                self.h2.send_data(number, piece, end_stream=is_end and start + 16384 >= len(body))
        self.got[number] = Got()
        await self.flush()
        return number

    async def read(self):
        """Take in what comes next; return whether anything did."""
        try:
            data = await self.stream.receive_some(65536)
        except trio.BrokenResourceError:
            data = b""
        self.is_closed = not data
        self.left += data
        while len(self.left) >= 9 and len(self.left) >= 9 + (length := int.from_bytes(self.left[:3], "big")):
            packet, self.left = self.left[: 9 + length], self.left[9 + length :]
            if packet[3] == 7:  # after which the library takes nothing more
                last, code = struct.unpack(">II", packet[9:17])
                self.terminated.append((ErrorCodes(code), last))
                continue
            for event in self.h2.receive_data(packet):
                self.take(event)
        await self.flush_quietly()
        return not self.is_closed

    async def flush_quietly(self):
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self.flush()

    def take(self, event):
        got = self.got.setdefault(event.stream_id, Got()) if getattr(event, "stream_id", 0) else None
        if isinstance(event, ResponseReceived):
            assert not got.status
            got.status = int(dict(event.headers)[":status"])
            got.headers = {name: value for name, value in event.headers if name != ":status"}
            assert len(got.headers) == len(event.headers) - 1, "a field twice"
        elif isinstance(event, InformationalResponseReceived):
            got.informed.append(int(dict(event.headers)[":status"]))
        elif isinstance(event, DataReceived):
            got.body += event.data
            if self.is_acknowledging:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded):
            got.is_whole = True
            hold_refusal(got.status, got.headers, got.body)
        elif isinstance(event, StreamReset):
            got.reset = event.error_code

    async def answer(self, number):
        """Return what comes on stream `number`, once it has ended one way or the other."""
        got = self.got.setdefault(number, Got())
        while not got.is_whole and got.reset is None and await self.read():
            pass
        return got

    async def get(self, path, method="GET", fields=(), body=None):
        return await self.answer(await self.ask(path, method, fields, body))

    async def until_closed(self):
        """Read to the end; return how many seconds that took."""
        began = trio.current_time()
        while await self.read():
            pass
        return trio.current_time() - began


async def dial(site, pair=None, *, is_opened=True, **settings):
    """Return a client of `site` on a new connection."""
    ours, theirs = pair or memory_stream_pair()
    connection = Connection(stream=theirs, edge=site.edge, peer="192.0.2.1", is_h2=True)
    ended = site.ended[connection] = trio.Event()

    async def run():
        await connection.run()
        ended.set()

    site.nursery.start_soon(run)
    client = Client(ours, connection, ended, **settings)
    if is_opened:
        await client.open()
    return client


def frames_in(data):
    """Cut what a server sent into (kind, flags, stream, payload)."""
    found = []
    while data:
        length = int.from_bytes(data[:3], "big")
        assert len(data) >= 9 + length, "an unfinished frame"
        found.append((data[3], data[4], int.from_bytes(data[5:9], "big"), data[9 : 9 + length]))
        data = data[9 + length :]
    return found


def goaways(data):
    """Return the codes of the GOAWAY frames among what a server sent."""
    return [
        ErrorCodes(int.from_bytes(payload[4:8], "big"))
        for kind, _, _, payload in frames_in(data)
        if kind == 7
    ]
