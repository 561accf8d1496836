"""A client for a running statusd: the tree, why it is so, and every change of it, for plain Python and for trio."""

from __future__ import annotations

from statusd.client.answers import Explanation, TreeState
from statusd.client.blocking import Client, Events
from statusd.client.concurrent import TrioClient, TrioEvents
from statusd.client.faults import ClientError
from statusd.client.mirror import TreeMirror
from statusd.client.quality import Quality
from statusd.client.updates import Disconnected, NodeChange, TreeChange, TreeSnapshot, Update

__all__ = [
    "Client",
    "ClientError",
    "Disconnected",
    "Events",
    "Explanation",
    "NodeChange",
    "Quality",
    "TreeChange",
    "TreeMirror",
    "TreeSnapshot",
    "TreeState",
    "TrioClient",
    "TrioEvents",
    "Update",
]
