"""/api/v1/overlays: a user's stream overlays, each with the address to paste into OBS."""

from __future__ import annotations

import secrets
import time
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from aiohttp import web

from domain.events import Principal, Role
from domain.ids import check_id, uuid7
from domain.overlays import OVERLAYS_MAX, Overlay, planned
from domain.times import time_text
from hub.api.bodies import answer, read_object
from hub.api.errors import ACQUIRE_TIMEOUT_S
from hub.audit import origin
from hub.auth import require
from hub.context import CONTEXT
from services import overlays as keeping
from services.overlays import Request
from storage import overlays
from storage.redis import tell_standing


async def list_overlays(request: web.Request) -> web.Response:
    """The caller's overlays, newest first, with their addresses (RT-13). From PLAYER up."""
    who = await require(request, Role.PLAYER)
    context = request.app[CONTEXT]
    async with context.pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
        found = await overlays.of_owner(connection, who.subject, int(time.time()))
    return answer({"overlays": [_shown(request, each) for each in found], "max": OVERLAYS_MAX})


async def create_overlay(request: web.Request) -> web.Response:
    """201 with the overlay of {kind, match | user, title?, options?, life_s?}. From PLAYER up."""
    who = await require(request, Role.PLAYER)
    asked = _asked(who)
    overlay_id = str(uuid7(asked.now_ms, secrets.randbits(74)))
    overlay = planned(who, await read_object(request), overlay_id, asked.now_ms // 1000)
    # Signed before it is stored: without a key there is nothing to store.
    shown = _shown(request, overlay)
    await keeping.create(request.app[CONTEXT].pool, asked, overlay)
    return answer(shown, status=201)


async def delete_overlay(request: web.Request) -> web.Response:
    """Takes the overlay away; its token ends with it. 404 unknown_overlay for somebody else's."""
    who = await require(request, Role.PLAYER)
    context = request.app[CONTEXT]
    overlay_id = check_id(request.match_info["id"], "id")
    gone = await keeping.remove(context.pool, _asked(who), overlay_id)
    await tell_standing(context.redis)
    return answer({"id": gone.overlay_id, "revoked": True})


def _asked(who: Principal) -> Request:
    return Request(who=who, now_ms=round(time.time() * 1000), origin=origin())


def _shown(request: web.Request, overlay: Overlay) -> dict[str, Any]:
    """An overlay as HTTP shows it. `path` is for any address of the hub, `url` for the one asked.

    preview_path is the same with sample text where there is nothing to show yet.
    """
    token = request.app[CONTEXT].auth.sign_overlay(overlay)
    options: dict[str, Any] = msgspec.to_builtins(overlay.options)
    query = urlencode({"token": token, **{name: _plain(each) for name, each in options.items()}})
    path = f"/overlay/{overlay.kind.value}/{quote(overlay.shown_id, safe='')}?{query}"
    return {
        "id": overlay.overlay_id,
        "kind": overlay.kind.value,
        "subject": overlay.subject,
        "title": overlay.title,
        "options": options,
        "created_at": time_text(overlay.created_at_s * 1000),
        "expires_at": time_text(overlay.expires_at_s * 1000),
        "path": path,
        "url": f"{request.scheme}://{request.host}{path}",
        "preview_path": f"{path}&preview=1",
    }


def _plain(value: float | str) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
