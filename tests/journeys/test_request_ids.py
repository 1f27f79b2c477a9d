"""A request's id can be followed from its answer to the fact that it caused (GW-08)."""

from __future__ import annotations

from typing import Any

import aiohttp
import asyncpg
import pytest
import structlog

from domain import examples
from tests.hubs import running_hub, user_token
from tests.sockets import viewer
from workers import fold
from workers.pipeline import Pipeline, drain

NOTICE = {"type": "announcement.posted", "data": {"text": "hello"}}


@pytest.fixture
def lines() -> Any:
    """What is logged, with what requests bind to it, whatever a test before set up."""
    structlog.reset_defaults()
    with structlog.testing.capture_logs(
        processors=[structlog.contextvars.merge_contextvars]
    ) as captured:
        yield captured


@pytest.mark.proof
async def test_from_a_request_to_its_fact_and_to_the_workers_line(
    lines: list[dict[str, Any]], pool: asyncpg.Pool, database_url: str, redis_url: str
) -> None:
    async with running_hub(database_url, redis_url) as hub:
        token = user_token(hub.settings, role="ORGANIZER", sub="olga")
        headers = {"Authorization": f"Bearer {token}", "X-Request-ID": "req-1"}
        body = {**examples.SCHEDULED, "id": examples.MATCH}
        async with (
            aiohttp.ClientSession() as client,
            client.post(f"{hub.url}/api/v1/matches", json=body, headers=headers) as answer,
        ):
            assert answer.headers["X-Request-ID"] == "req-1"
        more = {"X-Request-ID": "req-2"}
        async with viewer(hub.url, token, additional_headers=more) as raw:
            assert (await raw.ask(op="publish", room="announce:all", **NOTICE))["op"] == "pong"

        async def choke(*_: object) -> None:
            raise ValueError("cannot digest this")

        await drain(Pipeline(fold.PIPELINE.name, choke), pool, hub.hub.context.redis)

    told = {each["request_id"]: each for each in lines if each["event"] == "fact_announced"}
    async with pool.acquire() as connection:
        logged = await connection.fetch("SELECT event_id, root_id, type FROM log.facts")
    known = {str(each["event_id"]): each["type"] for each in logged}
    assert known[told["req-1"]["event_id"]] == "match.scheduled"
    assert known[told["req-2"]["event_id"]] == "announcement.posted"
    assert all(each["event_id"] == each["root_id"] for each in logged)
    dead = [each["root_id"] for each in lines if each["event"] == "dead_letter"]
    assert set(dead) == known.keys()
