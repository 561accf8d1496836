"""The commands about drains: arguments in, what became of it out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import attrs
import msgspec

from statusd.control.place import Peer
from statusd.control.protocol import RefusedError
from statusd.control.server import Command
from statusd.model.drains import Drain
from statusd.model.snapshot import Snapshot
from statusd.model.status import Status
from statusd.model.tree import Node
from statusd.runtime.drainable import DrainError, shown
from statusd.runtime.draining import Drains, Outcome

T = TypeVar("T")


class _Drain(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    path: str
    reason: str
    seconds: float | None = None


class _Undrain(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    path: str


class _List(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


def drain_commands(drains: Drains) -> dict[str, Command]:
    """Return the commands ``drain``, ``undrain`` and ``drains``."""

    async def drain(arguments: Mapping[str, Any], peer: Peer) -> Any:
        given = _given(arguments, _Drain)
        try:
            return _outcome(await drains.drain(given.path, given.reason, given.seconds, by=_name(peer)))
        except DrainError as error:
            raise RefusedError(error.reason, error.message) from None

    async def undrain(arguments: Mapping[str, Any], peer: Peer) -> Any:
        given = _given(arguments, _Undrain)
        try:
            return _outcome(await drains.undrain(given.path, by=_name(peer)))
        except DrainError as error:
            raise RefusedError(error.reason, error.message) from None

    async def listed(arguments: Mapping[str, Any], _peer: Peer) -> Any:
        _given(arguments, _List)
        return {"drains": [{**_shown(one), "exists": drains.is_there(one)} for one in drains.current]}

    return {"drain": drain, "undrain": undrain, "drains": listed}


def _given(arguments: Mapping[str, Any], kind: type[T]) -> T:
    try:
        return msgspec.convert(arguments, kind)
    except msgspec.ValidationError as error:
        raise RefusedError("bad_request", f"The arguments are not what the command takes: {error}.") from None


def _name(peer: Peer) -> str:
    return f"uid {peer.uid}"


def _shown(drain: Drain) -> dict[str, Any]:
    return attrs.asdict(attrs.evolve(drain, path=shown(drain.path)))


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "drain": _shown(outcome.drain),
        "replaced": None if outcome.replaced is None else _shown(outcome.replaced),
        "node": _standing(outcome.after.find(outcome.drain.path)),
        "models": _moved(outcome.before, outcome.after),
        "not_kept": outcome.not_kept,
    }


def _standing(node: Node | None) -> dict[str, str] | None:
    return None if node is None else {"status": node.status.value, "reason": node.reason}


def _moved(before: Snapshot, after: Snapshot) -> list[dict[str, Any]]:
    """Return the models that are served by another source than before, or by none any more, or again."""
    old, new = _models(before), _models(after)
    return [
        {"path": f"models/{name}", "before": old[name], "after": node}
        for name, node in new.items()
        if name in old and old[name] != node
    ]


def _models(snapshot: Snapshot) -> dict[str, dict[str, Any]]:
    wing = snapshot.root.children.get("models")
    return {name: _serving(node) for name, node in wing.children.items()} if wing is not None else {}


def _serving(node: Node) -> dict[str, Any]:
    candidates = node.facts.get("candidates")
    sources = [one for one in candidates if isinstance(one, dict)] if isinstance(candidates, list) else []
    return {
        "status": node.status.value,
        "reason": node.reason,
        "source": node.source if node.status.is_connected else None,
        "left": [one["source"] for one in sources if one.get("status") != Status.OFF.value],
    }
