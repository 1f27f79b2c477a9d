"""A result on its way to a board: watched by a viewer, an overlay and the players themselves."""

from __future__ import annotations

from typing import Any

import asyncpg

from domain.leaderboards import Regions
from services.ingest import commit_facts
from storage.redis import connect
from tests.facts import completed, started
from tests.hubs import RunningHub, user_token
from tests.sockets import RawViewer, viewer
from workers import fold, relay
from workers.leaderboards import keeper, pipeline
from workers.pipeline import drain

REGIONS = Regions()
ROOM = "leaderboard:chess/global"


async def work(pool: asyncpg.Pool, redis_url: str, *, keep: bool = False) -> None:
    """What workers do with the log; `keep`: and with sets that are missing."""
    redis = connect(redis_url)
    for each in (fold.PIPELINE, pipeline(REGIONS), relay.PIPELINE):
        await drain(each, pool, redis)
    if keep:
        await keeper.Keeper(pool, redis, REGIONS).look()
    await redis.aclose()


async def heard(raw: RawViewer, kind: str) -> dict[str, Any]:
    """The next event of a type."""
    while True:
        message = await raw.hear_op("event")
        if message["type"] == kind:
            return message


async def test_a_result_moves_rows_before_everyones_eyes(
    hub: RunningHub, pool: asyncpg.Pool, redis_url: str
) -> None:
    await commit_facts(pool, [started(1), completed(2)])
    await work(pool, redis_url, keep=True)
    overlay = user_token(hub.settings, kind="overlay", subject=ROOM, role="SPECTATOR")
    async with (
        viewer(hub.url, user_token(hub.settings)) as watching,
        viewer(hub.url, overlay) as streamed,
        viewer(hub.url, user_token(hub.settings, role="PLAYER", sub="cid")) as playing,
    ):
        assert (await watching.ask(op="join", room=ROOM))["op"] == "joined"
        [first] = (await watching.ask(op="history", room=ROOM, limit=10))["events"]
        assert [row["id"] for row in first["data"]["rows"]] == ["ann", "bob", "cid", "dan"]
        assert (await streamed.ask(op="join", room=ROOM))["op"] == "joined"
        assert (await streamed.ask(op="join", room="leaderboard:go/global"))["op"] == "error"
        assert (await playing.ask(op="join", room="user:cid"))["op"] == "joined"
        for n in (2, 3):
            facts = [started(2 * n - 1, f"m{n}"), completed(2 * n, f"m{n}", winner_id="blue",
                     scores={"red": 1, "blue": 3})]  # fmt: skip
            await commit_facts(pool, facts)
        await work(pool, redis_url)
        for raw in (watching, streamed):
            event = await heard(raw, "leaderboard.updated")
            assert event["room"] == ROOM
            assert event["data"]["version"] == first["data"]["version"] + 1
            order = {row["rank"]: row["id"] for row in event["data"]["rows"]}
            assert [order[rank] for rank in range(1, 5)] == ["cid", "dan", "ann", "bob"]
        await work(pool, redis_url)
        moved = await heard(playing, "rank.changed")
        assert (moved["data"]["old"], moved["data"]["new"]) == (3, 1)
        assert moved["data"]["board"] == "chess/global"
