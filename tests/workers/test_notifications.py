"""The notifications pipeline: each fact told once, alike ones as one, the unread count right."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis

from domain.ids import uuid7
from domain.notifications import INBOX_MAX, Notice
from services import notifications as reading
from storage import deadletters, log, notifications
from storage.log import LoggedEvent, Transaction
from tests.derived import achievement, announce, fact, rank
from workers import notifications as telling
from workers import pipeline
from workers.notifications import PIPELINE
from workers.pipeline import Pipeline, drain, retry

NOW_MS = 1_800_000_000_000


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "BACKOFF_S", (0.0, 0.0, 0.0))


async def inbox(pool: asyncpg.Pool, user_id: str = "ana") -> list[Notice]:
    async with pool.acquire() as conn:
        return (await notifications.page(conn, user_id, notifications.PAGE_MAX))[0]


async def unread(pool: asyncpg.Pool, user_id: str = "ana") -> int:
    async with pool.acquire() as conn:
        return await notifications.unread_of(conn, user_id)


async def said(pool: asyncpg.Pool, fact_type: str = "notification.created") -> list[dict[str, Any]]:
    async with pool.acquire() as conn:
        facts = await log.read(conn, 0, 10_000)
    return [each.payload for each in facts if each.type == fact_type]


async def rows(pool: asyncpg.Pool) -> list[asyncpg.Record]:
    async with pool.acquire() as conn:
        found = await conn.fetch("SELECT * FROM notifications.inbox ORDER BY notification_id")
        return list(found)


async def read_one(pool: asyncpg.Pool, notice: Notice) -> int:
    return await reading.read(
        pool, notice.user_id, notice.notification_id, now_ms=NOW_MS, fresh_id=fresh()
    )


def fresh() -> Any:
    return uuid7(NOW_MS, secrets.randbits(74))


async def test_a_fact_is_in_the_inbox_and_announced(pool: asyncpg.Pool, redis: Redis) -> None:
    [cause] = await announce(pool, achievement("ana", "first"))
    await drain(PIPELINE, pool, redis)
    [notice] = await inbox(pool)
    assert notice.words() == ("Achievement unlocked", "First: Do it.")
    async with pool.acquire() as conn:
        created = (await log.read(conn, 0, 10))[-1]
    assert (created.type, created.subject, created.cause_id) == (
        "notification.created", "user:ana", cause,
    )  # fmt: skip
    assert created.payload == {
        "id": str(notice.notification_id),
        "user_id": "ana",
        "type": "achievement.unlocked",
        "title": "Achievement unlocked",
        "body": "First: Do it.",
        "count": 1,
        "unread": 1,
        "position": notifications.position_of(notice),
    }


async def test_alike_ones_become_one_until_it_is_read(pool: asyncpg.Pool, redis: Redis) -> None:
    await announce(pool, *(achievement("ana", code) for code in ("a", "b")), rank("ana", 9, 5))
    await drain(PIPELINE, pool, redis)
    await announce(pool, achievement("ana", "c"), achievement("ben", "a"), rank("ana", 5, 2))
    await drain(PIPELINE, pool, redis)
    assert [(each.type, each.count) for each in await inbox(pool)] == [
        ("rank.changed", 2), ("achievement.unlocked", 3),
    ]  # fmt: skip
    told = [(each["user_id"], each["title"], each["unread"]) for each in await said(pool)]
    assert told == [
        ("ana", "Achievement unlocked", 1),
        ("ana", "2 achievements unlocked", 1),
        ("ana", "You are 5th in arena", 2),
        ("ana", "3 achievements unlocked", 2),
        ("ben", "Achievement unlocked", 1),
        ("ana", "You are 2nd in arena", 2),
    ]
    board = (await inbox(pool))[0]
    assert board.words()[1] == "Up from 9th."
    assert await read_one(pool, board) == 1
    await announce(pool, rank("ana", 2, 3))
    await drain(PIPELINE, pool, redis)
    assert [(each.count, each.read_at_ms) for each in await inbox(pool)] == [
        (1, None), (2, NOW_MS), (3, None),
    ]  # fmt: skip


async def test_other_games_and_seasons_are_other_groups(pool: asyncpg.Pool, redis: Redis) -> None:
    reward = {"type": "coins", "amount": 50, "item": None}
    await announce(
        pool,
        rank("ana", 2, 1, "arena"),
        rank("ana", 2, 1, "quiz"),
        *(
            fact("battlepass.reward_earned", user_id="ana", season_id=each, tier=5, reward=reward)
            for each in ("s1", "s2")
        ),
    )
    await drain(PIPELINE, pool, redis)
    assert [each.group_key for each in await inbox(pool)] == [
        "s2", "s1", "quiz/global", "arena/global",
    ]  # fmt: skip


async def test_what_concerns_nobody_is_passed_over(pool: asyncpg.Pool, redis: Redis) -> None:
    await announce(pool, fact("xp.gained", user_id="ana", amount=5))
    await drain(PIPELINE, pool, redis)
    assert await inbox(pool) == []
    async with pool.acquire() as conn:
        [lag] = await log.lag(conn)
    assert lag.lag_facts == 0


async def test_a_replay_changes_nothing(pool: asyncpg.Pool, redis: Redis) -> None:
    """The cursor was put back: to the start, with some notices read and one gone since."""
    events = [achievement("ana", "a"), rank("ana", 3, 2), achievement("ben", "a")]
    await announce(pool, *events)
    await drain(PIPELINE, pool, redis)
    board, _ = await inbox(pool)
    await read_one(pool, board)
    await announce(pool, rank("ana", 2, 1), achievement("ana", "b"))
    await drain(PIPELINE, pool, redis)
    async with pool.acquire() as conn:
        await conn.execute("DELETE FROM notifications.inbox WHERE user_id = 'ben'")
        await conn.execute("UPDATE log.cursors SET seq = 0")
        before, head = await rows(pool), await log.head(conn)
    await drain(PIPELINE, pool, redis)
    async with pool.acquire() as conn:
        assert await log.head(conn) == head
    assert await rows(pool) == before


async def test_a_batch_that_crashes_leaves_nothing(pool: asyncpg.Pool, redis: Redis) -> None:
    await announce(pool, achievement("ana", "a"), achievement("ana", "b"))

    async def crash(tx: Transaction, redis: Redis, batch: Sequence[LoggedEvent]) -> None:
        await telling.apply(tx, redis, batch)
        raise OSError("killed")

    with pytest.raises(Exception, match="killed"):
        await drain(Pipeline(PIPELINE.name, crash, PIPELINE.types), pool, redis)
    assert (await rows(pool), await said(pool)) == ([], [])
    await drain(PIPELINE, pool, redis)
    [notice] = await inbox(pool)
    assert notice.count == 2
    assert [each["count"] for each in await said(pool)] == [1, 2]


async def test_one_bad_fact_waits_and_is_told_later(pool: asyncpg.Pool, redis: Redis) -> None:
    await announce(
        pool, achievement("ana", "a"), fact("player.levelup", user_id="ana"), rank("ana", 2, 1)
    )

    async def choosy(tx: Transaction, redis: Redis, batch: Sequence[LoggedEvent]) -> None:
        for each in batch:
            if each.type == "player.levelup" and broken:
                raise KeyError("new")
        await telling.apply(tx, redis, batch)

    broken = True
    pipe = Pipeline(PIPELINE.name, choosy, PIPELINE.types)
    await drain(pipe, pool, redis)
    assert [each.type for each in await inbox(pool)] == ["rank.changed", "achievement.unlocked"]
    async with pool.acquire() as conn:
        [letter] = await deadletters.page(conn, 10)
    broken = False
    retried = await retry({PIPELINE.name: pipe}, pool, redis, letter.id, "olga")
    assert retried is not None
    assert retried.error is None
    assert [each.type for each in await inbox(pool)] == [
        "rank.changed", "player.levelup", "achievement.unlocked",
    ]  # fmt: skip
    told = (await said(pool))[-1]
    assert (told["unread"], told["position"]) == (
        3, notifications.position_of((await inbox(pool))[1]),
    )  # fmt: skip


async def test_an_inbox_has_a_limit(pool: asyncpg.Pool, redis: Redis) -> None:
    boards = [rank("ana", 2, 1, f"g{number}") for number in range(INBOX_MAX)]
    await announce(pool, *boards, rank("ben", 2, 1))
    await drain(PIPELINE, pool, redis)
    newest = await inbox(pool)
    await read_one(pool, newest[0])
    await announce(pool, rank("ana", 2, 1, "one-more"))
    await drain(PIPELINE, pool, redis)
    games = [each.items[0]["game"] for each in await every(pool)]
    assert len(games) == INBOX_MAX
    # The one that was read made room, then the oldest.
    assert games[:2] == ["one-more", f"g{INBOX_MAX - 2}"]
    assert games[-1] == "g0"
    assert await unread(pool) == INBOX_MAX == (await said(pool))[-1]["unread"]
    await announce(pool, rank("ana", 2, 1, "another"))
    await drain(PIPELINE, pool, redis)
    assert [each.items[0]["game"] for each in await every(pool)][-1] == "g1"
    assert await unread(pool) == INBOX_MAX == (await said(pool))[-1]["unread"]
    assert await unread(pool, "ben") == 1


async def every(pool: asyncpg.Pool) -> list[Notice]:
    found: list[Notice] = []
    cursor = None
    async with pool.acquire() as conn:
        while True:
            page, cursor = await notifications.page(conn, "ana", 70, cursor)
            found += page
            if cursor is None:
                return found


async def test_the_last_word_is_the_true_count(pool: asyncpg.Pool, redis: Redis) -> None:
    """Facts come while the user reads: who hears all of it in the log's order ends up right."""
    for number in range(5):
        games = [f"g{number}-{each}" for each in range(4)]
        await announce(pool, *(rank("ana", 2, 1, game) for game in games))
        notices = (await inbox(pool))[:2]
        await asyncio.gather(
            drain(PIPELINE, pool, redis), *(read_one(pool, each) for each in notices)
        )
    async with pool.acquire() as conn:
        facts = await log.read(conn, 0, 1000)
    counts = [each.payload["unread"] for each in facts if each.type.startswith("notification.")]
    assert counts[-1] == await unread(pool)
    await reading.read_all(pool, "ana", until=None, now_ms=NOW_MS, fresh_id=fresh())
    assert await said(pool, "notification.read") != []
    assert (await said(pool, "notification.read"))[-1] == {
        "user_id": "ana",
        "unread": 0,
        "id": None,
    }
    assert await unread(pool) == 0
