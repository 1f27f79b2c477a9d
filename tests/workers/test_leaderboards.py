"""Boards follow ratings: sets, pushes and rank.changed, once each, whatever is lost on the way."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import msgpack
import pytest
from redis.asyncio import Redis

from domain.errors import Unavailable
from domain.leaderboards import Regions
from storage import leaderboards, log, rooms
from storage.leaderboards import making, rows
from storage.log import batches
from storage.redis import connect
from tests.boards import rate, said, standing_order, write_profile
from workers import leaderboards as boards
from workers.leaderboards import keeper
from workers.pipeline import drain

REGIONS = Regions({"EU": ["DE", "SE"]})
PIPELINE = boards.pipeline(REGIONS)


@pytest.fixture
async def redis(any_redis_url: str) -> AsyncIterator[Redis]:
    client = connect(any_redis_url)
    yield client
    await client.aclose()


async def keep(pool: asyncpg.Pool, redis: Redis) -> int:
    """One look of a keeper that starts now."""
    return await keeper.Keeper(pool, redis, REGIONS).look()


async def shown(redis: Redis, board: str = "chess/global") -> list[str] | None:
    stretch = await leaderboards.top(redis, board, 1000, REGIONS)
    return None if stretch is None else [subject_id for subject_id, _ in stretch.rows]


async def pushed(redis: Redis, board: str = "chess/global") -> list[Any]:
    _, _, events = await rooms.history(redis, f"leaderboard:{board}", "", 0, 100)
    return [msgpack.unpackb(each)["data"] for each in events]


async def ranks_told(pool: asyncpg.Pool) -> list[tuple[str, int | None, int]]:
    facts = await said(pool, "rank.changed")
    return [(each.payload["user_id"], each.payload["old"], each.payload["new"]) for each in facts]


async def test_boards_equal_a_plain_sort(pool: asyncpg.Pool, redis: Redis) -> None:
    dice = random.Random(3)
    await rate(pool, {f"p{n}": (1200, 0, n) for n in range(40)})
    await rate(pool, {"red": (1300, 1, 5), "blue": (1250, 2, 6)}, kind="team")
    await drain(PIPELINE, pool, redis)
    assert await shown(redis) is None
    assert await keep(pool, redis) == 2
    for _ in range(10):
        some = {f"p{dice.randrange(50)}": (dice.randint(1195, 1205), dice.randint(0, 2),
                                           dice.randint(0, 2)) for _ in range(9)}  # fmt: skip
        await rate(pool, some)
        await drain(PIPELINE, pool, redis)
        assert await shown(redis) == await standing_order(pool)
    assert await shown(redis, "chess/teams") == ["red", "blue"]


async def test_players_hear_of_their_own_moves_and_the_room_of_rows(
    pool: asyncpg.Pool, redis: Redis
) -> None:
    await rate(pool, {"ann": (1300, 1, 1), "bob": (1250, 0, 1), "cid": (1200, 0, 1)})
    await keep(pool, redis)
    await drain(PIPELINE, pool, redis)
    assert await ranks_told(pool) == []
    [first] = await pushed(redis)
    assert [(each["rank"], each["id"], each["rating"]) for each in first["rows"]] == [
        (1, "ann", 1300), (2, "bob", 1250), (3, "cid", 1200)
    ]  # fmt: skip
    assert first["size"] == 3
    # Cid passes bob; bob lost another match and stays behind; dan is new.
    await rate(pool, {"cid": (1260, 1, 2), "dan": (1100, 0, 2)})
    await drain(PIPELINE, pool, redis)
    assert await ranks_told(pool) == [("cid", 3, 2), ("dan", None, 4)]
    [_, second] = await pushed(redis)
    assert second["version"] == first["version"] + 1
    assert second["size"] == 4
    assert [(each["rank"], each["id"], each["tier"]) for each in second["rows"]] == [
        (2, "cid", "Gold"), (3, "bob", "Gold"), (4, "dan", "Silver")
    ]  # fmt: skip
    [fact, _] = await said(pool, "rank.changed")
    facts = await said(pool, "rating.updated")
    [*_, cause] = [each for each in facts if each.subject == "user:cid"]
    assert (fact.cause_id, fact.root_id) == (cause.event_id, cause.root_id)
    assert fact.payload["board"] == "chess/global"


@pytest.mark.parametrize("more", [False, True])
async def test_a_lost_commit_tells_nothing_twice_and_loses_nothing(
    pool: asyncpg.Pool, redis: Redis, more: bool
) -> None:
    """Killed between push and commit; `more`: the log has grown when the batch is read again."""
    await rate(pool, {"ann": (1300, 1, 1), "bob": (1250, 0, 1)})
    await keep(pool, redis)
    await drain(PIPELINE, pool, redis)
    before = len(await pushed(redis))
    await rate(pool, {"bob": (1400, 1, 2)})
    with pytest.raises(Killed):
        await apply_and_die(pool, redis)
    assert len(await pushed(redis)) == before + 1
    assert await ranks_told(pool) == []
    if more:
        await rate(pool, {"cid": (1100, 0, 3)})
    await drain(PIPELINE, pool, redis)
    await drain(PIPELINE, pool, redis)
    assert len(await pushed(redis)) == before + 1 + more
    assert await ranks_told(pool) == [("bob", 2, 1)] + [("cid", None, 3)] * more


class Killed(Exception):
    """The end of a process between push and commit."""


async def apply_and_die(pool: asyncpg.Pool, redis: Redis) -> None:
    async with log.transaction(pool) as tx:
        assert await log.lock_cursor(tx.connection, "boards") is not None
        taken = await batches.take(tx.connection, "boards", sorted(boards.TYPES), 500)
        assert taken is not None
        await boards.apply(tx, redis, taken.facts, regions=REGIONS)
        raise Killed


async def test_a_push_that_was_not_made_is_made_by_whoever_comes_next(
    pool: asyncpg.Pool, redis: Redis
) -> None:
    """Killed between the set and the push."""
    await rate(pool, {"ann": (1300, 1, 1)})
    await keep(pool, redis)
    await drain(PIPELINE, pool, redis)
    before = len(await pushed(redis))
    await rate(pool, {"ann": (1310, 2, 2)})
    async with pool.acquire() as conn:
        [standing] = await rows.of_users(conn, ["ann"])
        head = await log.head(conn)
    member = leaderboards.Member("ann", standing.score, "p")
    await leaderboards.write(
        redis, {"chess/global": [member]}, REGIONS, first_seq=head, last_seq=head, ts_ms=1
    )
    assert len(await pushed(redis)) == before
    await drain(PIPELINE, pool, redis)
    assert [each["rows"][0]["rating"] for each in (await pushed(redis))[before:]] == [1310]


async def test_a_set_that_is_lost_in_the_middle_is_made_again(
    pool: asyncpg.Pool, redis: Redis
) -> None:
    await rate(pool, {f"p{n}": (1200 + n, 0, 1) for n in range(10)})
    own = keeper.Keeper(pool, redis, REGIONS)
    assert await own.look() == 1
    await drain(PIPELINE, pool, redis)
    await redis.delete("leaderboards:set:{chess/global}")
    await rate(pool, {"p0": (1400, 1, 2)})
    await drain(PIPELINE, pool, redis)
    assert await shown(redis) is None
    assert await own.look() == 1
    assert await shown(redis) == await standing_order(pool)
    assert await own.look() == 0
    # Viewers were told of the row that moved meanwhile too.
    assert (await pushed(redis))[-1]["rows"][0]["id"] == "p0"


async def test_an_emptied_redis_gets_its_boards_back(pool: asyncpg.Pool, redis: Redis) -> None:
    await rate(pool, {f"p{n}": (1200 + n, 0, 1) for n in range(10)})
    await write_profile(pool, "p1", country="SE")
    own = keeper.Keeper(pool, redis, REGIONS)
    assert await own.look() == 3
    await redis.flushall()
    assert await own.look() == 3
    assert await shown(redis) == await standing_order(pool)
    assert await shown(redis, "chess/region-EU") == ["p1"]


async def test_a_set_larger_than_a_page_is_whole(
    pool: asyncpg.Pool, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "PAGE_MAX", 7)
    dice = random.Random(4)
    await rate(pool, {f"p{n}": (dice.randint(1199, 1201), 0, 1) for n in range(30)})
    for n in range(30):
        await write_profile(pool, f"p{n}", country="DE" if n % 2 else "FR")
    assert await keep(pool, redis) == 4
    assert await shown(redis) == await standing_order(pool)
    odd = [each for each in await standing_order(pool) if int(each[1:]) % 2]
    assert await shown(redis, "chess/region-DE") == odd == await shown(redis, "chess/region-EU")


async def test_a_new_game_is_noted_by_whoever_misses_its_board(
    pool: asyncpg.Pool, redis: Redis
) -> None:
    own = keeper.Keeper(pool, redis, REGIONS)
    assert await own.look() == 0
    await rate(pool, {"ann": (1300, 1, 1)}, game="go")
    await drain(PIPELINE, pool, redis)
    assert await own.look() == 1
    assert await shown(redis, "go/global") == ["ann"]


async def test_who_moves_to_another_country_changes_boards(
    pool: asyncpg.Pool, redis: Redis
) -> None:
    await rate(pool, {"ann": (1300, 1, 1), "bob": (1250, 0, 1)})
    await write_profile(pool, "ann", country="SE")
    await write_profile(pool, "bob", country="DE")
    await keep(pool, redis)
    await drain(PIPELINE, pool, redis)
    assert await shown(redis, "chess/region-SE") == ["ann"]
    await write_profile(pool, "ann", country="DE")
    await drain(PIPELINE, pool, redis)
    assert await shown(redis, "chess/region-SE") == []
    assert await shown(redis, "chess/region-DE") == ["ann", "bob"]
    assert await shown(redis, "chess/region-EU") == ["ann", "bob"]
    # Made, told again with her profile, and left.
    assert [each["size"] for each in await pushed(redis, "chess/region-SE")] == [1, 1, 0]
    await write_profile(pool, "ann", country=None)
    await drain(PIPELINE, pool, redis)
    assert await shown(redis, "chess/region-EU") == ["bob"]
    assert await shown(redis) == ["ann", "bob"]


async def test_a_new_name_is_told(pool: asyncpg.Pool, redis: Redis) -> None:
    await rate(pool, {"ann": (1300, 1, 1), "bob": (1250, 0, 1)})
    await keep(pool, redis)
    await drain(PIPELINE, pool, redis)
    await write_profile(pool, "bob", country=None, display_name="Bobby")
    await drain(PIPELINE, pool, redis)
    [row] = (await pushed(redis))[-1]["rows"]
    assert (row["rank"], row["id"], row["name"]) == (2, "bob", "Bobby")


async def test_two_workers_keep_one_set(pool: asyncpg.Pool, redis: Redis) -> None:
    """Both keepers and both drains at once: one set, and each version once."""
    await rate(pool, {f"p{n}": (1200 + n, 0, 1) for n in range(20)})
    keepers = [keeper.Keeper(pool, redis, REGIONS) for _ in range(2)]
    made = await asyncio.gather(*(each.look() for each in keepers))
    assert sum(made) == 1
    await drain(PIPELINE, pool, redis)
    for step in range(5):
        await rate(pool, {f"p{step}": (1300 + step, 1, 2)})
        await asyncio.gather(*(drain(PIPELINE, pool, redis) for _ in range(2)),
                             *(each.look() for each in keepers))  # fmt: skip
    versions = [each["version"] for each in await pushed(redis)]
    assert versions == list(range(versions[0], versions[0] + 6))
    assert len(await ranks_told(pool)) == 5


async def test_redis_away_is_nobodys_fault(pool: asyncpg.Pool, redis: Redis) -> None:
    await rate(pool, {"ann": (1300, 1, 1)})
    nowhere = connect("redis://127.0.0.1:1")
    with pytest.raises(Unavailable):
        await drain(PIPELINE, pool, nowhere)
    with pytest.raises(Unavailable):
        await keeper.Keeper(pool, nowhere, REGIONS).look()
    await nowhere.aclose()
    await drain(PIPELINE, pool, redis)
    assert await making.wanted(redis) == ["chess/global"]


async def test_the_first_page_is_rendered_before_anybody_asks(
    pool: asyncpg.Pool, redis: Redis
) -> None:
    await rate(pool, {"ann": (1300, 1, 1)})
    await keep(pool, redis)
    top = await leaderboards.top(redis, "chess/global", 100, REGIONS)
    assert top is not None
    assert b'"ann"' in top.page
