"""Games declare how they are rated and what their counters mean; it holds for later results."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any

import asyncpg
import msgspec
import structlog

from domain.errors import Forbidden, LimitReached
from domain.events import EVENT_TYPES, Principal, Role
from domain.games import GamePolicy, check_game, policy_of
from domain.ids import uuid7
from storage import audit, games
from storage import log as facts
from storage.audit import Entry
from storage.database import Connection, answering
from storage.log import Event, pages

log = structlog.get_logger(__name__)

_TYPE = "game.configured"
# Games that declare something; the fold and every reader hold them all in memory.
GAMES_MAX = 1_000


async def configure(
    pool: asyncpg.Pool, who: Principal | None, by: Entry, raw: dict[str, Any], now_ms: int
) -> tuple[GamePolicy, bool]:
    """(the game's policy from here on, is it new): announces game.configured, {game, title?,
    rating?, stats?}; what is left out has its default again.

    who: the token that asks, an ADMIN; None is the operator. by: who asks and from where, for the
    audit log. What stands already is not announced again. Raises Forbidden, InvalidSchema naming
    the field, LimitReached, Unavailable. The caller wakes the workers (storage.log.wake).
    """
    if who is not None and (who.kind != "user" or who.role < Role.ADMIN):
        raise Forbidden("declaring a game needs the role ADMIN")
    said = check_game({key: value for key, value in raw.items() if key != "by"})
    said.by = None if who is None else who.subject
    payload = msgspec.to_builtins(said)
    event_id = uuid7(now_ms, secrets.randbits(74))
    event = Event(
        event_id=event_id,
        type=_TYPE,
        v=EVENT_TYPES[_TYPE].v,
        subject=f"game:{said.game}",
        cause_id=None,
        root_id=event_id,
        occurred_at_ms=now_ms,
        payload=payload,
    )
    with answering():
        async with facts.transaction(pool) as tx:
            before = await _latest(tx.connection, said.game)
            if before is not None and {**before, "by": payload["by"]} == payload:
                return policy_of(payload), False
            if before is None and await games.count(tx.connection, GAMES_MAX) >= GAMES_MAX:
                raise LimitReached(f"{GAMES_MAX} games are declared already")
            done = replace(
                by,
                action=_TYPE,
                occurred_at_ms=now_ms,
                target_type="game",
                target_id=said.game,
                metadata={**by.metadata, "event_id": str(event_id)},
            )
            await audit.append(tx.connection, [done])
            facts.announce(tx, event)
    log.info("fact_announced", type=_TYPE, event_id=str(event_id), subject=event.subject)
    return policy_of(payload), True


async def _latest(conn: Connection, game: str) -> dict[str, Any] | None:
    """What the log says of the game last: the fold may be behind it."""
    wanted = pages.Filter(type=_TYPE, subject=f"game:{game}")
    found = await pages.page(conn, wanted, 1, order="newest")
    return found[0].payload if found else None
