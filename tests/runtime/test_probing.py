import threading

import attrs
import pytest
import trio

from statusd import Payload, ProbeError, Report, Source, Status, segment
from statusd.net.trace import Trace
from statusd.plugin.validation import MAX_MESSAGE
from statusd.redaction import Redactor
from statusd.runtime.context import SourceLog
from statusd.runtime.probing import Prober
from statusd.testing.fakes import FakeContext


def prober(probe, *, on_failure=None, timeout=2.0, models=(), secrets=()):
    @attrs.frozen(kw_only=True)
    class Probed(Source):
        pass

    Probed.probe = probe
    if on_failure is not None:
        Probed.on_failure = on_failure
    return Prober(
        name="x",
        source=Probed(context=FakeContext()),
        timeout=timeout,
        models=models,
        trace=Trace(),
        redact=Redactor(secrets).value,
        log=SourceLog("x"),
    )


def raising(error):
    async def probe(_self):
        raise error

    return probe


def returning(value):
    async def probe(_self):
        return value

    return probe


async def test_a_report_goes_through():
    (report,) = await prober(returning(Report.ok(payload=Payload(b"{}")))).probe()
    assert report == Report.ok(payload=Payload(b"{}"))


async def test_a_probe_error_becomes_a_down_report():
    (report,) = await prober(raising(ProbeError("refused", "Nothing listens there."))).probe()
    assert (report.status, report.reason, report.message) == (
        Status.DOWN,
        "refused",
        "Nothing listens there.",
    )


async def test_a_probe_error_from_a_plugins_own_nursery_is_unwrapped():
    async def probe(_self):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(raising(ProbeError("refused", "Nothing listens there.")), None)

    (report,) = await prober(probe).probe()
    assert report.reason == "refused"


async def test_an_await_that_never_ends_is_a_timeout_that_says_what_it_waited_for(autojump_clock):
    async def probe(_self):
        one.trace.enter("connecting to 127.0.0.1:1")
        await trio.sleep_forever()

    one = prober(probe)
    began = trio.current_time()
    (report,) = await one.probe()
    assert trio.current_time() - began == 2.0
    assert (report.status, report.reason) == (Status.DOWN, "timeout")
    assert report.message == "No complete answer within 2 s: connecting to 127.0.0.1:1."


async def stray_cancellation():
    """Return a cancellation that belongs to no scope any more."""
    kept = []
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled as error:
            kept.append(error)
    return kept[0]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("secret text"),
        SystemExit(3),
        RecursionError(),
        KeyError("x"),
        StopIteration(),
        KeyboardInterrupt(),
        GeneratorExit(),
        BaseException(),
        BaseExceptionGroup("", [SystemExit(3), KeyboardInterrupt(), ValueError()]),
    ],
)
async def test_any_exception_is_a_report_and_one_line_a_change(error, caplog):
    one = prober(raising(error))
    for _ in range(3):
        (report,) = await one.probe()
        assert (report.status, report.reason) == (Status.UNKNOWN, "plugin_failed")
        assert "secret text" not in report.message
    assert caplog.text.count("its plugin raised") == 1
    assert "Traceback" in caplog.text


async def test_a_fault_is_logged_again_after_it_was_gone(caplog):
    results = [RuntimeError(), None, RuntimeError(), RuntimeError()]

    async def probe(_self):
        if (error := results.pop(0)) is not None:
            raise error
        return Report.ok()

    one = prober(probe)
    for _ in range(4):
        await one.probe()
    assert caplog.text.count("its plugin raised") == 2


async def test_another_exception_is_another_line(caplog):
    errors = [RuntimeError(), ValueError()]

    async def probe(_self):
        raise errors.pop(0)

    one = prober(probe)
    await one.probe()
    await one.probe()
    assert caplog.text.count("its plugin raised") == 2


@pytest.mark.parametrize(
    "value", [None, "ok", float("nan"), [object()], Report.ok(facts={"x": float("nan")})]
)
async def test_nonsense_is_a_report_about_the_source_and_one_line(value, caplog):
    one = prober(returning(value))
    for _ in range(3):
        (report,) = await one.probe()
        assert (report.status, report.reason) == (Status.UNKNOWN, "bad_report")
    assert caplog.text.count("source x: bad_report") == 1


async def test_a_plain_function_runs_in_a_thread():
    def probe(_self):
        return Report.ok(facts={"main": threading.current_thread() is threading.main_thread()})

    (report,) = await prober(probe).probe()
    assert report.facts == {"main": False}


async def test_a_plain_function_that_returns_a_coroutine_is_awaited():
    def probe(self):
        return returning(Report.ok())(self)

    (report,) = await prober(probe).probe()
    assert report.status is Status.OK


async def test_a_plain_function_that_blocks_for_ever_holds_one_thread_and_no_probe_after_it():
    release = threading.Event()
    started = []

    def probe(_self):
        started.append(threading.current_thread())
        release.wait(30)
        return Report.ok()

    one = prober(probe, timeout=0.05)
    reasons = [(await one.probe())[0].reason for _ in range(4)]
    assert reasons == ["timeout", "plugin_blocked", "plugin_blocked", "plugin_blocked"]
    assert len(started) == 1
    release.set()
    with trio.fail_after(10):
        while (await one.probe())[0].reason == "plugin_blocked":
            await trio.sleep(0.01)


async def test_a_plain_function_that_exits_the_process_only_fails_its_probe():
    def probe(_self):
        raise SystemExit(1)

    (report,) = await prober(probe).probe()
    assert report.reason == "plugin_failed"


async def test_an_exit_from_a_plugins_own_nursery_only_fails_its_probe():
    async def probe(_self):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(raising(SystemExit(1)), None)

    (report,) = await prober(probe).probe()
    assert (report.reason, "SystemExit" in report.message) == ("plugin_failed", True)


async def test_a_cancellation_that_is_no_scopes_fails_the_probe_and_cancels_nothing():
    async def probe(_self):
        raise await stray_cancellation()

    (report,) = await prober(probe).probe()
    assert (report.status, report.reason) == (Status.UNKNOWN, "plugin_failed")
    await trio.lowlevel.checkpoint()


async def test_a_probe_that_turns_cancellation_into_something_else_ends_all_the_same():
    async def probe(_self):
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            raise KeyError from None

    with trio.CancelScope() as scope:
        scope.cancel()
        await prober(probe).probe()
    assert scope.cancelled_caught


async def test_cancellation_passes_through_a_probe():
    with trio.CancelScope() as scope:
        scope.cancel()
        await prober(returning_after_a_checkpoint).probe()
    assert scope.cancelled_caught


async def returning_after_a_checkpoint(_self):
    await trio.lowlevel.checkpoint()
    return Report.ok()


async def test_a_source_adds_to_its_failure(autojump_clock):
    async def probe(_self):
        await trio.sleep_forever()

    def on_failure(_self, failure):
        return [failure, Report.degraded("assume_connected", model="m", label="explicit_enabled")]

    reports = await prober(probe, on_failure=on_failure, models=("m",)).probe()
    assert [report.reason for report in reports] == ["timeout", "assume_connected"]


@pytest.mark.parametrize("error", [RuntimeError(), KeyboardInterrupt(), GeneratorExit()])
async def test_a_source_that_fails_at_failing_still_reports_the_failure(error, caplog):
    def on_failure(_self, _failure):
        raise error

    one = prober(raising(ProbeError("refused", "No.")), on_failure=on_failure)
    for _ in range(3):
        (report,) = await one.probe()
        assert report.reason == "refused"
    assert caplog.text.count("its plugin raised") == 1


async def test_a_reason_that_is_no_word_does_not_reach_the_tree():
    (report,) = await prober(raising(ProbeError("<script>", "No."))).probe()
    assert report.reason == "failed"


async def test_secrets_are_masked_in_messages_and_facts():
    told = Report.down("failed", "The key hunter2 is wrong.", facts={"echo": ["Bearer hunter2"]})
    (report,) = await prober(returning(told), secrets=["hunter2"]).probe()
    assert report.message == "The key *** is wrong."
    assert report.facts == {"echo": ["Bearer ***"]}


@pytest.mark.parametrize("before", [0, MAX_MESSAGE - 12, MAX_MESSAGE - 3, MAX_MESSAGE])
async def test_a_secret_where_a_long_message_is_cut_does_not_show_in_part(before):
    told = "x" * before + " hunter2-hunter2 " + "x" * MAX_MESSAGE
    for probe in (
        returning(Report.ok(message=told)),
        returning([Report.ok(path="part", message=told)]),
        raising(ProbeError("failed", told)),
    ):
        (report,) = await prober(probe, secrets=["hunter2-hunter2"]).probe()
        assert "hunt" not in report.message
        assert len(report.message) == MAX_MESSAGE
    failing = prober(
        raising(ProbeError("failed", "no")),
        on_failure=lambda _self, failure: attrs.evolve(failure, message=told),
        secrets=["hunter2-hunter2"],
    )
    (report,) = await failing.probe()
    assert "hunt" not in report.message


async def test_secrets_are_masked_in_paths_and_names_of_measurements_too():
    reports = [
        Report.ok(measurements={"hunter2": 1.0}),
        Report.ok(path=f"parts/{segment('a b:hunter2/x')}"),
        Report.ok(path="parts/%FF"),
    ]
    own, part, other = await prober(returning(reports), secrets=["hunter2"]).probe()
    assert own.measurements == {"***": 1.0}
    assert part.path == f"parts/{segment('a b:***/x')}"
    assert other.path == "parts/%FF"


def test_secrets_are_masked_before_the_first_probe_too():
    waiting = prober(
        returning(None),
        on_failure=lambda _self, report: attrs.evolve(report, message="hunter2"),
        secrets=["hunter2"],
    )
    assert waiting.before_the_first(Report.unknown("pending"))[0].message == "***"
