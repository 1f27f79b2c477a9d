"""The client SDK's public names: GameServer for game servers, Viewer for those who watch."""

from __future__ import annotations

from protocol.client_match import Match
from protocol.client_receipt import Receipt
from protocol.client_server import GameServer
from protocol.errors import (
    ConnectionRefused,
    FrameRefused,
    HubUnreachable,
    RequestRefused,
    Undelivered,
)

__all__ = [
    "ConnectionRefused",
    "FrameRefused",
    "GameServer",
    "HubUnreachable",
    "Match",
    "Receipt",
    "RequestRefused",
    "Undelivered",
]
