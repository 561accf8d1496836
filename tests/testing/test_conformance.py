"""The conformance checks pass a good plugin and name what is wrong with each bad one."""

from __future__ import annotations

import contextlib

import attrs
import pytest
import trio

from statusd import (
    ProbeError,
    Report,
    Secret,
    Source,
    Status,
    Url,
    expect_success,
    option,
    parse_object,
)
from statusd.testing import (
    FakeContext,
    FakeResponse,
    check_cancellation,
    check_failures,
    check_garbage,
    check_healthy,
    check_keys,
    check_secrets,
    check_source,
    check_watch,
    garbage,
)

SECRET = "s3cr3t-of-mine"


@attrs.frozen(kw_only=True)
class Good(Source):
    """As a careful author writes it; the bad ones below break one thing each."""

    url: Url = option(Url(), help="Where it listens.")
    key: Secret = option(Secret(), help="What it is asked with.")

    @property
    def is_configured(self) -> bool:
        return bool(self.url)

    async def probe(self) -> list[Report]:
        response = await self.context.http.get(
            self.url.with_path("/state"), headers={"Authorization": f"Bearer {self.key.reveal()}"}
        )
        expect_success(response)
        state = parse_object(response.body).get("state")
        if state != "ready":
            raise ProbeError("unexpected_answer", "The server does not say that it is ready.")
        return [Report.ok(facts={"state": state}), *(Report.ok(model=model) for model in self.context.models)]


def build(source_type, **options):
    def make(context):
        return source_type(
            context=context, url=Url.parse("http://user:pass-word@127.0.0.1:9"), key=Secret(SECRET), **options
        )

    return make


def well(context: FakeContext) -> None:
    context.http.answers["/state"] = FakeResponse(200, b'{"state":"ready"}')


async def test_a_good_plugin_passes(autojump_clock):
    await check_source(build(Good), models=("m",), answers=well, secrets=["another-key"])


async def test_a_plain_probe_passes():
    @attrs.frozen(kw_only=True)
    class Plain(Good):
        def probe(self):
            return Report.down("missing", "It is not there.")

    await check_source(build(Plain))


async def test_a_source_that_asks_nobody_passes():
    @attrs.frozen(kw_only=True)
    class Constant(Good):
        async def probe(self):
            return Report.ok()

    await check_source(build(Constant), answers=well)


async def test_every_client_is_hostile(autojump_clock):
    """A source that calls whatever there is, so that each fake of each kind is called once."""

    @attrs.frozen(kw_only=True)
    class Curious(Good):
        async def probe(self):
            await self.context.tcp.connect("127.0.0.1", 9)
            asked = self.context.in_thread(len, "1234")
            assert await asked == 4
            if (await self.context.run(["true"])).returncode:
                raise ProbeError("failed", "The command failed.")
            raise AssertionError("garbage() has no command that succeeds")

    await check_source(build(Curious))

    @attrs.frozen(kw_only=True)
    class Handshaking(Good):
        async def probe(self):
            code = await self.context.websocket.handshake(self.url)
            return Report.ok() if code == 101 else Report.down("unexpected_answer", "It opened no WebSocket.")

    await check_source(build(Handshaking))

    @attrs.frozen(kw_only=True)
    class Storing(Good):
        async def probe(self):
            reply = await self.context.redis.execute(self.url, "HGETALL", "key")
            is_hash = isinstance(reply, dict) and all(isinstance(key, bytes) for key in reply)
            return Report.ok() if is_hash else Report.down("unexpected_answer", "That is no hash.")

    await check_source(build(Storing))


async def test_a_source_may_bound_its_own_calls(autojump_clock):
    @attrs.frozen(kw_only=True)
    class Impatient(Good):
        async def probe(self):
            try:
                with trio.fail_after(0.5):
                    return await Good.probe(self)
            except trio.TooSlowError:
                raise ProbeError("timeout", "The server was asked for half a second.") from None

    await check_source(build(Impatient), answers=well)


async def test_an_unconfigured_source_is_the_authors_mistake():
    with pytest.raises(ValueError, match="not configured"):
        await check_source(lambda context: Good(context=context))


def test_wants_a_source():
    with pytest.raises(AssertionError, match=r"no subclass of statusd\.Source"):
        check_keys(int)


def test_wants_an_attrs_class():
    class Undecorated(Good):
        pass

    with pytest.raises(AssertionError, match="Undecorated is no attrs class"):
        check_keys(Undecorated)


def test_wants_a_frozen_class():
    @attrs.define(kw_only=True)
    class Loose(Source):
        async def probe(self):
            return Report.ok()

    # attrs makes a subclass of a frozen class frozen; only by its own __setattr__ can it be loose.
    Loose.__setattr__ = object.__setattr__
    with pytest.raises(AssertionError, match="can be changed"):
        check_keys(Loose)


def test_wants_a_probe():
    @attrs.frozen(kw_only=True)
    class Idle(Source):
        pass

    with pytest.raises(AssertionError, match="Idle has no probe"):
        check_keys(Idle)


@pytest.mark.parametrize("field", [attrs.field(default=""), option("", help=" ")])
def test_wants_help_for_every_key(field):
    @attrs.frozen(kw_only=True)
    class Terse(Good):
        colour: str = field

    with pytest.raises(AssertionError, match="The key 'colour' of Terse has no help"):
        check_keys(Terse)


async def test_finds_a_shielded_probe(autojump_clock):
    @attrs.frozen(kw_only=True)
    class Stubborn(Good):
        async def probe(self):
            with trio.CancelScope(shield=True):
                return await Good.probe(self)

    with pytest.raises(AssertionError, match="ignores cancellation"):
        await check_cancellation(build(Stubborn))
    # The last time it hung for its timeout and the patience after it, and not for ever.
    assert trio.current_time() == pytest.approx(7.0)


async def test_finds_swallowed_cancellation(autojump_clock):
    @attrs.frozen(kw_only=True)
    class Greedy(Good):
        async def probe(self):
            try:
                return await Good.probe(self)
            except BaseException:  # noqa: BLE001  # the very mistake to be found
                return Report.down("failed", "Something went wrong.")

    with pytest.raises(AssertionError, match=r"swallows trio\.Cancelled"):
        await check_cancellation(build(Greedy))


async def test_finds_a_hung_upstream_called_connected(autojump_clock):
    @attrs.frozen(kw_only=True)
    class Hopeful(Good):
        async def probe(self):
            with trio.move_on_after(0.1):
                await self.context.http.get(self.url)
            return Report.degraded("slow", "It takes its time.")

    with pytest.raises(AssertionError, match=r"reports degraded \(slow\) when every call hangs"):
        await check_cancellation(build(Hopeful))


async def test_finds_a_blocking_call_in_the_thread_that_hangs(autojump_clock):
    @attrs.frozen(kw_only=True)
    class Threaded(Good):
        async def probe(self):
            await self.context.in_thread(bool)
            return Report.ok()

    await check_cancellation(build(Threaded))


@pytest.mark.parametrize("status", [Status.OK, Status.DEGRADED])
async def test_finds_a_failure_called_connected(status):
    @attrs.frozen(kw_only=True)
    class Rosy(Good):
        async def probe(self):
            try:
                return await Good.probe(self)
            except ProbeError:
                return [Report.down("failed"), Report(status=status, model="m")]

    with pytest.raises(AssertionError, match="when every call fails with 'timeout'"):
        await check_failures(build(Rosy), models=("m",))


async def test_finds_garbage_called_ok():
    @attrs.frozen(kw_only=True)
    class ByCode(Good):
        async def probe(self):
            expect_success(await self.context.http.get(self.url))
            return Report.ok()

    with pytest.raises(
        AssertionError, match=r"reports ok \(ok\) when the upstream answers garbage \(empty_body\)"
    ):
        await check_garbage(build(ByCode))
    at_200 = [name for name, kind in garbage().items() if kind.http.status == 200]
    await check_garbage(build(ByCode), allow=at_200)
    with pytest.raises(ValueError, match="odd_body"):
        await check_garbage(build(ByCode), allow=["odd_body"])


async def test_finds_an_exception_that_was_not_translated():
    @attrs.frozen(kw_only=True)
    class Careless(Good):
        async def probe(self):
            response = await self.context.http.get(self.url)
            return Report.ok(facts={"first": response.body[0]})

    with pytest.raises(AssertionError, match=r"\(empty_body\): it raises IndexError"):
        await check_garbage(build(Careless))


@pytest.mark.parametrize(
    ("value", "finding"),
    [
        (None, "None"),
        (Report.down("Not A Word"), "lower_snake_case"),
        (Report.down("failed", facts={"x": float("nan")}), "JSON"),
        (Report.down("failed", facts={"x": "y" * 1_000_000}), "bytes"),
        (Report.down("failed", model="stranger"), "model"),
        (Report.down("failed", path="a b"), "segment"),
    ],
)
async def test_finds_a_report_outside_the_limits(value, finding):
    @attrs.frozen(kw_only=True)
    class Sloppy(Good):
        async def probe(self):
            return value

    with pytest.raises(AssertionError, match=finding):
        await check_failures(build(Sloppy))


async def test_finds_a_reason_of_an_error_that_is_no_word():
    @attrs.frozen(kw_only=True)
    class Shouting(Good):
        async def probe(self):
            raise ProbeError("Connection Refused!", "It refused.")

    with pytest.raises(AssertionError, match="lower_snake_case"):
        await check_failures(build(Shouting))


async def test_finds_bad_reports_added_on_failure():
    @attrs.frozen(kw_only=True)
    class Adding(Good):
        def on_failure(self, failure):
            return [failure, failure]

    with pytest.raises(AssertionError, match="Two reports"):
        await check_failures(build(Adding))


async def test_finds_a_secret_in_the_repr():
    @attrs.frozen(kw_only=True)
    class Chatty(Good):
        password: str = option("", help="Its password.")

    with pytest.raises(AssertionError, match="The repr of Chatty shows a secret"):
        await check_secrets(build(Chatty, password="plain-text"), secrets=["plain-text"])


@pytest.mark.parametrize(
    ("reveal", "where"),
    [
        (lambda self: Report.down("failed", f"{self.key.reveal()} was refused."), "A message of"),
        (lambda self: Report.down("failed", facts={"k": {"e": [self.key.reveal()]}}), "A report of"),
        (lambda self: Report.down("failed", facts={"k": self.url.password.reveal()}), "A report of"),
        (lambda self: Report.down("failed", self.url.basic_authorization.reveal()), "A message of"),
        (lambda self: Report.down("failed", measurements={self.key.reveal(): 1.0}), "A report of"),
    ],
)
async def test_finds_a_secret_in_a_report(reveal, where):
    @attrs.frozen(kw_only=True)
    class Telling(Good):
        async def probe(self):
            return reveal(self)

    with pytest.raises(AssertionError, match=f"{where} Telling shows a secret"):
        await check_secrets(build(Telling))


async def test_finds_an_error_page_relayed_with_the_secret_it_echoes():
    @attrs.frozen(kw_only=True)
    class Relaying(Good):
        async def probe(self):
            response = await self.context.http.get(self.url)
            raise ProbeError("http_error", response.body.decode(errors="replace"))

    with pytest.raises(AssertionError, match="A message of Relaying shows a secret"):
        await check_secrets(build(Relaying))


async def test_finds_secrets_in_lists_and_tables():
    @attrs.frozen(kw_only=True)
    class Nested(Good):
        headers: dict[str, Secret] = option(factory=dict, help="Header fields.")
        keys: list[Secret] = option(factory=list, help="Keys.")

        async def probe(self):
            return Report.down("failed", (self.keys or [*self.headers.values()])[0].reveal())

    for options in ({"headers": {"X": Secret("in-a-table")}}, {"keys": [Secret("in-a-list")]}):
        with pytest.raises(AssertionError, match="shows a secret"):
            await check_secrets(build(Nested, **options))


async def test_finds_a_healthy_upstream_called_down():
    @attrs.frozen(kw_only=True)
    class Gloomy(Good):
        async def probe(self):
            return Report.down("failed")

    @attrs.frozen(kw_only=True)
    class Raising(Good):
        async def probe(self):
            raise ProbeError("refused", "No.")

    @attrs.frozen(kw_only=True)
    class Empty(Good):
        async def probe(self):
            return []

    for source_type, found in ((Gloomy, "down"), (Raising, "down"), (Empty, "nothing")):
        with pytest.raises(AssertionError, match=f"finds a healthy upstream {found}"):
            await check_healthy(build(source_type), well)


async def test_finds_noise_in_the_state():
    @attrs.frozen(kw_only=True)
    class Noisy(Good):
        async def probe(self):
            return Report.ok(facts={"asked_at": self.context.clock.now()})

    with pytest.raises(AssertionError, match="put noise"):
        await check_healthy(build(Noisy), well)


async def test_noise_in_measurements_is_fine():
    @attrs.frozen(kw_only=True)
    class Measuring(Good):
        async def probe(self):
            return Report.ok(measurements={"asked_at": self.context.clock.now()})

    await check_healthy(build(Measuring), well)


# Listening


class Listening(Good):
    """Asks until the answer is another one; the bad ones below break one thing each."""

    async def watch(self, changed):
        changed()
        await self.listen(changed)

    async def listen(self, changed):
        response = await self.context.http.get(self.url)
        expect_success(response)
        parse_object(response.body)
        changed()


class Shielded(Listening):
    async def listen(self, changed):
        with trio.CancelScope(shield=True):
            await self.context.http.get(self.url)


class Swallowing(Listening):
    async def listen(self, changed):
        with contextlib.suppress(BaseException):
            await self.context.http.get(self.url)


class Raising(Listening):
    async def listen(self, changed):
        try:
            await self.context.http.get(self.url)
        except ProbeError as error:
            raise OSError from error


class Hasty(Listening):
    async def listen(self, changed):
        while True:
            try:
                await self.context.http.get(self.url)
            except ProbeError:
                continue


class Threaded(Listening):
    async def listen(self, changed):
        await trio.to_thread.run_sync(changed)


class Plain(Good):
    def watch(self, changed):
        raise AssertionError("it would block the event loop")


async def test_a_source_that_listens_well_passes(autojump_clock):
    await check_watch(build(Listening))
    await check_watch(build(Good))


@pytest.mark.parametrize(
    ("source_type", "finding"),
    [
        (Shielded, "ignores cancellation"),
        (Swallowing, "swallows trio.Cancelled"),
        (Raising, "raises OSError"),
        (Hasty, "without a pause"),
        (Threaded, "in another thread"),
        (Plain, "is plain"),
    ],
)
async def test_each_way_to_listen_badly_is_named(autojump_clock, source_type, finding):
    with pytest.raises(AssertionError, match=finding):
        await check_watch(build(source_type))
