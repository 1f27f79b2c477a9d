"""/api/v1/games, /api/v1/seasons and /api/v1/me/profile: who may, what is said, what is shown."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from domain.games import GamePolicy, policy_of
from domain.ratings import Rating
from domain.seasons import season_of
from storage import audit, games, log, profiles, ratings, seasons
from storage.database import execute
from tests.hub.api.serving import Client, bearer, serving

ADMIN = {"role": "ADMIN", "sub": "root"}
ORGANIZER = {"role": "ORGANIZER", "sub": "olga"}
PLAYER = {"role": "PLAYER", "sub": "ann"}
GAMES, SEASONS, PROFILE = "/api/v1/games", "/api/v1/seasons", "/api/v1/me/profile"


async def ask(
    client: Client, method: str, path: str, who: dict[str, Any], body: Any = None
) -> tuple[int, dict[str, Any]]:
    async with client.request(method, path, json=body, headers=bearer(**who)) as answer:
        return answer.status, await answer.json()


async def refused(client: Client, *asked: Any) -> tuple[int, str, str | None]:
    status, body = await ask(client, *asked)
    return status, body["error"]["code"], body["error"].get("field")


async def fold(pool: asyncpg.Pool) -> None:
    """What the fold does with declarations."""
    async with pool.acquire() as conn:
        for fact in await log.read(conn, 0, 100):
            if fact.type == "game.configured":
                await games.save(conn, [policy_of(fact.payload, fact.seq)])
            elif fact.type == "season.started":
                await seasons.add(conn, [season_of(fact.payload, fact.seq)])


# -- games -----------------------------------------------------------------------------------------


async def test_a_game_is_declared_and_listed(pool: asyncpg.Pool) -> None:
    said = {"title": "Cup Chess", "rating": {"system": "glicko2"}, "stats": [{"name": "moves"}]}
    chess = {
        "game": "cup/chess",
        "title": "Cup Chess",
        "rating": {"system": "glicko2", "preset": "combined"},
        "stats": [{"name": "moves", "total": "sum", "title": None}],
    }
    async with serving(pool) as client:
        for path in ("/cup%2Fchess", "/cup/chess"):
            assert await ask(client, "PUT", GAMES + path, ADMIN, said) == (200, chess)
        await fold(pool)
        shown = {**chess, "players": 0, "teams": 0}
        assert await ask(client, "GET", GAMES, PLAYER) == (200, {"games": [shown]})
    async with pool.acquire() as conn:
        assert len(await log.read(conn, 0, 10)) == 1
        ((row,), _) = await audit.page(conn, audit.Filter(action="game.configured"))
    assert (row.actor, row.role, row.target_id) == ("user:root", "ADMIN", "cup/chess")
    assert row.ip is not None


async def test_games_with_ratings_are_listed_with_their_counts(pool: asyncpg.Pool) -> None:
    stored = ratings.Stored(rating=Rating(), reached_minute=1, reached_at_ms=1, last_rated_ms=1)
    async with pool.acquire() as conn:
        await games.save(conn, [GamePolicy(game="chess", title="Chess", log_seq=1)])
        keys = [("go", "user", "ann"), ("go", "user", "bob"), ("go", "team", "red")]
        await execute(conn, ratings.save(dict.fromkeys(keys, stored)))
    async with serving(pool) as client:
        status, body = await ask(client, "GET", GAMES, {"role": "SPECTATOR"})
    told = [(each["game"], each["title"], each["players"], each["teams"]) for each in body["games"]]
    assert (status, told) == (200, [("chess", "Chess", 0, 0), ("go", None, 2, 1)])
    assert body["games"][1]["rating"] == {"system": "elo", "preset": "combined"}


async def test_who_has_the_list_is_told_so(pool: asyncpg.Pool) -> None:
    async with serving(pool) as client:
        for path, who in ((GAMES, PLAYER), (SEASONS, PLAYER), (PROFILE, PLAYER)):
            async with client.get(path, headers=bearer(**who)) as answer:
                etag = answer.headers["ETag"]
                assert answer.headers["Cache-Control"].startswith("private")
            headers = {**bearer(**who), "If-None-Match": etag}
            async with client.get(path, headers=headers) as answer:
                assert answer.status == 304


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"game": "other"}, "game"),
        ({"titel": "Chess"}, "titel"),
        ({"rating": {"system": "chess"}}, "rating.system"),
        ([], None),
    ],
)
async def test_a_game_that_cannot_be(pool: asyncpg.Pool, body: Any, field: str | None) -> None:
    async with serving(pool) as client:
        assert await refused(client, "PUT", f"{GAMES}/chess", ADMIN, body) == (
            400, "invalid_schema", field,
        )  # fmt: skip
        code = (400, "invalid_schema", "game")
        assert await refused(client, "PUT", f"{GAMES}/no%20id", ADMIN, {}) == code


# -- seasons ---------------------------------------------------------------------------------------


async def test_seasons_are_started_and_listed(pool: asyncpg.Pool) -> None:
    async with serving(pool) as client:
        said = {"game": "chess", "name": "Spring", "rewards": {"5": {"type": "coins"}}}
        status, first = await ask(client, "POST", SEASONS, ADMIN, said)
        assert (status, first["season_id"], first["number"]) == (201, "chess/season-1", 1)
        assert first["rewards"] == {"5": {"type": "coins", "amount": 1, "item": None}}
        assert (first["rating"], first["xp_per_tier"], first["ends_at"]) == (None, 1000, None)
        _, second = await ask(client, "POST", SEASONS, ADMIN, {"rating": {"preset": "banded"}})
        assert second["rating"] == {"system": "elo", "preset": "banded"}
        again = {**said, "season_id": "chess/season-1"}
        assert await ask(client, "POST", SEASONS, ADMIN, again) == (201, first)
        await fold(pool)
        assert await ask(client, "GET", SEASONS, PLAYER) == (200, {"seasons": [first, second]})
        taken = {"game": "chess", "season_id": "other", "number": 1}
        assert await refused(client, "POST", SEASONS, ADMIN, taken) == (
            409, "already_exists", "number",
        )  # fmt: skip
        assert await refused(client, "POST", SEASONS, ADMIN, {"number": 0}) == (
            400, "invalid_schema", "number",
        )  # fmt: skip


async def test_games_and_seasons_are_for_admins(pool: asyncpg.Pool) -> None:
    async with serving(pool) as client:
        for who in (PLAYER, ORGANIZER):
            for asked in (("PUT", f"{GAMES}/chess"), ("POST", SEASONS)):
                status, code, _ = await refused(client, *asked, who, {})
                assert (status, code) == (403, "forbidden_action")
    async with pool.acquire() as conn:
        assert await log.read(conn, 0, 10) == []


# -- profiles --------------------------------------------------------------------------------------


async def test_a_profile_is_read_and_changed(pool: asyncpg.Pool) -> None:
    empty = {"display_name": None, "country": None, "is_public": True, "updated_at": None}
    async with serving(pool) as client:
        assert await ask(client, "GET", PROFILE, PLAYER) == (200, {"user_id": "ann", **empty})
        status, after = await ask(client, "PATCH", PROFILE, PLAYER, {"country": "PT"})
        assert (status, after["country"], after["is_public"]) == (200, "PT", True)
        assert after["updated_at"].endswith("Z")
        assert await ask(client, "GET", PROFILE, PLAYER) == (200, after)
        _, bob = await ask(client, "GET", PROFILE, {**PLAYER, "sub": "bob"})
        assert bob == {"user_id": "bob", **empty}
        _, hidden = await ask(client, "PATCH", PROFILE, PLAYER, {"is_public": False})
        assert (hidden["country"], hidden["is_public"]) == ("PT", False)
        assert await refused(client, "PATCH", PROFILE, PLAYER, {"country": "Portugal"}) == (
            400, "invalid_schema", "country",
        )  # fmt: skip
    async with pool.acquire() as conn:
        assert await profiles.hidden(conn, ["ann"]) == {"ann"}
        facts = await log.read(conn, 0, 10)
    assert [fact.payload["changed_fields"] for fact in facts] == [["country"], ["is_public"]]


async def test_profiles_are_of_players(pool: asyncpg.Pool) -> None:
    """A spectator's token may be one that anybody can fetch."""
    async with serving(pool) as client:
        for method, body in (("GET", None), ("PATCH", {"country": "PT"})):
            status, code, _ = await refused(client, method, PROFILE, {"role": "SPECTATOR"}, body)
            assert (status, code) == (403, "forbidden_action")
