"""The bearer token: sent to the daemon and to nobody else, and shown nowhere."""

import json
import traceback

import pytest
import trio

from statusd.cli import main
from statusd.client import Client, ClientError, TrioClient
from statusd.client.access import Access
from statusd.commands.where import find_daemon
from tests.client.conftest import response, says, stream
from tests.client.samples import node

TOKEN = "tok3n-of.the~house+/=="
TREE = {"revision": 7, "path": "", "node": node(a=node())}
STATE = response(json.dumps(TREE).encode())
EXPLANATION = response(
    json.dumps(
        {"revision": 7, "path": "a", "status": "ok", "reason": "ok", "message": "", "because": [], "would_change": []}
    ).encode()
)  # fmt: skip
SNAPSHOT = f"event: snapshot\ndata: {json.dumps(TREE)}\n\n"
WANTED = {"WWW_Authenticate": 'Basic realm="statusd", Bearer realm="statusd"'}
DENIED = response(b"{}", "401 Unauthorized", "application/problem+json", **WANTED)
SENT = f"Authorization: Bearer {TOKEN}\r\n"


def told(error):
    """Return everything that a traceback, a log or a debugger would show of `error`."""
    return "".join(traceback.format_exception(error)) + repr(vars(error)) + repr(error.__context__)


@pytest.fixture(params=["TCP", "Unix socket"])
def unix(request):
    return request.param == "Unix socket"


def test_it_goes_with_every_request(client, serve, unix):
    server = serve(says(STATE), says(EXPLANATION), says(stream(SNAPSHOT), then_waits=True), unix=unix)
    client.call("state", url=server.url, token=TOKEN)
    client.call("explain", "a", url=server.url, token=TOKEN)
    client.updates(1, url=server.url, token=TOKEN)
    assert [request.count(SENT) for request in server.requests] == [1, 1, 1]


def test_it_goes_with_the_request_that_opens_a_lost_stream_again(client, serve):
    server = serve(says(stream(SNAPSHOT)), says(stream(SNAPSHOT), then_waits=True))
    client.updates(3, url=server.url, token=TOKEN)
    assert [SENT in request for request in server.requests] == [True, True]


def test_it_does_not_follow_a_redirect(client, serve):
    elsewhere = serve(says(STATE))
    server = serve(says(response(b"", "307 Temporary Redirect", Location=f"{elsewhere.url}/state")))
    with pytest.raises(ClientError) as caught:
        client.call("state", url=server.url, token=TOKEN)
    assert caught.value.reason == "moved"
    assert elsewhere.requests == []


def test_the_environments_goes_to_the_environments_daemon_alone(client, serve, monkeypatch):
    server = serve(says(STATE))
    monkeypatch.setenv("STATUSD_TOKEN", TOKEN)
    monkeypatch.setenv("STATUSD_URL", server.url)
    client.call("state")
    client.call("state", url=server.url)
    client.call("state", token="")
    assert [SENT in request for request in server.requests] == [True, False, False]


@pytest.mark.parametrize(
    "bad", ["sec ret", "secret\n", "secret\r\nHost: x", "\tsecret", "sécret", "secret\x7f", "s\ud800"]
)
def test_one_that_no_request_can_carry_is_refused_and_not_shown(client, serve, bad):
    server = serve(says(STATE))
    with pytest.raises(ClientError) as caught:
        client.call("state", url=server.url, token=bad)
    assert caught.value.reason == "bad_token"
    assert "visible ASCII" in caught.value.message
    shown = told(caught.value)
    assert bad not in shown
    assert "Host: x" not in shown
    assert server.requests == []


def test_one_besides_a_password_in_the_url_is_refused(client):
    url = "http://me:hunter2@127.0.0.1:1"
    with pytest.raises(ClientError) as caught:
        client.call("state", url=url, token=TOKEN)  # a traceback shows this line
    assert caught.value.reason == "bad_token"
    assert "hunter2" not in told(caught.value)
    assert TOKEN not in told(caught.value)


@pytest.mark.parametrize(
    ("options", "header", "remedy"),
    [
        (
            {},
            WANTED,
            "it wants a token; set $STATUSD_TOKEN, or name the file that holds it with --token-file",
        ),
        ({"token": TOKEN}, WANTED, "it refused the token; correct it"),
        ({}, {}, "put those of a proxy before it into the URL"),
    ],
)
def test_401_names_the_remedy(client, serve, options, header, remedy):
    server = serve(says(response(b"", "401 Unauthorized", "text/plain", **header)))
    with pytest.raises(ClientError) as caught:
        client.call("state", url=server.url, **options)
    assert caught.value.reason == "unauthorized"
    assert remedy in caught.value.message
    assert TOKEN not in told(caught.value)


def test_a_wrong_password_in_the_url_is_told(client, serve):
    server = serve(says(DENIED))
    with pytest.raises(ClientError, match="refused the user and password in the address"):
        client.call("state", url=server.url.replace("//", "//me:hunter2@"))


def test_no_text_form_of_a_client_shows_it():
    access = Access.given("http://127.0.0.1:1", TOKEN, None, {})
    shown = f"{access} {access!r} {access.address} {access.address!r}"
    for client in (Client("http://127.0.0.1:1", token=TOKEN), TrioClient("http://127.0.0.1:1", token=TOKEN)):
        events = client.events() if isinstance(client, Client) else trio.run(events_of, client)
        shown += f"{client!r} {vars(client)!r} {events!r} {vars(events)!r} {events._following!r}"
    assert TOKEN not in shown
    assert TOKEN in str(access.address.headers())


async def events_of(client):
    return client.events()


@pytest.fixture
def configured(tmp_path):
    """Write a configuration that binds to `url` and wants the token in `file`; return its path."""

    def write(url, file):
        path = tmp_path / "statusd.toml"
        bind = url.removeprefix("http://")
        path.write_text(f'[http]\nbind = ["{bind}"]\ntoken = {{ file = "{file}" }}\n')
        return str(path)

    return write


@pytest.fixture
def token_file(tmp_path):
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    return str(file)


def test_commands_take_it_from_the_file_then_the_environment_then_the_configuration(
    configured, token_file, tmp_path
):
    other = tmp_path / "other"
    other.write_text("other")
    config = configured("127.0.0.1:1", token_file)
    environ = {"STATUSD_TOKEN": "third"}
    assert find_daemon(None, config, environ, str(other)).token.reveal() == "other"
    assert find_daemon(None, config, environ).token.reveal() == "third"
    assert find_daemon(None, config, {"STATUSD_TOKEN": ""}).token.reveal() == TOKEN


def test_the_configured_one_goes_to_no_address_that_is_named(configured, token_file):
    environ = {"STATUSD_CONFIG": configured("127.0.0.1:1", token_file), "STATUSD_URL": "http://two"}
    assert not find_daemon("http://one", None, environ).token
    assert not find_daemon("http://one", environ["STATUSD_CONFIG"], environ).token
    assert not find_daemon(None, None, environ).token
    assert find_daemon(None, environ["STATUSD_CONFIG"], environ).token.reveal() == TOKEN


def test_a_command_says_that_the_configured_one_is_not_there(serve, configured):
    server = serve(says(DENIED))
    where = find_daemon(None, configured(server.url, "/nowhere/token"), {})
    with where.client() as client, pytest.raises(ClientError) as caught:
        client.state()
    message = where.blamed(caught.value).message
    assert "it wants a token; set $STATUSD_TOKEN" in message
    assert "None was sent: [http] token in " in message
    assert "Authorization" not in server.requests[0]


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "cannot be read"), (b"", "is empty"), (b"\n", "is empty"), (b"\xff\xfe", "visible ASCII"),
     (b"x" * 20_000, "is over 16384 bytes")],
)  # fmt: skip
def test_a_useless_token_file_is_told(tmp_path, content, problem):
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ClientError, match=problem) as caught:
        find_daemon("http://127.0.0.1:1", None, {}, str(file))
    assert caught.value.reason == "bad_token"


@pytest.mark.parametrize("command", ["show", "explain", "watch"])
@pytest.mark.parametrize("way", ["file", "environment"])
def test_the_commands_send_it_and_print_nothing_of_it(serve, monkeypatch, capsys, token_file, command, way):
    answers = {"show": [STATE], "explain": [EXPLANATION], "watch": []}[command]  # watch would not end
    server = serve(*map(says, [*answers, DENIED]))
    arguments = [command, "--url", server.url]
    if way == "file":
        arguments += ["--token-file", token_file]
    else:
        monkeypatch.setenv("STATUSD_TOKEN", TOKEN)
    assert [main(arguments) for _ in answers] == [0] * len(answers)
    assert main([*arguments, "--json"]) == 1
    assert [SENT in request for request in server.requests] == [True] * (len(answers) + 1)
    shown = capsys.readouterr()
    assert "refused the token" in shown.err
    assert ("from $STATUSD_TOKEN" if way == "environment" else f"from {token_file}") in shown.err
    assert TOKEN not in shown.out + shown.err


def test_help_offers_no_token_on_the_command_line(capsys):
    with pytest.raises(SystemExit):
        main(["show", "--help"])
    text = capsys.readouterr().out
    assert "--token-file FILE" in text
    assert "--ca-file FILE" in text
    with pytest.raises(SystemExit) as caught:
        main(["show", "--token", TOKEN])  # which must not be taken for a short --token-file
    assert caught.value.code == 2
    assert "no such file" not in capsys.readouterr().err
