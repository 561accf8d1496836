"""Conformance checks: what every source type owes the daemon, for plugin authors to run in their own tests.

Call `check_source` from a test under pytest-trio's ``autojump_clock`` (or with a small ``timeout``); each function
raises AssertionError with one sentence that says what the plugin does and what it should do instead.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Sequence
from typing import Any

import attrs
import trio

from statusd.errors import ProbeError, ReportError
from statusd.model.report import Report
from statusd.model.status import Status
from statusd.plugin.contracts import Source
from statusd.plugin.options import HELP, INTERNAL
from statusd.plugin.validation import checked_reports
from statusd.testing.fakes import FakeContext
from statusd.testing.hostile import FAILURES, Answering, Call, Failing, Hanging, garbage
from statusd.testing.listening import check_watch
from statusd.testing.rig import PATIENCE, MakeSource, fail, hostile_context, release_later
from statusd.testing.secrecy import Hidden, secrets_of


async def check_source(
    make_source: MakeSource,
    *,
    models: Sequence[str] = (),
    answers: Callable[[FakeContext], None] | None = None,
    secrets: Collection[str] = (),
    allow: Collection[str] = (),
    timeout: float = 2.0,
) -> None:
    """Run every conformance check on a source type.

    Args:
        make_source: builds the source, configured and with a secret where it takes one.
        models: the ids it is configured to serve.
        answers: gives the fakes the answers of a healthy upstream; without it that check is left out.
        secrets: further secrets in the configuration; values of type `Secret` and userinfo of a `Url` are found.
        allow: names from ``statusd.testing.garbage()`` that this plugin documents as good answers.
        timeout: seconds for a probe.

    Raises:
        AssertionError: with what the plugin does wrong.
    """
    source = make_source(FakeContext(models=tuple(models)))
    check_keys(type(source))
    if not source.is_configured:
        raise ValueError("make_source() builds a source that is not configured; give it an address to probe.")
    await check_cancellation(make_source, models=models, timeout=timeout)
    await check_failures(make_source, models=models)
    await check_garbage(make_source, models=models, allow=allow)
    await check_secrets(make_source, models=models, secrets=secrets)
    await check_watch(make_source, models=models, timeout=timeout)
    if answers is not None:
        await check_healthy(make_source, answers, models=models)


def check_keys(source_type: type[Source]) -> None:
    """Want a frozen attrs class with a probe of its own, whose every configuration key has help."""
    name = source_type.__name__
    if not issubclass(source_type, Source):
        fail(f"{name} is no subclass of statusd.Source.")
    if "__attrs_attrs__" not in vars(source_type):
        fail(f"{name} is no attrs class; decorate it with @attrs.frozen(kw_only=True).")
    if source_type.__setattr__ is object.__setattr__:
        fail(f"{name} can be changed after it was built; decorate it with @attrs.frozen(kw_only=True).")
    if source_type.probe is Source.probe:
        fail(f"{name} has no probe(); define it, `async def` or plain.")
    for key in attrs.fields(source_type):
        if key.metadata.get(INTERNAL) or not key.init:
            continue
        sentence = key.metadata.get(HELP)
        if not isinstance(sentence, str) or not sentence.strip():
            fail(f"The key {key.name!r} of {name} has no help; declare it by statusd.option(..., help=...).")


async def check_cancellation(
    make_source: MakeSource, *, models: Sequence[str] = (), timeout: float = 2.0
) -> None:
    """Want a probe whose every call hangs to end when it is cancelled, and to call nothing connected.

    A plain probe is left out: it runs in a thread, which the daemon gives up at the deadline.
    """
    hanging = Hanging()
    source = make_source(hostile_context(hanging, models, timeout))
    name = type(source).__name__
    if not inspect.iscoroutinefunction(source.probe):
        return
    outcome = _Outcome()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(release_later, hanging, timeout + PATIENCE)
        with trio.move_on_after(timeout) as scope:
            outcome = await _probe(source, models)
        nursery.cancel_scope.cancel()
    if hanging.is_released:
        fail(
            f"{name}.probe() ignores cancellation: it was still waiting {PATIENCE:g} s after its timeout; do not shield it."
        )
    if scope.cancel_called and not scope.cancelled_caught:
        fail(f"{name}.probe() swallows trio.Cancelled; catch Exception or ProbeError, never BaseException.")
    outcome.expect_sound(name, "every call hangs")
    if hanging.count:
        outcome.expect_unconnected(name, "every call hangs")


async def check_failures(make_source: MakeSource, *, models: Sequence[str] = ()) -> None:
    """Want no connected report where every call fails, whatever the failure."""
    for reason, message in FAILURES.items():
        failing = Failing(ProbeError(reason, message))
        source = make_source(hostile_context(failing, models))
        name, when = type(source).__name__, f"every call fails with {reason!r}"
        outcome = await _probe(source, models)
        outcome.expect_sound(name, when)
        if failing.count:
            outcome.expect_unconnected(name, when)


async def check_garbage(
    make_source: MakeSource, *, models: Sequence[str] = (), allow: Collection[str] = ()
) -> None:
    """Want a ProbeError, or no `ok` report, where the upstream answers garbage.

    Args:
        make_source: as for `check_source`.
        models: as for `check_source`.
        allow: as for `check_source`.
    """
    kinds = garbage()
    if unknown := set(allow) - set(kinds):
        raise ValueError(f"allow names no kind of garbage: {sorted(unknown)}; there are {list(kinds)}.")
    for kind, answer in kinds.items():
        answering = Answering(answer)
        source = make_source(hostile_context(answering, models))
        name, when = type(source).__name__, f"the upstream answers garbage ({kind})"
        outcome = await _probe(source, models)
        outcome.expect_sound(name, when)
        if answering.count and kind not in allow:
            outcome.expect_not_ok(name, when)


async def check_secrets(
    make_source: MakeSource, *, models: Sequence[str] = (), secrets: Collection[str] = ()
) -> None:
    """Want no secret of the configuration in the source's repr, nor in a report, although upstreams echo it.

    Args:
        make_source: as for `check_source`.
        models: as for `check_source`.
        secrets: as for `check_source`.
    """
    source = make_source(FakeContext(models=tuple(models)))
    name = type(source).__name__
    hidden = Hidden.of([*secrets, *secrets_of(source)])
    if hidden.shows_in(repr(source)) or hidden.shows_in(str(source)):
        fail(f"The repr of {name} shows a secret; declare the key as a statusd.Secret or a statusd.Url.")
    echo = " ".join(hidden.forms)
    calls: list[Call] = [Answering(answer) for answer in garbage(echo).values()]
    calls += [Failing(ProbeError(reason, message)) for reason, message in FAILURES.items()]
    for call in calls:
        outcome = await _probe(make_source(hostile_context(call, models)), models)
        for report in outcome.reports:
            if hidden.shows_in(report.message):
                fail(f"A message of {name} shows a secret; say what is wrong in words of your own.")
            if hidden.shows_in_state(report):
                fail(f"A report of {name} shows a secret; never relay what an upstream says in an error.")


async def check_healthy(
    make_source: MakeSource, answers: Callable[[FakeContext], None], *, models: Sequence[str] = ()
) -> None:
    """Want a healthy upstream to be reported as connected, and twice the same way.

    Args:
        make_source: as for `check_source`.
        answers: gives the fakes the answers of a healthy upstream.
        models: as for `check_source`.
    """
    context = FakeContext(models=tuple(models))
    answers(context)
    source = make_source(context)
    name, when = type(source).__name__, "the upstream is healthy"
    first = await _probe(source, models)
    first.expect_sound(name, when)
    own = [report for report in first.reports if not report.path and report.model is None]
    if first.is_failed or not all(report.status.is_connected for report in own) or not first.reports:
        fail(f"{name}.probe() finds a healthy upstream {first.described()}; expected ok or degraded.")
    context.clock.advance(10.0)
    second = await _probe(source, models)
    if [_state(report) for report in first.reports] != [_state(report) for report in second.reports]:
        fail(
            f"{name}.probe() reports another state each time although nothing changes upstream; "
            "put noise such as latencies into measurements, not into facts or message."
        )


@attrs.frozen(kw_only=True)
class _Outcome:
    """What one probe came to: its reports, or why there are none."""

    reports: tuple[Report, ...] = ()
    is_failed: bool = False
    fault: str = ""

    def expect_sound(self, name: str, when: str) -> None:
        if self.fault:
            fail(f"{name}.probe() breaks its contract when {when}: {self.fault}")

    def expect_unconnected(self, name: str, when: str) -> None:
        if not self.is_failed and any(report.status.is_connected for report in self.reports):
            fail(
                f"{name}.probe() reports {self.described()} when {when}; raise ProbeError or report down or unknown."
            )

    def expect_not_ok(self, name: str, when: str) -> None:
        if not self.is_failed and any(report.status is Status.OK for report in self.reports):
            fail(
                f"{name}.probe() reports {self.described()} when {when}; raise ProbeError, or allow this "
                "kind where the documentation of the plugin says that it is a good answer."
            )

    def described(self) -> str:
        return ", ".join(f"{report.status} ({report.reason})" for report in self.reports) or "nothing"


async def _probe(source: Source, models: Sequence[str]) -> _Outcome:
    """Probe as the supervisor does, with what a failure becomes."""
    try:
        value: Any = source.probe()
        if inspect.isawaitable(value):
            value = await value
        return _Outcome(reports=checked_reports(value, models=models))
    except ProbeError as error:
        return _failed(source, models, error)
    except ReportError as error:
        return _Outcome(fault=str(error))
    except Exception as error:  # noqa: BLE001  # containment: whatever the plugin raises is the finding
        kind = type(error).__name__
        return _Outcome(fault=f"it raises {kind}; translate what it may raise into ProbeError.")


def _failed(source: Source, models: Sequence[str], error: ProbeError) -> _Outcome:
    try:
        failure = checked_reports(Report.down(error.reason, error.message))[0]
        reports = checked_reports(source.on_failure(failure), models=models)
    except ReportError as fault:
        return _Outcome(fault=str(fault))
    return _Outcome(reports=reports, is_failed=True)


def _state(report: Report) -> Report:
    return attrs.evolve(report, measurements={}, payload=None)
