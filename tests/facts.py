"""Plain functions that make FACTs of a game server, for tests."""

from __future__ import annotations

import time
from typing import Any

from domain.matches import Sender
from domain.times import time_text
from services.ingest import FactFrame

SERVER_SCOPE = frozenset({"ingest", "match:create"})
TEAMS = [
    {"id": "red", "name": "Red", "roster": [{"id": "ann"}, {"id": "bob"}]},
    {"id": "blue", "name": "Blue", "roster": [{"id": "cid"}, {"id": "dan"}]},
]


def sender(
    server: str = "srv-1",
    stream: str = "a" * 32,
    scope: frozenset[str] = SERVER_SCOPE,
    games: frozenset[str] | None = None,
) -> Sender:
    return Sender(server=server, stream=stream, scope=scope, games=games)


def frame(
    seq: int, kind: str, match: str | None = "m1", by: Sender | None = None, **data: Any
) -> FactFrame:
    now_ms = int(time.time() * 1000)
    return FactFrame(
        sender=by or sender(),
        seq=seq,
        type=kind,
        match=match,
        ts_ms=now_ms,
        data=data,
        received_ms=now_ms,
    )


def scheduled(seq: int, match: str = "m1", by: Sender | None = None, **data: Any) -> FactFrame:
    content = {"game": "chess", "competitors": TEAMS, **data}
    return frame(seq, "match.scheduled", match, by, **content)


def started(seq: int, match: str = "m1", by: Sender | None = None, **data: Any) -> FactFrame:
    content = {"game": "chess", "competitors": TEAMS, **data}
    return frame(seq, "match.started", match, by, **content)


def completed(seq: int, match: str = "m1", by: Sender | None = None, **data: Any) -> FactFrame:
    content = {
        "played_at": now_text(),
        "scores": {"red": 3, "blue": 1},
        "winner_id": "red",
        **data,
    }
    return frame(seq, "match.completed", match, by, **content)


def now_text(offset_s: float = 0) -> str:
    return time_text(int((time.time() + offset_s) * 1000))
