"""Statistics, cards and achievements over HTTP, of matches really folded, and who may see them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from datetime import date, timedelta
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest
from redis.asyncio import Redis

from domain.achievements import CATALOGUE
from domain.ids import uuid7
from domain.leaderboards import PLAYERS, Regions, board_of, score
from domain.profiles import Profile
from storage import profiles, ratings
from storage.leaderboards import making, snapshots
from storage.log import Event
from tests.hub.api.serving import Client, bearer, serving
from tests.played import Story, days_ago, declare
from tests.proxies import Wire

NOW_MS = 1_800_000_000_000
ANA_STATS = {"kills": 10, "deaths": 4, "assists": 2, "fastest_answer_ms": 400}


@pytest.fixture
async def client(pool: asyncpg.Pool, redis: Redis, redis_url: str) -> AsyncIterator[Client]:
    """Ana and Ben over three months: in a season that began in between, in two games."""
    story = Story()
    for _ in range(8):
        story.duel("ana", "ben", days=60)
    story.duel("ben", "ana", days=20)
    story.duel("ana", "ben", days=0, outcome="draw", scores={"ana": 1, "ben": 1})
    line = {"player_id": "ana", "stats": ANA_STATS}
    story.duel("ana", "cid", days=0, game="quiz", players=[line], duration_s=600)
    await story.tell(pool, redis)
    async with serving(pool, redis_url) as opened:
        yield opened


async def get(client: Client, path: str, sub: str = "ana", **token: Any) -> tuple[int, Any]:
    response = await client.get(f"/api/v1/{path}", headers=bearer(sub=sub, **token))
    return response.status, await response.json()


async def hide(pool: asyncpg.Pool, user_id: str) -> None:
    async with pool.acquire() as conn:
        profile = Profile(
            user_id=user_id,
            display_name="Somebody",
            country="PT",
            is_public=False,
            updated_at_ms=NOW_MS,
        )
        await profiles.save(conn, profile)


def started(season: str, **data: Any) -> Event:
    event_id = uuid7(NOW_MS, secrets.randbits(74))
    return Event(
        event_id=event_id,
        type="season.started",
        v=1,
        subject=f"season:{season}",
        cause_id=None,
        root_id=event_id,
        occurred_at_ms=NOW_MS,
        payload={"season_id": season, "number": 1, "starts_at": days_ago(0), **data},
    )


# -- one's own -------------------------------------------------------------------------------------


async def test_lifetime(client: Client) -> None:
    status, body = await get(client, "stats/me/lifetime")
    assert status == 200
    arena, quiz = body["lifetime"]
    assert [arena[key] for key in ("game", "played", "won", "lost", "drawn", "best_streak")] == [
        "arena", 10, 8, 1, 1, 8,
    ]  # fmt: skip
    assert arena["derived"]["win_rate"] == 0.8
    assert arena["derived"]["kda"] is None
    assert quiz["stats"] == ANA_STATS
    assert (quiz["derived"]["kd_ratio"], quiz["derived"]["kda"], quiz["seconds"]) == (2.5, 3.0, 600)
    assert body["totals"]["matches_won"] == 9
    _, body = await get(client, "stats/me/lifetime?game=quiz")
    assert [each["game"] for each in body["lifetime"]] == ["quiz"]
    assert body["totals"]["matches_won"] == 1


async def test_seasons(client: Client, pool: asyncpg.Pool, redis: Redis) -> None:
    _, body = await get(client, "stats/me/seasonal")
    assert (body["season"], body["seasons"]) == ("preseason", ["preseason"])
    assert [each["played"] for each in body["seasonal"]] == [10, 1]
    await declare(pool, started("2026/spring"))
    story = Story(stream="8" * 32)
    story.duel("ben", "ana", match="after")
    await story.tell(pool, redis)
    _, body = await get(client, "stats/me/seasonal?season=2026/spring")
    assert sorted(body["seasons"]) == ["2026/spring", "preseason"]
    assert [(each["game"], each["lost"]) for each in body["seasonal"]] == [("arena", 1)]
    _, body = await get(client, "stats/me/seasonal?season=preseason&game=quiz")
    assert [(each["game"], each["won"]) for each in body["seasonal"]] == [("quiz", 1)]
    assert (await get(client, "stats/me/seasonal?season=never"))[1]["seasonal"] == []


async def test_weeks_and_days(client: Client) -> None:
    today = date.fromisoformat(days_ago(0)[:10])
    monday = today - timedelta(days=today.weekday())
    _, body = await get(client, "stats/me/weekly")
    weeks = [(each["week"], each["game"], each["played"]) for each in body["weekly"]]
    assert weeks[:2] == [(monday.isoformat(), "arena", 1), (monday.isoformat(), "quiz", 1)]
    assert [each[2] for each in weeks[2:]] == [1]
    _, body = await get(client, "stats/me/weekly?weeks=12&game=arena")
    assert [each["played"] for each in body["weekly"]] == [1, 1, 8]
    _, body = await get(client, f"stats/me/weekly?weeks=1&day={days_ago(60)[:10]}")
    assert [each["played"] for each in body["weekly"]] == [8]
    _, body = await get(client, "stats/me/daily")
    assert [(each["game"], each["drawn"]) for each in body["daily"]] == [("arena", 1), ("quiz", 0)]
    then = days_ago(60)[:10]
    _, body = await get(client, f"stats/me/daily?day={then}")
    assert (body["day"], [each["won"] for each in body["daily"]]) == (then, [8])


async def test_trends(client: Client) -> None:
    _, body = await get(client, "stats/me/trends?game=arena")
    [line] = body["trends"]
    assert line["trend"] == "declining"
    assert line["rating_before"] == line["peak"] == line["rating"] - line["delta"]
    assert line["delta"] <= -25
    _, body = await get(client, "stats/me/trends", sub="ben")
    assert [each["trend"] for each in body["trends"]] == ["improving"]
    assert (await get(client, "stats/me/trends", sub="nobody"))[1]["trends"] == []


async def test_own_matches(client: Client) -> None:
    _, body = await get(client, "stats/me/matches?limit=2")
    assert [each["outcome"] for each in body["history"]] in (["draw", "win"], ["win", "draw"])
    _, body = await get(client, f"stats/me/matches?limit=2&cursor={quote(body['next_cursor'])}")
    lost, won = body["history"]
    assert (lost["outcome"], won["outcome"]) == ("loss", "win")
    assert lost["rating_before"] == won["rating_after"] > lost["rating_after"]
    _, body = await get(client, "stats/me/matches?game=quiz")
    assert [each["game"] for each in body["history"]] == ["quiz"]


async def test_battlepass(client: Client, pool: asyncpg.Pool, redis: Redis) -> None:
    _, body = await get(client, "me/battlepass")
    assert (body["season"]["season_id"], body["season"]["number"]) == ("preseason", None)
    assert body["tier"] * 1000 + body["tier_xp"] == body["xp"] == body["total_xp"] > 1000
    assert body["xp_to_next"] == 1000 - body["tier_xp"]
    assert (body["rewards"][0]["tier"], body["rewards"][0]["reached"]) == (5, False)
    before = body["total_xp"]
    coins = {"type": "coins", "amount": 5, "item": None}
    await declare(
        pool,
        started("s1", name="One", xp_per_tier=50, rewards={"1": coins, "90": coins}),
        started("arena-1", game="arena"),
    )
    story = Story(stream="8" * 32)
    story.duel("ana", "ben", match="after")
    await story.tell(pool, redis)
    _, body = await get(client, "me/battlepass")
    assert (body["season"]["season_id"], body["season"]["name"]) == ("s1", "One")
    assert body["total_xp"] == before + body["xp"]
    assert body["tier"] == body["xp"] // 50
    assert [(each["tier"], each["reached"]) for each in body["rewards"]] == [(1, True), (90, False)]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("stats/me/lifetime?game=a%20b", "game"),
        ("stats/me/weekly?weeks=13", "weeks"),
        ("stats/me/daily?day=20260301", "day"),
        ("stats/me/daily?day=2026-02-30", "day"),
        ("stats/me/weekly?day=0001-01-01", "day"),
        ("stats/me/matches?cursor=x", "cursor"),
        ("stats/me/seasonal?season=", "season"),
        ("players/ana/ratings?limit=501", "limit"),
        ("players/a%20b", "id"),
    ],
)
async def test_a_bad_parameter_is_named(client: Client, path: str, field: str) -> None:
    status, body = await get(client, path)
    assert (status, body["error"]["field"]) == (400, field)


# -- anybody's -------------------------------------------------------------------------------------


async def test_a_players_figures(client: Client) -> None:
    _, body = await get(client, "stats/ana", sub="cid")
    arena, quiz = body["lifetime"]
    assert body["name"] == "Ana"
    assert (arena["trend"], quiz["trend"]) == ("declining", "improving")
    assert arena["bests"]["best_win_streak"] == 8
    assert arena["bests"]["peak_elo"] > arena["rating"]
    assert quiz["bests"]["fastest_answer_ms"] == 400
    _, body = await get(client, "stats/no/body", sub="cid")
    assert (body["user_id"], body["name"], body["lifetime"]) == ("no/body", None, [])


async def test_matchups(client: Client) -> None:
    _, body = await get(client, "stats/ana/matchups/ben")
    assert [body[key] for key in ("played", "won", "lost", "drawn", "none")] == [10, 8, 1, 1, 0]
    _, body = await get(client, "stats/ben/matchups/ana?game=arena")
    assert (body["won"], body["lost"]) == (1, 8)
    assert (await get(client, "stats/ana/matchups/ben?game=quiz"))[1]["played"] == 0
    assert (await get(client, "stats/ana/matchups/no%2Fbody"))[1]["played"] == 0


async def test_a_card(client: Client) -> None:
    _, body = await get(client, "players/ana", sub="cid")
    assert (body["id"], body["name"], body["country"]) == ("ana", "Ana", None)
    arena, quiz = body["ratings"]
    assert (arena["game"], arena["rank"], arena["rated"], arena["won"]) == ("arena", 1, 10, 8)
    assert (arena["tier"], arena["trend"], quiz["rank"]) == ("Gold", "declining", 1)
    assert [each["outcome"] for each in body["form"]][2:] == ["loss", *["win"] * 7]
    assert body["level"] >= 2
    assert body["best_streak"] >= 8
    assert body["achievements"]["of"] == len(CATALOGUE)
    _, ben = await get(client, "players/ben", sub="cid")
    assert [each["rank"] for each in ben["ratings"]] == [2]


async def test_the_last_night_on_a_card(client: Client, pool: asyncpg.Pool) -> None:
    assert (await get(client, "players/ana"))[1]["snapshots"] == []
    async with pool.acquire() as conn:
        for day in (1, 2):
            await snapshots.take(conn, date(2026, 3, day))
    _, body = await get(client, "players/ben")
    [night] = body["snapshots"]
    assert (night["game"], night["taken_on"], night["rank"]) == ("arena", "2026-03-02", 2)
    assert (night["subjects"], night["percentile"]) == (2, 0.0)
    assert night["rating"] == body["ratings"][0]["rating"]


async def test_a_rank_is_that_of_the_board(
    client: Client, pool: asyncpg.Pool, redis: Redis
) -> None:
    """The same from Redis, where the set is complete, as from Postgres, where it is not."""
    assert (await get(client, "players/ben"))[1]["ratings"][0]["rank"] == 2
    board, regions = board_of("arena", PLAYERS), Regions()
    async with pool.acquire() as conn:
        rated = await ratings.page(conn, "arena", "user", 10)
    assert await making.begin(redis, board, regions, "test") == "begun"
    # Somebody of whom Postgres knows nothing: so it is Redis that answers.
    leader = ("zoe", score(3000, 1, 0))
    places = [(each.subject_id, score(*each[1:4])) for each in rated]
    assert await making.add(redis, board, "test", [leader, *places])
    assert await making.finish(redis, board, regions, "test") == 3
    assert (await get(client, "players/ana"))[1]["ratings"][0]["rank"] == 2
    assert (await get(client, "players/ben"))[1]["ratings"][0]["rank"] == 3


async def test_who_waits_for_redis_keeps_no_connection_to_postgres(
    client: Client, pool: asyncpg.Pool, redis_url: str
) -> None:
    """Else a few cards, while Redis hangs, would leave none to those who bring results."""
    async with Wire(redis_url) as wire, serving(pool, wire.url) as behind:
        wire.pause()
        asked = asyncio.create_task(get(behind, "players/ben"))
        await wire.holds.wait()
        assert pool.get_idle_size() == pool.get_size()
        wire.resume()
        status, body = await asked
    assert (status, [each["rank"] for each in body["ratings"]]) == (200, [2])


async def test_a_curve(client: Client) -> None:
    _, body = await get(client, "players/ana/ratings", sub="cid")
    ratings = [each["rating"] for each in body["points"]]
    assert (body["game"], len(ratings)) == ("arena", 10)
    assert ratings[:8] == sorted(ratings[:8])
    assert ratings[8] < ratings[7]
    _, last = await get(client, "players/ana/ratings?game=arena&limit=2", sub="cid")
    assert last["points"] == body["points"][-2:]
    _, body = await get(client, "players/nobody/ratings", sub="cid")
    assert (body["game"], body["points"]) == (None, [])


async def test_achievements_with_progress(client: Client) -> None:
    _, body = await get(client, "achievements")
    assert [each["code"] for each in body["achievements"]] == [each.code for each in CATALOGUE]
    _, body = await get(client, "players/ana/achievements", sub="cid")
    by_code = {each["code"]: each for each in body["achievements"]}
    assert by_code["FIRST_WIN"]["earned_at"].startswith(days_ago(60)[:10])
    assert by_code["FIRST_WIN"]["match_id"] == "m/1"
    assert by_code["FIRST_WIN"]["progress"] == {"have": 1, "want": 1}
    assert by_code["TEN_WINS"]["earned_at"] is None
    assert by_code["TEN_WINS"]["progress"] == {"have": 9, "want": 10}
    assert body["earned"] == sum(each["earned_at"] is not None for each in by_code.values())
    _, body = await get(client, "players/nobody/achievements", sub="cid")
    assert body["earned"] == 0


async def test_who_has_the_answer_is_told_so(
    client: Client, pool: asyncpg.Pool, redis: Redis
) -> None:
    etags = {}
    for path in ("players/ana", "stats/ana", "players/ana/ratings", "achievements"):
        response = await client.get(f"/api/v1/{path}", headers=bearer())
        etags[path] = {"If-None-Match": response.headers["ETag"]}
    for path, known in etags.items():
        response = await client.get(f"/api/v1/{path}", headers={**bearer(), **known})
        assert response.status == 304
    story = Story(stream="8" * 32)
    story.duel("ana", "ben", match="after")
    await story.tell(pool, redis)
    for path, known in etags.items():
        response = await client.get(f"/api/v1/{path}", headers={**bearer(), **known})
        assert response.status == (304 if path == "achievements" else 200)
    assert response.headers["Cache-Control"] == "private, max-age=86400"


# -- who may see -----------------------------------------------------------------------------------

HIDDEN = [
    "stats/ana",
    "stats/ana/matchups/ben",
    "stats/ben/matchups/ana",
    "players/ana",
    "players/ana/ratings",
    "players/ana/achievements",
    "history/user/ana",
]


@pytest.mark.parametrize("path", HIDDEN)
async def test_who_hides_it_is_seen_by_itself_and_admins(
    client: Client, pool: asyncpg.Pool, path: str
) -> None:
    assert (await get(client, path, sub="cid"))[0] == 200
    await hide(pool, "ana")
    status, body = await get(client, path, sub="cid", role="ORGANIZER")
    assert (status, body["error"]["code"]) == (403, "forbidden_action")
    assert "Somebody" not in str(body)
    assert (await get(client, path, sub="ana"))[0] == 200
    assert (await get(client, path, sub="cid", role="ADMIN"))[0] == 200
    # A server of the same id is not the player.
    assert (await get(client, path, sub="ana", kind="server", scope=["ingest"]))[0] == 403


async def test_who_met_a_hidden_player_knows_how_it_went(
    client: Client, pool: asyncpg.Pool
) -> None:
    await hide(pool, "ana")
    status, body = await get(client, "stats/ben/matchups/ana", sub="ben")
    assert (status, body["won"]) == (200, 1)


async def test_what_is_ones_own_needs_a_users_token(client: Client) -> None:
    for path in ("lifetime", "seasonal", "weekly", "daily", "matches", "trends"):
        status, _ = await get(client, f"stats/me/{path}", kind="server", scope=["ingest"])
        assert status == 403
    assert (await get(client, "me/battlepass", kind="server", scope=["ingest"]))[0] == 403
    assert (await client.get("/api/v1/players/ana")).status == 401


async def test_a_name_of_ones_own(client: Client, pool: asyncpg.Pool) -> None:
    await hide(pool, "ana")
    for path in ("players/ana", "stats/ana"):
        assert (await get(client, path))[1]["name"] == "Somebody"
    assert (await get(client, "players/ana"))[1]["country"] == "PT"
