"""Spectators' tokens over HTTP: only where the setting allows them, and only so many."""

from __future__ import annotations

from datetime import datetime

import pytest

from domain.errors import RateLimited
from domain.events import Role
from hub.api.session import Bucket
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


def test_the_bucket_gives_its_burst_and_then_its_rate() -> None:
    bucket = Bucket(rate_per_s=10, burst=2, now_s=0.0)
    bucket.take(0.0)
    bucket.take(0.0)
    with pytest.raises(RateLimited) as caught:
        bucket.take(0.05)
    assert caught.value.retry_after_ms == 51
    bucket.take(0.11)
    bucket.take(100.0)
    bucket.take(100.0)
    with pytest.raises(RateLimited):
        bucket.take(100.0)
