"""docs/ratings.md says what the code does: its examples, tiers and presets."""

from __future__ import annotations

import re

from domain.ratings import K_PRESETS, RATING_MAX, TIERS, Rating, policy_of, rate
from tests.sources import ROOT

PAGE = (ROOT / "docs" / "ratings.md").read_text()
_EXAMPLE = re.compile(
    r"^\| `([\d+, ]+)` \| `([\d, ]+)` \| ([\d.]+) \| `(.+?)` \| `(.+?)` \| `(.+?)` \|$",
    re.MULTILINE,
)


def sides_of(text: str) -> list[list[int]]:
    return [[int(each) for each in side.split("+")] for side in text.split(", ")]


def test_the_examples() -> None:
    examples = _EXAMPLE.findall(PAGE)
    assert len(examples) == PAGE.partition("## Examples")[2].count("\n| ") - 2
    for before, places, weight, *said in examples:
        sides = [[Rating(each, each, 20) for each in side] for side in sides_of(before)]
        order = [int(each) for each in places.split(", ")]
        for system, after in zip(("elo", "glicko2", "openskill"), said, strict=True):
            rated = rate(policy_of({"system": system}), sides, order, float(weight))
            assert [[each.rating for each in side] for side in rated] == sides_of(after)


def test_the_tiers_and_presets() -> None:
    rows = re.findall(r"^\| (\w+) \| (\d+) \| (\d+) \|$", PAGE, re.MULTILINE)
    ends = [*(floor - 1 for floor, _ in reversed(TIERS[:-1])), RATING_MAX]
    assert rows == [
        (name, str(floor), str(end))
        for (floor, name), end in zip(reversed(TIERS), ends, strict=True)
    ]
    assert set(re.findall(r"^\| `(\w+)` \| (?:64|32)", PAGE, re.MULTILINE)) == set(K_PRESETS)
