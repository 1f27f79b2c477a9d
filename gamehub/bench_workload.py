"""The results that the benchmarks of the fold use: 1v1 of 10,000 users over 30 days in one game."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from domain.events import EVENT_TYPES
from domain.ids import root_event_id
from domain.times import time_text
from storage.log import Event

GAME = "bench"
SERVER = "bench-server"
STREAM = "0" * 32
BEGIN_MS = 1_790_000_000_000  # 2026-09-21T14:13:20Z
DAY_MS = 86_400_000


class Workload(Struct, frozen=True, kw_only=True):
    """Who plays and when: results are spread evenly over the days, in their order."""

    results: int
    users: int = 10_000
    days: int = 30
    seed: int = 5

    @property
    def text(self) -> str:
        """For the table."""
        return f"{self.results:,} 1v1 results of {self.users:,} users over {self.days} days"


def payloads(load: Workload) -> Iterator[dict[str, Any]]:
    """The payloads of match.completed as the hub normalises them, in the order of their times.

    Pairs are drawn evenly. Each result has scores, a duration, a map, and kills, deaths and assists
    of both users.
    """
    dice = random.Random(load.seed)
    step_ms = load.days * DAY_MS / max(load.results, 1)
    for number in range(load.results):
        one, other = dice.sample(range(load.users), 2)
        yield result(number, one, other, BEGIN_MS + int(number * step_ms), dice)


def result(
    number: int, one: int, other: int, played_at_ms: int, dice: random.Random, run: str = "bench"
) -> dict[str, Any]:
    """One normalised result of two users, the first of whom has won."""
    sides = [f"user-{one:05d}", f"user-{other:05d}"]
    kills = [16, dice.randrange(16)]
    return {
        "match_id": f"{run}/{number}",
        "played_at": time_text(played_at_ms),
        "game": GAME,
        "competitors": [
            {"id": side, "name": side.replace("user-", "User "), "type": "user"} for side in sides
        ],
        "scores": dict(zip(sides, kills, strict=True)),
        "outcome": "win",
        "winner_id": sides[0],
        "loser_id": sides[1],
        "duration_s": dice.randrange(300, 1500),
        "map": f"map-{dice.randrange(7)}",
        "players": [
            {
                "player_id": side,
                "stats": {"kills": own, "deaths": theirs, "assists": dice.randrange(9)},
            }
            for side, own, theirs in zip(sides, kills, reversed(kills), strict=True)
        ],
    }


def events(load: Workload) -> Iterator[Event]:
    """The same as facts of one server's stream."""
    for number, payload in enumerate(payloads(load), 1):
        yield event_of(payload, number)


def event_of(payload: dict[str, Any], seq: int) -> Event:
    """A result as the root fact with this number of the stream."""
    event_id = root_event_id(SERVER, STREAM, "fact", seq)
    return Event(
        event_id=event_id,
        type="match.completed",
        v=EVENT_TYPES["match.completed"].v,
        subject=f"match:{payload['match_id']}",
        cause_id=None,
        root_id=event_id,
        occurred_at_ms=BEGIN_MS,
        payload=payload,
    )
