"""FastAPI on uvicorn[standard], as a peer: answers the documents in a file, as dicts or as bytes.

    python fastapi_peer.py DOCUMENTS PORT dict|bytes

FastAPI and uvicorn are imported by name, for they come with the extra `benchmark` alone.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

fastapi: Any = importlib.import_module("fastapi")
uvicorn: Any = importlib.import_module("uvicorn")


def as_dict(body: str) -> Callable[[], Awaitable[dict[str, object]]]:
    """Return an endpoint that returns a dict, and says so, which makes FastAPI's answer the faster."""
    document: dict[str, object] = json.loads(body)

    async def endpoint() -> dict[str, object]:
        return document

    return endpoint


def as_bytes(body: str) -> Callable[[], Awaitable[Any]]:
    """Return an endpoint whose document is rendered already."""
    content = body.encode()

    async def endpoint() -> Any:
        return fastapi.Response(content, media_type="application/json")

    return endpoint


def main() -> None:
    """Serve until terminated."""
    documents, port, kind = sys.argv[1:]
    app = fastapi.FastAPI()
    for path, body in json.loads(Path(documents).read_text(encoding="utf-8")).items():
        app.add_api_route(path, as_dict(body) if kind == "dict" else as_bytes(body))
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(port),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
