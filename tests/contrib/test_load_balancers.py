"""A load balancer takes a server out when statusd says 503, and lets it back in with 200: no body is parsed."""

import contextlib
import json
import subprocess
import tempfile
from functools import partial
from pathlib import Path

import pytest
import trio
import yaml

from statusd.demo import run_demo
from statusd.demo_story import Scene
from statusd.errors import ProbeError
from statusd.testing import Drop, Hang, OmniRT, Raw, Refuse
from statusd.testing.redis_binary import find_server
from tests.contrib.balancing import CONTRIB, STATUSD, OpenTalking, free_address, program, render_nginx, server
from tests.integration.inprocess import Client, running

HAPROXY, NGINX = program("haproxy"), program("nginx")
needs_haproxy = pytest.mark.skipif(HAPROXY is None, reason="needs haproxy, which is not installed")
needs_nginx = pytest.mark.skipif(NGINX is None, reason="needs nginx, which is not installed")
MODEL = "/readyz/models/flashtalk"


@contextlib.asynccontextmanager
async def asking(address):
    """Yield a client of what listens at `address`."""
    client = Client(f"http://{address}")
    try:
        yield client
    finally:
        with trio.CancelScope(shield=True):
            await client.aclose()


async def answer(client, path):
    """Return the status code, and who served it; 0 while nobody listens."""
    try:
        got = await client.get(path)
    except ProbeError:
        return 0, ""
    is_json = got.headers.get("content-type") == "application/json"
    return got.status, json.loads(got.body).get("served_by", "") if is_json else ""


@contextlib.asynccontextmanager
async def host(name, http=""):
    """Run what one host runs: OmniRT with a connected model, statusd with keys of ``[http]``, and OpenTalking."""
    async with OmniRT() as omnirt, OpenTalking(name=name) as users:
        omnirt.connect("flashtalk")
        async with running(f"[http]\n{http}{STATUSD}".format(url=omnirt.url), {}) as statusd:
            await statusd.until(partial(statusd.get, MODEL), lambda got: got.status == 200)
            yield omnirt, users, statusd


def address_of(client):
    return client.base.removeprefix("http://")


def variables(**addresses):
    return {name.upper(): value for name, value in addresses.items()}


@needs_haproxy
def test_haproxys_configuration_has_no_mistakes():
    done = subprocess.run(
        [HAPROXY, "-c", "-f", CONTRIB / "haproxy/haproxy.cfg"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "WARNING" not in done.stderr + done.stdout
    assert "ALERT" not in done.stderr + done.stdout


@needs_haproxy
async def test_haproxy_sends_requests_for_a_model_where_it_is_ready():
    async with host("a") as (omnirt, users_a, statusd_a), host("b") as (other, users_b, statusd_b):
        listen = free_address()
        environ = variables(
            listen=listen,
            host_a=users_a.address,
            host_a_statusd=address_of(statusd_a),
            host_b=users_b.address,
            host_b_statusd=address_of(statusd_b),
        )
        async with (
            server(HAPROXY, "-f", str(CONTRIB / "haproxy/haproxy.cfg"), environ=environ),
            asking(listen) as haproxy,
        ):
            await served_by(haproxy, "/flashtalk/sessions", {"a", "b"})
            omnirt.drop("flashtalk")
            await served_by(haproxy, "/flashtalk/sessions", {"b"})
            await served_by(haproxy, "/avatars", {"a", "b"})  # the host as a whole is ready
            other.behaviour = Refuse()
            await haproxy.until(partial(answer, haproxy, "/flashtalk/sessions"), lambda got: got[0] == 503)
            omnirt.connect("flashtalk")
            await served_by(haproxy, "/flashtalk/sessions", {"a"})
            assert "GET /flashtalk/sessions" in users_a.targets
            # The checks went to statusd, not to what serves users.
            assert not any("readyz" in target for target in users_a.targets + users_b.targets)


async def served_by(client, path, names):
    """Wait until exactly the servers `names` take turns."""

    async def several():
        return {await answer(client, path) for _ in range(6)}

    await client.until(several, lambda got: got == {(200, name) for name in names})


@needs_nginx
def test_nginx_configuration_has_no_mistakes(tmp_path):
    done = subprocess.run(
        [NGINX, "-p", tmp_path, "-e", "stderr", "-t", "-c", CONTRIB / "nginx/nginx.conf"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr
    assert "emerg" not in done.stderr


@contextlib.asynccontextmanager
async def nginx(prefix, users, statusd, address=""):
    """Run nginx, before statusd at another `address` if there is one; yields clients for users and for operators."""
    at_users, at_status = free_address(), free_address()
    config = render_nginx(
        prefix,
        users=at_users,
        status=at_status,
        opentalking=users.address,
        statusd=address or address_of(statusd),
    )
    command = (NGINX, "-p", str(prefix), "-e", "stderr", "-c", str(config))
    async with server(*command), asking(at_users) as for_users, asking(at_status) as for_operators:
        await for_users.until(partial(answer, for_users, "/healthz"), lambda got: got[0] == 200)
        yield for_users, for_operators


@needs_nginx
async def test_nginx_splits_the_documented_endpoints_from_opentalkings_own(tmp_path):
    async with (
        host("opentalking") as (_, users, statusd),
        nginx(tmp_path, users, statusd) as (proxy, operators),
    ):
        for path in ("/health", "/", "/avatars", "/state", "/models/x", "/readyz"):
            got = await proxy.json(path)
            assert got == {"served_by": "opentalking", "asked": path}
        for path in ("/healthz", "/models", "/queue/status", "/status"):
            through, straight = await proxy.get(path), await statusd.get(path)
            assert (through.status, through.body) == (straight.status, straight.body)
        for path in ("/state/models", "/readyz?verbose", "/health"):
            through, straight = await operators.get(path), await statusd.get(path)
            assert through.status == straight.status == 200
            assert through.headers["content-type"] == straight.headers["content-type"]


@needs_nginx
async def test_nginx_lets_requests_pass_only_while_their_model_is_ready(tmp_path):
    async with host("opentalking") as (omnirt, users, statusd), nginx(tmp_path, users, statusd) as (proxy, _):
        ask = partial(answer, proxy, "/flashtalk/sessions?user=1")
        assert await ask() == (200, "opentalking")
        omnirt.drop("flashtalk")
        await proxy.until(ask, lambda got: got == (503, ""))
        refused = await proxy.get("/flashtalk/sessions")
        assert refused.headers["retry-after"] == "5"
        assert refused.headers["content-type"] == "application/problem+json"
        assert json.loads(refused.body)["status"] == 503
        assert await answer(proxy, "/avatars") == (200, "opentalking")
        omnirt.connect("flashtalk")
        await proxy.until(ask, lambda got: got == (200, "opentalking"))
        for users.status in (403, 500, 503):
            assert await ask() == (users.status, "opentalking")
        # The locations behind the gate are nobody else's to ask.
        assert await answer(proxy, "/ready/flashtalk") == (403, "")
        assert await answer(proxy, "/not-ready") == (404, "")


async def status_of(address, path, host):
    """Return the status code of an answer that is asked for by the name `host`."""
    name, _, port = address.partition(":")
    async with await trio.open_tcp_stream(name, int(port)) as stream:
        await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        return int((await stream.receive_some()).split(b" ")[1])


@needs_nginx
async def test_nginx_hands_on_the_name_that_was_asked_for(tmp_path):
    async with (
        host("opentalking", 'hosts = ["status.example"]\n') as (_, users, statusd),
        nginx(tmp_path, users, statusd) as (proxy, operators),
    ):
        for name, code in (("status.example:8081", 200), ("127.0.0.1", 200), ("evil.example", 421)):
            for path in ("/", "/state"):
                assert await status_of(address_of(operators), path, name) == code
            assert await status_of(address_of(operators), "/health", name) == 200
            assert await status_of(address_of(proxy), "/models", name) == 200


@pytest.fixture
def open_folder():
    """A directory that all may enter: started by root, nginx connects as another user."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield folder


@needs_nginx
async def test_nginx_asks_a_unix_socket_for_probe_endpoints_alone(tmp_path, open_folder):
    socket = f"unix:{open_folder}/probes.sock"
    async with (
        host("opentalking", f'bind_probes = ["{socket}"]\n') as (omnirt, users, statusd),
        nginx(tmp_path, users, statusd, socket) as (proxy, operators),
    ):
        for path in ("/healthz", "/models", "/queue/status", "/status"):
            assert (await proxy.get(path)).body == (await statusd.get(path)).body
        assert (await operators.get("/state")).status == 404
        omnirt.drop("flashtalk")
        await proxy.until(partial(answer, proxy, "/flashtalk/x"), lambda got: got[0] == 503)


@needs_nginx
@pytest.mark.parametrize(
    "behaviour", [Refuse(), Hang(), Drop(), Raw(b"SSH-2.0-x\r\n")], ids=lambda one: type(one).__name__
)
async def test_nginx_keeps_requests_out_while_statusd_does_not_answer(tmp_path, behaviour):
    async with OpenTalking() as users, OpenTalking(name="statusd") as statusd:
        client = Client(statusd.url)
        async with nginx(tmp_path, users, client) as (proxy, _):
            assert await answer(proxy, "/flashtalk/x") == (200, "opentalking")
            statusd.behaviour = behaviour
            assert await answer(proxy, "/flashtalk/x") == (503, "")
            assert users.targets == ["GET /flashtalk/x"]
        await client.aclose()


@needs_nginx
async def test_nginx_passes_on_each_event_at_once(tmp_path):
    async with (
        host("opentalking") as (omnirt, users, statusd),
        nginx(tmp_path, users, statusd) as (_, operators),
    ):
        name, _, port = address_of(operators).partition(":")
        async with await trio.open_tcp_stream(name, int(port)) as stream:
            await stream.send_all(
                b"GET /events?path=models HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n"
            )
            received = b""
            with trio.fail_after(10):
                while b"event: snapshot\ndata: " not in received:
                    received += await stream.receive_some()
                omnirt.drop("flashtalk")
                while b"event: change\n" not in received or b'"status":"down"' not in received:
                    received += await stream.receive_some()
        assert received.startswith(b"HTTP/1.1 200 ")


@pytest.mark.redis
@pytest.mark.skipif(find_server() is None, reason="needs a redis-server or valkey-server")
@needs_haproxy
@needs_nginx
async def test_haproxy_and_nginx_follow_the_demo(tmp_path):
    world, stop = trio.Event(), trio.Event()
    worlds = []

    async def hand_over(found):
        worlds.append(found)
        world.set()

    scenes = [Scene(1000.0, "The test goes on by itself.", hand_over)]
    demo = partial(run_demo, bind="127.0.0.1:0", stop=stop, out=lambda _line: None, scenes=scenes)
    async with trio.open_nursery() as nursery, OpenTalking(name="host") as users:
        [address] = await nursery.start(demo)
        await world.wait()
        [omnirt] = [one.omnirt for one in worlds]
        at_haproxy, nobody = free_address(), free_address()
        environ = variables(
            listen=at_haproxy,
            host_a=users.address,
            host_a_statusd=address.removeprefix("http://"),
            host_b=nobody,
            host_b_statusd=nobody,
        )
        config = CONTRIB / "haproxy/haproxy.cfg"
        statusd = Client(address)
        async with (
            server(HAPROXY, "-f", str(config), environ=environ),
            asking(at_haproxy) as haproxy,
            nginx(tmp_path, users, statusd) as (proxy, _),
        ):
            for change, expected in [
                (lambda: omnirt.connect("flashtalk"), (200, "host")),
                (lambda: omnirt.drop("flashtalk"), (503, "")),
                (lambda: omnirt.connect("flashtalk"), (200, "host")),
            ]:
                change()
                for client in (haproxy, proxy):
                    await client.until(partial(answer, client, "/flashtalk/x"), expected.__eq__)
        await statusd.aclose()
        stop.set()


def documents(name):
    return list(yaml.safe_load_all((CONTRIB / "kubernetes" / name).read_text()))


@pytest.fixture
def pod():
    """The template of the Deployment's pods."""
    [deployment] = documents("deployment.yaml")
    assert (deployment["apiVersion"], deployment["kind"]) == ("apps/v1", "Deployment")
    template = deployment["spec"]["template"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    return template


def test_every_probe_of_the_pod_is_a_plain_get_of_a_port_that_is_there(pod):
    containers = pod["spec"]["containers"]
    ports = {port["containerPort"] for one in containers for port in one["ports"]}
    for container in containers:
        named = {port["name"]: port["containerPort"] for port in container["ports"]}
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            probe = container[kind]
            assert set(probe) <= {"httpGet", "periodSeconds", "timeoutSeconds", "failureThreshold"}
            get = probe["httpGet"]
            assert set(get) == {"path", "port"}
            assert named.get(get["port"], get["port"]) in ports
            assert kind != "livenessProbe" or "readyz" not in get["path"]


def test_services_and_volumes_of_the_pod_exist(pod):
    [config] = documents("configmap.yaml")
    volumes = {one["name"]: one for one in pod["spec"]["volumes"]}
    assert [one["configMap"]["name"] for one in volumes.values() if "configMap" in one] == [
        config["metadata"]["name"]
    ]
    assert {mount["name"] for one in pod["spec"]["containers"] for mount in one.get("volumeMounts", ())} == {
        one["name"] for one in pod["spec"]["volumes"]
    }
    statusd = pod["spec"]["containers"][0]
    mounts = {mount["name"]: mount["mountPath"] for mount in statusd["volumeMounts"]}
    [at] = [path for name, path in mounts.items() if "configMap" in volumes[name]]
    assert statusd["args"][:3] == ["run", "--config", "{}/{}".format(at, *config["data"])]
    # The root file system is read-only, so whatever statusd is to write to is a volume.
    written = {
        one["value"] for one in statusd["env"] if one["name"] in {"STATE_DIRECTORY", "RUNTIME_DIRECTORY"}
    }
    assert written == {path for name, path in mounts.items() if "emptyDir" in volumes[name]}
    assert len(written) == 2
    names = {port["name"] for one in pod["spec"]["containers"] for port in one["ports"]}
    for service in documents("service.yaml"):
        assert (service["apiVersion"], service["kind"]) == ("v1", "Service")
        assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= names


async def test_the_probes_of_the_pod_are_answered_by_its_configuration(pod, tmp_path):
    [config] = documents("configmap.yaml")
    [text] = config["data"].values()
    statusd, opentalking = pod["spec"]["containers"]
    environ = {one["name"]: one["value"] for one in statusd["env"]}
    async with OmniRT() as omnirt:
        # Where the pod expects OmniRT is nobody in a test; a Redis that is not there is what a first start has, too.
        environ |= {"OMNIRT_ENDPOINT": omnirt.url, "OPENTALKING_REDIS_URL": "redis://127.0.0.1:1/0"}
        environ |= {"STATE_DIRECTORY": str(tmp_path), "RUNTIME_DIRECTORY": str(tmp_path)}
        async with running(text, environ) as client:

            async def code(container, kind):
                return (await client.get(container[kind]["httpGet"]["path"])).status

            async def codes():
                return {
                    (container["name"], kind): await code(container, kind)
                    for container in (statusd, opentalking)
                    for kind in ("startupProbe", "livenessProbe", "readinessProbe")
                    if container[kind]["httpGet"]["port"] in {"status", 8000}
                }

            alive = {("statusd", "startupProbe"): 200, ("statusd", "livenessProbe"): 200}
            waiting = {
                ("statusd", "readinessProbe"): 503,
                ("opentalking", "startupProbe"): 503,
                ("opentalking", "readinessProbe"): 503,
            }
            assert await codes() == alive | waiting
            omnirt.connect("flashtalk")
            await client.until(codes, lambda got: set(got.values()) == {200})
            omnirt.drop("flashtalk")
            await client.until(codes, lambda got: got == alive | waiting)
