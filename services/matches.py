"""Matches that people schedule, or servers whose token lets them create matches."""

from __future__ import annotations

import secrets
from typing import Any

import asyncpg
import structlog

from domain.errors import Forbidden, InvalidTransition, Unavailable
from domain.events import EVENT_TYPES, Principal, Role
from domain.facts import normalise
from domain.ids import check_id, uuid7
from domain.matches import Match, scheduled, scheduled_payload
from storage import audit, matches
from storage import log as facts
from storage.audit import NOWHERE, Entry, Origin
from storage.database import CONFLICTS, answering
from storage.log import Event

log = structlog.get_logger(__name__)

# Two requests may create the same match at once: the second then finds the first one's.
TRIES_MAX = 3
# What a schedule says; the rest of a Match is what happened since.
_CONTENT = (
    "game", "competitors", "tournament_id", "title", "round", "best_of", "delay_s", "starts_at_ms",
)  # fmt: skip
assert set(_CONTENT) <= set(Match.__struct_fields__)


async def schedule(
    pool: asyncpg.Pool,
    who: Principal,
    body: dict[str, Any],
    now_ms: int,
    match_id_if_absent: str,
    origin: Origin = NOWHERE,
) -> Match:
    """Schedules {id?, game, competitors, starts_at?, delay_s?, ...} as ORGANIZER or match:create.

    The same id with the same content changes nothing and answers the match as everyone may know it
    by now (with a spectator delay: as it was then, or as it was scheduled); with another content
    raises InvalidTransition. Raises Forbidden, InvalidSchema naming the field,
    Unavailable. The caller wakes the workers (storage.log.wake) afterwards.
    """
    match_id = body.get("id")
    match_id = match_id_if_absent if match_id is None else check_id(match_id, "id")
    data = {key: value for key, value in body.items() if key not in ("id", "match_id")}
    match = scheduled(normalise("match.scheduled", match_id, data))
    _check_allowed(who, match.game)
    for _ in range(TRIES_MAX):
        try:
            with answering():
                return await _schedule(pool, match, now_ms, who, origin)
        except CONFLICTS:
            continue
    raise Unavailable("too many transactions create this match", retry_after_ms=500)


def _check_allowed(who: Principal, game: str) -> None:
    if who.kind == "user" and who.role >= Role.ORGANIZER:
        return
    if who.kind == "server" and "match:create" in who.scope:
        if not who.may_play(game):
            raise Forbidden(f"this token may not act for the game {game!r}", field="game")
        return
    raise Forbidden("scheduling needs the role ORGANIZER, or a server token with match:create")


async def _schedule(
    pool: asyncpg.Pool, match: Match, now_ms: int, who: Principal, origin: Origin
) -> Match:
    async with facts.transaction(pool) as tx:
        existing = (await matches.lock(tx.connection, [match.match_id])).get(match.match_id)
        if existing is not None:
            for name in _CONTENT:
                if getattr(existing, name) != getattr(match, name):
                    shown = name.removesuffix("_ms")
                    raise InvalidTransition(
                        f"the match exists already with another {shown}", field=shown
                    )
            if existing.delay_s:
                return await matches.get_shown(tx.connection, match.match_id) or match
            return existing
        await matches.insert(tx.connection, [match])
        event_id = uuid7(now_ms, secrets.randbits(74))
        actor, role = audit.actor_of(who)
        entry = Entry(
            actor=actor,
            role=role,
            action="match.scheduled",
            occurred_at_ms=now_ms,
            target_type="match",
            target_id=match.match_id,
            tournament_id=match.tournament_id,
            metadata={"game": match.game, "event_id": str(event_id)},
            ip=origin.ip,
            user_agent=origin.user_agent,
            trace_id=origin.trace_id,
        )
        await audit.append(tx.connection, [entry])
        event = Event(
            event_id=event_id,
            type="match.scheduled",
            v=EVENT_TYPES["match.scheduled"].v,
            subject=f"match:{match.match_id}",
            cause_id=None,
            root_id=event_id,
            occurred_at_ms=now_ms,
            payload=scheduled_payload(match),
        )
        if match.delay_s:
            packed = matches.pack(match)
            event = facts.held(
                event, match.delay_s, match=packed, tournament_id=match.tournament_id
            )
        facts.announce(tx, event)
    # With the request's ids this line ties the request to all that follows from the fact (GW-08).
    subject = f"match:{match.match_id}"
    log.info("fact_announced", type="match.scheduled", event_id=str(event_id), subject=subject)
    return match
