"""How long what has no request in flight is waited for when the server stops."""

from __future__ import annotations

from typing import Final

GLANCE: Final = 0.05
"""Seconds in which what a client has sent already is taken."""

FIRST: Final = 1.0
"""Seconds in which a request that has begun, or the first one of a connection, may come whole.

Who has connected has been taken in, and asks the next moment: a restart must not turn away the only request that comes.
"""
