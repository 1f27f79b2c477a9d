"""POST /api/v1/tokens/revoke: ends a token, or all of a user's, before their time."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web
from msgspec import Struct

from domain.errors import InvalidSchema, LimitReached, TokenExpired, TokenInvalid, TokenRevoked
from domain.events import Role
from domain.ids import check_id
from domain.times import parse_time, time_text
from hub.api.bodies import answer, read_object
from hub.api.operations import Example, operation
from hub.audit import asked_by
from hub.auth import require
from hub.context import CONTEXT, Context
from services import tokens
from storage.redis import tell_standing


class Revocation(Struct, kw_only=True):
    """What to end: exactly one of jti, token and user."""

    jti: str | None = None
    token: str | None = None
    user: str | None = None
    at: str | None = None


class Revoked(Struct, kw_only=True, omit_defaults=True):
    """What is dead now, and whether it was not before."""

    changed: bool
    jti: str | None = None
    user: str | None = None
    issued_until: str | None = None


@operation(
    tag="tokens",
    who="admin",
    body=Revocation,
    answers={200: Revoked},
    errors=(LimitReached,),
    example=Example(
        body={"user": "mallory"},
        answer={"user": "mallory", "changed": True, "issued_until": "2026-03-01T18:05:00.000Z"},
    ),
)
async def revoke(request: web.Request) -> web.Response:
    """Ends a token, by {jti} or {token}, or all of a user's, by {user, at?}.

    `user` means every token with that `sub`, of whatever kind, issued up to `at` (now, unless
    said). All hubs hear of it within a second (contract: Tokens).
    """
    who = await require(request, Role.ADMIN)
    context = request.app[CONTEXT]
    body = await read_object(request)
    named = [name for name in ("jti", "token", "user") if body.get(name) is not None]
    if len(named) != 1 or not isinstance(body[named[0]], str):
        raise InvalidSchema("name one of jti, token and user, as text")
    if body.get("at") is not None and named != ["user"]:
        raise InvalidSchema("at goes with user", field="at")
    by = asked_by(who)
    said: dict[str, Any]
    if named == ["user"]:
        subject = check_id(body["user"], "user")
        until_ms = await tokens.revoke_subject(
            context.pool, by, subject, issued_until_ms=_time(body.get("at"))
        )
        said = {"user": subject, "changed": until_ms is not None}
        if until_ms is not None:
            said["issued_until"] = time_text(until_ms)
    else:
        token_id, ends_at_s = str(body.get("jti")), None
        if named == ["token"]:
            token_id, ends_at_s = await _read(context, body["token"])
        changed = await tokens.revoke_token(context.pool, by, token_id, ends_at_s=ends_at_s)
        said = {"jti": token_id, "changed": changed}
    await asyncio.gather(tell_standing(context.redis), context.standing.catch_up())
    return answer(said)


async def _read(context: Context, token: str) -> tuple[str, int]:
    """(jti, end in s since the epoch) of a token that is good; raises InvalidSchema for others.

    A token that was revoked is known by then, here as everywhere.
    """
    try:
        who = await context.auth.verify(token)
    except TokenRevoked:
        raise InvalidSchema("the token is revoked already", field="token") from None
    except TokenExpired:
        raise InvalidSchema("the token has ended by itself", field="token") from None
    except TokenInvalid as error:
        raise InvalidSchema(f"this is no token of ours: {error.message}", field="token") from None
    return who.token_id, who.expires_at_s


def _time(text: Any) -> int | None:
    if text is None:
        return None
    if not isinstance(text, str):
        raise InvalidSchema("at must be an RFC 3339 time", field="at")
    return parse_time(text, "at")
