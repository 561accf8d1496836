"""What a probe did on the wire: the phase it is in, and for `statusd probe` every step with its time."""

from __future__ import annotations

import time

import attrs


@attrs.frozen
class Step:
    """One thing that happened during a probe.

    Attributes:
        at: seconds since the probe began.
        kind: ``phase``, ``sent`` or ``received``.
        text: the phase, or the bytes as text, cut at `Trace.keep` bytes.
    """

    at: float
    kind: str
    text: str


@attrs.define(eq=False)
class Trace:
    """The steps of the probe that is running; one a source, cleared before each probe.

    Attributes:
        is_recording: whether steps are kept; the daemon only needs `phase`.
        phase: what the probe is waiting for, as ``"connecting to 127.0.0.1:6379"``; for messages about timeouts.
        steps: what happened, when recording.
        keep: bytes of each sent or received piece to keep.
    """

    is_recording: bool = False
    phase: str = ""
    steps: list[Step] = attrs.field(factory=list)
    keep: int = 4096
    _began: float = attrs.field(factory=time.perf_counter)

    def clear(self) -> None:
        """Begin a new probe."""
        self.phase = ""
        self.steps.clear()
        self._began = time.perf_counter()

    def enter(self, phase: str) -> None:
        """Note what the probe waits for now."""
        self.phase = phase
        self._add("phase", phase)

    def sent(self, data: bytes) -> None:
        """Note bytes that were sent; the caller masks secrets."""
        if self.is_recording:
            self._add("sent", self._text(data))

    def received(self, data: bytes) -> None:
        """Note bytes that came back."""
        if self.is_recording:
            self._add("received", self._text(data))

    def _add(self, kind: str, text: str) -> None:
        if self.is_recording:
            self.steps.append(Step(time.perf_counter() - self._began, kind, text))

    def _text(self, data: bytes) -> str:
        text = bytes(data[: self.keep]).decode("utf-8", "backslashreplace")
        return text if len(data) <= self.keep else f"{text}... ({len(data)} bytes)"
