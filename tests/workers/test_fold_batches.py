"""Wherever batches and parts end, the fold comes to the same as one over the whole log at once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from domain.facts import normalise
from domain.matches import result_payload, scheduled
from storage import log
from storage.log import Event
from storage.redis import connect
from workers import fold, pipeline
from workers.fold.rebuild import rebuild_fold
from workers.pipeline import Pipeline, drain

QUICK = 8
MANY = int(os.environ.get("GAMEHUB_TEST_FOLD_BATCHES", "150"))

USERS = ("ann", "bob", "cid", "dan", "eve", "fay")
TEAMS = ("red", "blue", "green")
CUPS = (None, "cup", "league")
START = datetime(2026, 3, 1, 22, tzinfo=UTC)
Told = tuple[str, dict[str, Any]]

numbers = st.one_of(st.integers(-5, 50), st.floats(-10, 10, allow_nan=False), st.just(0.1))
STATS = st.dictionaries(
    st.sampled_from(["kills", "shots", "share", "best_run", "fastest_lap_ms", "streak"]),
    numbers,
    max_size=4,
)


@st.composite
def sides(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Users against each other, or teams whose rosters change from match to match."""
    if draw(st.booleans()):
        ids = draw(st.lists(st.sampled_from(USERS), min_size=2, max_size=4, unique=True))
        return [{"id": each, "name": each.title(), "type": "user"} for each in ids]
    teams = draw(st.lists(st.sampled_from(TEAMS), min_size=2, max_size=3, unique=True))
    users = draw(st.permutations(USERS))
    size = draw(st.integers(0, 2))
    return [
        {
            "id": each,
            "name": each.title(),
            "roster": [{"id": user} for user in users[2 * n : 2 * n + size]],
        }
        for n, each in enumerate(teams)
    ]


@st.composite
def endings(draw: st.DrawFn, ids: list[str]) -> dict[str, Any]:
    """How a match ended, of every kind that servers may tell."""
    first = draw(st.sampled_from(ids))
    kind = draw(st.sampled_from(["match", "match", "match", "challenge", "friendly"]))
    said: dict[str, Any] = draw(
        st.sampled_from(
            [
                {"winner_id": first},
                {"winner_id": first, "scores": {each: n for n, each in enumerate(ids)}},
                {"outcome": "draw"},
                {"incomplete": True},
                {"placements": [{"id": each, "place": n} for n, each in enumerate(ids, 1)]},
                {"placements": [{"id": each, "place": 1} for each in ids]},
                {"retired": [each for each in ids if each != first]},
            ]
        )
    )
    return {**said, "kind": kind}


@st.composite
def results(draw: st.DrawFn) -> Told:
    """A result as the log has it; its match is named when all of them are in a row."""
    competitors = draw(sides())
    ids = [each["id"] for each in competitors]
    played_at = START + timedelta(minutes=draw(st.integers(-2000, 2000)))
    said: dict[str, Any] = {"played_at": played_at.isoformat().replace("+00:00", "Z")}
    fact_type = draw(st.sampled_from(["match.completed"] * 5 + ["match.forfeited"]))
    if fact_type == "match.forfeited":
        said |= {"winner_id": draw(st.sampled_from(ids)), "walkover": draw(st.booleans())}
    else:
        said |= draw(endings(ids))
        lines = st.builds(
            lambda user, stats: {"player_id": user, "stats": stats}, st.sampled_from(USERS), STATS
        )
        some = st.lists(lines, max_size=3, unique_by=lambda line: line["player_id"])
        said["players"] = draw(some)
        said["games"] = [
            {"game_id": f"g{n}", "winner_id": ids[0], "duration_s": 100 * n, "players": draw(some)}
            for n in range(draw(st.integers(0, 3)))
        ]
    match = {"match_id": "m", "game": draw(st.sampled_from(["arena", "chess"]))}
    known = scheduled({**match, "competitors": competitors, "tournament_id": draw(cups)})
    return fact_type, result_payload(known, fact_type, normalise(fact_type, "m", said))


cups = st.sampled_from(CUPS)


@st.composite
def ends_of_tournaments(draw: st.DrawFn) -> Told:
    places: list[dict[str, Any]] = [
        {"id": each, "place": n, "type": "user" if each in USERS else "team"}
        for n, each in enumerate(draw(st.lists(st.sampled_from(USERS + TEAMS), unique=True)), 1)
    ]
    cup = draw(st.sampled_from(["cup", "league"]))
    return "tournament.completed", {"tournament_id": cup, "game": "arena", "placements": places}


@st.composite
def starts_of_seasons(draw: st.DrawFn) -> Told:
    number = draw(st.integers(1, 4))
    rating = draw(st.sampled_from([None, {"system": "glicko2"}, {"system": "openskill"}]))
    return "season.started", {
        "season_id": f"s{number}",
        "number": number,
        "starts_at": "2026-03-01T00:00:00.000Z",
        "game": draw(st.sampled_from([None, "arena"])),
        "xp_per_tier": draw(st.sampled_from([40, 1000])),
        "rewards": {"2": {"type": "coins", "amount": 30}},
        "rating": rating,
    }


@st.composite
def declarations(draw: st.DrawFn) -> Told:
    kinds = st.sampled_from(["sum", "max", "min"])
    return "game.configured", {
        "game": draw(st.sampled_from(["arena", "chess"])),
        "rating": {"system": draw(st.sampled_from(["elo", "glicko2", "openskill"]))},
        "stats": [{"name": name, "total": draw(kinds)} for name in ("shots", "share")],
    }


FACTS = st.lists(
    st.one_of(
        results(), results(), results(), ends_of_tournaments(), starts_of_seasons(), declarations()
    ),
    min_size=1,
    max_size=25,
)


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "BACKOFF_S", (0.0, 0.0, 0.0))


async def begin_anew(pool: asyncpg.Pool) -> None:
    """An empty log, and nothing that follows from it."""
    async with pool.acquire() as conn:
        names = await conn.fetch("SELECT schema_name || '.' || table_name FROM rebuild.tables")
        await conn.execute(f"TRUNCATE log.facts, {', '.join(row[0] for row in names)}")
        await conn.execute("DELETE FROM log.cursors")
        await conn.execute("UPDATE log.head SET seq = 0")


async def write(pool: asyncpg.Pool, facts: list[Told]) -> None:
    """These root facts; results are of one match each."""
    async with log.transaction(pool) as tx:
        for number, (fact_type, payload) in enumerate(facts, 1):
            if "match_id" in payload:
                payload = {**payload, "match_id": f"m{number}"}
                subject = f"match:m{number}"
            else:
                subject = f"tournament:{payload.get('tournament_id')}"
            event_id = UUID(int=number)
            log.announce(
                tx,
                Event(
                    event_id=event_id,
                    type=fact_type,
                    v=1,
                    subject=subject,
                    cause_id=None,
                    root_id=event_id,
                    occurred_at_ms=1_772_400_000_000 + number,
                    payload=payload,
                ),
            )


async def drive(pool: asyncpg.Pool, redis_url: str, examples: int) -> None:
    loop = asyncio.get_running_loop()
    redis = connect(redis_url)

    def on_loop(make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        asyncio.run_coroutine_threadsafe(make(), loop).result()

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
    )
    @given(FACTS, st.integers(1, 12), st.integers(1, 5))
    def run(facts: list[Told], batch_max: int, part_max: int) -> None:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(fold, "PART_MAX", part_max)
            on_loop(lambda: one(pool, redis, facts, batch_max))

    try:
        await asyncio.to_thread(run)
    finally:
        await redis.aclose()


async def one(pool: asyncpg.Pool, redis: Redis, facts: list[Told], batch_max: int) -> None:
    """Folded batch by batch, and all at once beside it."""
    await begin_anew(pool)
    await write(pool, facts)
    small = Pipeline(fold.PIPELINE.name, fold.apply, types=fold.PIPELINE.types, batch_max=batch_max)
    await drain(small, pool, redis)
    async with pool.acquire() as conn:
        letters = await conn.fetch("SELECT * FROM deadletters.letters")
    assert letters == []
    checked = await rebuild_fold(pool, check=True)
    assert (checked.facts, checked.differences) == (len(facts), [])


async def test_batches_do_not_matter(pool: asyncpg.Pool, redis_url: str) -> None:
    await drive(pool, redis_url, QUICK)


@pytest.mark.proof
@pytest.mark.timeout(900)
async def test_batches_do_not_matter_in_many_runs(pool: asyncpg.Pool, redis_url: str) -> None:
    """GAMEHUB_TEST_FOLD_BATCHES says how many."""
    await drive(pool, redis_url, MANY)
