"""Small made-up recordings in the replay format, as plain functions."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

GAME_MS = 60_000
START_MS = 1_600_000_000_000
TEAMS = {"reds": ("ann", "abe"), "blues": ("bob", "bea")}


def at(ms: int) -> str:
    """RFC 3339 of a time in ms."""
    text = datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def match_record(number: int = 1, **changes: Any) -> dict[str, Any]:
    """A best of three that the reds win 2:0, an hour after the one before."""
    start_ms = START_MS + number * 3_600_000
    games = [_game(number, n, start_ms + n * 2 * GAME_MS) for n in (1, 2)]
    return {
        "match_id": f"cup/m{number}",
        "game": "arena",
        "title": "arena-one",
        "tournament_id": "cup",
        "tournament_name": "Made-up Cup",
        "started_at": at(start_ms),
        "played_at": at(start_ms + 5 * GAME_MS),
        "round": "Round 1",
        "best_of": 3,
        "competitors": [{"id": team, "name": team.title(), "type": "team"} for team in TEAMS],
        "scores": {"reds": 2, "blues": 0},
        "winner": "reds",
        "duration_s": 120,
        "games": games,
        **changes,
    }


def _game(match: int, number: int, start_ms: int) -> dict[str, Any]:
    lines = [
        {"player_id": "ann", "name": "Ann", "team_id": "reds", "kills": 2, "deaths": 1},
        {"player_id": "abe", "name": "Abe", "team_id": "reds", "kills": 0, "deaths": 0},
        {"player_id": "bob", "name": "Bob", "team_id": "blues", "kills": 1, "deaths": 1},
        {"player_id": "bea", "name": "Bea", "team_id": "blues", "kills": 0, "deaths": 1},
    ]
    return {
        "game_id": f"m{match}-g{number}",
        "ended_at": at(start_ms + GAME_MS),
        "duration_s": 60,
        "mode": "Duel",
        "map": f"Map {number}",
        "scores": {"reds": 2, "blues": 1},
        "winner": "reds",
        "players": [{**line, "assists": 0, "accuracy": 0.5} for line in lines],
    }


def live_events(number: int = 1, games: int = 2) -> list[dict[str, Any]]:
    """The events of that match: in each game four kills that count, a suicide and a team kill."""
    found: list[dict[str, Any]] = []
    for game in range(1, games + 1):
        start_ms = START_MS + number * 3_600_000 + game * 2 * GAME_MS
        found += _game_events(number, game, start_ms)
    return found


def _game_events(match: int, game: int, start_ms: int) -> list[dict[str, Any]]:
    players = [{"id": p, "team": team} for team, both in TEAMS.items() for p in both]
    kills = [("ann", "bob"), ("ann", "bea"), ("bob", "ann"), ("bob", "bob"), ("abe", "ann")]
    scores = {"reds": 2, "blues": 1}
    happened: list[dict[str, Any]] = [
        {
            "type": "game_start",
            "mode": "Duel",
            "map": f"Map {game}",
            "teams": list(TEAMS),
            "players": players,
        },
        {"type": "round_start", "round": 1},
        {"type": "spawn", "round": 1, "player": "ann", "pos": [1, 2]},
        *(
            {
                "type": "kill",
                "round": 1,
                "killer": killer,
                "victim": victim,
                "weapon": "spoon",
                "means": "melee",
                "pos": [3, 4],
            }
            for killer, victim in kills
        ),
        {"type": "round_end", "round": 1, "scores": scores},
        {"type": "game_end", "scores": scores, "winner": "reds"},
    ]
    return [
        {
            "type": each.pop("type"),
            "t_ms": seq * 1000,
            "at": at(start_ms + seq * 1000),
            "match_id": f"cup/m{match}",
            "game_id": f"m{match}-g{game}",
            **each,
            "seq": seq,
        }
        for seq, each in enumerate(happened)
    ]


def written(path: Path, records: list[dict[str, Any]]) -> Path:
    """The records as JSONL, packed when the name ends in .gz."""
    text = "".join(json.dumps(record) + "\n" for record in records).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path
