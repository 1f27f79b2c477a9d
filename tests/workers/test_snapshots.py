"""Nightly pictures of boards, the trends that follow from them, and counters held to history."""

from __future__ import annotations

from datetime import date

import asyncpg
import pytest
from redis.asyncio import Redis

from domain.leaderboards import Regions
from domain.ratings import TIERS, tier_of
from domain.statistics import Lifetime, derived
from storage import leaderboards, reconcile, statistics
from storage.database import execute
from storage.leaderboards import pages
from storage.leaderboards import snapshots as pictures
from tests.boards import rate, standing_order
from workers import clock, snapshots
from workers.leaderboards import keeper, pipeline
from workers.pipeline import drain

NIGHT_MS = 1_772_323_500_000  # 2026-03-01T00:05Z
REGIONS = Regions()


async def take(pool: asyncpg.Pool, night: int = 0) -> None:
    job = clock.daily("snapshots", 0, 5, snapshots.take)
    assert await clock.tick(pool, job, NIGHT_MS + night * clock.DAY_MS)


async def test_a_picture_has_the_boards_order_tiers_and_percentiles(pool: asyncpg.Pool) -> None:
    floors = [floor for floor, _ in TIERS]
    ratings = [*floors, *(floor - 1 for floor in floors[:-1])]
    places = {f"p{n}": (rating, 0, 1) for n, rating in enumerate(ratings)}
    await rate(pool, places)
    await rate(pool, {"red": (1300, 1, 1)}, kind="team")
    await take(pool)
    order = await standing_order(pool)
    async with pool.acquire() as conn:
        for rank, subject in enumerate(order, 1):
            [card] = await pictures.cards(conn, "user", subject, ["chess", "go"])
            assert (card.rank, card.subjects, card.rating) == (rank, len(order), places[subject][0])
            assert card.tier == tier_of(card.rating)
            assert card.percentile == pytest.approx(100 * (len(order) - rank) / (len(order) - 1))
            assert card.taken_on == date(2026, 3, 1)
        [team] = await pictures.cards(conn, "team", "red", ["chess"])
    assert (team.rank, team.subjects, team.percentile) == (1, 1, 100.0)


async def test_kda_and_streaks_are_those_of_the_statistics(pool: asyncpg.Pool) -> None:
    await rate(pool, {"ann": (1300, 1, 1), "bob": (1200, 0, 1), "cid": (1100, 0, 1)})
    ann = Lifetime(played=3, won=2, lost=1, stats={"kills": 31, "assists": 5, "deaths": 7})
    ann.streak, ann.best_streak = 2, 4
    bob = Lifetime(played=1, lost=1, stats={"kills": 3, "assists": 0, "deaths": 0})
    async with pool.acquire() as conn:
        lifetimes = {("user", "ann", "chess"): ann, ("user", "bob", "chess"): bob}
        await execute(conn, statistics.save_lifetime(lifetimes))
    await take(pool)
    async with pool.acquire() as conn:
        cards = [(await pictures.cards(conn, "user", each, ["chess"]))[0]
                 for each in ("ann", "bob", "cid")]  # fmt: skip
    assert cards[0].kda == pytest.approx(derived(ann)["kda"])
    assert [each.kda for each in cards[1:]] == [None, None]
    assert [(each.streak, each.best_streak) for each in cards] == [(2, 4), (0, 0), (0, 0)]


async def test_trends_are_places_won_since_the_last_night(pool: asyncpg.Pool, redis: Redis) -> None:
    await rate(pool, {"ann": (1300, 0, 1), "bob": (1250, 0, 1), "cid": (1200, 0, 1)})
    await take(pool)
    await rate(pool, {"cid": (1400, 1, 2), "new": (1000, 0, 2)})
    await drain(pipeline(REGIONS), pool, redis)
    await keeper.Keeper(pool, redis, REGIONS).look()
    stretch = await leaderboards.top(redis, "chess/global", 10, REGIONS)
    assert stretch is not None
    async with pool.acquire() as conn:
        page = await pages.page(conn, "chess/global", 1, 4, 1, [("cid", 0), ("ann", 0), ("new", 0)])
        assert [row.trend for row in page.rows] == [2, -1, None]
    await take(pool, 1)
    async with pool.acquire() as conn:
        page = await pages.page(conn, "chess/global", 1, 4, 1, [("cid", 0), ("ann", 0)])
    assert [row.trend for row in page.rows] == [0, 0]


async def test_old_nights_go_but_the_first_of_each_month(pool: asyncpg.Pool) -> None:
    await rate(pool, {"ann": (1300, 0, 1)})
    for night in (0, 1, 2, 31, 90):
        await take(pool, night)
    rows = await pool.fetch("SELECT taken_on FROM leaderboards.snapshots ORDER BY 1")
    assert [str(row["taken_on"]) for row in rows] == ["2026-03-01", "2026-04-01", "2026-05-30"]


async def test_counters_that_disagree_with_history_are_counted_and_named(
    pool: asyncpg.Pool,
) -> None:
    await pool.execute(
        "INSERT INTO history.entries (subject_type, subject_id, match_id, log_seq, game, played_at,"
        " outcome, decided_by) SELECT 'user', 'ann', 'm' || n, n, 'chess', now(),"
        " CASE WHEN n < 3 THEN 'win' ELSE 'loss' END, 'play' FROM generate_series(1, 5) n"
    )
    right = Lifetime(played=5, won=2, lost=3)
    async with pool.acquire() as conn:
        await execute(conn, statistics.save_lifetime({("user", "ann", "chess"): right}))
        await execute(
            conn, statistics.save_careers({"ann": {"matches_played": 5, "matches_won": 2}})
        )
        assert await reconcile.differences(conn) == (0, [])
        wrong = Lifetime(played=6, won=3, lost=3)
        await execute(conn, statistics.save_lifetime({("user", "ann", "chess"): wrong}))
        await execute(
            conn, statistics.save_careers({"bob": {"matches_played": 1, "matches_won": 0}})
        )
        count, named = await reconcile.differences(conn)
    assert count == 3
    assert [tuple(each) for each in named] == [
        ("user", "ann", "chess", "played", 6, 5),
        ("user", "ann", "chess", "won", 3, 2),
        ("user", "bob", None, "matches_played", 1, 0),
    ]
    job = clock.daily("reconcile", 3, 0, snapshots.reconcile)
    assert await clock.tick(pool, job, NIGHT_MS)
    outcome = await pool.fetchval("SELECT outcome FROM clock.ticks WHERE job = 'reconcile'")
    assert outcome == '{"differences": 3}'
