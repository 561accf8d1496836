"""Why a node has its status, in sentences: the reading, the thresholds, the dependency, the rule, the silence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from statusd.model.rollup import BEST, WORST, Rule
from statusd.model.status import Status
from statusd.web.drained import because_of_others, because_out, is_out
from statusd.web.phrases import clock_time, listed, name_of, one_line, plural, said
from statusd.web.subject import Member, Phase, Subject
from statusd.wording import span, standing


def because(subject: Subject) -> Iterator[str]:
    """Yield sentences that say why the node of `subject` has its status; at least one."""
    yield from because_of_others(subject)
    if is_out(subject):
        yield from because_out(subject)
        if subject.node.basis is not None:
            yield _reading(subject)
        return
    node = subject.node
    if subject.is_rollup:
        yield from _rolled_up(subject)
    if subject.is_model:
        yield from _selected(subject)
    if node.basis is not None:
        yield from _probed(subject)
    elif node.is_restored:
        yield from _left(subject)
    elif not node.rule:
        yield f"This is what the daemon says of itself: {said(node.status, node.reason, node.message)}"


def _rolled_up(subject: Subject) -> Iterator[str]:
    node, members = subject.node, subject.members
    counted = [one for one in members if one.takes_part]
    noun = ("source", "sources") if subject.is_model else ("child", "children")
    is_now = f"it is {standing(node.status, node.reason)}"
    if not counted:
        yield f"None of its {noun[1]} takes part in the rollup, so {is_now}."
    elif not node.decided_by:
        number = plural(len(counted), *noun)
        verb = "takes" if len(counted) == 1 else "take"
        yield f'The rule is "{node.rule}", and only {number} {verb} part, so {is_now}.'
    else:
        yield _rule(node.rule, plural(len(counted), *noun))
        deciding = [one for one in counted if one.name in node.decided_by]
        if len(deciding) == len(counted) > 1 and node.status is Status.OK:
            yield f"All {len(counted)} of them are ok, so {is_now}."
        else:
            yield f"It is {standing(node.status, node.reason)} because {_statuses(deciding)}."
    aside = [one for one in members if one.status is not Status.OFF and not one.counts]
    if aside:
        yield f"Shown without being counted: {_statuses(aside)}."
    off = [one for one in members if one.status is Status.OFF]
    if off and counted:
        verb = "is off and takes" if len(off) == 1 else "are off and take"
        yield f"{listed(name_of(one.name) for one in off)} {verb} no part."


def _rule(text: str, members: str) -> str:
    """Return what the rule means for so many `members`."""
    rule = Rule.parse(text)
    if rule == WORST:
        meaning = f"it is as bad as the worst of its {members} that count"
    elif rule == BEST:
        meaning = f"it is as good as the best of its {members} that count"
    else:
        meaning = f"it is what at least {rule.least} of its {members} that count are, or better"
    if members.startswith("1 "):
        meaning = f"its only {members[2:]} that counts decides"
    return f'The rule is "{text}": {meaning}.'


def _statuses(members: Sequence[Member]) -> str:
    return listed(f"{name_of(one.name)} is {standing(one.status, one.reason)}" for one in members)


def _selected(subject: Subject) -> Iterator[str]:
    """Say which source stands for a model, and why that one."""
    source, members = name_of(subject.node.source), subject.members
    if len(members) == 1:
        yield f"{source} is the only source that can serve it."
        return
    if any(one.status.is_connected for one in members):
        why = "the first of them that is ok or degraded"
    elif any(one.status is not Status.OFF for one in members):
        why = "the first of them that is not off, since none is ok or degraded"
    else:
        why = "the first of them, since all are off"
    backend = one_line(str(subject.node.facts.get("backend", "")))
    yield f'/models names the backend "{backend}", of {source}: {why}.'


def _left(subject: Subject) -> Iterator[str]:
    """Say what below a branch stands as an earlier run left it."""
    names = [name_of(name) for name, child in subject.node.children.items() if child.is_restored]
    stand = "stands" if len(names) == 1 else "stand"
    yield f"{listed(names)} {stand} as an earlier run left it, until a probe of this one has finished."


def _probed(subject: Subject) -> Iterator[str]:
    """Say what the source's probes found, and what became of it on the way to the node."""
    yield _reading(subject)
    node = subject.node
    assert node.basis is not None
    tally, source = node.basis.tally, name_of(node.source)
    if tally is not None:
        kind = "good" if tally.status.is_connected else "bad"
        key = "rise" if tally.status.is_connected else "fall"
        # With a failed dependency, or several sources, what still counts is not what the node says.
        is_shown = not subject.waits_for and not subject.is_rollup
        held = f"it is still {standing(node.status, node.reason)}" if is_shown else "it does not count yet"
        yield (
            f"{tally.seen} of {tally.needed} probes in a row that it takes ({key} = {tally.needed}) "
            f"say {kind}, so {held}."
        )
    if subject.waits_for:
        parent = subject.source_node(subject.waits_for)
        how = standing(parent.status, parent.reason) if parent is not None else "down"
        yield (
            f"{source} depends on {name_of(subject.waits_for)}, which is {how}, so whatever its own probes say counts "
            "as unknown (parent_down)."
        )
    children = subject.node.children
    if children and not node.rule:
        verb = "does" if len(children) == 1 else "do"
        yield f"Its {plural(len(children), 'part')} {verb} not count beside what it says of itself."


def _reading(subject: Subject) -> str:
    node = subject.node
    assert node.basis is not None
    newest, source = node.basis.newest, name_of(node.source)
    what = said(newest.status, newest.reason, newest.message)
    about = _about(subject)
    match subject.phase:
        case Phase.IDLE:
            return f"{source} is not probed. What stands{about}: {what}"
        case Phase.PENDING:
            return f"No probe of {source} has finished yet; until one has, this stands{about}: {what}"
        case Phase.OVERDUE:
            return f"No probe of {source} has finished, and the time for the first one is up: {what}"
        case Phase.RESTORED:
            since = subject.now - (node.observed_at or 0.0)
            return (
                f"No probe of {source} has finished since statusd was started; until one has, what an earlier run found "
                f"at {clock_time(node.observed_at, subject.now)}, {span(since)} ago, stands{about}: {what}"
            )
        case Phase.SILENT:
            since = subject.now - (node.observed_at or 0.0)
            return (
                f"Nothing has come from {source} since {clock_time(node.observed_at, subject.now)}, {span(since)} ago; what "
                f"came then was good until {clock_time(node.expires_at, subject.now)}: {what}"
            )
        case Phase.OBSERVED if subject.is_left_alone:
            return (
                f"What {source} last said{about}: {what} Its newest probe failed, which does not count yet."
            )
        case Phase.OBSERVED:
            age = span(subject.now - (node.observed_at or 0.0))
            return f"The newest probe of {source}, which finished {age} ago, said{about}: {what}"


def _about(subject: Subject) -> str:
    if subject.is_model:
        return " of this model"
    return " of this part" if subject.is_part else ""
