"""An example of each event's data, from one story: the final of a small cup."""

from __future__ import annotations

from typing import Any

MATCH = "cup-1/final"
TOURNAMENT = "cup-1"
GAME = "arena"
FOXES, HERONS = "red-foxes", "blue-herons"

COMPETITORS: list[dict[str, Any]] = [
    {
        "id": FOXES,
        "name": "Red Foxes",
        "type": "team",
        "roster": [{"id": "ana", "name": "Ana"}, {"id": "ben", "name": "Ben"}],
    },
    {"id": HERONS, "name": "Blue Herons", "type": "team", "roster": [{"id": "cleo"}]},
]

_MATCH: dict[str, Any] = {
    "match_id": MATCH,
    "game": GAME,
    "competitors": COMPETITORS,
    "tournament_id": TOURNAMENT,
    "title": "Grand final",
    "round": "final",
    "best_of": 3,
}

SCHEDULED: dict[str, Any] = {**_MATCH, "starts_at": "2026-03-01T18:00:00.000Z", "delay_s": 0}
STARTED: dict[str, Any] = {**_MATCH, "started_at": "2026-03-01T18:02:10.000Z"}
SCORE: dict[str, Any] = {
    "match_id": MATCH,
    "scores": {FOXES: 1, HERONS: 0},
    "detail": "map 2, 7:4",
}
STATE: dict[str, Any] = {"map": "harbour", "players": {"ana": {"kills": 0}, "cleo": {"kills": 0}}}
KILL: dict[str, Any] = {"killer": "ana", "victim": "cleo", "weapon": "bow"}
KILL_PATCH: dict[str, Any] = {"players": {"ana": {"kills": 1}}}
COMPLETED: dict[str, Any] = {
    "match_id": MATCH,
    "played_at": "2026-03-01T18:41:00.000Z",
    "game": GAME,
    "tournament_id": TOURNAMENT,
    "competitors": COMPETITORS,
    "scores": {FOXES: 2, HERONS: 0},
    "outcome": "win",
    "winner_id": FOXES,
    "loser_id": HERONS,
    "started_at": "2026-03-01T18:02:10.000Z",
    "duration_s": 2330,
    "best_of": 3,
    "games": [
        {
            "game_id": "cup-1/final/1",
            "mode": "capture",
            "map": "harbour",
            "duration_s": 1130,
            "scores": {FOXES: 13, HERONS: 9},
            "winner_id": FOXES,
            "players": [{"player_id": "ana", "team_id": FOXES, "stats": {"kills": 16}}],
        },
        {
            "game_id": "cup-1/final/2",
            "mode": "capture",
            "map": "mill",
            "duration_s": 1200,
            "scores": {FOXES: 13, HERONS: 11},
            "winner_id": FOXES,
            "players": [{"player_id": "ana", "team_id": FOXES, "stats": {"kills": 15}}],
        },
    ],
    "players": [
        {
            "player_id": "ana",
            "name": "Ana",
            "team_id": FOXES,
            "stats": {"kills": 31, "deaths": 18, "accuracy": 0.44},
        },
        {"player_id": "cleo", "team_id": HERONS, "stats": {"kills": 18, "deaths": 31}},
    ],
}
_DUEL: dict[str, Any] = {
    "match_id": "ladder/4711",
    "played_at": "2026-03-01T20:10:00.000Z",
    "game": "chess",
    "competitors": [
        {"id": "ana", "name": "Ana", "type": "user"},
        {"id": "cleo", "name": "Cleo", "type": "user"},
    ],
}
_RACE: dict[str, Any] = {
    "match_id": "race-night/3",
    "played_at": "2026-03-01T21:05:00.000Z",
    "game": "karts",
    "tournament_id": "race-night",
    "competitors": [
        {"id": "ana", "name": "Ana", "type": "user"},
        {"id": "ben", "name": "Ben", "type": "user"},
        {"id": "cleo", "name": "Cleo", "type": "user"},
        {"id": "dan", "name": "Dan", "type": "user"},
    ],
}
# Every other kind of result, in the one shape that all of them have.
RESULTS: dict[str, dict[str, Any]] = {
    "one against one, as a challenge": {
        **_DUEL,
        "scores": {"ana": 1, "cleo": 0},
        "outcome": "win",
        "winner_id": "ana",
        "loser_id": "cleo",
        "kind": "challenge",
        "duration_s": 1260,
    },
    "a draw": {**_DUEL, "scores": {"ana": 1, "cleo": 1}, "outcome": "draw"},
    "a retirement: who gave up has lost, whatever the scores were": {
        **_DUEL,
        "scores": {"ana": 0, "cleo": 2},
        "outcome": "win",
        "winner_id": "ana",
        "loser_id": "cleo",
        "retired": ["cleo"],
    },
    "team against team, with a substitute who is on no roster": {
        "match_id": "cup-1/group-a-2",
        "played_at": "2026-03-01T12:30:00.000Z",
        "game": GAME,
        "tournament_id": TOURNAMENT,
        "competitors": COMPETITORS,
        "scores": {FOXES: 9, HERONS: 13},
        "outcome": "win",
        "winner_id": HERONS,
        "loser_id": FOXES,
        "duration_s": 1410,
        "map": "harbour",
        "mode": "capture",
        "players": [
            {"player_id": "ana", "team_id": FOXES, "stats": {"kills": 12, "deaths": 15}},
            {"player_id": "ben", "team_id": FOXES, "stats": {"kills": 9, "deaths": 16}},
            {"player_id": "cleo", "team_id": HERONS, "stats": {"kills": 17, "deaths": 11}},
            {
                "player_id": "eve",
                "name": "Eve",
                "team_id": HERONS,
                "stats": {"kills": 14, "deaths": 10},
            },
        ],
    },
    "a series that was broken off: it counts for nobody": {
        "match_id": "cup-1/semi-1",
        "played_at": "2026-03-01T15:20:00.000Z",
        "game": GAME,
        "tournament_id": TOURNAMENT,
        "competitors": COMPETITORS,
        "scores": {FOXES: 1, HERONS: 0},
        "outcome": "none",
        "incomplete": True,
        "best_of": 3,
        "games": [
            {"game_id": "cup-1/semi-1/1", "map": "mill", "winner_id": FOXES, "duration_s": 1015}
        ],
    },
    "free-for-all: two share the second place, so nobody is third; one gave up": {
        **_RACE,
        "outcome": "win",
        "winner_id": "ben",
        "placements": [
            {"id": "ben", "place": 1},
            {"id": "ana", "place": 2},
            {"id": "cleo", "place": 2},
            {"id": "dan", "place": 4},
        ],
        "retired": ["dan"],
        "players": [{"player_id": "ben", "stats": {"laps": 12, "fastest_lap_ms": 61234}}],
    },
    "free-for-all with two first: both have won, and there is no `winner_id`": {
        **_RACE,
        "match_id": "race-night/4",
        "outcome": "win",
        "placements": [
            {"id": "ana", "place": 1},
            {"id": "ben", "place": 1},
            {"id": "dan", "place": 3},
            {"id": "cleo", "place": 4},
        ],
    },
}
FORFEITS: dict[str, dict[str, Any]] = {
    "given up after the start: rated like a played match": {
        "match_id": "cup-1/group-a-3",
        "played_at": "2026-03-01T13:40:00.000Z",
        "winner_id": HERONS,
        "game": GAME,
        "tournament_id": TOURNAMENT,
        "competitors": COMPETITORS,
        "loser_id": FOXES,
        "reason": "two players lost their connection",
    }
}
FORFEITED: dict[str, Any] = {
    "match_id": "cup-1/semi-2",
    "played_at": "2026-03-01T16:15:00.000Z",
    "winner_id": FOXES,
    "game": GAME,
    "tournament_id": TOURNAMENT,
    "competitors": COMPETITORS,
    "loser_id": HERONS,
    "walkover": True,
    "reason": "did not appear within 15 minutes",
}
CANCELLED: dict[str, Any] = {
    "match_id": "cup-1/third-place",
    "game": GAME,
    "tournament_id": TOURNAMENT,
    "reason": "both sides agreed not to play it",
}
TOURNAMENT_COMPLETED: dict[str, Any] = {
    "tournament_id": TOURNAMENT,
    "game": GAME,
    "placements": [
        {"place": 1, "id": FOXES, "type": "team"},
        {"place": 2, "id": HERONS, "type": "team"},
    ],
    "disqualified": ["grey-wolves"],
}
ANNOUNCEMENT: dict[str, Any] = {
    "id": "01953a5c-7d10-7c3a-9a4f-5b1f0e8d2c11",
    "room": "announce:all",
    "text": "The final begins at 18:00 UTC.",
    "by": "olga",
}
STATS: dict[str, Any] = {
    "user": {"username": "ana", "display_name": "Ana"},
    "stats": {"tournaments_played": 1, "matches_won": 2, "current_rank": 1},
}

# -- what follows from the final ------------------------------------------------------------------

RATING: dict[str, Any] = {
    "subject": "user:ana",
    "game": GAME,
    "before": 1200,
    "after": 1232,
    "delta": 32,
    "tier": "Gold",
    "peak": 1232,
    "rated": 1,
    "won": 1,
    "name": "Ana",
    "match_id": MATCH,
    "reason": "match",
}
XP: dict[str, Any] = {
    "user_id": "ana",
    "source": "match_win",
    "amount": 300,
    "total_xp": 300,
    "level": 1,
    "season_id": "2026-spring",
    "match_id": MATCH,
}
LEVELUP: dict[str, Any] = {"user_id": "ana", "old": 1, "new": 2}
TIER: dict[str, Any] = {"user_id": "ana", "season_id": "2026-spring", "tier": 1}
REWARD: dict[str, Any] = {**TIER, "reward": {"type": "coins", "amount": 50, "item": None}}
ACHIEVEMENT: dict[str, Any] = {
    "user_id": "ana",
    "achievement_code": "FIRST_WIN",
    "title": "First win",
    "description": "Win a match.",
    "icon": "laurel",
    "category": "Competitive",
    "rarity": "common",
    "reward": None,
    "match_id": MATCH,
}
TOURNAMENT_PLACEMENT: dict[str, Any] = {
    "user_id": "ana",
    "tournament_id": TOURNAMENT,
    "placement": 1,
    "team_id": FOXES,
}
RANK: dict[str, Any] = {
    "user_id": "ana",
    "board": f"{GAME}/global",
    "game": GAME,
    "old": 4,
    "new": 1,
}
LEADERBOARD: dict[str, Any] = {
    "board": f"{GAME}/global",
    "version": 12,
    "rows": [
        {
            "rank": 1,
            "id": "ana",
            "name": "Ana",
            "rating": 1232,
            "wins": 1,
            "tier": "Gold",
            "trend": 3,
            "country": "DE",
        }
    ],
    "size": 4,
}
NOTIFICATION: dict[str, Any] = {
    "id": "01953a5c-7d10-7c3a-9a4f-5b1f0e8d2c12",
    "user_id": "ana",
    "type": "achievement.unlocked",
    "title": "Achievement unlocked",
    "body": "First win: Win a match.",
    "count": 1,
    "unread": 1,
    "position": "WzQ3MTEsIjAxOTUzYTVjLTdkMTAtN2MzYS05YTRmLTViMWYwZThkMmMxMiJd",
}
NOTIFICATION_READ: dict[str, Any] = {
    "user_id": "ana",
    "unread": 0,
    "id": NOTIFICATION["id"],
}
GAME_CONFIGURED: dict[str, Any] = {
    "game": GAME,
    "title": "Arena",
    "rating": {"system": "elo", "preset": "combined"},
    "stats": [{"name": "kills", "total": "sum", "title": "Kills"}],
    "by": "olga",
}
SEASON_STARTED: dict[str, Any] = {
    "season_id": "2026-spring",
    "number": 1,
    "starts_at": "2026-03-01T00:00:00.000Z",
    "game": None,
    "name": "Spring",
    "ends_at": "2026-06-01T00:00:00.000Z",
    "xp_per_tier": 300,
    "rewards": {"1": {"type": "coins", "amount": 50, "item": None}},
    "rating": None,
    "by": "olga",
}
PROFILE: dict[str, Any] = {
    "user_id": "ana",
    "changed_fields": ["country"],
    "display_name": "Ana",
    "country": "PT",
    "is_public": True,
}
