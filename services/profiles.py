"""Profiles: a user says what it is called, where it is from, and who may see its statistics."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any

import asyncpg
import structlog

from domain.events import EVENT_TYPES, Principal
from domain.ids import uuid7
from domain.profiles import Profile, changed, check_may_own
from storage import audit, profiles
from storage import log as facts
from storage.audit import Entry
from storage.database import answering
from storage.log import Event

log = structlog.get_logger(__name__)

_TYPE = "profile.updated"


async def update(
    pool: asyncpg.Pool, who: Principal, by: Entry, raw: dict[str, Any], now_ms: int
) -> Profile:
    """Changes the asker's own profile, {display_name?, country?, is_public?}, and announces it.

    What is left out stays; a change that changes nothing is not announced. by: who asks and from
    where, for the audit log. Raises Forbidden, InvalidSchema naming the field, Unavailable. The
    caller wakes the workers (storage.log.wake).
    """
    check_may_own(who)
    with answering():
        async with facts.transaction(pool) as tx:
            await profiles.lock(tx.connection, who.subject)
            before = await profiles.get(tx.connection, who.subject)
            after, names = changed(before, raw)
            if not names:
                return before
            after = replace(after, updated_at_ms=now_ms)
            await profiles.save(tx.connection, after)
            event_id = uuid7(now_ms, secrets.randbits(74))
            event = Event(
                event_id=event_id,
                type=_TYPE,
                v=EVENT_TYPES[_TYPE].v,
                subject=f"user:{who.subject}",
                cause_id=None,
                root_id=event_id,
                occurred_at_ms=now_ms,
                payload={
                    "user_id": after.user_id,
                    "changed_fields": names,
                    "display_name": after.display_name,
                    "country": after.country,
                    "is_public": after.is_public,
                },
            )
            done = replace(
                by,
                action=_TYPE,
                occurred_at_ms=now_ms,
                target_type="user",
                target_id=who.subject,
                metadata={**by.metadata, "event_id": str(event_id), "changed_fields": names},
            )
            await audit.append(tx.connection, [done])
            facts.announce(tx, event)
    log.info("fact_announced", type=_TYPE, event_id=str(event_id), subject=event.subject)
    return after
