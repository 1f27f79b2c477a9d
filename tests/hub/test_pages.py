"""The pages over a real socket: what is served, under which policy, and what is not."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from hub.pages.routes import HERE, PageFile, routes, static_files

Client = TestClient[web.Request, web.Application]


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    app = web.Application()
    app.add_routes(routes())
    async with TestClient(TestServer(app)) as opened:
        yield opened


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/", "text/html"),
        ("/live/cup-1%2Ffinal", "text/html"),
        ("/live/cup-1/final", "text/html"),
        ("/boards", "text/html"),
        ("/boards?game=arena&board=teams", "text/html"),
        ("/players/ann", "text/html"),
        ("/players/cwl-2018%2Fann", "text/html"),
        ("/overlays", "text/html"),
        ("/static/gamehub-client.js", "text/javascript"),
        ("/static/theme.css", "text/css"),
        ("/static/wordmark.svg", "image/svg+xml"),
        ("/favicon.ico", "image/svg+xml"),
        ("/docs", "text/html"),
        ("/docs/asyncapi.json", "application/json"),
        ("/docs/openapi.json", "application/json"),
    ],
)
async def test_each_file_comes_with_its_type_and_the_policy(
    client: Client, path: str, media_type: str
) -> None:
    answer = await client.get(URL(path, encoded=True))
    assert answer.status == 200
    assert answer.content_type == media_type
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    "path",
    [
        "/overlay/scoreboard/cup-1%2Ffinal?token=a.b.c",
        "/overlay/feed/cup-1/final",
        "/overlay/player/ann?theme=pink",
        "/overlay/leaderboard/cod%2Fww2?scope=teams",
        "/overlay/alerts/ann",
    ],
)
async def test_overlays_may_be_framed_by_the_hub_itself(client: Client, path: str) -> None:
    answer = await client.get(URL(path, encoded=True))
    assert answer.status == 200
    policy = answer.headers["Content-Security-Policy"]
    assert "frame-ancestors 'self'" in policy
    assert "script-src 'self'; style-src 'self';" in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"
    # The token in the address goes nowhere else.
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    body = await answer.text()
    assert "a.b.c" not in body


@pytest.mark.parametrize("path", ["/overlay/poster/m1", "/overlay/feed/%3Cscript%3E"])
async def test_what_is_no_overlay_is_an_empty_page(client: Client, path: str) -> None:
    answer = await client.get(URL(path, encoded=True))
    assert answer.status == 404
    assert '<main id="air" hidden></main>' in await answer.text()


async def test_an_unchanged_file_costs_a_304(client: Client) -> None:
    first = await client.get("/static/theme.css")
    again = await client.get("/static/theme.css", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status == 304
    assert await again.read() == b""
    other = await client.get("/static/theme.css", headers={"If-None-Match": '"other"'})
    assert other.status == 200


async def test_packed_and_plain_forms_are_the_same_text_under_different_tags(
    client: Client,
) -> None:
    packed = await client.get("/static/theme.css", headers={"Accept-Encoding": "gzip"})
    plain = await client.get("/static/theme.css", headers={"Accept-Encoding": "identity"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert await packed.read() == await plain.read()
    assert packed.headers["ETag"] != plain.headers["ETag"]


@pytest.mark.parametrize(
    "path",
    [
        "/static/nothing.js",
        "/static/../routes.py",
        "/static/..%2Froutes.py",
        "/static/%2e%2e/routes.py",
        "/static/package.json",
        "/static/",
        "/docs/codes.json",
        "/docs/..%2Froutes.py",
    ],
)
async def test_nothing_else_is_served(client: Client, path: str) -> None:
    answer = await client.get(URL(path, encoded=True))
    assert answer.status == 404


@pytest.mark.parametrize("page", ["live", "players"])
async def test_what_cannot_be_an_id_is_not_found(client: Client, page: str) -> None:
    answer = await client.get(URL(f"/{page}/%3Cscript%3E", encoded=True))
    assert answer.status == 404
    assert answer.content_type == "text/html"
    assert "<script>" not in (await answer.text()).split("</head>")[1]


async def test_pages_name_only_files_that_exist_and_nothing_outside() -> None:
    known = set(static_files())
    served = {"/", "/boards", "/docs", "/docs/asyncapi.json", "/docs/openapi.json"}
    for page in sorted(HERE.glob("*.html")):
        text = PageFile.load(page, "text/html").body.decode()
        assert "<!-- part" not in text
        assert text.count("/static/favicon.svg") == text.count("<title>") == 1
        named = re.findall(r'(?:src|href)="([^"#]+)"', text)
        assert named
        for each in named:
            assert each in served or each.removeprefix("/static/") in known, each
        assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?! type=\"module\" src=)", text)
    for path in (HERE / "static").glob("*.js"):
        text = path.read_text()
        assert "innerHTML" not in text
        assert "insertAdjacentHTML" not in text
        for each in re.findall(r"from '\./([^']+)'", text):
            assert each in known, f"{path.name} imports {each}"
