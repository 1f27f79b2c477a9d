"""The fold where it is hard: facts no door lets in, ends of tournaments, the largest batches."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis

from storage import deadletters, log
from storage.database import from_json
from storage.log import Event
from workers import fold, pipeline
from workers.fold.rebuild import rebuild_fold
from workers.pipeline import drain


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "BACKOFF_S", (0.0, 0.0, 0.0))


def fact(kind: str, /, **payload: Any) -> Event:
    """A root fact as it lies in the log, whatever the doors say."""
    event_id = uuid.uuid4()
    return Event(
        event_id=event_id,
        type=kind,
        v=1,
        subject=None,
        cause_id=None,
        root_id=event_id,
        occurred_at_ms=1_700_000_000_000,
        payload=payload,
    )


def duel(match: str, winner: str, loser: str, **more: Any) -> Event:
    sides = [{"id": each, "name": each.title(), "type": "user"} for each in (winner, loser)]
    return match_of(match, sides, winner_id=winner, **more)


def match_of(match: str, sides: list[dict[str, Any]], **more: Any) -> Event:
    content = {"game": "chess", "outcome": "win", "played_at": "2026-01-01T00:00:00.000Z", **more}
    return fact("match.completed", match_id=match, competitors=sides, **content)


def crowd(match: str, users: int) -> Event:
    """Two teams of many users, nobody of whom played before."""
    sides = [
        {
            "id": f"{match}-{side}",
            "name": side,
            "roster": [{"id": f"{match}-{side}-{number}"} for number in range(users // 2)],
        }
        for side in ("red", "blue")
    ]
    return match_of(match, sides, winner_id=f"{match}-red")


async def put(pool: asyncpg.Pool, *events: Event) -> None:
    async with log.transaction(pool) as tx:
        for each in events:
            log.announce(tx, each)


async def letters(pool: asyncpg.Pool) -> list[tuple[int, str]]:
    async with pool.acquire() as conn:
        return [(each.seq, each.error_type) for each in await deadletters.page(conn, 1_000)]


async def counters(pool: asyncpg.Pool, user_id: str) -> dict[str, Any]:
    async with pool.acquire() as conn:
        found = await conn.fetchval(
            "SELECT counters FROM statistics.careers WHERE user_id = $1", user_id
        )
    return {} if found is None else from_json(found)


# -- ends of tournaments ---------------------------------------------------------------------------


async def test_who_is_placed_twice_does_not_stop_the_fold(pool: asyncpg.Pool, redis: Redis) -> None:
    """Alone and with a team, or named twice: the better place counts, and is told once."""
    sides = [
        {"id": "red", "name": "Red", "roster": [{"id": "ann"}]},
        {"id": "blue", "name": "Blue", "roster": [{"id": "bob"}]},
    ]
    await put(
        pool,
        match_of("m1", sides, winner_id="red", tournament_id="cup"),
        fact(
            "tournament.completed",
            tournament_id="cup",
            game="chess",
            placements=[
                {"place": 2, "id": "ann", "type": "user"},
                {"place": 1, "id": "red"},
                {"place": 3, "id": "red"},
                {"place": 2, "id": "bob", "type": "user"},
                {"place": 3, "id": "bob", "type": "user"},
            ],
        ),
        duel("m2", "ann", "bob"),
    )
    await drain(fold.PIPELINE, pool, redis)
    assert await letters(pool) == []
    ann, bob = await counters(pool, "ann"), await counters(pool, "bob")
    assert (ann["matches_played"], ann["tournaments_won"], ann["tournament_top3"]) == (2, 1, 1)
    assert (bob.get("tournaments_won"), bob["tournament_top2"]) == (None, 1)
    assert (await rebuild_fold(pool, check=True)).differences == []


async def test_a_tournament_ends_once(pool: asyncpg.Pool, redis: Redis) -> None:
    """Two servers tell of the end: the first in the log counts, also in a later batch."""
    cup = {
        "tournament_id": "cup",
        "game": "chess",
        "placements": [{"place": 1, "id": "ann", "type": "user"}],
    }
    await put(pool, duel("m1", "ann", "bob"), fact("tournament.completed", **cup))
    await drain(fold.PIPELINE, pool, redis)
    await put(pool, fact("tournament.completed", **cup), fact("tournament.completed", **cup))
    await drain(fold.PIPELINE, pool, redis)
    assert (await counters(pool, "ann"))["tournaments_won"] == 1
    async with pool.acquire() as conn:
        told = "SELECT count(*) FROM log.facts WHERE type = 'tournament.placement'"
        assert await conn.fetchval(told) == 1
    assert (await rebuild_fold(pool, check=True)).differences == []


# -- batches ---------------------------------------------------------------------------------------


async def test_a_poisonous_fact_takes_no_sound_one_with_it(
    pool: asyncpg.Pool, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken apart, a batch announces no more than a transaction may."""
    monkeypatch.setattr(log, "ANNOUNCED_MAX", 400)
    monkeypatch.setattr(fold, "TOLD_MAX", 50)
    monkeypatch.setattr(fold, "PART_MAX", 2)
    monkeypatch.setattr(pipeline, "TOLD_ENOUGH", 50)
    await put(pool, *(crowd(f"m{number}", 10) for number in range(20)), fact("match.completed"))
    await put(pool, *(crowd(f"n{number}", 10) for number in range(20)))
    await drain(fold.PIPELINE, pool, redis)
    assert [seq for seq, _ in await letters(pool)] == [21]
    async with pool.acquire() as conn:
        assert await conn.fetchval("SELECT count(*) FROM history.entries") == 40 * 12
    assert (await rebuild_fold(pool, check=True)).differences == []


async def test_what_cannot_be_stored_fails_its_batch_wherever_it_stands(
    pool: asyncpg.Pool, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts that are stored while others are folded: only what is to blame is left out."""
    monkeypatch.setattr(fold, "PART_MAX", 2)
    again = duel("m2", "bob", "ann")  # its history is there already
    sound = [duel(f"m{number}", "ann", "bob") for number in range(9)]
    await put(pool, *sound[:4], again, *sound[4:], fact("match.completed"))
    await drain(fold.PIPELINE, pool, redis)
    assert await letters(pool) == [(5, "UniqueViolationError"), (11, "ValidationError")]
    assert (await counters(pool, "ann"))["matches_played"] == 9
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert (await rebuild_fold(pool, check=True)).differences == []


async def test_a_fold_that_is_cancelled_leaves_nothing_under_way(
    pool: asyncpg.Pool, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it is: its connection is given back, and the next one begins anew."""
    monkeypatch.setattr(fold, "PART_MAX", 10)
    users = [f"u{number}" for number in range(20)]
    await put(pool, *(duel(f"m{n}", users[n % 20], users[n * 7 % 19]) for n in range(1, 60)))
    for turns in range(2, 60, 3):
        draining = asyncio.create_task(drain(fold.PIPELINE, pool, redis))
        for _ in range(turns):
            await asyncio.sleep(0.0003)
        draining.cancel()
        await asyncio.wait([draining])
        assert asyncio.all_tasks() == {asyncio.current_task()}
    await drain(fold.PIPELINE, pool, redis)
    assert await letters(pool) == []
    assert (await rebuild_fold(pool, check=True)).differences == []


# -- results of every shape ------------------------------------------------------------------------


async def test_a_side_without_users_may_win_among_users(pool: asyncpg.Pool, redis: Redis) -> None:
    """A team whose roster nobody told, before two users: who beat whom is still rated."""
    sides = [
        {"id": "red", "name": "Red"},
        {"id": "ann", "name": "Ann", "type": "user"},
        {"id": "bob", "name": "Bob", "type": "user"},
    ]
    places = [{"id": each, "place": place} for place, each in enumerate(("red", "ann", "bob"), 1)]
    await put(pool, match_of("m1", sides, winner_id="red", placements=places))
    await drain(fold.PIPELINE, pool, redis)
    assert await letters(pool) == []
    async with pool.acquire() as conn:
        rows = await conn.fetch("SELECT subject_id, rating FROM ratings.current ORDER BY 1")
    assert [tuple(row) for row in rows] == [("ann", 1232), ("bob", 1168)]


async def test_what_is_no_number_harms_nobody_for_ever(pool: asyncpg.Pool, redis: Redis) -> None:
    """The fact itself goes to the dead letters; what it would have stored could never be read."""
    odd: list[Any] = [float("nan"), float("inf"), "many", None, True, [1], {"a": 1}]
    bad = [
        duel(f"m{number}", "ann", "bob", players=[{"player_id": "ann", "stats": {counter: value}}])
        for number, (counter, value) in enumerate((c, v) for c in ("kills", "share") for v in odd)
    ]
    line = {"player_id": "ann", "stats": {"kills": 1, "share": 0.5, 'a":"b': 2, "x:y": -1}}
    await put(pool, *bad, duel("later", "ann", "bob", players=[line]))
    await drain(fold.PIPELINE, pool, redis)
    await put(pool, duel("last", "bob", "ann"))
    await drain(fold.PIPELINE, pool, redis)
    assert [seq for seq, _ in await letters(pool)] == list(range(1, len(bad) + 1))
    assert (await counters(pool, "ann"))["matches_played"] == 2
    assert (await rebuild_fold(pool, check=True)).differences == []
