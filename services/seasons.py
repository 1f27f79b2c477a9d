"""Seasons are started by people: of one game, or global ones for all games that have none."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any

import asyncpg
import msgspec
import structlog

from domain.errors import AlreadyExists, Forbidden, LimitReached
from domain.events import EVENT_TYPES, Principal, Role
from domain.ids import uuid7
from domain.seasons import Season, check_season, season_of
from domain.times import time_text
from storage import audit, seasons
from storage import log as facts
from storage.audit import Entry
from storage.database import Connection, answering
from storage.log import Event, pages

log = structlog.get_logger(__name__)

_TYPE = "season.started"
# Seasons of all games together; the fold holds them all in memory.
SEASONS_MAX = 1_000


async def start(
    pool: asyncpg.Pool, who: Principal | None, by: Entry, raw: dict[str, Any], now_ms: int
) -> tuple[Season, bool]:
    """(the season that counts for results from here on, is it new): announces season.started.

    raw: {season_id?, number?, game?, name?, starts_at?, ends_at?, xp_per_tier?, rewards?, rating?};
    without a number the next of its game, without an id one made of game and number, without
    starts_at now. The same season again changes nothing; another one with its id or number raises
    AlreadyExists. who, by: as in services.games.configure. Raises Forbidden, InvalidSchema naming
    the field, LimitReached, Unavailable. The caller wakes the workers (storage.log.wake).
    """
    if who is not None and (who.kind != "user" or who.role < Role.ADMIN):
        raise Forbidden("starting a season needs the role ADMIN")
    with answering():
        async with facts.transaction(pool) as tx:
            await seasons.lock(tx.connection)
            known = await _started(tx.connection)
            said = check_season(_completed(raw, known, now_ms), now_ms)
            said.by = None if who is None else who.subject
            payload = msgspec.to_builtins(said)
            if _is_known(payload, raw, known):
                return season_of(payload), False
            if len(known) >= SEASONS_MAX:
                raise LimitReached(f"{SEASONS_MAX} seasons were started already")
            event_id = uuid7(now_ms, secrets.randbits(74))
            event = Event(
                event_id=event_id,
                type=_TYPE,
                v=EVENT_TYPES[_TYPE].v,
                subject=f"season:{said.season_id}",
                cause_id=None,
                root_id=event_id,
                occurred_at_ms=now_ms,
                payload=payload,
            )
            done = replace(
                by,
                action=_TYPE,
                occurred_at_ms=now_ms,
                target_type="season",
                target_id=said.season_id,
                metadata={**by.metadata, "event_id": str(event_id), "game": said.game},
            )
            await audit.append(tx.connection, [done])
            facts.announce(tx, event)
    log.info("fact_announced", type=_TYPE, event_id=str(event_id), subject=event.subject)
    return season_of(payload), True


async def _started(conn: Connection) -> list[dict[str, Any]]:
    """Every season that the log knows: the fold may be behind it."""
    found: list[dict[str, Any]] = []
    after_seq = 0
    while True:
        page = await pages.page(conn, pages.Filter(type=_TYPE), pages.PAGE_MAX, after_seq)
        found += [each.payload for each in page]
        if len(page) < pages.PAGE_MAX:
            return found
        after_seq = page[-1].seq


def _completed(raw: dict[str, Any], known: list[dict[str, Any]], now_ms: int) -> dict[str, Any]:
    """With number, id and start where they are left out; `by` is nobody's to say."""
    told = {key: value for key, value in raw.items() if value is not None and key != "by"}
    game = told.get("game")
    again = [each["number"] for each in known if each["season_id"] == told.get("season_id")]
    if "number" not in told and again:
        told["number"] = again[0]
    if "number" not in told:
        numbers = [each["number"] for each in known if each.get("game") == game]
        told["number"] = max(numbers, default=0) + 1
    if "season_id" not in told and isinstance(game, str | None):
        name = f"season-{told['number']}"
        told["season_id"] = name if game is None else f"{game}/{name}"
    return {"starts_at": time_text(now_ms), **told}


def _is_known(payload: dict[str, Any], raw: dict[str, Any], known: list[dict[str, Any]]) -> bool:
    """Whether this very season was started; raises AlreadyExists for another in its place."""
    for other in known:
        if other["season_id"] == payload["season_id"]:
            own = {**payload, "by": other.get("by")}
            if raw.get("starts_at") is None:
                payload["starts_at"] = own["starts_at"] = other["starts_at"]
            if own == other:
                return True
            raise AlreadyExists("this season was started with another content", field="season_id")
        same_game = other.get("game") == payload["game"]
        if same_game and other["number"] == payload["number"]:
            raise AlreadyExists(
                f"{other['season_id']} has the number {other['number']} already", field="number"
            )
    return False
