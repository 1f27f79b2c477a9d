"""Policies of games and seasons as the fold stores them, and profiles."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import asyncpg

from domain.games import GamePolicy, policy_of
from domain.payloads_derived import RatingPolicy, Reward, StatKind
from domain.profiles import Profile
from domain.seasons import Season
from storage import games, log, profiles, rules, seasons
from storage.log import Event

CHESS = GamePolicy(
    game="chess",
    title="Chess",
    rating=RatingPolicy(system="glicko2"),
    stats=(StatKind(name="moves"), StatKind(name="fastest_mate", total="min", title="Mate")),
    log_seq=4,
)
RACE = GamePolicy(game="race", log_seq=5)
SPRING = Season(
    season_id="2026-spring",
    number=1,
    starts_at_ms=1_772_323_200_000,
    ends_at_ms=1_780_272_000_000,
    name="Spring",
    rewards={5: Reward(type="coins", amount=50), 10: Reward(type="item", item="hat")},
    log_seq=7,
)


async def test_games_come_back_as_they_were_declared(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as conn:
        assert await games.load_all(conn) == {}
        await games.save(conn, [CHESS, RACE])
        assert await games.load_all(conn) == {"chess": CHESS, "race": RACE}


async def test_the_latest_declaration_of_a_game_stays(pool: asyncpg.Pool) -> None:
    first, last = policy_of({"game": "chess"}, 3), policy_of({"game": "chess", "title": "C"}, 9)
    async with pool.acquire() as conn:
        await games.save(conn, [last, first, CHESS])
        assert await games.load_all(conn) == {"chess": last}
        await games.save(conn, [CHESS])  # an earlier one, again
        assert await games.load_all(conn) == {"chess": last}


CUP = Season(
    season_id="chess/1",
    number=1,
    game="chess",
    starts_at_ms=0,
    xp_per_tier=10,
    rating=RatingPolicy(preset="flat32"),
    log_seq=3,
)


async def test_seasons_come_in_the_order_of_their_start_in_the_log(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as conn:
        await seasons.add(conn, [SPRING, CUP])
        assert await seasons.all(conn) == [CUP, SPRING]
        await seasons.add(conn, [SPRING])
        assert await seasons.all(conn) == [CUP, SPRING]


async def test_a_batch_is_folded_by_all_that_was_declared(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as conn:
        assert await rules.load(conn, []) == ([], [], set())
        await games.save(conn, [CHESS, RACE])
        await seasons.add(conn, [SPRING, CUP])
        known = await rules.load(conn, [uuid4()])
    assert [games.policy_of(each) for each in known.games] == [CHESS, RACE]
    assert [seasons.season_of(each) for each in known.seasons] == [CUP, SPRING]
    assert known.told == set()


async def test_a_root_fact_that_brought_others_is_known(pool: asyncpg.Pool) -> None:
    root, alone, other = uuid4(), uuid4(), uuid4()
    async with log.transaction(pool) as tx:
        log.announce(tx, event(root), event(alone), event(other))
        log.announce(tx, event(uuid4(), root), event(uuid4(), root), event(uuid4(), other))
    async with pool.acquire() as conn:
        assert (await rules.load(conn, [root, alone])).told == {root}


def event(event_id: UUID, root_id: UUID | None = None) -> Event:
    return Event(
        event_id=event_id,
        type="rating.updated" if root_id else "match.completed",
        v=1,
        subject=None,
        cause_id=root_id,
        root_id=root_id or event_id,
        occurred_at_ms=0,
        payload={},
    )


async def test_a_profile_that_was_never_saved_has_the_defaults(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as conn:
        assert await profiles.get(conn, "ana") == Profile(user_id="ana")
        said = Profile(
            user_id="ana", display_name="Ana", country="PT", is_public=False, updated_at_ms=5
        )
        await profiles.save(conn, Profile(user_id="ana", country="ES", updated_at_ms=4))
        await profiles.save(conn, said)
        assert await profiles.get(conn, "ana") == said


async def test_countries_and_privacy_of_many_at_once(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as conn:
        for user_id, country, is_public in (
            ("ana", "PT", True),
            ("ben", None, False),
            ("cleo", "PT", False),
            ("dan", "DE", True),
        ):
            await profiles.save(
                conn,
                Profile(user_id=user_id, country=country, is_public=is_public, updated_at_ms=1),
            )
        asked = ["ana", "ben", "cleo", "eve"]
        assert await profiles.countries(conn, asked) == {"ana": "PT", "cleo": "PT"}
        assert await profiles.hidden(conn, asked) == {"ben", "cleo"}
        assert await profiles.countries(conn, []) == {}


async def test_changes_of_one_profile_wait_for_each_other(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as one, pool.acquire() as two:
        async with one.transaction():
            await profiles.lock(one, "ana")
            async with two.transaction():
                await profiles.lock(two, "ben")  # another user's does not
            waiting = asyncio.create_task(_lock(two, "ana"))
            done, _ = await asyncio.wait([waiting], timeout=0.05)
            assert not done
        await waiting


async def _lock(conn: asyncpg.pool.PoolConnectionProxy, user_id: str) -> None:
    async with conn.transaction():
        await profiles.lock(conn, user_id)
