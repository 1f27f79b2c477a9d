"""A rebuild with a process that counts: the same tables, and nothing left of it at any end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis

from domain.errors import Unavailable
from storage.rebuild import copy_texts
from tests.hubs import eventually
from tests.workers.test_fold_hard import duel, fact, match_of, put
from tests.workers.test_rebuild import everything
from workers import fold
from workers.fold import beside, rebuild
from workers.fold.rebuild import Progress, rebuild_fold
from workers.pipeline import drain

PROCESSES: list[Process] = []


@pytest.fixture(autouse=True)
def processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a short log is worth a process, on one core too."""
    PROCESSES.clear()
    start = asyncio.create_subprocess_exec

    async def started(*words: Any, **named: Any) -> Process:
        PROCESSES.append(await start(*words, **named))
        return PROCESSES[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", started)
    monkeypatch.setattr(rebuild, "BESIDE_MIN", 1)
    monkeypatch.setattr(beside, "cores", lambda: 2)


def is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"  # its new parent has not looked yet


async def play(pool: asyncpg.Pool) -> None:
    """Something of each kind."""
    teams = [
        {"id": "red", "name": "Red", "roster": [{"id": "ann"}, {"id": "bob"}]},
        {"id": "blue", "name": "Blue", "roster": [{"id": "cid"}, {"id": "dan"}]},
    ]
    three = [{"id": each, "name": each, "type": "user"} for each in ("ann", "cid", "eve")]
    places = [{"id": each, "place": place} for place, each in enumerate(("eve", "ann", "cid"), 1)]
    odd = [{"player_id": "ann", "stats": {'a "\\\t\n': 1, "kills": 0.5}}]
    stats = [{"player_id": each, "stats": {"kills": 90, "deaths": 2}} for each in ("ann", "bob")]
    for round_ in range(3):
        at = f"2026-01-0{round_ + 1}T10:00:00.000Z"
        await put(
            pool,
            *(
                duel(f"d{round_}-{each}", "ann", "bob", players=stats, played_at=at)
                for each in range(6)
            ),
            duel(f"o{round_}", "bob", "ann", players=odd, tournament_id="cup"),
            duel(f"p{round_}", "bob", "ann", players=odd),
            match_of(f"t{round_}", teams, winner_id="red", tournament_id="cup", played_at=at),
            match_of(f"f{round_}", three, placements=places, players=stats[:1]),
            fact(
                "season.started",
                season_id=f"s{round_}",
                number=round_ + 1,
                starts_at=at,
                xp_per_tier=100,
                rewards={"1": {"type": "coins", "amount": 500}},
            ),
            fact(
                "game.configured",
                game="chess",
                title=None,
                rating={"system": ("elo", "glicko2", "openskill")[round_]},
                stats=[{"name": "kills", "total": "max"}],
            ),
        )
    await put(
        pool,
        fact(
            "tournament.completed",
            tournament_id="cup",
            placements=[{"id": "red", "place": 1}, {"id": "blue", "place": 2}],
        ),
        fact("match.forfeited", match_id="w", game="chess", competitors=three[:2], outcome="win",
             winner_id="ann", loser_id="cid", played_at="2026-01-05T10:00:00.000Z"),
        duel("last", "bob", "ann", players=stats),
    )  # fmt: skip


async def test_the_same_tables(pool: asyncpg.Pool, redis: Redis) -> None:
    await play(pool)
    await drain(fold.PIPELINE, pool, redis)
    before = await everything(pool)
    assert all(before[name] for name in before)
    checked = await rebuild_fold(pool, check=True)
    assert checked.differences == []
    assert (await rebuild_fold(pool)).ratings_changed == 0
    assert await everything(pool) == before
    assert [each.returncode for each in PROCESSES] == [0, 0]
    # What is folded after the cursor was locked comes late.
    await put(pool, duel("later", "ann", "bob"))
    assert (await drain(fold.PIPELINE, pool, redis)).facts == 1
    assert (await rebuild_fold(pool, check=True)).differences == []


async def test_what_comes_while_it_is_indexed(
    pool: asyncpg.Pool, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables that were made too early are made again."""
    await play(pool)
    await drain(fold.PIPELINE, pool, redis)
    make_tables = beside.Beside.make_tables

    async def late(self: beside.Beside) -> None:
        await make_tables(self)
        await put(pool, duel("later", "ann", "bob"))
        await drain(fold.PIPELINE, pool, redis)

    monkeypatch.setattr(beside.Beside, "make_tables", late)
    assert (await rebuild_fold(pool, check=True)).differences == []


async def test_it_is_killed(pool: asyncpg.Pool, redis: Redis) -> None:
    await play(pool)
    await drain(fold.PIPELINE, pool, redis)
    before = await everything(pool)

    def kill(_progress: Progress) -> None:
        if PROCESSES[-1].returncode is None:
            PROCESSES[-1].kill()

    with pytest.raises(Unavailable, match="has ended with -9"):
        await rebuild_fold(pool, report=kill)
    assert PROCESSES[-1].returncode == -signal.SIGKILL
    assert await everything(pool) == before
    assert (await rebuild_fold(pool, check=True)).differences == []


async def test_it_fails(pool: asyncpg.Pool, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    await play(pool)
    await drain(fold.PIPELINE, pool, redis)
    monkeypatch.setattr(beside, "COUNT", beside.pack(([], [(1, "match.completed", b"", {})])))
    with pytest.raises(Unavailable, match="failed: DecodeError"):
        await rebuild_fold(pool)
    assert PROCESSES[-1].returncode is not None


async def test_the_rebuild_is_cancelled(pool: asyncpg.Pool, redis: Redis) -> None:
    await play(pool)
    await drain(fold.PIPELINE, pool, redis)

    def cancel(_progress: Progress) -> None:
        rebuilding.cancel()

    rebuilding = asyncio.create_task(rebuild_fold(pool, report=cancel))
    with pytest.raises(asyncio.CancelledError):
        await rebuilding
    assert PROCESSES[-1].returncode is not None
    assert is_gone(PROCESSES[-1].pid)
    assert (await rebuild_fold(pool, check=True)).differences == []


async def test_none_can_be_started(
    pool: asyncpg.Pool, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_words: Any, **_named: Any) -> Process:
        raise BlockingIOError("Resource temporarily unavailable")

    await play(pool)
    await drain(fold.PIPELINE, pool, redis)
    monkeypatch.setattr(asyncio, "create_subprocess_exec", refused)
    assert (await rebuild_fold(pool, check=True)).differences == []
    assert PROCESSES == []


_STARTER = """
import asyncio
from workers.fold import beside

async def main():
    async with beside.counter() as other:
        print(other._process.pid, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_it_ends_with_who_started_it() -> None:
    """Killed with -9; Ctrl-C at the terminal is not for it."""
    starter = await asyncio.create_subprocess_exec(sys.executable, "-c", _STARTER, stdout=PIPE)
    assert starter.stdout is not None
    pid = int(await starter.stdout.readline())
    assert os.getsid(pid) == pid
    starter.kill()
    await starter.wait()
    await eventually(lambda: is_gone(pid))


def test_texts_for_copy() -> None:
    records = [("a\\b\tc\nd\re", None, 7), ("", "\\N", -1)]
    assert b"".join(copy_texts(records)) == (b"a\\\\b\\tc\\nd\\re\t\\N\t7\n\t\\\\N\t-1\n")
