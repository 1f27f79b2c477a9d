"""Spectators' tokens over HTTP: only where the setting allows them, and only so many."""

from __future__ import annotations

from datetime import datetime

import pytest

from domain.errors import RateLimited
from domain.events import Role
from hub.api.session import (
    ADDRESS_TOKENS_BURST,
    ADDRESSES_MAX,
    TOKENS_BURST,
    Visitors,
)
from hub.context import CONTEXT
from tests.hub.api.serving import serving


async def test_a_visitor_gets_a_spectators_token() -> None:
    async with serving(public_spectating=True) as client:
        response = await client.post("/api/v1/session/spectate")
        body = await response.json()
        assert response.status == 200
        assert response.headers["Cache-Control"] == "no-store"
        assert body["expires_in_s"] == 600
        assert client.app is not None
        who = await client.app[CONTEXT].auth.verify(body["token"])
        assert (who.subject, who.role, who.kind) == (body["subject"], Role.SPECTATOR, "user")
        assert datetime.fromisoformat(body["expires_at"]).timestamp() == who.expires_at_s
        other = await (await client.post("/api/v1/session/spectate")).json()
        assert other["subject"] != body["subject"]


async def test_without_the_setting_it_is_forbidden() -> None:
    async with serving() as client:
        response = await client.post("/api/v1/session/spectate")
        assert response.status == 403
        assert (await response.json())["error"]["code"] == "forbidden_action"


def test_one_address_has_its_burst_and_then_its_rate_and_others_have_theirs() -> None:
    visitors = Visitors(0.0)
    for _ in range(int(ADDRESS_TOKENS_BURST)):
        visitors.take("192.0.2.1", 0.0)
    with pytest.raises(RateLimited) as caught:
        visitors.take("192.0.2.1", 0.05)
    assert caught.value.retry_after_ms == 451
    visitors.take("192.0.2.2", 0.05)
    visitors.take("192.0.2.1", 0.51)


def test_everyone_together_has_a_burst_too() -> None:
    visitors = Visitors(0.0)
    for number in range(int(TOKENS_BURST) // 2):
        visitors.take(f"192.0.2.{number}", 0.0)
        visitors.take(None, 0.0)
    for ip in ("192.0.2.250", None):
        with pytest.raises(RateLimited):
            visitors.take(ip, 0.0)


def test_addresses_are_forgotten_at_the_limit() -> None:
    visitors = Visitors(0.0)
    for number in range(ADDRESSES_MAX + 100):
        visitors.take(f"address-{number}", number * 1.0)
    assert len(visitors._each) == ADDRESSES_MAX


async def test_one_visitor_cannot_take_it_all() -> None:
    async with serving(public_spectating=True) as client:
        answers = [await client.post("/api/v1/session/spectate") for _ in range(32)]
        refused = [each for each in answers if each.status == 429]
        assert refused
        assert refused[0].headers["Retry-After"] == "1"
        assert (await refused[0].json())["error"]["code"] == "message_rate_limit_exceeded"


async def test_exempt_addresses_share_the_bucket_of_all() -> None:
    async with serving(public_spectating=True, ws_rate_exempt_cidrs="127.0.0.0/8") as client:
        for _ in range(32):
            assert (await client.post("/api/v1/session/spectate")).status == 200
