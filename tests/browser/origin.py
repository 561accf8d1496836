"""An origin under the test's control: the page of any tree, its state, and an event stream that can be cut."""

from __future__ import annotations

import email.utils
import http.server
import json
import queue
import threading
import time

from statusd import Snapshot
from statusd.model.tree import settle, walk
from statusd.web.bodies import ChangeBody, ChangedNode, encode, node_body, state_body
from statusd.web.page import HEADERS, render_page

END = object()
"""In a stream's queue: close the connection."""


class Origin:
    """Serves `/`, `/state` and `/events` of a snapshot on a port of its own.

    Attributes:
        requests: (path, headers) of everything that was asked.
        refusing: the status code with which `/events` is refused, or 0.
        failing: the status code with which `/state` is answered, or 0.
        silent: whether publishing leaves the streams without a word, as one that has died unnoticed.
        ahead: seconds that the server's clock is ahead.
    """

    def __init__(self, snapshot):
        self.snapshot = snapshot
        self.requests = []
        self.refusing = self.failing = 0
        self.silent = False
        self.ahead = 0.0
        self._streams = set()
        self._server = None
        self.port = 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/"

    @property
    def has_listeners(self):
        return bool(self._streams)

    def start(self):
        """Listen, on the same port as before where there was one."""
        self._server = _Server(("127.0.0.1", self.port), _Exchange)
        self._server.origin = self
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self):
        """Stop listening and cut every stream."""
        self.cut()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def cut(self):
        """End every stream, as a proxy does that has had enough."""
        for stream in list(self._streams):
            stream.put(END)

    def publish(self, root):
        """Make `root` the tree, and tell the streams what changed, as the hub does; times alone are no change."""
        old, now = self.snapshot, time.time()
        settled = settle(old.root, root, revision=old.revision + 1, now=now)
        revision = old.revision + settled.is_change
        self.snapshot = Snapshot(root=settled.root, revision=revision, version=old.version + 1, at=now)
        if settled.is_change and not self.silent:
            changes = tuple(
                ChangedNode(path=path, node=None if node is None else node_body(node))
                for path, node in changed(old.root, settled.root).items()
            )
            self._tell(frame(revision, "change", ChangeBody(revision=revision, changes=changes)))

    def restart(self, root, revision):
        """Make `root` the tree of another process, at a revision of its own."""
        self.stop()
        self.snapshot = first(root, revision)
        self.start()

    def asked(self, path):
        """Return the headers of each request for `path`."""
        return [headers for asked, headers in self.requests if asked == path]

    def open_stream(self):
        stream = queue.Queue()
        snapshot = self.snapshot
        stream.put(b"retry: 300\n\n" + frame(snapshot.revision, "snapshot", state_body(snapshot, "")))
        self._streams.add(stream)
        return stream

    def close_stream(self, stream):
        self._streams.discard(stream)

    def _tell(self, data):
        for stream in list(self._streams):
            stream.put(data)


def first(root, revision=1_732_190_000_000_000):
    """Return the first snapshot of a process."""
    settled = settle(None, root, revision=revision, now=time.time())
    return Snapshot(root=settled.root, revision=revision, version=1, at=time.time())


def changed(old, new):
    """Return what differs between two trees as a `Change` has it: parents first, None for what has gone."""
    before, after = dict(walk(old)), dict(walk(new))
    nodes = {
        path: node for path, node in after.items() if path not in before or not node.same_state(before[path])
    }
    return nodes | {path: None for path in before if path not in after}


def frame(revision, event, body):
    """Return one event of a stream."""
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (revision, event.encode(), encode(body))


class _Server(http.server.ThreadingHTTPServer):
    origin: Origin
    daemon_threads = True


class _Exchange(http.server.BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self):
        origin = self.server.origin
        origin.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        if self.path == "/":
            page = render_page(origin.snapshot)
            self._answer(200, page.body, page.content_type, HEADERS)
        elif self.path == "/state":
            self._answer(origin.failing or 200, encode(state_body(origin.snapshot, "")), "application/json")
        elif self.path == "/events" and not origin.refusing:
            self._stream(origin)
        else:
            problem = json.dumps({"status": origin.refusing or 404}).encode()
            self._answer(origin.refusing or 404, problem, "application/problem+json")

    def date_time_string(self, timestamp=None):
        return email.utils.formatdate(time.time() + self.server.origin.ahead, usegmt=True)

    def log_message(self, *_):
        pass

    def _answer(self, status, body, content_type, headers=()):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'W/"{self.server.origin.snapshot.revision}"')
        self.send_header("Cache-Control", "no-cache")
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, origin):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        stream = origin.open_stream()
        try:
            while (data := stream.get()) is not END:
                self.wfile.write(data)
        except OSError:
            pass
        finally:
            origin.close_stream(stream)
