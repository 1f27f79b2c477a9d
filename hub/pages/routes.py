"""The hub's pages: files read once at start and served under a strict content policy."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from domain.ids import is_id

HERE = Path(__file__).parent

# Everything that may be fetched under /static/; other names are 404, whatever the disk holds.
STATIC_TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
# Files below this size are sent as they are: gzip would save less than a packet.
GZIP_BYTES_MIN = 1024

# Pages run only their own files, talk only to their own hub, and are never put into a frame.
# ws: and wss: are named because older Safari does not count them as 'self'.
_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self' ws: wss:; object-src 'none'; base-uri 'none'; form-action 'none'; "
)
CONTENT_POLICY = _POLICY + "frame-ancestors 'none'"
HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # Kept, but asked about each time: a new release shows at once, an old file costs one 304.
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
}
# Overlays are shown by the hub's own pages as well, and by nobody else's.
OVERLAY_HEADERS = {
    **HEADERS,
    "Content-Security-Policy": _POLICY + "frame-ancestors 'self'",
    "X-Frame-Options": "SAMEORIGIN",
}
OVERLAY_KINDS = ("scoreboard", "feed", "player", "leaderboard", "alerts")


# What several pages have alike stands in parts/ once.
_PART = re.compile(rb"<!-- part: ([a-z]+) -->\n")


def _part(found: re.Match[bytes]) -> bytes:
    return (HERE / "parts" / f"{found[1].decode()}.html").read_bytes()


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file in memory: its bytes, plain and packed, and what identifies them."""

    media_type: str
    body: bytes
    packed: bytes | None
    tag: str

    @classmethod
    def load(cls, path: Path, media_type: str) -> PageFile:
        """Reads a file, a page with its parts; raises OSError where one is missing: a broken
        install fails early.
        """
        body = path.read_bytes()
        if media_type == "text/html":
            body = _PART.sub(_part, body)
        packed = gzip.compress(body, 9, mtime=0) if len(body) >= GZIP_BYTES_MIN else None
        return cls(media_type, body, packed, hashlib.sha256(body).hexdigest()[:20])

    def answer(
        self, request: web.Request, status: int = 200, policy: Mapping[str, str] = HEADERS
    ) -> web.Response:
        """200 with the file, or 304 where the reader's copy is the same one."""
        pack = self.packed is not None and "gzip" in request.headers.get("Accept-Encoding", "")
        # The two forms are different bytes, so they carry different strong tags (RFC 9110, 8.8.3).
        tag = f"{self.tag}-gz" if pack else self.tag
        headers = {**policy, "ETag": f'"{tag}"'}
        known = request.if_none_match or ()
        if status == 200 and any(each.value in (tag, "*") for each in known):
            return web.Response(status=304, headers=headers)
        if pack:
            headers["Content-Encoding"] = "gzip"
        return web.Response(
            status=status,
            body=self.packed if pack else self.body,
            content_type=self.media_type,
            charset="utf-8",
            headers=headers,
        )


def static_files() -> dict[str, PageFile]:
    """Name -> file for everything under static/ of a type that pages use."""
    return {
        path.name: PageFile.load(path, STATIC_TYPES[path.suffix])
        for path in sorted((HERE / "static").iterdir())
        if path.suffix in STATIC_TYPES
    }


def routes() -> list[web.RouteDef]:
    """`/`, `/live/{match}`, `/boards`, `/players/{id}`, `/overlays`, `/overlay/{kind}/{id}`, ...

    Reads all files once, when called.
    """
    lobby = PageFile.load(HERE / "index.html", "text/html")
    match_page = PageFile.load(HERE / "live.html", "text/html")
    boards = PageFile.load(HERE / "boards.html", "text/html")
    player_page = PageFile.load(HERE / "player.html", "text/html")
    overlay = PageFile.load(HERE / "overlay.html", "text/html")
    owner_page = PageFile.load(HERE / "overlays.html", "text/html")
    files = static_files()
    icon = files["favicon.svg"]
    contract = PageFile.load(HERE / "docs.html", "text/html")
    # Made by `make contract`, and here so that an installed hub has them.
    documents = {
        name: PageFile.load(HERE / "contract" / name, "application/json")
        for name in ("asyncapi.json", "openapi.json")
    }

    async def show_lobby(request: web.Request) -> web.StreamResponse:
        return lobby.answer(request)

    async def show_match(request: web.Request) -> web.StreamResponse:
        # Whether the match exists is the API's to say; what can't be an id is 404 at once.
        return match_page.answer(request, 200 if is_id(request.match_info["match"]) else 404)

    async def show_boards(request: web.Request) -> web.StreamResponse:
        return boards.answer(request)

    async def show_player(request: web.Request) -> web.StreamResponse:
        return player_page.answer(request, 200 if is_id(request.match_info["id"]) else 404)

    async def show_overlay(request: web.Request) -> web.StreamResponse:
        # The same for each kind: its module looks at the address. A broken one is an empty page.
        kind, shown = request.match_info["kind"], request.match_info["id"]
        status = 200 if kind in OVERLAY_KINDS and is_id(shown) else 404
        return overlay.answer(request, status, OVERLAY_HEADERS)

    async def show_owner_page(request: web.Request) -> web.StreamResponse:
        return owner_page.answer(request)

    async def show_file(request: web.Request) -> web.StreamResponse:
        file = files.get(request.match_info["path"])
        if file is None:
            raise web.HTTPNotFound(text="no such file")
        return file.answer(request)

    async def show_icon(request: web.Request) -> web.StreamResponse:
        return icon.answer(request)

    async def show_contract(request: web.Request) -> web.StreamResponse:
        return contract.answer(request)

    async def show_document(request: web.Request) -> web.StreamResponse:
        return documents[request.match_info["document"]].answer(request)

    return [
        web.get("/", show_lobby, name="lobby"),
        web.get("/live/{match:.+}", show_match, name="match_page"),
        web.get("/boards", show_boards, name="boards_page"),
        web.get("/players/{id:.+}", show_player, name="player_page"),
        web.get("/overlays", show_owner_page, name="overlays_page"),
        web.get("/overlay/{kind}/{id:.+}", show_overlay, name="overlay"),
        web.get("/static/{path:.+}", show_file, name="static"),
        web.get("/favicon.ico", show_icon, name="favicon"),
        web.get("/docs", show_contract, name="docs"),
        web.get("/docs/{document:asyncapi.json|openapi.json}", show_document, name="document"),
    ]
