"""Overlays come and go: their row, the end of their token and the audit row are one commit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import asyncpg

from domain.errors import Forbidden, UnknownOverlay
from domain.events import Principal, Role
from domain.overlays import OVERLAYS_MAX, Overlay, check_may_own
from storage import audit, overlays
from storage.audit import Entry
from storage.database import answering


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Who asks, and from where; for the audit row. now_ms is ms since the epoch."""

    who: Principal
    now_ms: int
    ip: str | None = None
    user_agent: str | None = None
    trace_id: str | None = None


async def create(pool: asyncpg.Pool, request: Request, overlay: Overlay) -> None:
    """Stores what domain.overlays.planned made of a request (WSA-11).

    Raises Forbidden when the owner has OVERLAYS_MAX already, Unavailable.
    """
    with answering():
        async with pool.acquire() as conn, conn.transaction():
            had = await overlays.count_locked(conn, overlay.owner, request.now_ms // 1000)
            if had >= OVERLAYS_MAX:
                raise Forbidden(f"an owner has at most {OVERLAYS_MAX} overlays; delete one first")
            await overlays.insert(conn, overlay)
            await audit.append(conn, [_entry(request, "overlay.created", overlay)])


async def remove(pool: asyncpg.Pool, request: Request, overlay_id: str) -> Overlay:
    """Takes an overlay away; ADMIN may take anyone's.

    Raises UnknownOverlay, also for somebody else's, Forbidden, Unavailable.
    """
    check_may_own(request.who)
    owner = None if request.who.role >= Role.ADMIN else request.who.subject
    with answering():
        async with pool.acquire() as conn, conn.transaction():
            overlay = await overlays.take(conn, overlay_id, owner)
            if overlay is None:
                raise UnknownOverlay("there is no overlay of this id", field="id")
            await audit.append(conn, [_entry(request, "overlay.revoked", overlay)])
    return overlay


def _entry(request: Request, action: str, overlay: Overlay) -> Entry:
    actor, role = audit.actor_of(request.who)
    told: Mapping[str, str] = {
        "kind": overlay.kind.value,
        "subject": overlay.subject,
        "owner": overlay.owner,
    }
    return Entry(
        actor=actor,
        role=role,
        action=action,
        occurred_at_ms=request.now_ms,
        target_type="overlay",
        target_id=overlay.overlay_id,
        metadata=told,
        ip=request.ip,
        user_agent=request.user_agent,
        trace_id=request.trace_id,
    )
