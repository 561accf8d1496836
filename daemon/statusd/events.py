"""The kinds of events the daemon logs: what a record means to programs, beside its sentence for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

ATTRIBUTE: Final = "event"
"""The attribute of a `logging.LogRecord` that holds its event."""


@attrs.frozen
class Kind:
    """A kind of event.

    Attributes:
        name: a lower_snake_case word.
        id: 32 lower hexadecimal digits, fixed for ever: the journal's ``MESSAGE_ID`` (systemd.journal-fields(7)).
    """

    name: str
    id: str


@attrs.frozen
class Event:
    """What one record says to programs.

    Attributes:
        kind: what happened; None for a record that only has fields.
        fields: a name such as ``path`` -> its value; the journal shows it as ``STATUSD_PATH``; none is empty.
    """

    kind: Kind | None
    fields: Mapping[str, str]


def event(
    kind: Kind | None,
    *,
    source: str = "",
    path: str = "",
    before: str = "",
    after: str = "",
    reason: str = "",
    revision: int | None = None,
    **more: str,
) -> dict[str, Event]:
    """Return what to give to logging as ``extra=``.

    Args:
        kind: what happened; None where only the fields are to be told.
        source: the name of the source it is about.
        path: of the node it is about, as in the state tree.
        before: a status; the field is named ``from``.
        after: a status; the field is named ``to``.
        reason: the node's.
        revision: the one that brought it.
        more: further fields, lower_snake_case name -> value.
    """
    fields = {
        "source": source,
        "path": path,
        "from": before,
        "to": after,
        "reason": reason,
        "revision": "" if revision is None else str(revision),
        **more,
    }
    return {ATTRIBUTE: Event(kind, {name: value for name, value in fields.items() if value})}


STARTED: Final = Kind("started", "ba0f11f351294f8d9daa4ac94397af8e")
STOPPING: Final = Kind("stopping", "a0fa424fbe544867b8f69e73d1a8f658")
START_FAILED: Final = Kind("start_failed", "c6227f39e5b8437aa694666cda52e870")
TRANSITION: Final = Kind("transition", "cf3b6830241e407e86f89ec2a92d4d1c")
STILL_NOT_OK: Final = Kind("still_not_ok", "57beb4dbd8354edfb536541285858821")
RELOADED: Final = Kind("reloaded", "6a1cb64aacaa449d944413ba971fa1fa")
RELOAD_FAILED: Final = Kind("reload_failed", "1ac723c7bc11495b940231c02126c875")
DRAINED: Final = Kind("drained", "8bb9ca2898574128a1a734ce95888842")
UNDRAINED: Final = Kind("undrained", "cedc85fd02204aaebc94a17ec251ca24")
PLUGIN_FAILED: Final = Kind("plugin_failed", "541662b511054ccd817ea1bdd9015cca")
LOOP_BLOCKED: Final = Kind("loop_blocked", "3e2174d8b3524887a4d1c62789da40ad")
STALLED: Final = Kind("stalled", "454a7f6ad2944f1ca43983d27dffdab5")
CONFIG_MISTAKE: Final = Kind("config_mistake", "a76ea9ecd53443d38c016528d2c66d8b")
CONFIG_FAULT: Final = Kind("config_fault", "40d64b9fc0dd494a912ad1471978ac54")
STATE_SET_ASIDE: Final = Kind("state_set_aside", "5158deb9416344158b2ac888795b1d78")
STATE_NOT_KEPT: Final = Kind("state_not_kept", "7cb985d843fc42ec8ba679257607189e")
RESTORED: Final = Kind("restored", "477f3616e9624d7cb1cf9335c58007d0")
RECORDS_DROPPED: Final = Kind("records_dropped", "f98df80630c3432ebee52cef7de4c2b5")
CONNECTIONS_FULL: Final = Kind("connections_full", "0fb2ed182e01459e9ac94a5edeffc4a5")
CERTIFICATE: Final = Kind("certificate", "e574184a979242ab82cc7922237e0760")
REQUEST: Final = Kind("request", "8988546a14c845ccaf4b1aece5475101")

KINDS: Final = tuple(value for value in tuple(globals().values()) if isinstance(value, Kind))
"""Every kind; each has an entry in the message catalogue, ``systemd/statusd.catalog``."""
