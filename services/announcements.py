"""Announcements: what an organiser or admin says to everyone in a room."""

from __future__ import annotations

import secrets

import asyncpg
import msgspec
import structlog

from domain.errors import Unavailable
from domain.events import (
    EVENT_TYPES,
    NO_ROLES,
    Principal,
    TournamentRoles,
    check_may_publish,
)
from domain.facts import schema_error
from domain.ids import split_room, uuid7
from domain.payloads import AnnouncementPosted
from storage import audit
from storage import log as facts
from storage.audit import NOWHERE, Entry, Origin
from storage.database import CONFLICTS, answering
from storage.log import Event

log = structlog.get_logger(__name__)

_TYPE = "announcement.posted"


async def announce_text(
    pool: asyncpg.Pool,
    who: Principal,
    room: str,
    text: str,
    *,
    now_ms: int,
    roles: TournamentRoles = NO_ROLES,
    origin: Origin = NOWHERE,
) -> Event:
    """Puts an announcement into the log; the relay carries it to the room.

    roles: those of `who` within tournaments, where one may raise the token's.
    Its id is a UUIDv7, for what a person does is a root fact (contract: The log). Raises Forbidden,
    UnknownRoom, InvalidSchema, Unavailable. The caller wakes the workers (storage.log.wake).
    """
    check_may_publish(who, room, _TYPE, roles)
    event_id = uuid7(now_ms, secrets.randbits(74))
    raw = {"id": str(event_id), "room": room, "text": text, "by": who.subject}
    try:
        payload = msgspec.convert(raw, AnnouncementPosted)
    except msgspec.ValidationError as error:
        raise schema_error(error) from None
    event = Event(
        event_id=event_id,
        type=_TYPE,
        v=EVENT_TYPES[_TYPE].v,
        subject=f"user:{who.subject}",
        cause_id=None,
        root_id=event_id,
        occurred_at_ms=now_ms,
        payload=msgspec.to_builtins(payload),
    )
    try:
        with answering():
            async with facts.transaction(pool) as tx:
                await audit.append(tx.connection, [_entry(who, event, origin)])
                facts.announce(tx, event)
    except CONFLICTS as error:
        raise Unavailable("the announcement was not stored", retry_after_ms=500) from error
    # With the request's ids this line ties the request to all that follows from the fact (GW-08).
    log.info("fact_announced", type=event.type, event_id=str(event_id), subject=event.subject)
    return event


def _entry(who: Principal, event: Event, origin: Origin) -> Entry:
    """Who said it and from where; what was said is in the log under this id."""
    actor, role = audit.actor_of(who)
    room = str(event.payload["room"])
    kind, room_id = split_room(room)
    return Entry(
        actor=actor,
        role=role,
        action=_TYPE,
        occurred_at_ms=event.occurred_at_ms,
        target_type="room",
        target_id=room,
        tournament_id=room_id if kind == "tournament" else None,
        metadata={"event_id": str(event.event_id)},
        ip=origin.ip,
        user_agent=origin.user_agent,
        trace_id=origin.trace_id,
    )
