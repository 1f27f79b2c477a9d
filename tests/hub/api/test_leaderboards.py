"""/api/v1/leaderboards: the same rows from Redis and from Postgres, pages, 304, one's own place."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest
from redis.asyncio import Redis

from domain.leaderboards import Regions
from hub.context import CONTEXT
from tests.boards import rate, standing_order, write_profile
from tests.hub.api.serving import NOWHERE, Client, bearer, serving
from workers.leaderboards import keeper, pipeline
from workers.pipeline import drain

REGIONS = Regions({"EU": ["DE", "SE"]})


@pytest.fixture
async def board(pool: asyncpg.Pool, redis: Redis) -> list[str]:
    """130 players of chess and two teams; the players, best first."""
    dice = random.Random(8)
    await rate(pool, {f"p{n:03}": (dice.randint(1190, 1210), dice.randint(0, 2), 0)
                      for n in range(130)})  # fmt: skip
    await rate(pool, {"red": (1300, 1, 5), "blue": (1250, 2, 6)}, kind="team")
    await rate(pool, {"p001": (1500, 1, 5)}, game="go")
    for n in range(20):
        await write_profile(pool, f"p{n:03}", country=("DE", "SE", "BR")[n % 3])
    await keep(pool, redis)
    return await standing_order(pool)


async def keep(pool: asyncpg.Pool, redis: Redis) -> None:
    await drain(pipeline(REGIONS), pool, redis)
    await keeper.Keeper(pool, redis, REGIONS).look()


@pytest.fixture(params=["redis", "postgres", "away"])
async def client(
    request: pytest.FixtureRequest,
    pool: asyncpg.Pool,
    redis: Redis,
    redis_url: str,
    board: list[str],
) -> AsyncIterator[Client]:
    """A client whose boards come from Redis, or, with sets or all of Redis lost, from Postgres."""
    if request.param == "postgres":
        await redis.flushall()
    url = NOWHERE if request.param == "away" else redis_url
    async with serving(pool, url, regions="EU=DE,SE") as opened:
        yield opened


@pytest.fixture
async def cached(pool: asyncpg.Pool, redis_url: str, board: list[str]) -> AsyncIterator[Client]:
    """A client whose boards come from Redis."""
    async with serving(pool, redis_url, regions="EU=DE,SE") as opened:
        yield opened


async def get(client: Client, path: str, **claims: Any) -> Any:
    response = await client.get(f"/api/v1/leaderboards/{path}", headers=bearer(**claims))
    body = await response.json()
    assert response.status == 200, body
    return body


async def test_the_first_hundred(client: Client, board: list[str]) -> None:
    body = await get(client, "global?game=chess")
    assert [row["id"] for row in body["rows"]] == board[:100]
    assert [row["rank"] for row in body["rows"]] == list(range(1, 101))
    assert (body["board"], body["game"], body["scope"]) == ("chess/global", "chess", "global")
    assert body["size"] == 130
    first = body["rows"][0]
    assert first["name"] == first["id"].title()
    assert (first["type"], first["tier"], first["trend"]) == ("user", "Gold", None)


@pytest.mark.parametrize("limit", [9, 65, 100])
async def test_pages_follow_one_another(client: Client, board: list[str], limit: int) -> None:
    seen: list[str] = []
    ranks: list[int] = []
    cursor: str | None = ""
    while cursor is not None:
        body = await get(client, f"global?game=chess&limit={limit}{cursor}")
        seen += [row["id"] for row in body["rows"]]
        ranks += [row["rank"] for row in body["rows"]]
        following = body["next_cursor"]
        cursor = None if following is None else f"&cursor={quote(following)}"
    assert seen == board
    assert ranks == list(range(1, 131))


async def test_teams(client: Client) -> None:
    body = await get(client, "global?game=chess&subject=team")
    rows = [(row["id"], row["type"], row["rating"], row["wins"]) for row in body["rows"]]
    assert rows == [("red", "team", 1300, 1), ("blue", "team", 1250, 2)]


@pytest.mark.parametrize(("region", "rests"), [("DE", {0}), ("eu", {0, 1}), ("BR", {2})])
async def test_regions(client: Client, board: list[str], region: str, rests: set[int]) -> None:
    body = await get(client, f"regional/{region}?game=chess&limit=4")
    theirs = [each for each in board if int(each[1:]) < 20 and int(each[1:]) % 3 in rests]
    assert [row["id"] for row in body["rows"]] == theirs[:4]
    assert body["size"] == len(theirs)
    assert {row["country"] for row in body["rows"]} <= {("DE", "SE", "BR")[each] for each in rests}
    more = await get(
        client, f"regional/{region}?game=chess&limit=50&cursor={quote(body['next_cursor'])}"
    )
    assert [row["id"] for row in more["rows"]] == theirs[4:]
    assert more["rows"][0]["rank"] == 5


@pytest.mark.parametrize("place", [1, 3, 60, 128, 130])
async def test_ones_own_place(client: Client, board: list[str], place: int) -> None:
    body = await get(client, "me?game=chess", sub=board[place - 1])
    assert body["rank"] == place
    near = range(max(place - 5, 1), min(place + 5, 130) + 1)
    assert [row["rank"] for row in body["rows"]] == list(near)
    assert [row["id"] for row in body["rows"]] == [board[rank - 1] for rank in near]
    assert body["tier"] in ("Gold", "Silver")


async def test_who_is_not_rated_has_no_place(client: Client) -> None:
    body = await get(client, "me?game=chess", sub="nobody")
    assert (body["rank"], body["rating"], body["tier"], body["rows"]) == (None, None, None, [])


async def test_without_a_game_it_is_the_one_with_most_players(client: Client) -> None:
    assert (await get(client, "global"))["game"] == "chess"
    assert (await get(client, "global"))["game"] == "chess"
    client.app[CONTEXT].settings = client.app[CONTEXT].settings.with_(default_game="go")
    assert (await get(client, "global"))["game"] == "go"


async def test_a_game_nobody_is_rated_in_is_an_empty_page(client: Client) -> None:
    body = await get(client, "global?game=made/up")
    assert (body["size"], body["rows"], body["next_cursor"]) == (0, [], None)


async def test_names_and_places_that_are_hidden_elsewhere_stay_on_boards(
    client: Client, pool: asyncpg.Pool, board: list[str]
) -> None:
    """It is a competition; only what the profile links to is private (STAT-06)."""
    await write_profile(pool, board[50], country=None, is_public=False)
    row = (await get(client, "global?game=chess"))["rows"][50]
    assert (row["id"], row["rank"], row["name"]) == (board[50], 51, board[50].title())


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("global?game=a%20b", "game"),
        ("global?game=chess&limit=101", "limit"),
        ("global?game=chess&limit=0", "limit"),
        ("global?game=chess&cursor=nonsense", "cursor"),
        ("global?game=chess&subject=dog", "subject"),
        ("regional/ATLANTIS?game=chess", "region"),
        ("me?game=", "game"),
    ],
)
async def test_a_bad_parameter_is_named(cached: Client, path: str, field: str) -> None:
    response = await cached.get(f"/api/v1/leaderboards/{path}", headers=bearer())
    body = await response.json()
    assert (response.status, body["error"]["code"]) == (400, "invalid_schema")
    assert body["error"]["field"] == field


async def test_nobody_rated_at_all_needs_a_game(pool: asyncpg.Pool, redis_url: str) -> None:
    async with serving(pool, redis_url) as client:
        response = await client.get("/api/v1/leaderboards/global", headers=bearer())
        assert (response.status, (await response.json())["error"]["field"]) == (400, "game")


# -- the cache -------------------------------------------------------------------------------------


def reads(client: Client, outcome: str) -> float:
    count = client.app[CONTEXT].metrics.cache_reads.labels("leaderboards", outcome)
    return float(count._value.get())


async def test_a_rendered_page_serves_until_the_board_changes(
    cached: Client, pool: asyncpg.Pool, redis: Redis
) -> None:
    before = await get(cached, "global?game=chess")
    # The keeper rendered it before anybody asked.
    assert (reads(cached, "hit"), reads(cached, "miss")) == (1, 0)
    for _ in range(20):
        assert await get(cached, "global?game=chess") == before
    assert (reads(cached, "hit"), reads(cached, "miss")) == (21, 0)
    await rate(pool, {"new": (2000, 9, 1)})
    await drain(pipeline(REGIONS), pool, redis)
    after = await get(cached, "global?game=chess")
    assert after["rows"][0]["id"] == "new"
    assert after["version"] > before["version"]
    assert reads(cached, "miss") == 1
    await redis.flushall()
    assert (await get(cached, "global?game=chess"))["version"] is None
    assert reads(cached, "away") == 1


async def test_what_the_reader_has_is_not_sent_again(
    cached: Client, pool: asyncpg.Pool, redis: Redis, board: list[str]
) -> None:
    for path in ("global?game=chess", "regional/EU?game=chess", "me?game=chess"):
        url = f"/api/v1/leaderboards/{path}"
        response = await cached.get(url, headers=bearer(sub=board[0]))
        assert response.headers["Cache-Control"] == "private, max-age=5"
        tag = {"If-None-Match": response.headers["ETag"]}
        again = await cached.get(url, headers=bearer(sub=board[0]) | tag)
        assert (again.status, await again.read()) == (304, b"")
        await rate(pool, {board[0]: (1300 + len(path), 5, 1), board[1]: (1290, len(path), 1)})
        await write_profile(pool, board[0], country="SE")
        await keep(pool, redis)
        changed = await cached.get(url, headers=bearer(sub=board[0]) | tag)
        assert changed.status == 200


# -- who may ---------------------------------------------------------------------------------------


async def test_overlays_read_the_board_of_their_room_alone(cached: Client) -> None:
    overlay = {"kind": "overlay", "subject": "leaderboard:chess/global"}
    assert (await get(cached, "global?game=chess", **overlay))["size"] == 130
    for path in ("global?game=go", "global", "global?game=chess&subject=team", "me?game=chess"):
        response = await cached.get(f"/api/v1/leaderboards/{path}", headers=bearer(**overlay))
        assert response.status == 403, path


async def test_a_token_is_needed_and_servers_have_no_place(cached: Client) -> None:
    response = await cached.get("/api/v1/leaderboards/global?game=chess")
    assert response.status == 401
    response = await cached.get("/api/v1/leaderboards/me", headers=bearer(kind="server"))
    assert response.status == 403
