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
    "stats": {"tournaments_played": 1, "matches_won": 2, "current_rank": None},
}
