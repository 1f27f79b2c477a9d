"""Whose pages may open sockets: in production the hub's own, or those that are listed (WSA-09)."""

from __future__ import annotations

import aiohttp
import pytest

from hub.live.origin import origin_allowed
from tests.hubs import running_hub, server_token, user_token
from tests.sockets import server, viewer


@pytest.mark.parametrize(
    ("origin", "host", "allowed", "passes"),
    [
        ("https://hub.example", "hub.example", "", True),
        ("http://hub.example", "hub.example", "", True),
        ("https://HUB.example:443", "hub.example", "", True),
        ("http://127.0.0.1:8000", "127.0.0.1:8000", "", True),
        ("http://[::1]:8000", "[::1]:8000", "", True),
        ("http://127.0.0.1:8001", "127.0.0.1:8000", "", False),
        ("https://evil.example", "hub.example", "", False),
        ("https://hub.example.evil.example", "hub.example", "", False),
        ("https://hub.example@evil.example", "hub.example", "", False),
        ("null", "hub.example", "", False),
        ("", "hub.example", "", False),
        ("file://", "hub.example", "", False),
        ("https://hub.example", "", "", False),
        ("https://play.example", "hub.example", "https://play.example", True),
        ("http://play.example", "hub.example", "https://play.example", False),
        ("https://hub.example", "hub.example", "https://play.example", False),
        ("https://a.example:8443", "h", "https://b.example,https://a.example:8443", True),
        ("https://evil.example", "hub.example", "*", True),
        ("null", "hub.example", "*", True),
        ("http://x:99999", "hub.example", "", False),
    ],
)
def test_origins(origin: str, host: str, allowed: str, passes: bool) -> None:
    assert origin_allowed(origin, host, allowed) is passes


async def upgrade(url: str, token: str, **headers: str) -> int:
    """The status of an upgrade with these headers."""
    async with aiohttp.ClientSession() as client:
        try:
            async with client.ws_connect(f"{url}/ws?token={token}", headers=headers):
                return 101
        except aiohttp.WSServerHandshakeError as error:
            return error.status


@pytest.mark.proof
async def test_production_refuses_other_sites_before_the_upgrade(
    database_url: str, redis_url: str
) -> None:
    async with running_hub(database_url, redis_url, environment="production") as hub:
        token = user_token(hub.settings)
        assert await upgrade(hub.url, token, Origin="https://evil.example") == 403
        assert await upgrade(hub.url, token, Origin=hub.url) == 101
        assert await upgrade(hub.url, token) == 101
        async with aiohttp.ClientSession() as client:
            headers = {"Origin": "https://evil.example"}
            for path in ("/ws", "/ws/match/m1", "/ingest"):
                async with client.get(hub.url + path, headers=headers) as answer:
                    assert answer.status == 403
                    assert (await answer.json())["error"]["code"] == "origin_not_allowed"
        async with server(hub.url, server_token(hub.settings)) as sender:
            await sender.start("m1")


async def test_listed_sites_pass_in_production(database_url: str, redis_url: str) -> None:
    listed = {"environment": "production", "ws_allowed_origins": "https://play.example"}
    async with running_hub(database_url, redis_url, **listed) as hub:
        token = user_token(hub.settings)
        async with viewer(hub.url, token, origin="https://play.example") as raw:
            assert (await raw.ask(op="ping"))["op"] == "pong"
        assert await upgrade(hub.url, token, Origin=hub.url) == 403


async def test_development_does_not_ask(database_url: str, redis_url: str) -> None:
    async with running_hub(database_url, redis_url) as hub:
        token = user_token(hub.settings)
        assert await upgrade(hub.url, token, Origin="https://evil.example") == 101
