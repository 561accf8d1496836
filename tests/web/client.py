"""A raw HTTP client for the tests: bytes out, bytes in, and the answers cut apart."""

from __future__ import annotations

import functools

import attrs
import trio
from trio.testing import memory_stream_pair

from statusd import Document, Node, Snapshot, SourceInfo, Status, View, ViewContext
from statusd.web.access import Access
from statusd.web.answering import Answers, Service
from statusd.web.app import create_app
from statusd.web.documents import Documents, Page, Rendered
from statusd.web.edge.connection import Connection
from statusd.web.edge.front import Front
from statusd.web.edge.guard import Guard
from statusd.web.edge.limits import Limits
from statusd.web.edge.shared import Edge
from statusd.web.edge.traffic import Traffic
from statusd.web.explain import render_explanation
from statusd.web.feed import Feed
from statusd.web.freshness import Freshness
from statusd.web.openapi import render_openapi
from statusd.web.page import HEADERS
from statusd.web.site import RESERVED, Ask, Core, Site
from tests import stages
from tests.openapi import hold_refusal

HOST = b"\r\nHost: status.example\r\n"
END = HOST + b"\r\n"
CLOSE = HOST + b"Connection: close\r\n\r\n"
CONTEXT = ViewContext(sources=(), models=())

MODELS = Node(
    status=Status.DOWN,
    reason="timeout",
    children={
        "a%2Fb": Node(status=Status.OK),
        "qwen2.5%3A7b": Node(status=Status.DOWN, reason="timeout"),
    },
)
ROOT = Node(status=Status.DOWN, reason="timeout", children={"models": MODELS})


@attrs.frozen(kw_only=True)
class BigView(View):
    """Serves two mebibytes: more than any socket buffer takes unread."""

    name = "big"
    size: int = 8 << 20

    def paths(self) -> tuple[str, ...]:
        return ("/big",)

    def render(self, path: str, snapshot: Snapshot) -> Document:
        return Document(body=b"x" * self.size, content_type="text/plain")


def snapshot(root: Node = ROOT, *, revision: int = 7, version: int = 1) -> Snapshot:
    return Snapshot(root=root, revision=revision, version=version, at=1_800_000_000.0)


NOW = 1_800_000_000.0


def text(body: bytes) -> Document:
    return Document(body=body, content_type="text/plain; charset=utf-8")


CORE = Core(
    page=lambda _ask: Rendered.of(
        Document(body=b"the page", content_type="text/html; charset=utf-8"), HEADERS
    ),
    live=lambda _ask: text(b"alive\n"),
    ready=lambda _branch, _ask: text(b"ready\n"),
    explain=lambda branch, ask: render_explanation(snapshot(), branch, {}, ask.now),
    metrics=lambda ask: Rendered.of(text(f"metrics for {ask.accept}".encode()), {"Vary": "Accept"}),
    openapi=lambda _ask: None,
)
"""Stands in for what renders the daemon's own documents beside the tree."""


@functools.cache
def openapi(pages: tuple[tuple[type[View], str], ...]) -> Rendered:
    """Return the document about views of these types at these paths."""
    return render_openapi(Page(view=kind(context=CONTEXT), path=path) for kind, path in pages)


async def refresh_nothing(_sources):
    """Stands in for the supervisors: there are no sources."""


@attrs.frozen
class Served:
    """The documents of a service, asked for by path."""

    service: Service

    def get(self, path, **query):
        """Return the document at `path`, or None."""
        rendered = self.rendered(path, **query)
        return rendered and rendered.document

    def rendered(self, path, accept="", **query):
        endpoint = self.service.site.find(path)
        return endpoint and endpoint.render(Ask(query=query, accept=accept, now=NOW))


def service(
    *views: View,
    hub=snapshot,
    on_view_failed=lambda *_: None,
    sources: tuple[SourceInfo, ...] = (),
    models=None,
    refresh=refresh_nothing,
    now=lambda: NOW,
) -> Service:
    """Return what an application serves, out of snapshots that `hub` returns."""
    served = Documents(views, hub, reserved=RESERVED, on_view_failed=on_view_failed)
    pages = tuple((type(page.view), page.path) for page in served.pages.values())
    core = attrs.evolve(CORE, openapi=lambda _ask: openapi(pages))
    return Service(
        site=Site(served, core, sources=sources, models=models or {}, snapshot=hub),
        feed=Feed(hub),
        freshness=Freshness(sources={one.name: one for one in sources}, snapshot=hub, refresh=refresh),
        snapshot=hub,
        access=Access(hosts=frozenset({"status.example"})),
        now=now,
    )


def edge_of(served: Service, limits: Limits | None = None) -> Edge:
    """Return what serves, with the front stage where this run of the tests has one."""
    limits = limits or Limits()
    guard, traffic = Guard(), Traffic()
    front, probes_front = (
        Front(
            Answers(served),
            version=lambda: served.snapshot().version,
            now=served.now,
            is_probes_only=is_probes_only,
        )
        if stages.HAS_FRONT
        else None
        for is_probes_only in (False, True)
    )
    return Edge(create_app(served, limits, guard, traffic), limits, guard, front, probes_front, traffic)


def documents(*views: View) -> Served:
    return Served(service(*views))


@attrs.frozen(kw_only=True)
class Answer:
    """One answer, header names in lower case."""

    version: str
    status: int
    phrase: str
    headers: dict[str, str]
    body: bytes


def parse(data: bytes, *methods: str) -> list[Answer]:
    """Cut `data` into answers; strict, so that anything malformed or undocumented fails the test.

    Args:
        data: all that the server sent.
        methods: of the requests, where not all are GET: HEAD has no body.
    """
    answers: list[Answer] = []
    while data:
        head, separator, data = data.partition(b"\r\n\r\n")
        assert separator, f"an unfinished header: {head!r}"
        line, *fields = head.decode("ascii").split("\r\n")
        version, status, phrase = line.split(" ", 2)
        assert version == "HTTP/1.1"
        headers: dict[str, str] = {}
        for field in fields:
            name, _, value = field.partition(": ")
            assert name
            assert name.lower() not in headers, f"{name} twice"
            headers[name.lower()] = value
        if status == "100":
            continue
        method = methods[len(answers)] if len(answers) < len(methods) else "GET"
        length = 0 if method == "HEAD" or status == "204" else int(headers["content-length"])
        assert len(data) >= length, "an unfinished body"
        body, data = data[:length], data[length:]
        hold_refusal(int(status), headers, body)
        answers.append(Answer(version=version, status=int(status), phrase=phrase, headers=headers, body=body))
    return answers


async def read_all(stream: trio.abc.ReceiveStream) -> bytes:
    """Return everything up to the end of `stream`."""
    data = bytearray()
    while chunk := await stream.receive_some(65536):
        data += chunk
    return bytes(data)


async def read_until(stream: trio.abc.ReceiveStream, ending: bytes) -> bytes:
    """Return what comes up to and with `ending`."""
    data = b""
    while not data.endswith(ending):
        chunk = await stream.receive_some(65536)
        assert chunk, f"the stream ended after {data!r}"
        data += chunk
    return data


@attrs.define(eq=False, kw_only=True)
class Web:
    """An application and the connections to it, on memory streams."""

    edge: Edge
    nursery: trio.Nursery
    is_probes_only: bool = False
    ended: dict[Connection, trio.Event] = attrs.field(factory=dict)

    @classmethod
    def open(cls, nursery: trio.Nursery, *views: View, app: object = None, **limits: float) -> Web:
        bounds = Limits(**limits)  # type: ignore[arg-type]  # every field is a number
        if app is not None:
            return cls(edge=Edge(app, bounds, Guard()), nursery=nursery)
        return cls(edge=edge_of(service(*views), bounds), nursery=nursery)

    def connect(self, pair: object = None) -> tuple[trio.StapledStream, Connection]:
        """Return the client's end of a new connection, and the connection."""
        ours, theirs = pair or memory_stream_pair()
        connection = Connection(
            stream=theirs, edge=self.edge, peer="192.0.2.1", is_probes_only=self.is_probes_only
        )
        self.ended[connection] = trio.Event()
        self.nursery.start_soon(self._run, connection)
        return ours, connection

    async def _run(self, connection: Connection) -> None:
        await connection.run()
        self.ended[connection].set()

    async def exchange(self, *chunks: bytes) -> bytes:
        """Send `chunks`, each taken before the next is sent, then the end; return all that came back."""
        stream, _ = self.connect()
        for chunk in chunks:
            await stream.send_all(chunk)
            await trio.testing.wait_all_tasks_blocked()
        await stream.send_eof()
        return await read_all(stream)

    async def ask(self, *chunks: bytes, methods: tuple[str, ...] = ()) -> list[Answer]:
        """Send `chunks` and return the answers."""
        return parse(await self.exchange(*chunks), *methods)
