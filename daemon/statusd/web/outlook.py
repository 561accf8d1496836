"""What would change a node's status, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from statusd.model.rollup import Rule
from statusd.model.status import Status
from statusd.web.drained import ends, is_out
from statusd.web.phrases import clock_time, listed, name_of, plural
from statusd.web.subject import Member, Phase, Subject
from statusd.wording import span, standing

_GOOD: Final = "ok or degraded"
_BAD: Final = "unknown or down"


def outlook(subject: Subject) -> Iterator[str]:
    """Yield sentences that say what would change the status of the node of `subject`; at least one."""
    yield from ends(subject)
    if is_out(subject):
        return
    node = subject.node
    if subject.is_rollup:
        yield from _of_the_rollup(subject)
    if node.basis is not None:
        yield from _of_the_probes(subject)
    elif not node.rule:
        yield from _of_the_daemon(subject)


def _of_the_daemon(subject: Subject) -> Iterator[str]:
    if subject.node.reason == "plugin_disabled":
        yield "It is loaded when a source names it or [plugins] enabled lists it, unless [plugins] disabled does."
    yield "It stands until the daemon says otherwise."


def _of_the_rollup(subject: Subject) -> Iterator[str]:
    members = subject.members
    counted = [one for one in members if one.takes_part]
    well = [one for one in counted if one.status is Status.OK]
    rest = [one for one in counted if one.status is not Status.OK]
    noun = ("source", "sources") if subject.is_model else ("child", "children")
    least = Rule.parse(subject.node.rule).least or len(counted)
    if not counted:
        off = [one for one in members if one.counts]
        if off:
            yield f"It changes as soon as one that is off now is not: {_names(off)}."
        else:
            yield "It changes as soon as there is something below it that counts and is not off."
    elif least > len(counted):
        yield f"It changes as soon as {plural(least - len(counted), 'more ' + noun[0], 'more ' + noun[1])} can count."
    elif len(well) >= least:
        lost = len(well) - least + 1
        yield f"It gets worse as soon as {_of(lost, well, 'degraded, unknown or down')}."
    else:
        yield f"It is ok as soon as {_of(least - len(well), rest, 'ok')}."


def _of(number: int, members: Sequence[Member], what: str) -> str:
    """Return that so many of `members` are `what`."""
    if len(members) == 1:
        return f"{_names(members)} is {what}"
    if number == len(members):
        return f"all of {_names(members)} are {what}"
    return f"{'one' if number == 1 else number} of {_names(members)} {'is' if number == 1 else 'are'} {what}"


def _names(members: Sequence[Member]) -> str:
    return listed(name_of(one.name) for one in members)


def _of_the_probes(subject: Subject) -> Iterator[str]:
    node, source = subject.node, name_of(subject.node.source)
    assert node.basis is not None
    newest = node.basis.newest
    if subject.waits_for:
        yield (
            f"When {name_of(subject.waits_for)} is no longer down, and nothing else is that {source} depends on, its "
            f"own probes count again; the newest said {standing(newest.status, newest.reason)}."
        )
        return
    match subject.phase:
        case Phase.IDLE:
            wants = "is configured" if newest.status is Status.OFF else "can be probed"
            yield f"It changes once {source} {wants}, at the next reload or restart."
        case Phase.PENDING | Phase.OVERDUE:
            yield f"What the first probe of {source} says when it has finished counts at once."
        case Phase.SILENT | Phase.OBSERVED | Phase.RESTORED:
            yield from _of_the_thresholds(subject)
            yield from _of_time(subject)
    if subject.is_part:
        yield f"It goes when a probe of {source} that counts does not mention it any more."


def _of_the_thresholds(subject: Subject) -> Iterator[str]:
    node, info = subject.node, subject.info
    assert node.basis is not None
    tally, newest = node.basis.tally, node.basis.newest
    its = f" of {name_of(node.source)}" if subject.is_model else ""
    due = _due(subject)
    if tally is not None:
        left = tally.needed - tally.seen
        same, other = (_GOOD, _BAD) if tally.status.is_connected else (_BAD, _GOOD)
        says = "that says" if left == 1 else "in a row that say"
        effect = _makes(subject, "s" if left == 1 else "")
        yield f"{plural(left, 'more probe')}{its} {says} {same} {effect}; {due}."
        yield f"One{its} that says {other} ends the count."
        return
    if newest.status is Status.OFF:
        yield f"What the next probe{its} says counts at once; {due}."
        return
    if info is None:
        return
    needed, other = (info.fall, _BAD) if newest.status.is_connected else (info.rise, _GOOD)
    if needed == 1:
        yield f"One probe{its} that says {other} {_makes(subject, 's')} at once; {due}."
    else:
        yield f"{needed} probes{its} in a row that say {other} {_makes(subject)}; {due}."


def _makes(subject: Subject, ending: str = "") -> str:
    """Return what agreeing probes do: of several sources, one alone does not make the node's status."""
    return f"count{ending}" if subject.is_rollup else f"make{ending} it so"


def _due(subject: Subject) -> str:
    if subject.info is None:
        return "when it is due is not known"
    left = (subject.node.observed_at or 0.0) + subject.info.interval - subject.now
    return f"the next one begins within {span(left)}" if left > 0 else "the next one is due or running"


def _of_time(subject: Subject) -> Iterator[str]:
    """Say when silence would change it."""
    node = subject.node
    if node.expires_at is None or node.expires_at <= subject.now or subject.phase is Phase.SILENT:
        return
    when = f"at {clock_time(node.expires_at, subject.now)}, in {span(node.expires_at - subject.now)}"
    if subject.is_rollup:
        yield f"What {name_of(node.source)} says becomes unknown (stale) {when}, unless a probe finishes before."
    else:
        yield f"It becomes unknown (stale) {when}, unless a probe finishes before."
