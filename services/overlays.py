"""Overlays come and go: their row, the end of their token and the audit row are one commit."""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg

from domain.errors import LimitReached, UnknownOverlay
from domain.events import Principal, Role
from domain.overlays import GONE_MAX, OVERLAYS_MAX, Overlay, check_may_own
from domain.tokens import REVOCATIONS_MAX, kept_until_s
from storage import audit, overlays, tokens
from storage.audit import Entry, Origin
from storage.database import Connection, answering


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Who asks, and from where; for the audit row. now_ms is ms since the epoch."""

    who: Principal
    now_ms: int
    origin: Origin


async def create(pool: asyncpg.Pool, request: Request, overlay: Overlay) -> None:
    """Stores what domain.overlays.planned made of a request (WSA-11).

    Raises LimitReached when the owner has OVERLAYS_MAX already or took GONE_MAX away, Unavailable.
    """
    with answering():
        async with pool.acquire() as conn, conn.transaction():
            had = await overlays.count_locked(conn, overlay.owner, request.now_ms // 1000)
            if had >= OVERLAYS_MAX:
                raise LimitReached(f"an owner has at most {OVERLAYS_MAX} overlays; delete one")
            if request.who.role < Role.ADMIN:
                await _check_gone(conn, audit.actor_of(request.who)[0])
            await overlays.insert(conn, overlay)
            await audit.append(conn, [_entry(request, "overlay.created", overlay)])


async def remove(pool: asyncpg.Pool, request: Request, overlay_id: str) -> Overlay:
    """Takes an overlay away and revokes its token; ADMIN may take anyone's.

    Raises UnknownOverlay, also for somebody else's, Forbidden, LimitReached, Unavailable. The
    caller tells the hubs (storage.redis.tell_standing) afterwards.
    """
    check_may_own(request.who)
    owner = None if request.who.role >= Role.ADMIN else request.who.subject
    with answering():
        async with pool.acquire() as conn, conn.transaction():
            # The first lock of whoever revokes; given back when there is no such overlay.
            seq = await tokens.next_seq(conn)
            overlay = await overlays.take(conn, overlay_id, owner)
            if overlay is None:
                raise UnknownOverlay("there is no overlay of this id", field="id")
            await _revoke(conn, seq, overlay, audit.actor_of(request.who)[0])
            await audit.append(conn, [_entry(request, "overlay.revoked", overlay)])
    return overlay


async def _check_gone(conn: Connection, actor: str) -> None:
    if await tokens.count_by(conn, actor, GONE_MAX) >= GONE_MAX:
        raise LimitReached(
            f"{GONE_MAX} overlays were taken away whose tokens have not ended; "
            "wait until they have, or ask an ADMIN"
        )


async def _revoke(conn: Connection, seq: int, overlay: Overlay, by: str) -> None:
    """Ends the overlay's token: its jti is the overlay's id, and its end is known."""
    await tokens.prune(conn)
    clock = await tokens.clock(conn, REVOCATIONS_MAX)
    if clock.kept >= REVOCATIONS_MAX:
        raise LimitReached(
            f"{REVOCATIONS_MAX} revocations are in force: replace the signing key (operations.md)"
        )
    kept_ms = round(kept_until_s(clock.now_ms / 1000, overlay.expires_at_s) * 1000)
    await tokens.revoke_token(
        conn, seq, overlay.overlay_id, by=by, now_ms=clock.now_ms, kept_until_ms=kept_ms
    )


def _entry(request: Request, action: str, overlay: Overlay) -> Entry:
    actor, role = audit.actor_of(request.who)
    return Entry(
        actor=actor,
        role=role,
        action=action,
        occurred_at_ms=request.now_ms,
        target_type="overlay",
        target_id=overlay.overlay_id,
        metadata={
            "kind": overlay.kind.value,
            "subject": overlay.subject,
            "owner": overlay.owner,
        },
        ip=request.origin.ip,
        user_agent=request.origin.user_agent,
        trace_id=request.origin.trace_id,
    )
