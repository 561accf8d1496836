"""What is kept of the tree over restarts, and its form in a file: what is not whole, or not ours, is told apart."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from statusd.model.assembly import State
from statusd.model.report import Json, Report
from statusd.model.snapshot import Snapshot
from statusd.model.status import Status
from statusd.model.tree import walk
from statusd.values import MASK, Secret, Url

FORMAT: Final = 1
"""The form of the file; another number for each change that an older statusd would not understand."""
MOST_BYTES: Final = 64 << 20
"""A file beyond is neither written nor read."""
GREATEST_REVISION: Final = 1 << 52
"""Well below what every JSON reader takes for an exact integer (RFC 8259, section 6)."""

_MAGIC: Final = b"statusd-state "
_HEADER: Final = re.compile(
    rb"statusd-state (?P<format>[1-9][0-9]{0,8})\b"
    rb"(?: (?P<digest>[0-9a-f]{64}) (?P<size>[1-9][0-9]{0,11})|[^\n]*)\n"
)
_LONGEST_HEADER: Final = 128

Instant = Annotated[float, Meta(ge=0)]


class KeptError(ValueError):
    """Raised by `decode` for what cannot be used; its text is a sentence for people that says why."""


class KeptReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A report, as far as it is state: without measurements and payload.

    Attributes:
        status, reason, message, path, model, label, facts: the report's.
    """

    status: Status
    reason: str
    message: str = ""
    path: str = ""
    model: str | None = None
    label: str = ""
    facts: dict[str, Any] = {}  # msgspec copies an empty default

    @classmethod
    def of(cls, report: Report, model: str | None = None) -> KeptReport:
        """Return what is kept of a report.

        Args:
            report: the report.
            model: the model that it is about, also where it says so of all models at once.
        """
        return cls(
            status=report.status,
            reason=report.reason,
            message=report.message,
            path=report.path,
            model=model,
            label=report.label,
            facts=dict(report.facts),
        )

    def report(self) -> Report:
        """Return the report."""
        return Report(
            status=self.status,
            reason=self.reason,
            message=self.message,
            path=self.path,
            model=self.model,
            label=self.label,
            facts=self.facts,
        )


class KeptSource(msgspec.Struct, frozen=True, kw_only=True):
    """A source as it stood.

    Attributes:
        plugin: its plugin's name.
        made_of: the fingerprint of its configuration.
        observed_at: when its newest probe finished, in seconds since 1970.
        expires_at: when that turned or would have turned stale, in seconds since 1970, or None for never.
        reports: what stood, thresholds included and dependencies left aside.
    """

    plugin: str
    made_of: str
    observed_at: Instant
    expires_at: Instant | None
    reports: tuple[KeptReport, ...]


class KeptNode(msgspec.Struct, frozen=True, array_like=True):
    """How a node stood.

    Attributes:
        status: its status.
        since: when that last changed, in seconds since 1970.
    """

    status: Status
    since: Instant


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a tree.

    Attributes:
        saved_at: when this was, in seconds since 1970.
        revision: the tree's.
        sources: by name, those that have been observed.
        nodes: path -> how every node stood.
    """

    saved_at: Instant
    revision: Annotated[int, Meta(ge=0, le=GREATEST_REVISION)]
    sources: dict[str, KeptSource]
    nodes: dict[str, KeptNode]


def kept_of(snapshot: Snapshot, states: Mapping[str, State], *, now: float) -> Kept:
    """Return what is to be kept of a tree.

    Args:
        snapshot: the tree.
        states: name of each source -> what it had come to in that tree.
        now: seconds since 1970.
    """
    sources = {
        name: _kept_source(state, state.reading.observed_at, now)
        for name, state in states.items()
        if state.origin.made_of and state.reading.observed_at is not None
    }
    nodes = {path: KeptNode(node.status, max(0.0, node.since)) for path, node in walk(snapshot.root)}
    return Kept(saved_at=max(0.0, now), revision=snapshot.revision, sources=sources, nodes=nodes)


def _kept_source(state: State, observed_at: float, now: float) -> KeptSource:
    judgement, expires_at = state.judgement, state.reading.expires_at
    if state.reading.is_restored and expires_at is not None:
        # It is shown until the first probe: so no number of restarts lets it live longer than it may.
        expires_at = min(expires_at, now)
    reports = [KeptReport.of(judgement.own.report)]
    reports += [KeptReport.of(judged.report) for judged in judgement.parts.values()]
    reports += [KeptReport.of(judged.report, model) for model, judged in judgement.models.items()]
    return KeptSource(
        plugin=state.origin.plugin,
        made_of=state.origin.made_of,
        observed_at=max(0.0, observed_at),
        expires_at=None if expires_at is None else max(0.0, expires_at),
        reports=tuple(reports),
    )


def encode(kept: Kept) -> bytes:
    """Return `kept` as the content of a file: a line with the format, a checksum and the length, then JSON."""
    body = msgspec.json.encode(kept)
    digest = hashlib.sha256(body).hexdigest().encode()
    return b"%s%d %s %d\n%s" % (_MAGIC, FORMAT, digest, len(body), body)


def decode(data: bytes) -> Kept:
    """Return what `encode` made a file of.

    Raises:
        KeptError: the file is not whole, not as it was written, of a newer statusd, or not statusd's at all.
    """
    header = _HEADER.match(data[:_LONGEST_HEADER])
    if header is None:
        if not data:
            raise KeptError("It is empty.")
        if _MAGIC.startswith(data) or (data.startswith(_MAGIC) and b"\n" not in data[:_LONGEST_HEADER]):
            raise KeptError("It is cut off within its first line.")
        raise KeptError("It is no file of statusd's: its first line is another one.")
    if int(header["format"]) != FORMAT:
        raise KeptError(
            f"It has the format {int(header['format'])}, of another version of statusd; this one reads format {FORMAT}."
        )
    if header["size"] is None:
        raise KeptError("Its first line is damaged.")
    body, size = memoryview(data)[header.end() :], int(header["size"])
    if len(body) < size:
        raise KeptError(f"It is cut off: {len(body)} of {size} bytes are there.")
    if len(body) > size:
        raise KeptError(f"It is longer than it was written: {len(body)} bytes instead of {size}.")
    if hashlib.sha256(body).hexdigest().encode() != header["digest"]:
        raise KeptError("It is not as it was written: its checksum does not match.")
    return _understood(body)


def _understood(body: memoryview) -> Kept:
    try:
        return msgspec.json.decode(body, type=Kept)
    except (ValueError, RecursionError, msgspec.MsgspecError):
        # Not chained into the sentence: the values of a file may be anything.
        raise KeptError("It is whole, and holds something else than the state of a tree.") from None


def fingerprint(
    plugin: str, models: tuple[str, ...], options: Mapping[str, object], redact: Callable[[Any], Any]
) -> str:
    """Return what two configurations of a source have in common only if their reports mean the same.

    Secrets take no part: neither they nor a hash of them is kept.

    Args:
        plugin: its plugin's name.
        models: ids of its models.
        options: its plugin's own keys, with their values.
        redact: masks known secrets in a JSON value.

    Returns:
        a word, or ``""`` where an option is of a type of the plugin's own, of which nothing is known.
    """
    try:
        made_of = redact({"plugin": plugin, "models": sorted(models), "options": _plain(options)})
        text = json.dumps(made_of, sort_keys=True)
    except (TypeError, ValueError, RecursionError):
        return ""
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: object) -> Json:
    """Return an option as JSON, without the secrets in it."""
    if isinstance(value, Secret):
        return MASK if value else ""
    if isinstance(value, Url):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, set | frozenset):
        return sorted((_plain(inner) for inner in value), key=repr)
    raise TypeError("an option of a type of the plugin's own")
