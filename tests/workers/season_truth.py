"""What a season's records mean, worked out a second time from the file alone, for tests.

Nothing of gamehub's rules is imported: the arithmetic is written again from the contract.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Truth:
    """By subject ("team" or "user", id): ratings, counts, and the chain of ratings."""

    rating: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(lambda: 1200))
    rated: Counter[tuple[str, str]] = field(default_factory=Counter)
    wins: Counter[tuple[str, str]] = field(default_factory=Counter)
    played: Counter[tuple[str, str]] = field(default_factory=Counter)
    reached: dict[tuple[str, str], str] = field(default_factory=dict)
    chain: dict[tuple[str, str], list[tuple[str, int, int]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    stats: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))


def work_out(records: list[dict[str, Any]]) -> Truth:
    """The season in the order of its records, which is the order of the log."""
    truth = Truth()
    for record in records:
        sides = [side["id"] for side in record["competitors"]]
        rosters: dict[str, list[str]] = {side: [] for side in sides}
        for game in record["games"]:
            for line in game["players"]:
                if all(line["player_id"] not in roster for roster in rosters.values()):
                    rosters[line["team_id"]].append(line["player_id"])
                for name in ("kills", "deaths", "assists"):
                    truth.stats[line["player_id"]][name] += line.get(name, 0)
        for side in sides:
            truth.played["team", side] += 1
            for player in rosters[side]:
                truth.played["user", player] += 1
        if record.get("incomplete"):
            continue
        scores = [0.5, 0.5]
        if record["winner"] is not None:
            scores = [1.0 if side == record["winner"] else 0.0 for side in sides]
        _rate(truth, record, "team", [[side] for side in sides], scores)
        _rate(truth, record, "user", [rosters[side] for side in sides], scores)
    return truth


def _k(truth: Truth, subject: tuple[str, str]) -> int:
    """The preset `combined`: 64 for ten matches, then 32, 24 from 2000, 16 from 2400 (CF-01)."""
    if truth.rated[subject] < 10:
        return 64
    if truth.rating[subject] < 2000:
        return 32
    return 24 if truth.rating[subject] < 2400 else 16


def _rate(
    truth: Truth, record: dict[str, Any], kind: str, groups: list[list[str]], scores: list[float]
) -> None:
    if not all(groups):
        return
    means = [sum(truth.rating[kind, each] for each in group) / len(group) for group in groups]
    changes: dict[tuple[str, str], int] = {}
    for index, group in enumerate(groups):
        expected = 1 / (1 + 10 ** ((means[1 - index] - means[index]) / 400))
        for each in group:
            raw = _k(truth, (kind, each)) * (scores[index] - expected)
            step = math.floor(abs(raw) + 0.5) * (1 if raw > 0 else -1)
            changes[kind, each] = max(100, min(3000, truth.rating[kind, each] + step))
    for index, group in enumerate(groups):
        for each in group:
            subject = (kind, each)
            old, new = truth.rating[subject], changes[subject]
            if old != new or not truth.rated[subject]:
                truth.reached[subject] = record["played_at"]
            truth.chain[subject].append((record["match_id"], old, new))
            truth.rating[subject] = new
            truth.rated[subject] += 1
            truth.wins[subject] += scores[index] == 1.0
