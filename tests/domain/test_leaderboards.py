"""The order of boards against a plain sort, and the names of boards and regions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from domain.leaderboards import (
    MINUTE_MAX,
    WINS_MAX,
    Regions,
    board_of,
    countries_of,
    has_room,
    minute_of,
    place_of,
    score,
    split_board,
    subject_type_of,
)
from domain.times import parse_time

RATINGS = st.integers(100, 3000)
WINS = st.integers(0, WINS_MAX)
MINUTES = st.integers(0, MINUTE_MAX)
IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,3}", fullmatch=True)
PLACES = st.tuples(RATINGS, WINS, MINUTES, IDS)
# A few values of each, so that ties are the rule.
CLOSE = st.tuples(
    st.integers(1199, 1201), st.integers(0, 2), st.integers(0, 2), st.sampled_from("aBc1")
)


@given(st.lists(st.one_of(PLACES, CLOSE), max_size=50))
def test_scores_sort_like_the_rules(places: list[tuple[int, int, int, str]]) -> None:
    """Rating desc, wins desc, earlier to reach it, then id; Redis compares ids as bytes."""
    plain = sorted(places, key=lambda p: (-p[0], -p[1], p[2], p[3].encode()))
    scored = sorted(places, key=lambda p: (float(score(*p[:3])), p[3].encode()))
    assert [p[:3] for p in scored] == [p[:3] for p in plain]
    assert scored == plain


@given(RATINGS, WINS, MINUTES)
def test_a_score_is_exact_in_a_double_and_says_its_parts(
    rating: int, wins: int, minute: int
) -> None:
    kept = score(rating, wins, minute)
    assert kept == -(rating * 2**41 + wins * 2**24 + (2**24 - 1 - minute))
    assert int(float(kept)) == kept
    assert int(float(repr(float(kept)))) == kept
    assert place_of(kept) == (rating, wins, minute)


def test_the_bounds_of_a_score() -> None:
    assert abs(score(3000, WINS_MAX, 0)) < 2**53
    assert score(3000, WINS_MAX + 7, 0) == score(3000, WINS_MAX, 0)


def test_minutes_count_from_2015_and_stay_in_their_bounds() -> None:
    assert minute_of(parse_time("2015-01-01T00:00:00Z", "t")) == 0
    assert minute_of(parse_time("2015-01-01T00:01:59.999Z", "t")) == 1
    assert minute_of(parse_time("2014-12-31T23:59:59Z", "t")) == 0
    assert minute_of(parse_time("9999-01-01T00:00:00Z", "t")) == MINUTE_MAX
    assert minute_of(parse_time("2046-11-24T00:00:00Z", "t")) < MINUTE_MAX


def test_a_board_is_split_at_the_last_slash() -> None:
    assert split_board(board_of("cwl/2018", "region-EU")) == ("cwl/2018", "region-EU")
    assert has_room("cwl/2018/global")
    assert not has_room(board_of("g" * 128, "global"))
    assert [subject_type_of(each) for each in ("global", "teams", "region-EU")] == [
        "user", "team", "user"
    ]  # fmt: skip


def test_regions_are_countries_and_groups_of_them() -> None:
    regions = Regions({"EU": ["SE", "DE"], "NA": ["US", "CA"], "NORDIC": ["SE"]})
    assert regions.scopes("user", "SE") == ["global", "region-SE", "region-EU", "region-NORDIC"]
    assert regions.scopes("user", "BR") == ["global", "region-BR"]
    assert regions.scopes("user", None) == ["global"]
    assert regions.scopes("team", "SE") == ["teams"]
    # NA is the group, not Namibia.
    assert regions.scopes("user", "NA") == ["global"]
    assert regions.countries("NA") == ("CA", "US")
    assert regions.countries("EU") == ("DE", "SE")
    assert regions.countries("XX") == ("XX",)
    assert regions.countries("ASIA") is None
    assert regions.countries("e") is None
    assert countries_of("global", regions) is None
    assert countries_of("region-NA", regions) == ("CA", "US")


def test_a_board_of_other_countries_is_another_board() -> None:
    assert Regions({"EU": ["DE"]}).made_of("region-EU") == "DE"
    assert Regions({"EU": ["DE", "FR"]}).made_of("region-EU") == "DE,FR"
    assert Regions().made_of("global") == Regions({"EU": ["DE"]}).made_of("teams") == "all"
