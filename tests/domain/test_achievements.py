"""Achievements: the catalogue holds what it promises, and careers earn each entry once."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.achievements import (
    BY_CODE,
    CATALOGUE,
    COINS,
    COUNTERS,
    Achievement,
    Progress,
    coins_of,
    progress,
    unlock,
    unlocked,
)
from domain.payloads_derived import AchievementUnlocked, Reward

CAREERS = st.dictionaries(
    st.sampled_from([each for each in COUNTERS if each != COINS]), st.integers(0, 3000)
)


def codes(found: list[Achievement]) -> list[str]:
    """The codes of entries, in their order."""
    return [each.code for each in found]


# -- the catalogue --------------------------------------------------------------------------------


def test_the_catalogue_covers_what_was_asked_for() -> None:
    assert len(CATALOGUE) >= 15
    assert {each.category for each in CATALOGUE} == {
        "Tournament", "Social", "Economy", "Competitive",
    }  # fmt: skip
    named = (
        "FIRST_WIN TEN_WINS STREAK_10 DIAMOND FIRST_TEAM WHALE FIRST_TOURNAMENT_WIN"
        " TOURNAMENT_TOP1 TOURNAMENT_TOP2 TOURNAMENT_TOP3"
    )
    assert set(named.split()) <= set(BY_CODE)
    assert BY_CODE["TEN_WINS"].reward == Reward(type="coins", amount=50)
    assert BY_CODE["FIRST_TOURNAMENT_WIN"].title == "Tournament Champion"


def test_codes_are_unique_and_marks_are_of_counters_that_exist() -> None:
    assert len(BY_CODE) == len(CATALOGUE)
    for each in CATALOGUE:
        assert re.fullmatch(r"[A-Z][A-Z0-9_]*", each.code)
        assert each.criteria, each.code
        assert set(each.criteria) <= set(COUNTERS), each.code
        assert all(want > 0 for want in each.criteria.values()), each.code


def test_every_counter_leads_somewhere_or_is_part_of_the_profile() -> None:
    asked = {counter for each in CATALOGUE for counter in each.criteria}
    assert set(COUNTERS) == asked


@pytest.mark.parametrize("each", CATALOGUE, ids=lambda each: each.code)
def test_every_entry_can_be_announced(each: Achievement) -> None:
    told = msgspec.to_builtins(
        AchievementUnlocked(
            user_id="ann",
            achievement_code=each.code,
            title=each.title,
            description=each.description,
            icon=each.icon,
            category=each.category,
            rarity=each.rarity,
            reward=each.reward,
        )
    )
    assert msgspec.convert(told, AchievementUnlocked).achievement_code == each.code


@pytest.mark.parametrize("each", CATALOGUE, ids=lambda each: each.code)
def test_every_entry_is_earned_at_its_mark_and_not_before(each: Achievement) -> None:
    for counter, want in each.criteria.items():
        short = {**each.criteria, counter: want - 1}
        assert each.code not in codes(unlocked({}, short, set()))
        assert codes(unlocked(short, each.criteria, set())).count(each.code) == 1
    assert codes(unlocked({}, each.criteria, set())).count(each.code) == 1


# -- earning --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "earned", "expected"),
    [
        ({}, {}, set(), []),
        ({}, {"matches_played": 1}, set(), ["FIRST_MATCH"]),
        ({}, {"matches_played": 1}, {"FIRST_MATCH"}, []),
        (
            {"matches_played": 9, "matches_won": 9},
            {"matches_played": 10, "matches_won": 10},
            {"FIRST_MATCH", "FIRST_WIN"},
            ["TEN_WINS"],
        ),
        # A mark that was passed before there was such an entry, at the next change of its counter.
        ({"kills": 5000}, {"kills": 5001}, set(), ["THOUSAND_KILLS"]),
        ({"kills": 5000}, {"kills": 5000, "matches_lost": 1}, set(), []),
        (
            {},
            {"tournaments_won": 1, "tournament_top2": 1, "tournament_top3": 1},
            set(),
            ["TOURNAMENT_TOP3", "TOURNAMENT_TOP2", "TOURNAMENT_TOP1", "FIRST_TOURNAMENT_WIN"],
        ),
        ({"best_rating": 1590}, {"best_rating": 2010.0}, set(), ["PLATINUM", "DIAMOND"]),
        ({}, {"unknown": 7}, set(), []),
    ],
)
def test_a_change_unlocks_what_it_reaches(
    before: dict[str, float], after: dict[str, float], earned: set[str], expected: list[str]
) -> None:
    assert codes(unlocked(before, after, earned)) == expected


def test_rewards_earn_further_achievements() -> None:
    counters: dict[str, float] = {"matches_won": 10, COINS: 460}
    earned = {"FIRST_WIN", "FIRST_COINS"}
    found = unlock({"matches_won": 9, COINS: 460}, counters, earned)
    assert codes(found) == ["TEN_WINS", "FIVE_HUNDRED_COINS"]
    assert counters[COINS] == 510
    assert earned == {"FIRST_WIN", "FIRST_COINS", "TEN_WINS", "FIVE_HUNDRED_COINS"}
    assert unlock({"matches_won": 9}, counters, earned) == []


def test_a_dynasty_makes_rich() -> None:
    before: dict[str, float] = {}
    counters: dict[str, float] = {
        "tournaments_won": 5, "tournament_top2": 5, "tournament_top3": 5,
    }  # fmt: skip
    earned: set[str] = set()
    found = unlock(before, counters, earned)
    assert codes(found)[-2:] == ["FIRST_COINS", "FIVE_HUNDRED_COINS"]
    assert counters[COINS] == sum(coins_of(each.reward) for each in found)


@given(st.lists(CAREERS, max_size=8))
def test_growing_careers_earn_everything_once_whatever_the_steps(
    steps: list[Mapping[str, float]],
) -> None:
    counters: dict[str, float] = {}
    earned: set[str] = set()
    found: list[Achievement] = []
    for step in steps:
        before = dict(counters)
        for counter, by in step.items():
            counters[counter] = counters.get(counter, 0) + by
        found += unlock(before, counters, earned)
    assert len(found) == len({each.code for each in found})
    assert {each.code for each in found} == earned
    assert counters.get(COINS, 0) == sum(coins_of(each.reward) for each in found)

    at_once = {counter: value for counter, value in counters.items() if counter != COINS}
    alone: set[str] = set()
    unlock({}, at_once, alone)
    assert alone == earned == {each.code for each in CATALOGUE if _met(each, counters)}


def _met(each: Achievement, counters: Mapping[str, float]) -> bool:
    return all(counters.get(counter, 0) >= want for counter, want in each.criteria.items())


def test_entries_of_several_criteria_show_what_is_furthest() -> None:
    both = Achievement(
        code="BOTH", title="Both", description="Both.", icon="star", category="Competitive",
        rarity="rare", criteria={"kills": 10, "matches_won": 4},
    )  # fmt: skip
    assert progress(both, {"kills": 9, "matches_won": 1}) == Progress(1, 4)
    assert progress(both, {"kills": 1, "matches_won": 4}) == Progress(1, 10)


@pytest.mark.parametrize(
    ("code", "counters", "expected"),
    [
        ("TEN_WINS", {}, Progress(0, 10)),
        ("TEN_WINS", {"matches_won": 5}, Progress(5, 10)),
        ("TEN_WINS", {"matches_won": 70}, Progress(10, 10)),
        ("THOUSAND_KILLS", {"kills": -5}, Progress(0, 1000)),
    ],
)
def test_progress(code: str, counters: dict[str, float], expected: Progress) -> None:
    assert progress(BY_CODE[code], counters) == expected


def test_items_are_no_coins() -> None:
    assert coins_of(Reward(type="item", item="crown", amount=5)) == 0
    assert coins_of(Reward(type="coins", amount=5)) == 5
    assert coins_of(None) == 0
