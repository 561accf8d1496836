"""What a Takeoff status document says about its readers: pure parsing, tolerant of every version's shape.

The document comes from the server's inference API (flat) or its management API (``{"config", "status"}``), and its
schema changed in nearly every release. So nothing is required, unknown fields are passed over, and a value of
another type than documented is left out.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from statusd import Json, Report, Status, segment

LIVE: Final = "live"
LOADING: Final = "loading"
DEAD: Final = "dead"
STATES: Final = (LIVE, LOADING, DEAD)
"""A reader's states, best to worst."""
VERDICTS: Final[Mapping[str, tuple[Status, str]]] = {
    LIVE: (Status.OK, "ok"),
    LOADING: (Status.DEGRADED, "loading"),
    DEAD: (Status.DOWN, "dead"),
}
MAPS: Final = {f"{state}_readers": state for state in STATES}

MAX_PARTS: Final = 500
"""Readers that become parts of the tree; the worst go first, a fact counts the rest."""
MAX_COST: Final = 200 * 1024
"""Bytes, roughly, of the facts of all parts; readers beyond it are shown without facts."""
MAX_READERS: Final = 1_000
"""Readers that a map may hold: no server has so many, and reading them would hold up everybody else."""
MAX_TEXT: Final = 200
MAX_READ: Final = 1_000
"""Items of any other list that are looked at."""
MAX_ITEMS: Final = 16
"""Items of a list that become part of a fact."""
MAX_SEGMENT: Final = 400
"""Characters of a reader's encoded id, which is a path segment; any other is cut and told apart by its digest."""
MILLISECONDS_FROM: Final = 1e11
"""A heartbeat timestamp above this is in milliseconds: as seconds it would lie after the year 5138."""
TEXTS: Final = ("model_name", "model_type", "device", "backend", "consumer_name", "loras")


@attrs.frozen(kw_only=True)
class Reader:
    """A served model instance.

    Attributes:
        name: its id, bounded in length.
        state: `LIVE`, `LOADING` or `DEAD`.
        facts: what the server says about it, as far as known and bounded.
        measurements: its heartbeat.
    """

    name: str
    state: str
    facts: Mapping[str, Json] = attrs.field(factory=dict)
    measurements: Mapping[str, float] = attrs.field(factory=dict)

    def report(self, *, with_facts: bool) -> Report:
        """Return the report about this reader as a part of its source."""
        status, reason = VERDICTS[self.state]
        return Report(
            status=status,
            reason=reason,
            path=f"readers/{segment(self.name)}",
            facts=self.facts if with_facts else {},
            measurements=self.measurements if with_facts else {},
        )

    @property
    def cost(self) -> int:
        """Bytes, roughly, of its facts and measurements."""
        return _cost(self.facts) + _cost(self.measurements)


@attrs.frozen(kw_only=True)
class Findings:
    """A status document, understood.

    Attributes:
        shape: ``management``, ``inference``, or ``""`` when it is neither.
        has_null_status: whether the management document says ``"status": null``.
        readers: sorted by name, since servers list their maps in random order.
        unreadable: names of reader maps that are neither a map, a list nor null, or hold over `MAX_READERS`.
        reserved_consumers: consumer groups that buffer requests instead of rejecting them.
    """

    shape: str = ""
    has_null_status: bool = False
    readers: tuple[Reader, ...] = ()
    unreadable: tuple[str, ...] = ()
    reserved_consumers: tuple[str, ...] = ()

    def count(self, state: str) -> int:
        """Return how many readers are in `state`."""
        return sum(reader.state == state for reader in self.readers)


def understand(document: Mapping[str, Any]) -> Findings:
    """Return what `document` says, whichever of the two shapes and whichever version it has.

    A reader that two maps list counts once, in its worst state.
    """
    nested = document.get("status")
    holder: Mapping[str, Any]
    if isinstance(nested, dict) and any(name in nested for name in MAPS):
        shape, holder = "management", nested
    elif any(name in document for name in MAPS):
        shape, holder = "inference", document
    elif "status" in document and nested is None:
        return Findings(shape="management", has_null_status=True)
    else:
        return Findings()
    unreadable = tuple(name for name in MAPS if not _is_readable(holder.get(name)))
    heartbeats = holder.get("last_heartbeat")
    readers: dict[str, Reader] = {}
    for map_name, state in MAPS.items():  # best to worst, so that the worst state stays
        for key, info in _entries(holder.get(map_name), state) if map_name not in unreadable else ():
            name = _bounded(key)
            readers[name] = Reader(
                name=name,
                state=state,
                facts=_facts(info),
                measurements=_heartbeat(heartbeats, key),
            )
    return Findings(
        shape=shape,
        readers=tuple(readers[name] for name in sorted(readers)),
        unreadable=unreadable,
        reserved_consumers=tuple(_texts(holder.get("reserved_consumers"))),
    )


def verdict(findings: Findings) -> Report:
    """Return the report about the server as a whole, without facts and payload."""
    live, loading, dead = (findings.count(state) for state in STATES)
    message = f"{live} live, {loading} loading, {dead} dead readers."
    if findings.has_null_status:
        return Report.unknown(
            "null_status", "The server answers with status: null, whose meaning is not documented."
        )
    if not findings.shape:
        return Report.unknown(
            "unexpected_answer",
            "The answer is a JSON object without any map of readers: is it a Takeoff server?",
        )
    if live:
        return Report.degraded("some_dead", message) if dead else Report.ok("ok", message)
    if findings.unreadable:
        names = ", ".join(findings.unreadable)
        return Report.unknown(
            "unexpected_answer", f"No live reader was found, and {names} could not be read."
        )
    if loading:
        return Report.degraded("loading", message)
    if dead:
        return Report.down("all_dead", message)
    return Report.ok("no_readers", "The server answers and has no readers.")


def reports(findings: Findings) -> list[Report]:
    """Return the reports about the server and its readers, within the limits of what a probe may return."""
    whole = verdict(findings)
    worst_first = sorted(findings.readers, key=lambda reader: -STATES.index(reader.state))
    shown = sorted(worst_first[:MAX_PARTS], key=lambda reader: reader.name)
    parts: list[Report] = []
    left, bare = MAX_COST, 0
    for reader in shown:
        is_affordable = reader.cost <= left
        left -= reader.cost if is_affordable else 0
        bare += not is_affordable
        parts.append(reader.report(with_facts=is_affordable))
    facts: dict[str, Json] = {"shape": findings.shape} if findings.shape else {}
    if findings.shape and not findings.has_null_status:
        readable = (state for name, state in MAPS.items() if name not in findings.unreadable)
        facts |= {state: findings.count(state) for state in readable}
    if findings.reserved_consumers:
        facts["reserved_consumers"] = list(findings.reserved_consumers)
    if findings.unreadable:
        facts["unreadable"] = list(findings.unreadable)
    if len(findings.readers) > MAX_PARTS:
        facts["readers_left_out"] = len(findings.readers) - MAX_PARTS
    if bare:
        facts["readers_without_facts"] = bare
    # The branch above the readers says what the source says, and not the rollup of its parts.
    branch = [attrs.evolve(whole, path="readers")] if parts else []
    return [attrs.evolve(whole, facts=facts), *branch, *parts]


def _is_readable(readers: object) -> bool:
    return readers is None or (isinstance(readers, dict | list) and len(readers) <= MAX_READERS)


def _entries(readers: object, state: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (id, info) of a map of readers, or of a list of them, as some clients and stubs have it."""
    if isinstance(readers, dict):
        for key, info in readers.items():
            yield key, info if isinstance(info, dict) else {}
    elif isinstance(readers, list):
        taken: set[str] = set()
        for position, item in enumerate(readers):
            info = item if isinstance(item, dict) else {}
            names = (item, info.get("reader_id"), info.get("consumer_name"))
            key = next((name for name in names if isinstance(name, str) and name), f"{state}-{position}")
            yield (f"{key}#{position}" if key in taken else key), info
            taken.add(key)


def _bounded(key: str) -> str:
    # An empty or dot segment has no place in a path (RFC 3986, section 5.2.4).
    if key.strip(".") and len(key) <= MAX_SEGMENT and len(segment(key)) <= MAX_SEGMENT:
        return key
    return f"{key[:24]}~{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def _facts(info: Mapping[str, Any]) -> dict[str, Json]:
    facts: dict[str, Json] = {
        name: value[:MAX_TEXT] for name in TEXTS if isinstance(value := info.get(name), str) and value
    }
    # Until version 0.17 a reader had one group, as a string.
    groups = _texts(info.get("consumer_groups")) or _texts([info.get("consumer_group")])
    if groups:
        facts["consumer_groups"] = [*groups]
    if isinstance(is_enabled := info.get("enable_document_processing"), bool):
        facts["enable_document_processing"] = is_enabled
    if isinstance(listed := info.get("pids"), list):
        pids = sorted({pid for pid in listed[:MAX_READ] if type(pid) is int and 0 <= pid < 1 << 32})
        facts["pids"] = [*pids[:MAX_ITEMS]]
    return facts


def _texts(values: object) -> list[str]:
    """Return the strings of a list, sorted, since servers may list them in random order."""
    if not isinstance(values, list):
        return []
    return sorted({value[:MAX_TEXT] for value in values[:MAX_READ] if isinstance(value, str) and value})[
        :MAX_ITEMS
    ]


def _heartbeat(heartbeats: object, key: str) -> dict[str, float]:
    info = heartbeats.get(key) if isinstance(heartbeats, dict) else None
    if not isinstance(info, dict):
        return {}
    measurements: dict[str, float] = {}
    timestamp = _number(info.get("heartbeat_timestamp"))
    if timestamp is not None:
        is_milliseconds = timestamp > MILLISECONDS_FROM
        measurements["heartbeat_timestamp"] = timestamp / 1000 if is_milliseconds else timestamp
    wait_interval = _number(info.get("heartbeat_wait_interval"))
    if wait_interval is not None:
        measurements["heartbeat_wait_interval"] = wait_interval
    return measurements


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _cost(value: object) -> int:
    if isinstance(value, str):
        return 8 + len(value)
    if isinstance(value, Mapping):
        return sum(8 + len(key) + _cost(item) for key, item in value.items())
    if isinstance(value, Sequence):
        return 8 + sum(map(_cost, value))
    return 24
