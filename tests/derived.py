"""Facts that follow from results, announced by hand where a test is about what comes of them."""

from __future__ import annotations

import secrets
import time
from typing import Any
from uuid import UUID

import asyncpg

from domain.ids import uuid7
from storage import log
from storage.log import Event


def fact(fact_type: str, **payload: Any) -> Event:
    """A fact with a fresh root, as if some result had brought it about just now."""
    now_ms = round(time.time() * 1000)
    root_id = uuid7(now_ms, secrets.randbits(74))
    return Event(
        event_id=uuid7(now_ms, secrets.randbits(74)),
        type=fact_type,
        v=1,
        subject=f"user:{payload['user_id']}",
        cause_id=root_id,
        root_id=root_id,
        occurred_at_ms=now_ms,
        payload=payload,
    )


def achievement(user_id: str, code: str) -> Event:
    """An achievement of a user, titled by its code."""
    return fact(
        "achievement.unlocked",
        user_id=user_id,
        achievement_code=code,
        title=code.title(),
        description="Do it.",
        icon="star",
        category="Competitive",
        rarity="common",
        reward=None,
    )


def rank(user_id: str, old: int | None, new: int, game: str = "arena") -> Event:
    """A move on a game's board."""
    return fact(
        "rank.changed", user_id=user_id, board=f"{game}/global", game=game, old=old, new=new
    )


async def announce(pool: asyncpg.Pool, *events: Event) -> list[UUID]:
    """One transaction that announces them; their ids."""
    async with log.transaction(pool) as tx:
        for event in events:
            log.announce(tx, event)
    return [event.event_id for event in events]
