"""Matches that were really played, through ingest and the fold, for tests of what reads them."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
from redis.asyncio import Redis

from domain.matches import Sender
from services.ingest import FactFrame, commit_facts
from storage import log
from storage.log import Event
from workers import fold
from workers.pipeline import drain


def days_ago(days: float) -> str:
    """A time as facts tell it."""
    moment = datetime.now(UTC) - timedelta(days=days)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Story:
    """Duels of users, one after the other, by an importer's stream of its own."""

    def __init__(self, stream: str = "9" * 32) -> None:
        scope = frozenset({"ingest", "match:create", "import"})
        self._sender = Sender(server="importer", stream=stream, scope=scope, games=None)
        self._frames: list[FactFrame] = []
        self._played = 0

    def duel(
        self,
        winner: str,
        loser: str,
        days: float = 0.0,
        game: str = "arena",
        match: str = "",
        **data: Any,
    ) -> None:
        """A match that one won; `days`: so long ago. Without a name they are m/1, m/2, ..."""
        self._played += 1
        match = match or f"m/{self._played}"
        sides = [{"id": each, "name": each.title(), "type": "user"} for each in (winner, loser)]
        self._add("match.scheduled", match, game=game, competitors=sides)
        content = {"winner_id": winner, "scores": {winner: 2, loser: 1}, **data}
        if content.get("outcome") == "draw":
            del content["winner_id"]
        self._add("match.completed", match, played_at=days_ago(days), **content)

    def _add(self, kind: str, match: str, **data: Any) -> None:
        now_ms = round(time.time() * 1000)
        self._frames.append(
            FactFrame(
                sender=self._sender,
                seq=len(self._frames) + 1,
                type=kind,
                match=match,
                ts_ms=now_ms,
                data=data,
                received_ms=now_ms,
            )
        )

    async def tell(self, pool: asyncpg.Pool, redis: Redis) -> None:
        """Commits the facts and folds them."""
        outcomes = await commit_facts(pool, self._frames)
        assert [each.error for each in outcomes if each.error] == []
        await drain(fold.PIPELINE, pool, redis)


async def declare(pool: asyncpg.Pool, *events: Event) -> None:
    """What people declare: it is folded with what comes next."""
    async with log.transaction(pool) as tx:
        for event in events:
            log.announce(tx, event)
