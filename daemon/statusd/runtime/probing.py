"""One probe: run it within its deadline, and turn whatever happens into reports."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias
from urllib.parse import unquote

import attrs
import trio

from statusd.errors import ProbeError, ReportError, only, place_of
from statusd.events import PLUGIN_FAILED, event
from statusd.model.report import Report
from statusd.model.tree import segment
from statusd.plugin.contracts import Source
from statusd.plugin.validation import checked_reports
from statusd.runtime.context import SourceLog

Reports: TypeAlias = tuple[Report, ...]


class Trace(Protocol):
    """What the probe clients say they wait for."""

    @property
    def phase(self) -> str:
        """What the probe waits for, or ``""``."""
        ...

    def clear(self) -> None:
        """Begin a new probe."""
        ...


@attrs.define(eq=False)
class FaultLog:
    """Logs a plugin's faults once per change, not once per probe.

    Attributes:
        log: the source's.
    """

    log: SourceLog
    _last: frozenset[str] = frozenset()
    _now: set[str] = attrs.field(factory=set)

    def add(self, kind: str, message: str) -> None:
        """Note a fault of this probe; `kind` is what makes it the same as the last one."""
        if kind not in self._last:
            self.log.error("%s: %s", kind, message, extra=event(PLUGIN_FAILED, reason=kind))
        self._now.add(kind)

    def add_exception(self, error: BaseException) -> None:
        """Note an exception of this probe; the same type from the same line is the same fault."""
        cause = only(error)
        kind = f"{type(cause).__qualname__} at {place_of(cause)}"
        if kind not in self._last:
            extra = event(PLUGIN_FAILED, reason="plugin_failed")
            self.log.error("its plugin raised", exc_info=error, extra=extra)
        self._now.add(kind)

    def end_of_probe(self) -> None:
        """Remember this probe's faults, and forget the ones before."""
        self._last, self._now = frozenset(self._now), set()


@attrs.define(eq=False, kw_only=True)
class Prober:
    """Probes one source and contains its plugin's faults.

    Attributes:
        name: the source's name.
        source: the source.
        timeout: seconds for a whole probe.
        models: ids of the models it may report about; a reload may change them.
        trace: what its clients say they do.
        redact: masks secrets in a JSON value.
        log: the source's.
    """

    name: str
    source: Source
    timeout: float
    models: tuple[str, ...]
    trace: Trace
    redact: Callable[[Any], Any]
    log: SourceLog
    _thread: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1), init=False)
    _faults: FaultLog = attrs.field(init=False)

    @_faults.default
    def _make_faults(self) -> FaultLog:
        return FaultLog(self.log)

    async def probe(self) -> Reports:
        """Probe once; never raises, whatever the plugin does, and ends by the deadline."""
        self.trace.clear()
        known = self.models  # one that goes meanwhile may be in what is found yet
        try:
            with trio.fail_after(self.timeout):
                value = await self._call()
            reports = checked_reports(value, models={*known, *self.models}, redact=self.redact)
        except trio.TooSlowError:
            reports = self._failed(Report.down("timeout", self._timeout_message()))
        except ReportError as error:
            self._faults.add(error.reason, str(error))
            reports = self._failed(Report.unknown(error.reason, str(error)))
        except BaseException as error:  # noqa: BLE001  # containment: a probe may raise anything, or try to exit
            # The daemon's cancellation passes here, a plugin's own does not.
            await trio.lowlevel.checkpoint_if_cancelled()
            reports = self._failed(self._raised(error))
        self._faults.end_of_probe()
        return tuple(self._redacted(report) for report in reports)

    def before_the_first(self, pending: Report) -> Reports:
        """Return what to show until the first probe has finished: `pending`, with what the source adds to it."""
        return tuple(self._redacted(report) for report in self._failed(pending))

    async def _call(self) -> object:
        if inspect.iscoroutinefunction(self.source.probe):
            return await self.source.probe()
        if self._thread.borrowed_tokens:
            raise ProbeError("plugin_blocked", "A blocking probe has not returned since its timeout.")
        # In a tuple, since trio refuses a coroutine from a thread, and a decorated probe may well return one.
        (value,) = await trio.to_thread.run_sync(
            lambda: (self.source.probe(),), abandon_on_cancel=True, limiter=self._thread
        )
        return await value if inspect.isawaitable(value) else value

    def _raised(self, error: BaseException) -> Report:
        cause = only(error)  # a plugin's own nursery wraps a ProbeError in a group
        if not isinstance(cause, ProbeError):
            self._faults.add_exception(error)
            # The exception's text may hold anything, so the tree names its type and the log has the rest.
            name = type(cause).__name__
            return Report.unknown("plugin_failed", f"The plugin raised {name}; the log has the traceback.")
        try:
            return checked_reports(Report.down(cause.reason, cause.message), redact=self.redact)[0]
        except ReportError:
            return Report.down("failed", "The probe failed, and the reason it gave is not a word.")

    def _failed(self, failure: Report) -> Reports:
        """Return the reports for a failed probe, with what the source adds to it."""
        try:
            return checked_reports(self.source.on_failure(failure), models=self.models, redact=self.redact)
        except BaseException as error:  # noqa: BLE001  # containment: this too is the plugin's code
            self._faults.add_exception(error)
            return (failure,)

    def _timeout_message(self) -> str:
        message = f"No complete answer within {self.timeout:g} s"
        return f"{message}: {self.trace.phase}." if self.trace.phase else f"{message}."

    def _redacted(self, report: Report) -> Report:
        return attrs.evolve(
            report,
            message=self.redact(report.message),
            path="/".join(self._redacted_segment(part) for part in report.path.split("/")),
            facts=self.redact(report.facts),
            measurements=self.redact(report.measurements),
        )

    def _redacted_segment(self, part: str) -> str:
        name = unquote(part)
        redacted: str = self.redact(name)
        return part if redacted == name else segment(redacted)
