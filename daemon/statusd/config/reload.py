"""The table ``[reload]``: when the configuration is read again without anybody saying so."""

from __future__ import annotations

import attrs

from statusd.plugin.options import option


@attrs.frozen(kw_only=True)
class ReloadSettings:
    """The table ``[reload]``.

    Attributes:
        watch: whether a change of the file is a reason to reload it.
    """

    watch: bool = option(
        False,
        help="Whether statusd reloads its configuration when the file changes, about two seconds after the last change. "
        "Without it `statusd reload`, `systemctl reload statusd` or SIGHUP does it.",
    )
