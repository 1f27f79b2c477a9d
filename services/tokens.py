"""Tokens that end before their time: one by its jti, or all that a subject was given so far."""

from __future__ import annotations

from dataclasses import replace

import asyncpg

from domain.errors import InvalidSchema, LimitReached
from domain.ids import check_id
from domain.times import time_text
from domain.tokens import REVOCATIONS_MAX, kept_until_s
from storage import audit, tokens
from storage.audit import Entry
from storage.database import Connection, answering

TOKEN_ID_LENGTH_MAX = 128
# A subject may be revoked a little ahead, for an issuer whose clock is; further is a mistake.
AHEAD_MAX_MS = 300_000


async def revoke_token(
    pool: asyncpg.Pool, by: Entry, token_id: str, *, ends_at_s: int | None = None
) -> bool:
    """Revokes the token of this jti; False when it was revoked before (nothing is written then).

    by: who asks and from where; what was done is filled in here. ends_at_s: the token's end, only
    where its signature was checked: the row is dropped after it. Raises InvalidSchema,
    LimitReached, Unavailable. The caller tells the hubs (storage.redis.tell_standing) afterwards.
    """
    if not 0 < len(token_id) <= TOKEN_ID_LENGTH_MAX or not token_id.isprintable():
        raise InvalidSchema("jti must be text of 1 to 128 characters", field="jti")
    with answering():
        async with pool.acquire() as conn, conn.transaction():
            seq, now_ms = await _begin(conn)
            changed = await tokens.revoke_token(
                conn,
                seq,
                token_id,
                by=by.actor,
                now_ms=now_ms,
                kept_until_ms=round(kept_until_s(now_ms / 1000, ends_at_s) * 1000),
            )
            if changed:
                done = replace(by, action="token.revoked", target_type="token", target_id=token_id)
                await audit.append(conn, [replace(done, occurred_at_ms=now_ms)])
    return changed


async def revoke_subject(
    pool: asyncpg.Pool, by: Entry, subject: str, *, issued_until_ms: int | None = None
) -> int | None:
    """Revokes every token of this `sub`, of whatever kind, with iat <= the time; that time in ms.

    Without a time: now, by the database's clock. iat has whole seconds, so a token made later in
    the same second is dead too. None when a later time stands already (nothing is written then).
    Raises like revoke_token. The caller tells the hubs afterwards.
    """
    check_id(subject, "sub")
    with answering():
        async with pool.acquire() as conn, conn.transaction():
            seq, now_ms = await _begin(conn)
            until_ms = now_ms if issued_until_ms is None else issued_until_ms
            if until_ms > now_ms + AHEAD_MAX_MS:
                raise InvalidSchema("at must not be more than 5 minutes ahead", field="at")
            changed = await tokens.revoke_subject(
                conn,
                seq,
                subject,
                issued_until_ms=until_ms,
                by=by.actor,
                now_ms=now_ms,
                kept_until_ms=round(kept_until_s(now_ms / 1000) * 1000),
            )
            if changed:
                done = replace(
                    by,
                    action="token.revoked",
                    target_type="subject",
                    target_id=subject,
                    metadata={**by.metadata, "issued_until": time_text(until_ms)},
                )
                await audit.append(conn, [replace(done, occurred_at_ms=now_ms)])
    return until_ms if changed else None


async def _begin(conn: Connection) -> tuple[int, int]:
    """(number of this revocation, the database's time in ms), when one more may be kept."""
    seq = await tokens.next_seq(conn)
    await tokens.prune(conn)
    clock = await tokens.clock(conn, REVOCATIONS_MAX)
    if clock.kept >= REVOCATIONS_MAX:
        raise LimitReached(
            f"{REVOCATIONS_MAX} revocations are in force: replace the signing key (operations.md)"
        )
    return seq, clock.now_ms
