"""What people declare: games, seasons, their own profiles; each a fact and a row of the audit."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import msgspec
import pytest

from domain.errors import AlreadyExists, Forbidden, InvalidSchema, LimitReached
from domain.events import EVENT_TYPES, Principal, Role
from domain.payloads_derived import RatingPolicy, Reward, StatKind
from domain.profiles import Profile
from services import games, profiles, seasons
from storage import audit, log
from storage import profiles as stored
from storage.audit import Entry
from storage.log import LoggedEvent

ADMIN = Principal(subject="root", kind="user", role=Role.ADMIN)
ORGANIZER = Principal(subject="olga", kind="user", role=Role.ORGANIZER)
ANA = Principal(subject="ana", kind="user", role=Role.PLAYER)
BY = Entry(actor="user:root", role="ADMIN", action="", occurred_at_ms=0, trace_id="t1")
NOW_MS = 1_772_388_000_000  # 2026-03-01T18:00:00Z


async def logged(pool: asyncpg.Pool) -> list[LoggedEvent]:
    """The facts, each as its type declares it, and each with its row in the audit log."""
    async with pool.acquire() as conn:
        found = await log.read(conn, 0, 100)
        rows, _ = await audit.page(conn, audit.Filter())
    for fact in found:
        shape = EVENT_TYPES[fact.type].payload
        assert shape is not None
        assert msgspec.to_builtins(msgspec.convert(fact.payload, shape)) == fact.payload
        assert (fact.event_id.version, fact.root_id, fact.cause_id) == (7, fact.event_id, None)
    assert [(row.action, row.metadata["event_id"], row.trace_id) for row in reversed(rows)] == [
        (fact.type, str(fact.event_id), "t1") for fact in found
    ]
    return found


# -- games -----------------------------------------------------------------------------------------

CHESS: dict[str, Any] = {
    "game": "chess",
    "title": "Chess",
    "rating": {"system": "glicko2"},
    "stats": [{"name": "moves"}, {"name": "fastest_mate", "total": "min", "title": "Mate"}],
}


async def test_a_game_is_declared(pool: asyncpg.Pool) -> None:
    policy, new = await games.configure(pool, ADMIN, BY, CHESS, NOW_MS)
    assert new
    assert (policy.game, policy.title, policy.rating.system) == ("chess", "Chess", "glicko2")
    assert policy.kinds() == {"moves": "sum", "fastest_mate": "min"}
    assert policy.stats[1] == StatKind(name="fastest_mate", total="min", title="Mate")
    (fact,) = await logged(pool)
    assert (fact.type, fact.subject, fact.occurred_at_ms) == (
        "game.configured", "game:chess", NOW_MS,
    )  # fmt: skip
    assert fact.payload["by"] == "root"


async def test_what_stands_already_is_not_announced_again(pool: asyncpg.Pool) -> None:
    assert (await games.configure(pool, ADMIN, BY, CHESS, NOW_MS))[1]
    assert not (await games.configure(pool, None, BY, {**CHESS, "by": "eve"}, NOW_MS))[1]
    # What is left out has its default again.
    policy, new = await games.configure(pool, None, BY, {"game": "chess", "stats": None}, NOW_MS)
    assert (new, policy.title, policy.rating, policy.stats) == (True, None, RatingPolicy(), ())
    assert (await games.configure(pool, ADMIN, BY, CHESS, NOW_MS))[1]
    assert [fact.payload["by"] for fact in await logged(pool)] == ["root", None, "root"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"game": None}, "game"),
        ({"game": "no id"}, "game"),
        ({"titel": "Chess"}, "titel"),
        ({"title": ""}, "title"),
        ({"rating": {"system": "trueskill"}}, "rating.system"),
        ({"rating": {"system": "elo", "k": 32}}, "k"),
        ({"rating": "elo"}, "rating"),
        ({"stats": [{"name": "Kills"}]}, "stats[0].name"),
        ({"stats": [{"name": "kills", "kind": "sum"}]}, "kind"),
        ({"stats": [{"name": "kills"}, {"name": "kills", "total": "max"}]}, "stats.name"),
    ],
    ids=str,
)
async def test_a_game_that_cannot_be(
    pool: asyncpg.Pool, change: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidSchema) as refusal:
        await games.configure(pool, ADMIN, BY, {**CHESS, **change}, NOW_MS)
    assert refusal.value.field == field
    assert await logged(pool) == []


async def test_only_so_many_games(pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(games, "GAMES_MAX", 0)
    with pytest.raises(LimitReached):
        await games.configure(pool, ADMIN, BY, CHESS, NOW_MS)


# -- seasons ---------------------------------------------------------------------------------------


async def test_a_season_needs_nothing_but_to_be_started(pool: asyncpg.Pool) -> None:
    first, _ = await seasons.start(pool, ADMIN, BY, {}, NOW_MS)
    second, _ = await seasons.start(pool, ADMIN, BY, {}, NOW_MS)
    chess, _ = await seasons.start(pool, None, BY, {"game": "cup/chess"}, NOW_MS)
    assert [(each.season_id, each.number, each.game) for each in (first, second, chess)] == [
        ("season-1", 1, None), ("season-2", 2, None), ("cup/chess/season-1", 1, "cup/chess"),
    ]  # fmt: skip
    assert first.starts_at_ms == NOW_MS
    found = await logged(pool)
    assert [fact.subject for fact in found] == [
        "season:season-1", "season:season-2", "season:cup/chess/season-1",
    ]  # fmt: skip
    assert [fact.payload["by"] for fact in found] == ["root", "root", None]


SPRING: dict[str, Any] = {
    "season_id": "2026-spring",
    "number": 3,
    "name": "Spring",
    "starts_at": "2026-03-01T01:00:00+01:00",
    "ends_at": "2026-06-01T00:00:00Z",
    "xp_per_tier": 500,
    "rewards": {"5": {"type": "coins", "amount": 50}, "100": {"type": "item", "item": "hat"}},
    "rating": {"preset": "flat32"},
}


async def test_a_season_with_everything(pool: asyncpg.Pool) -> None:
    season, new = await seasons.start(pool, ADMIN, BY, SPRING, NOW_MS)
    assert new
    assert season.rewards == {
        5: Reward(type="coins", amount=50), 100: Reward(type="item", item="hat"),
    }  # fmt: skip
    assert (season.xp_per_tier, season.rating) == (500, RatingPolicy(preset="flat32"))
    (fact,) = await logged(pool)
    assert fact.payload["starts_at"] == "2026-03-01T00:00:00.000Z"
    again, new = await seasons.start(pool, None, BY, {**SPRING, "by": "eve"}, NOW_MS)
    assert (again, new) == (season, False)
    assert len(await logged(pool)) == 1


async def test_the_same_season_again_needs_its_id_alone(pool: asyncpg.Pool) -> None:
    season, _ = await seasons.start(pool, ADMIN, BY, {"season_id": "s", "number": 9}, NOW_MS)
    again = await seasons.start(pool, ADMIN, BY, {"season_id": "s"}, NOW_MS + 5_000)
    assert again == (season, False)
    assert (await seasons.start(pool, ADMIN, BY, {}, NOW_MS))[0].number == 10


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "Other"}, "season_id"),
        ({"number": 4}, "season_id"),
        ({"game": "chess"}, "season_id"),
        ({"season_id": "other"}, "number"),
    ],
    ids=str,
)
async def test_two_seasons_share_neither_id_nor_number(
    pool: asyncpg.Pool, change: dict[str, Any], field: str
) -> None:
    await seasons.start(pool, ADMIN, BY, SPRING, NOW_MS)
    with pytest.raises(AlreadyExists) as refusal:
        await seasons.start(pool, ADMIN, BY, {**SPRING, **change}, NOW_MS)
    assert refusal.value.field == field
    # Numbers count within a game.
    own = {**SPRING, "season_id": "other", "game": "chess"}
    assert (await seasons.start(pool, ADMIN, BY, own, NOW_MS))[1]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"season_id": "preseason"}, "season_id"),
        ({"season_id": "no id"}, "season_id"),
        ({"game": "no id"}, "game"),
        ({"game": 5}, "game"),
        ({"number": 0}, "number"),
        ({"number": "three"}, "number"),
        ({"starts_at": "2026-03-01T18:02:00Z"}, "starts_at"),
        ({"starts_at": "soon"}, "starts_at"),
        ({"ends_at": "2026-02-01T00:00:00Z"}, "ends_at"),
        ({"xp_per_tier": 0}, "xp_per_tier"),
        ({"rewards": {"0": {"type": "coins"}}}, "rewards"),
        ({"rewards": {"101": {"type": "coins"}}}, "rewards"),
        ({"rewards": {"05": {"type": "coins"}}}, "rewards"),
        ({"rewards": {"five": {"type": "coins"}}}, "rewards"),
        ({"rewards": {"5": {"type": "item"}}}, "rewards.item"),
        ({"rewards": {"5": {"type": "coins", "item": "hat"}}}, "rewards.item"),
        ({"rewards": {"5": {"type": "item", "item": "no id"}}}, "rewards.item"),
        ({"rewards": {"5": {"type": "coins", "coins": 4}}}, "coins"),
        ({"rating": {"sytem": "elo"}}, "sytem"),
        ({"colour": "green"}, "colour"),
    ],
    ids=str,
)
async def test_a_season_that_cannot_be(
    pool: asyncpg.Pool, change: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidSchema) as refusal:
        await seasons.start(pool, ADMIN, BY, {**SPRING, **change}, NOW_MS)
    assert refusal.value.field == field
    assert await logged(pool) == []


async def test_seasons_that_start_at_once_get_different_numbers(pool: asyncpg.Pool) -> None:
    starting = [seasons.start(pool, ADMIN, BY, {}, NOW_MS) for _ in range(5)]
    started = await asyncio.gather(*starting)
    assert sorted(season.number for season, _ in started) == [1, 2, 3, 4, 5]


async def test_only_so_many_seasons(pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seasons, "SEASONS_MAX", 1)
    await seasons.start(pool, ADMIN, BY, SPRING, NOW_MS)
    assert not (await seasons.start(pool, ADMIN, BY, SPRING, NOW_MS))[1]
    with pytest.raises(LimitReached):
        await seasons.start(pool, ADMIN, BY, {}, NOW_MS)


async def test_games_and_seasons_are_for_admins(pool: asyncpg.Pool) -> None:
    server = Principal(subject="root", kind="server", role=Role.ADMIN)
    for who in (ORGANIZER, server):
        with pytest.raises(Forbidden):
            await games.configure(pool, who, BY, CHESS, NOW_MS)
        with pytest.raises(Forbidden):
            await seasons.start(pool, who, BY, {}, NOW_MS)
    assert await logged(pool) == []


# -- profiles --------------------------------------------------------------------------------------


async def read(pool: asyncpg.Pool) -> Profile:
    async with pool.acquire() as conn:
        return await stored.get(conn, "ana")


async def test_a_profile_changes_field_by_field(pool: asyncpg.Pool) -> None:
    raw = {"display_name": "Ana", "country": "PT"}
    profile = await profiles.update(pool, ANA, BY, raw, NOW_MS)
    assert profile == Profile(user_id="ana", display_name="Ana", country="PT", updated_at_ms=NOW_MS)
    assert await read(pool) == profile
    later = await profiles.update(pool, ANA, BY, {"country": None, "is_public": False}, NOW_MS + 1)
    assert (later.display_name, later.country, later.is_public) == ("Ana", None, False)
    assert await read(pool) == later
    first, second = await logged(pool)
    assert first.payload == {
        "user_id": "ana",
        "changed_fields": ["display_name", "country"],
        "display_name": "Ana",
        "country": "PT",
        "is_public": True,
    }
    assert (second.subject, second.payload["changed_fields"]) == (
        "user:ana", ["country", "is_public"],
    )  # fmt: skip


@pytest.mark.parametrize("raw", [{}, {"is_public": True}, {"country": None, "display_name": None}])
async def test_a_change_that_changes_nothing_is_not_announced(
    pool: asyncpg.Pool, raw: dict[str, Any]
) -> None:
    assert await profiles.update(pool, ANA, BY, raw, NOW_MS) == Profile(user_id="ana")
    assert await logged(pool) == []


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        ({"country": "pt"}, "country"),
        ({"country": "PRT"}, "country"),
        ({"country": "PT\n"}, "country"),
        ({"country": ""}, "country"),
        ({"country": 4}, "country"),
        ({"display_name": ""}, "display_name"),
        ({"display_name": "x" * 101}, "display_name"),
        ({"display_name": "a\x00b"}, "display_name"),
        ({"display_name": "Ana\n"}, "display_name"),
        # Nothing to see, and what turns the text around it.
        ({"display_name": " \u200b\u3164"}, "display_name"),
        ({"display_name": "\u202ednuora"}, "display_name"),
        ({"is_public": None}, "is_public"),
        ({"is_public": "no"}, "is_public"),
        ({"user_id": "ben"}, "user_id"),
    ],
    ids=str,
)
async def test_a_profile_that_cannot_be(
    pool: asyncpg.Pool, raw: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidSchema) as refusal:
        await profiles.update(pool, ANA, BY, raw, NOW_MS)
    assert refusal.value.field == field
    assert await read(pool) == Profile(user_id="ana")


@pytest.mark.parametrize(
    ("kind", "role"), [("user", Role.SPECTATOR), ("server", Role.ADMIN), ("overlay", Role.PLAYER)]
)
async def test_profiles_are_of_players(pool: asyncpg.Pool, kind: Any, role: Role) -> None:
    who = Principal(subject="ana", kind=kind, role=role)
    with pytest.raises(Forbidden):
        await profiles.update(pool, who, BY, {"country": "PT"}, NOW_MS)


async def test_changes_at_once_lose_nothing(pool: asyncpg.Pool) -> None:
    raws: list[dict[str, Any]] = [
        {"country": "PT"}, {"display_name": "Ana"}, {"is_public": False},
    ]  # fmt: skip
    await asyncio.gather(*(profiles.update(pool, ANA, BY, raw, NOW_MS) for raw in raws))
    told = await read(pool)
    assert (told.country, told.display_name, told.is_public) == ("PT", "Ana", False)
    last = (await logged(pool))[-1].payload
    assert (last["country"], last["display_name"], last["is_public"]) == ("PT", "Ana", False)
