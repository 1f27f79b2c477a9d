"""Notices: what they say of one fact and of several, and how alike ones join."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from domain import examples
from domain.events import EVENT_TYPES
from domain.notifications import (
    BODY_MAX,
    ITEMS_MAX,
    KINDS,
    TITLE_MAX,
    Notice,
    group_of,
    join,
    notice_of,
    ordinal,
)


def told(fact_type: str, *payloads: dict[str, Any]) -> Notice:
    first, *others = [{"user_id": "ana", **each} for each in payloads]
    notice = notice_of(uuid.uuid4(), fact_type, first, at_ms=1000, log_seq=1)
    for number, each in enumerate(others, 2):
        join(notice, each, at_ms=1000 * number, log_seq=number)
    return notice


def achievement(title: str) -> dict[str, Any]:
    return {**examples.ACHIEVEMENT, "title": title, "achievement_code": title.upper()}


def tier(number: int, **reward: Any) -> dict[str, Any]:
    return {"season_id": "s1", "tier": number, "reward": {"type": "coins", "amount": 50, **reward}}


def place(number: int, tournament: str = "cup-1", team: str | None = None) -> dict[str, Any]:
    return {"tournament_id": tournament, "placement": number, "team_id": team}


def rank(old: int | None, new: int) -> dict[str, Any]:
    return {"board": "arena/global", "game": "arena", "old": old, "new": new}


@pytest.mark.parametrize(
    ("fact_type", "payloads", "words"),
    [
        ("achievement.unlocked", [achievement("First win")],
         ("Achievement unlocked", "First win: Win a match.")),
        ("achievement.unlocked", [achievement(name) for name in "abc"],
         ("3 achievements unlocked", "c, b, a")),
        ("achievement.unlocked", [achievement(name) for name in "abcde"],
         ("5 achievements unlocked", "e, d, c and 2 more")),
        ("player.levelup", [{"old": 2, "new": 3}], ("Level 3 reached", "Up from level 2.")),
        ("player.levelup", [{"old": 2, "new": 3}, {"old": 3, "new": 5}],
         ("Level 5 reached", "Up from level 2.")),
        ("battlepass.reward_earned", [tier(5)],
         ("Battle pass reward earned", "Tier 5: 50 coins")),
        ("battlepass.reward_earned", [tier(5), tier(10, type="item", item="hat", amount=2)],
         ("2 battle pass rewards earned", "Tier 10: 2 x hat, tier 5: 50 coins")),
        ("rank.changed", [rank(None, 3)], ("You are 3rd in arena", "New on the board.")),
        ("rank.changed", [rank(9, 4), rank(4, 2)], ("You are 2nd in arena", "Up from 9th.")),
        ("rank.changed", [rank(1, 12)], ("You are 12th in arena", "Down from 1st.")),
        ("rank.changed", [rank(4, 2), rank(2, 4)],
         ("You are 4th in arena", "Back where you were.")),
        ("tournament.placement", [place(1, team="red")],
         ("You finished 1st", "In cup-1 with red.")),
        ("tournament.placement", [place(22)], ("You finished 22nd", "In cup-1.")),
        ("tournament.placement", [place(1), place(3, "cup-2")],
         ("2 tournaments finished", "cup-2: 3rd, cup-1: 1st")),
    ],
)  # fmt: skip
def test_words(fact_type: str, payloads: list[dict[str, Any]], words: tuple[str, str]) -> None:
    assert told(fact_type, *payloads).words() == words


@pytest.mark.parametrize("fact_type", KINDS)
def test_each_kind_tells_the_published_example(fact_type: str) -> None:
    example = dict(EVENT_TYPES[fact_type].example)
    notice = told(fact_type, example)
    assert set(notice.items[0]) <= set(example)
    title, body = notice.words()
    assert title
    assert body


def test_the_published_example_is_what_is_said() -> None:
    title, body = told("achievement.unlocked", examples.ACHIEVEMENT).words()
    said = {"title": title, "body": body}
    assert {key: examples.NOTIFICATION[key] for key in said} == said


def test_alike_is_what_has_the_same_value() -> None:
    first = group_of("rank.changed", {"user_id": "ana", **rank(2, 1)})
    assert first == ("ana", "rank.changed", "arena/global")
    assert first != group_of("rank.changed", {"user_id": "ana", "board": "quiz/global"})
    assert group_of("player.levelup", {"user_id": "ana"}) == ("ana", "player.levelup", "")


def test_many_keep_the_newest_and_the_first() -> None:
    notice = told("player.levelup", *({"old": n, "new": n + 1} for n in range(1, 51)))
    assert (notice.count, notice.log_seq, notice.updated_at_ms) == (50, 50, 50_000)
    assert notice.created_at_ms == 1000
    assert [each["new"] for each in notice.items] == [51, 50, 49, 48, 47, 46, 45, 44, 43, 2]
    assert len(notice.items) == ITEMS_MAX
    assert notice.words() == ("Level 51 reached", "Up from level 1.")


def test_words_stay_within_what_the_event_allows() -> None:
    long = {**examples.ACHIEVEMENT, "title": "t" * 100, "description": "d" * 500}
    title, body = told("achievement.unlocked", long).words()
    assert (len(title) <= TITLE_MAX, len(body)) == (True, BODY_MAX)
    title, body = told("rank.changed", {**rank(2, 1), "game": "g" * 128}).words()
    assert len(title) == TITLE_MAX
    assert title.endswith("…")


def test_ordinals() -> None:
    numbers = (1, 2, 3, 4, 11, 12, 13, 21, 101, 111, 1013, 1022)
    assert " ".join(map(ordinal, numbers)) == (
        "1st 2nd 3rd 4th 11th 12th 13th 21st 101st 111th 1,013th 1,022nd"
    )
