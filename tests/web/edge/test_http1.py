import hashlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import hypercorn
import pytest

from statusd.errors import StartError
from statusd.web.edge import http1
from tests.web.client import END, Web

READ = {
    "protocol/h11.py": "5d2cfe635578adc65941fd5dc7b35ad1d89a61a9beff3e97742dd94f359ee9e0",
    "protocol/http_stream.py": "b28bb59de67f2f2813642846cc089fc52bf771f2270f813d039456ba4fe34f7f",
    "protocol/events.py": "d22d1846c7821b3f71292e683ff0763224e5b5c86ab4e636efdc8bad0a3eab2e",
    "events.py": "d62b2f03f0ed7f787dc4e2da98db0df6a88039633ee2cdfeef19f1d68fd5dccb",
    "trio/worker_context.py": "431948d8c2f013ce3fe9229bfe16bd9308dae972fc60e42843104e2cc2f9f24d",
}
"""What of hypercorn's source http1.py relies on, as it was when that was last compared line by line."""


def test_hypercorn_is_the_one_that_was_read():
    """When this fails: read the difference, above all `H11Protocol`, adapt http1.py, then renew the digests."""
    folder = Path(hypercorn.__file__).parent
    found = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in READ}
    assert found == READ


def test_the_installed_hypercorn_is_accepted():
    http1.verify()


def test_another_version_stops_the_start():
    with pytest.raises(
        StartError, match=r'hypercorn 0\.19\.0 is installed.*pip install "hypercorn==0\.18\.\*"'
    ):
        http1.verify("0.19.0")


@pytest.mark.parametrize("change", ["gone", "another signature"])
def test_another_shape_stops_the_start(monkeypatch, change):
    if change == "gone":
        monkeypatch.delattr(http1.H11Protocol, "_create_stream")
    else:
        monkeypatch.setattr(http1.H11Protocol, "_create_stream", lambda self, request, more: None)
    with pytest.raises(StartError, match=r"H11Protocol\._create_stream differs"):
        http1.verify()


def test_hypercorn_without_what_is_imported_stops_the_start_in_words():
    program = (
        "import sys, types; sys.modules['hypercorn.protocol.h11'] = types.ModuleType('x')\n"
        "from statusd.errors import StartError\n"
        "try:\n    import statusd.web.edge.http1\nexcept StartError as error:\n    print(error)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "is not as statusd expects it" in result.stdout


def test_only_edge_knows_hypercorn():
    spec = importlib.util.find_spec("statusd.web")
    files = Path(spec.submodule_search_locations[0]).parent.rglob("*.py")
    knowing = {
        file.name
        for file in files
        if "import hypercorn" in (text := file.read_text()) or "from hypercorn" in text
    }
    assert knowing == {"http1.py"}


async def silent(scope, receive, send):
    """Return without an answer."""


async def half(scope, receive, send):
    """Promise five bytes, send two, fail."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"ab", "more_body": True})
    raise ValueError("half")


async def confused(scope, receive, send):
    await send({"type": "http.response.body", "body": b"before its start"})


async def odd(scope, receive, send):
    await send({"type": "http.response.start", "status": 299, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})


@pytest.mark.parametrize(("app", "failures"), [(silent, 0), (confused, 1)])
async def test_an_application_that_does_not_answer_is_a_500(nursery, autojump_clock, app, failures):
    site = Web.open(nursery, app=app)
    [answer] = await site.ask(b"GET / HTTP/1.1" + END)
    assert (answer.status, answer.headers["content-type"]) == (500, "application/problem+json")
    assert site.edge.guard.failures["request"] == failures


async def test_an_answer_that_breaks_off_ends_the_connection(nursery, autojump_clock):
    site = Web.open(nursery, app=half)
    data = await site.exchange(b"GET / HTTP/1.1" + END + b"GET / HTTP/1.1" + END)
    assert data.endswith(b"\r\n\r\nab")
    assert data.count(b"HTTP/1.1") == 1
    assert site.edge.guard.failures == {"request": 1}


async def test_a_status_without_a_phrase_is_sent_without_one(nursery, autojump_clock):
    [answer] = await Web.open(nursery, app=odd).ask(b"GET / HTTP/1.1" + END)
    assert (answer.status, answer.phrase) == (299, "")
