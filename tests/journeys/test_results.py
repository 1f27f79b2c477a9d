"""Results of every kind of game, from a game server's socket to every table that they change."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import asyncpg
import pytest

from tests.facts import now_text
from tests.hubs import RunningHub, server_token
from tests.projections import Row, check_ids, derived
from tests.published import work
from tests.sockets import RawServer, server
from workers.fold.rebuild import rebuild_fold


class Line(NamedTuple):
    """What one subject has of it; ratings None: not rated, XP None: has none."""

    outcome: str
    rating: int | None
    xp: int | None = None
    earned: str = ""


@dataclass(frozen=True)
class Case:
    """What a server says of a match, and what everyone has of it afterwards."""

    sides: list[dict[str, Any]]
    said: dict[str, Any]
    lines: dict[str, Line]
    decided_by: str = "play"
    type: str = "match.completed"
    starts: bool = True
    games: int = 0
    kills: dict[str, int] = field(default_factory=dict)
    tournament: str | None = None


def user(user_id: str) -> dict[str, Any]:
    return {"id": user_id, "name": user_id.title(), "type": "user"}


def team(team_id: str, *users: str) -> dict[str, Any]:
    return {"id": team_id, "name": team_id.title(), "roster": [{"id": each} for each in users]}


def game(number: int, winner: str, **kills: int) -> dict[str, Any]:
    lines = [{"player_id": each, "stats": {"kills": count}} for each, count in kills.items()]
    return {"game_id": f"g{number}", "winner_id": winner, "players": lines, "duration_s": 300}


DUEL = [user("ann"), user("bob")]
RACE = [user("ann"), user("bob"), user("cid"), user("dan")]
TEAMS = [team("red", "ann", "bob"), team("blue", "cid", "dan")]
# All begin at 1200 with K 64, so that who wins against an equal gets 32 (CF-01).
# XP: 100 for a win and 10 for the streak of one, else 50; 5 a kill, 1 for 10 s (XP-01).
PLAYED, WON = "FIRST_MATCH", "FIRST_MATCH FIRST_WIN"
TEAM_PLAYED = "FIRST_COINS FIRST_MATCH FIRST_TEAM"
TEAM_WON = f"{TEAM_PLAYED} FIRST_WIN"

CASES = {
    "a duel": Case(
        DUEL,
        {"winner_id": "ann", "scores": {"ann": 3, "bob": 1}, "duration_s": 100},
        {"user:ann": Line("win", 1232, 120, WON), "user:bob": Line("loss", 1168, 60, PLAYED)},
    ),
    "a draw": Case(
        TEAMS,
        {"scores": {"red": 2, "blue": 2}},
        {
            "team:red": Line("draw", 1200),
            "team:blue": Line("draw", 1200),
            **{f"user:{each['id']}": Line("draw", 1200, 50, TEAM_PLAYED) for each in RACE},
        },
    ),
    # Scores by place: 1, then (4 - 2.5) / 3 = 0.5 for both who share the second, then 0.
    "a free-for-all": Case(
        RACE,
        {
            "placements": [
                {"id": "cid", "place": 1},
                {"id": "ann", "place": 2},
                {"id": "dan", "place": 2},
                {"id": "bob", "place": 4},
            ]
        },
        {
            "user:cid": Line("win", 1232, 110, WON),
            "user:ann": Line("loss", 1200, 50, PLAYED),
            "user:dan": Line("loss", 1200, 50, PLAYED),
            "user:bob": Line("loss", 1168, 50, PLAYED),
        },
    ),
    "a forfeit": Case(
        TEAMS,
        {"winner_id": "blue"},
        {
            "team:red": Line("loss", 1168),
            "team:blue": Line("win", 1232),
            "user:ann": Line("loss", 1168, 50, TEAM_PLAYED),
            "user:bob": Line("loss", 1168, 50, TEAM_PLAYED),
            "user:cid": Line("win", 1232, 110, TEAM_WON),
            "user:dan": Line("win", 1232, 110, TEAM_WON),
        },
        decided_by="forfeit",
        type="match.forfeited",
    ),
    # Counted and not rated; who never appeared has no XP.
    "a walkover": Case(
        DUEL,
        {"winner_id": "bob", "walkover": True},
        {"user:ann": Line("loss", None, None, PLAYED), "user:bob": Line("win", None, 110, WON)},
        decided_by="walkover",
        type="match.forfeited",
        starts=False,
    ),
    "a retirement": Case(
        DUEL,
        {"retired": ["ann"], "scores": {"ann": 2, "bob": 1}},
        {"user:ann": Line("loss", 1168, 50, PLAYED), "user:bob": Line("win", 1232, 110, WON)},
        decided_by="retirement",
    ),
    "a friendly": Case(
        DUEL,
        {"winner_id": "ann", "kind": "friendly"},
        {"user:ann": Line("win", None, 110, WON), "user:bob": Line("loss", None, 50, PLAYED)},
    ),
    "a challenge, which weighs half": Case(
        DUEL,
        {"winner_id": "ann", "kind": "challenge"},
        {"user:ann": Line("win", 1216, 110, WON), "user:bob": Line("loss", 1184, 50, PLAYED)},
    ),
    "a series that was broken off": Case(
        DUEL,
        {"incomplete": True, "scores": {"ann": 1, "bob": 0}},
        {"user:ann": Line("none", None, 50, PLAYED), "user:bob": Line("none", None, 50, PLAYED)},
    ),
    # Two games of 300 s are 60 XP; the winners' clean sweep is one achievement more.
    "a series of games with rosters in a tournament": Case(
        TEAMS,
        {
            "winner_id": "red",
            "scores": {"red": 2, "blue": 0},
            "games": [game(1, "red", ann=3, cid=1), game(2, "red", ann=4, bob=2)],
        },
        {
            "team:red": Line("win", 1232),
            "team:blue": Line("loss", 1168),
            "user:ann": Line("win", 1232, 205, f"{TEAM_WON} FIRST_TOURNAMENT PERFECT_SERIES"),
            "user:bob": Line("win", 1232, 180, f"{TEAM_WON} FIRST_TOURNAMENT PERFECT_SERIES"),
            "user:cid": Line("loss", 1168, 115, f"{TEAM_PLAYED} FIRST_TOURNAMENT"),
            "user:dan": Line("loss", 1168, 110, f"{TEAM_PLAYED} FIRST_TOURNAMENT"),
        },
        games=2,
        kills={"ann": 7, "bob": 2, "cid": 1},
        tournament="cup",
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
async def test_from_the_socket_to_every_table(
    sender: RawServer, pool: asyncpg.Pool, redis_url: str, case: Case
) -> None:
    opened = {"game": "arena", "competitors": case.sides, "tournament_id": case.tournament}
    first = "match.started" if case.starts else "match.scheduled"
    assert await sender.fact(first, "m1", **{k: v for k, v in opened.items() if v}) == []
    played_at = now_text()
    assert await sender.fact(case.type, "m1", played_at=played_at, **case.said) == []
    await work(pool, redis_url)

    await check_ids(pool)
    assert (await rebuild_fold(pool, check=True)).differences == []
    found = (await derived(pool)).tables
    check_history(case, found["history.entries"])
    check_ratings(case, found["ratings.current"])
    check_statistics(case, found)
    users = {each.removeprefix("user:"): line for each, line in case.lines.items() if line.earned}
    assert {
        row["user_id"]: (row["season_id"], row["xp"]) for row in found["battlepass.progress"]
    } == {each: ("preseason", line.xp) for each, line in users.items() if line.xp is not None}
    assert {(row["user_id"], row["code"]) for row in found["achievements.earned"]} == {
        (each, code) for each, line in users.items() for code in line.earned.split()
    }
    notices = {row["user_id"]: row["count"] for row in found["notifications.inbox"]}
    assert notices == {each: len(line.earned.split()) for each, line in users.items()}


def check_history(case: Case, rows: list[Row]) -> None:
    assert {
        f"{row['subject_type']}:{row['subject_id']}": (
            row["match_id"],
            row["outcome"],
            row["decided_by"],
            row["rating_before"],
            row["rating_after"],
            row["tournament_id"],
        )
        for row in rows
    } == {
        subject: (
            "m1",
            line.outcome,
            case.decided_by,
            None if line.rating is None else 1200,
            line.rating,
            case.tournament,
        )
        for subject, line in case.lines.items()
    }


def check_ratings(case: Case, rows: list[Row]) -> None:
    assert {
        f"{row['subject_type']}:{row['subject_id']}": (
            row["rating"],
            row["peak"],
            row["rated"],
            row["won"],
        )
        for row in rows
    } == {
        subject: (line.rating, max(1200, line.rating), 1, line.outcome == "win")
        for subject, line in case.lines.items()
        if line.rating is not None
    }


def check_statistics(case: Case, found: dict[str, list[Row]]) -> None:
    """Lifetime and day are the same after one match."""
    for table in ("statistics.lifetime", "statistics.days"):
        rows = {f"{row['subject_type']}:{row['subject_id']}": row for row in found[table]}
        assert rows.keys() == case.lines.keys()
        for subject, line in case.lines.items():
            row = rows[subject]
            assert row["played"] == 1
            counts = {"win": row["won"], "loss": row["lost"], "draw": row["drawn"]}
            assert counts == {each: int(line.outcome == each) for each in counts}
            kind, _, subject_id = subject.partition(":")
            if kind == "user":
                assert row["stats"].get("kills", 0) == case.kills.get(subject_id, 0)
            else:
                assert row["games"] == case.games
    careers = {row["user_id"]: row["counters"] for row in found["statistics.careers"]}
    assert {each: counters["matches_played"] for each, counters in careers.items()} == {
        each.removeprefix("user:"): 1 for each in case.lines if each.startswith("user:")
    }
    entered = {f"{row['subject_type']}:{row['subject_id']}" for row in found["statistics.entered"]}
    assert entered == (case.lines.keys() if case.tournament else set())
    assert {(row["user_id"], row["team_id"]) for row in found["statistics.played_for"]} == {
        (each["id"], side["id"]) for side in case.sides for each in side.get("roster", ())
    }


async def test_a_tournament_ends_once_whoever_says_so(
    sender: RawServer, hub: RunningHub, pool: asyncpg.Pool, redis_url: str
) -> None:
    """Two servers that replay the same season both tell of its end; the first one counts."""
    opened = {"game": "arena", "competitors": TEAMS, "tournament_id": "cup"}
    assert await sender.fact("match.started", "m1", **opened) == []
    result = {"played_at": now_text(), "winner_id": "red"}
    assert await sender.fact("match.completed", "m1", **result) == []
    ending = {"tournament_id": "cup", "game": "arena"}
    places = [{"id": "red", "place": 1}, {"id": "blue", "place": 2}]
    assert await sender.fact("tournament.completed", None, **ending, placements=places) == []
    async with server(hub.url, server_token(hub.settings, "two"), name="two") as other:
        assert await other.fact("tournament.completed", None, **ending, placements=places) == []
        # A correction is somebody's decision; this is none.
        assert await other.fact("tournament.completed", None, **ending, placements=places[:1]) == []
    await work(pool, redis_url)

    await check_ids(pool)
    found = await derived(pool)
    careers = {row["user_id"]: row["counters"] for row in found.tables["statistics.careers"]}
    won = {each: counters.get("tournaments_won", 0) for each, counters in careers.items()}
    assert won == {"ann": 1, "bob": 1, "cid": 0, "dan": 0}
    placed = [each for each in found.told if each["type"] == "tournament.placement"]
    assert [(each["subject"], each["payload"]["placement"]) for each in placed] == [
        ("user:ann", 1),
        ("user:bob", 1),
        ("user:cid", 2),
        ("user:dan", 2),
    ]
    assert (await rebuild_fold(pool, check=True)).differences == []
