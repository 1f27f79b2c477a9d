"""The client SDK's public names: GameServer for game servers, Viewer for those who watch."""

from __future__ import annotations

from protocol.client_match import Match
from protocol.client_receipt import Receipt
from protocol.client_server import GameServer
from protocol.client_tournament import Tournament
from protocol.client_viewer import Viewer
from protocol.errors import (
    ConnectionRefused,
    FrameRefused,
    HubUnreachable,
    RequestRefused,
    SpoolDamaged,
    SpoolFailed,
    SpoolForeign,
    SpoolLocked,
    Undelivered,
)
from protocol.messages import (
    Connection,
    Event,
    History,
    Joined,
    Lagged,
    Left,
    Presence,
    Refused,
    Snapshot,
)

__all__ = [
    "Connection",
    "ConnectionRefused",
    "Event",
    "FrameRefused",
    "GameServer",
    "History",
    "HubUnreachable",
    "Joined",
    "Lagged",
    "Left",
    "Match",
    "Presence",
    "Receipt",
    "Refused",
    "RequestRefused",
    "Snapshot",
    "SpoolDamaged",
    "SpoolFailed",
    "SpoolForeign",
    "SpoolLocked",
    "Tournament",
    "Undelivered",
    "Viewer",
]
