"""How a plugin declares its configuration: attrs fields with a sentence of help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs

from statusd.values import Url

HELP: Final = "statusd.help"
INTERNAL: Final = "statusd.internal"


def option(default: Any = attrs.NOTHING, *, help: str, validator: Any = None, factory: Any = None) -> Any:  # noqa: A002  # the word that argparse, click and attrs users know
    """Declare one configuration key of a source, view or sink.

    The key's name and type are those of the attrs field. Types that are understood: str, bool, int, float,
    `Url`, `Secret`, Literal, list, dict and tuple of these, and `X | None`.

    Args:
        default: the value when the key is absent; without one the key is required.
        help: one sentence for the configuration reference and for error messages.
        validator: an attrs validator, or several in a list; its ValueError becomes the error message.
        factory: makes the default, for lists and dicts.
    """
    metadata = {HELP: help}
    if factory is not None:
        return attrs.field(factory=factory, validator=validator, metadata=metadata)
    return attrs.field(default=default, validator=validator, metadata=metadata)


def schemes(*allowed: str) -> Callable[[Any, Any, Url], None]:
    """Return a validator that wants an empty `Url`, or one with a host and one of the `allowed` schemes."""

    def check(_instance: object, _attribute: object, url: Url) -> None:
        if not url:
            return
        if url.scheme not in allowed:
            expected = ", ".join(f'"{scheme}://"' for scheme in allowed)
            raise ValueError(f'has the scheme "{url.scheme}://"; expected {expected}')
        if not url.host and url.scheme != "unix":
            raise ValueError("has no host")

    return check


def positive(_instance: object, _attribute: object, value: float) -> None:
    """Want a number above zero, and finite."""
    if not 0 < value < float("inf"):
        raise ValueError("must be greater than 0")
