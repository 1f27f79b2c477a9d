"""/api/v1/overlays: a user's stream overlays, each with the address to paste into OBS."""

from __future__ import annotations

import secrets
import time
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from aiohttp import web
from msgspec import Struct

from domain import examples
from domain.errors import LimitReached, UnknownOverlay
from domain.events import Principal, Role
from domain.ids import check_id, uuid7
from domain.overlays import OVERLAYS_MAX, Kind, Options, Overlay, Wish, planned
from domain.times import time_text
from hub.api.bodies import answer, read_object
from hub.api.errors import ACQUIRE_TIMEOUT_S
from hub.api.operations import Example, operation
from hub.audit import origin
from hub.auth import require
from hub.context import CONTEXT
from services import overlays as keeping
from services.overlays import Request
from storage import overlays
from storage.redis import tell_standing


class OverlayShown(Struct, kw_only=True):
    """An overlay and the addresses to paste; they carry its token."""

    id: str
    kind: Kind
    subject: str
    title: str | None
    options: Options
    created_at: str
    expires_at: str
    path: str
    url: str
    preview_path: str


class OverlayList(Struct, kw_only=True):
    """The caller's overlays, newest first."""

    overlays: list[OverlayShown]
    max: int


class OverlayGone(Struct, kw_only=True):
    """The overlay is taken away, and its token is dead."""

    id: str
    revoked: bool


_PATH = f"/overlay/scoreboard/{quote(examples.MATCH, safe='')}?token=%3Ctoken%3E&theme=glass"
_SHOWN: dict[str, Any] = {
    "id": "01953a5c-7d10-7c3a-9a4f-5b1f0e8d2c12",
    "kind": "scoreboard",
    "subject": f"match:{examples.MATCH}",
    "title": "Main stage",
    "options": {"theme": "glass"},
    "created_at": "2026-03-01T17:30:00.000Z",
    "expires_at": "2027-03-01T17:30:00.000Z",
    "path": _PATH,
    "url": f"http://localhost:8000{_PATH}",
    "preview_path": f"{_PATH}&preview=1",
}
_WISH = {
    "kind": "scoreboard",
    "match": examples.MATCH,
    "title": "Main stage",
    "options": {"theme": "glass"},
}


@operation(
    tag="overlays",
    who="player",
    answers={200: OverlayList},
    example=Example(answer={"overlays": [_SHOWN], "max": OVERLAYS_MAX}),
)
async def list_overlays(request: web.Request) -> web.Response:
    """The caller's overlays, newest first, with their addresses (RT-13)."""
    who = await require(request, Role.PLAYER)
    context = request.app[CONTEXT]
    async with context.pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
        found = await overlays.of_owner(connection, who.subject, int(time.time()))
    return answer({"overlays": [_shown(request, each) for each in found], "max": OVERLAYS_MAX})


@operation(
    tag="overlays",
    who="player",
    body=Wish,
    answers={201: OverlayShown},
    errors=(LimitReached,),
    example=Example(body=_WISH, status=201, answer=_SHOWN),
)
async def create_overlay(request: web.Request) -> web.Response:
    """Makes an overlay of a match, of a user or of a game's board."""
    who = await require(request, Role.PLAYER)
    asked = _asked(who)
    overlay_id = str(uuid7(asked.now_ms, secrets.randbits(74)))
    overlay = planned(who, await read_object(request), overlay_id, asked.now_ms // 1000)
    # Signed before it is stored: without a key there is nothing to store.
    shown = _shown(request, overlay)
    await keeping.create(request.app[CONTEXT].pool, asked, overlay)
    return answer(shown, status=201)


@operation(
    tag="overlays",
    who="player",
    path={"id": "the overlay"},
    answers={200: OverlayGone},
    errors=(UnknownOverlay, LimitReached),
    example=Example(path={"id": _SHOWN["id"]}, answer={"id": _SHOWN["id"], "revoked": True}),
)
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
    scope = {} if overlay.scope is None else {"scope": overlay.scope}
    looks = {name: _plain(each) for name, each in options.items()}
    query = urlencode({"token": token, **scope, **looks})
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
