"""`expect_success`: which failure a status code is, in words that say who answered and what to do."""

from __future__ import annotations

import pytest

from statusd import ProbeError, Url, expect_success
from statusd.testing import FakeResponse

ASKED = Url.parse("http://user:hunter2@10.0.0.5:3000/status?token=hunter2")


@pytest.mark.parametrize("code", [200, 204, 299])
def test_2xx_passes(code):
    expect_success(FakeResponse(code, url=ASKED))


@pytest.mark.parametrize(
    ("code", "reason", "words"),
    [
        (401, "unauthorized", "the key is missing or wrong"),
        (403, "unauthorized", "the key is missing or wrong"),
        (302, "redirect", "set the final URL"),
        (503, "unavailable", "it is not available"),
        (429, "http_error", "raise the interval"),
        (500, "http_error", "its own log knows why"),
        (404, "http_error", "correct the URL"),
        (999, "http_error", "its own log knows why"),
    ],
)
def test_anything_else_says_who_answered_what_and_the_remedy(code, reason, words):
    with pytest.raises(ProbeError) as caught:
        expect_success(FakeResponse(code, url=ASKED))
    assert caught.value.reason == reason
    assert caught.value.message.startswith(f"http://10.0.0.5:3000/status answered {code}: ")
    assert words in caught.value.message


def test_an_answer_of_unknown_origin_is_the_servers():
    with pytest.raises(ProbeError, match=r"^The server answered 500: "):
        expect_success(FakeResponse(500))
