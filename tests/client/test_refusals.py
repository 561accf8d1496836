"""Answers other than the wanted one: what they mean, what to do, and when to ask again."""

import json

import pytest

from statusd.client import ClientError
from statusd.client.refusals import retry_after
from statusd.commands.where import Where
from tests.client.conftest import response, says

NOW = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT


def refused(client, url):
    with pytest.raises(ClientError) as caught:
        client.call("state", url=url)
    assert caught.value.message.isprintable()
    return caught.value


def test_a_daemon_that_has_another_name_says_where_to_list_this_one(client, serve):
    server = serve(says(response(b"", "421 Misdirected Request", "application/problem+json")))
    error = refused(client, server.url.replace("127.0.0.1", "localhost"))
    assert error.reason == "misdirected"
    assert 'does not answer to the name "localhost": list it in [http] hosts' in error.message
    assert "or ask by its IP address" in error.message


def test_too_many_requests_have_a_word_of_their_own(client, serve):
    server = serve(says(response(b"", "429 Too Many Requests", "text/plain", Retry_After=30)))
    error = refused(client, server.url)
    assert (error.reason, error.retry_after) == ("too_many_requests", 30.0)
    assert error.message == f"{server.url} answered 429 (too many requests); try again in 30 s."
    assert Where(url=server.url, origin="--url").blamed(error).retry_after == 30.0


def test_an_answer_that_does_not_say_when_means_later(client, serve):
    body = json.dumps({"detail": "As many are open as the daemon serves."}).encode()
    server = serve(says(response(body, "503 Service Unavailable", "application/problem+json")))
    error = refused(client, server.url)
    assert (error.reason, error.retry_after) == ("unavailable", None)
    assert error.message.endswith("503: As many are open as the daemon serves; try again later.")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "120"}, 120.0),
        ({"retry-after": " 0 "}, 0.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "1.5"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "\u0665"}, None),
        ({"retry-after": "9" * 400}, None),
        ({"retry-after": "Sun, 06 Nov 1994 08:50:37 GMT"}, 60.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:48:37 GMT"}, 0.0),
        (
            {"retry-after": "Sun, 06 Nov 1994 08:50:37 GMT", "date": "Sun, 06 Nov 1994 08:50:07 GMT"},
            30.0,
        ),
    ],
)
def test_when_to_ask_again(headers, seconds):
    assert retry_after(headers, NOW) == seconds
