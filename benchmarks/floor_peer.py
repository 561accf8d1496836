"""The floor: the least that an HTTP/1.1 server on trio and httptools can do, with every answer prepared.

    python floor_peer.py DOCUMENTS PORT

It parses each request with httptools, finds the answer by its path, and sends header and body in one write; kept and
pipelined connections work, ``Connection: close`` and HTTP/1.0 too. It has no deadlines, no bounds, no clock, no metrics
and no second thought.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Final

import httptools
import trio

HEAD: Final = (
    "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
    "X-Content-Type-Options: nosniff\r\nContent-Length: {length}\r\n{connection}\r\n"
)
NOT_FOUND: Final = '{"error":"not_found"}'


class Requests:
    """Takes what the parser finds, and keeps the answers to it."""

    def __init__(self, answers: dict[bytes, tuple[bytes, bytes]]) -> None:
        self._answers = answers
        self._url = b""
        self.parser = httptools.HttpRequestParser(self)
        self.ready: list[bytes] = []

    def on_message_begin(self) -> None:
        self._url = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_message_complete(self) -> None:
        kept, last = self._answers.get(self._url) or self._answers[b""]
        self.ready.append(kept if self.parser.should_keep_alive() else last)


async def serve(answers: dict[bytes, tuple[bytes, bytes]], stream: trio.SocketStream) -> None:
    """Answer the requests of one connection."""
    requests = Requests(answers)
    async with stream:
        try:
            while data := await stream.receive_some(65536):
                requests.parser.feed_data(data)
                if requests.ready:
                    await stream.send_all(b"".join(requests.ready))
                    requests.ready.clear()
                    if not requests.parser.should_keep_alive():
                        return
        except (trio.BrokenResourceError, httptools.HttpParserError):
            pass


def main() -> None:
    """Serve until terminated."""
    documents, port = sys.argv[1:]

    def answer(body: str, status: str, connection: str) -> bytes:
        length = len(body.encode())
        return (HEAD.format(status=status, length=length, connection=connection) + body).encode()

    bodies = {"": NOT_FOUND, **json.loads(Path(documents).read_text(encoding="utf-8"))}
    answers = {}
    for path, body in bodies.items():
        status = "200 OK" if path else "404 Not Found"
        answers[path.encode()] = (answer(body, status, ""), answer(body, status, "Connection: close\r\n"))
    trio.run(partial(trio.serve_tcp, partial(serve, answers), int(port), host="127.0.0.1"))


if __name__ == "__main__":
    main()
