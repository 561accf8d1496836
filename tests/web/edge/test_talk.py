"""Which queue what has come waits in: health checks apart, whatever is sent by whom."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd.web.access import PROBES, is_below, is_probe
from statusd.web.edge.shared import Queue
from statusd.web.edge.talk import _queue_for
from statusd.web.target import canonical
from tests.web.client import END


@pytest.mark.parametrize(
    "data",
    [
        b"GET /health HTTP/1.0\r\n\r\n",
        b"GET /readyz/models/a%2Fb?verbose HTTP/1.1" + END,
        b"OPTIONS /%68ealth HTTP/1.1" + END,
    ],
)
def test_a_whole_request_for_a_probe_endpoint_waits_apart(data):
    assert _queue_for(data) is Queue.PROBES


@pytest.mark.parametrize(
    "data",
    [
        b"GET /health HTTP/1.0\r\n",
        b"GET /state HTTP/1.1" + END,
        b"GET /state?/health HTTP/1.1" + END,
        b"GET /health HTTP/1.1" + END + b"GET /state HTTP/1.1" + END,
    ],
)
def test_anything_else_waits_with_all_others(data):
    assert _queue_for(data) is Queue.OTHERS


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "data",
    [
        b"GET /" + b"a" * 300_000,
        b"GET /" + b"a" * 300_000 + b"\r\n" + b"a" * 300_000,
        b"G" * 300_000,
        b"GET /health HTTP/1.1\r\n" + b"a: b\r\n" * 50_000,
        b"GET /" + b"/" * 300_000 + b" HTTP/1.1" + END,
        b"GET /%68" + b"/" * 300_000 + b" HTTP/1.1" + END,
    ],
)
def test_nothing_takes_long_to_tell(data):
    """In quadratic time each of these would take minutes; the timeout is what fails."""
    assert _queue_for(data) is Queue.OTHERS


SPELLINGS = st.lists(
    st.sampled_from(["/", "health", "healthz", "status", "queue", "readyz", "%72eadyz", "%2F", "x", "%"])
).map("".join)


@given(SPELLINGS.map("/{}".format))
def test_a_probe_endpoint_is_known_in_every_spelling(path):
    assert is_probe(path) is (is_below(path, PROBES) or is_below(canonical(path), PROBES))
