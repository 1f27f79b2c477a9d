"""The shape of FACTs: normalised payloads, and a hash that only content changes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidSchema
from domain.facts import content_hash, normalise

SIDES = [{"id": "red", "name": "Red"}, {"id": "blue", "name": "Blue"}]
PLAN = {"game": "chess", "competitors": SIDES}


def test_unknown_fields_are_dropped_and_the_match_is_filled_in() -> None:
    plain = normalise("match.scheduled", "m1", {**PLAN, "colour": "red"})
    assert plain["match_id"] == "m1"
    assert "colour" not in plain
    assert normalise("match.scheduled", "m1", {**PLAN, "match_id": "m1"}) == plain


@pytest.mark.parametrize(
    ("fact_type", "match", "data", "field"),
    [
        ("match.paused", "m1", {}, "type"),
        ("match.score_updated", "m1", {"scores": {}}, "type"),
        ("announcement.posted", None, {}, "type"),
        ("live.kill", "m1", {}, "type"),
        ("match.scheduled", "m1", {**PLAN, "match_id": "m2"}, "match_id"),
        ("match.scheduled", "m 1", PLAN, "match"),
        ("match.scheduled", "m1", {**PLAN, "game": 5}, "game"),
        ("match.scheduled", "m1", {**PLAN, "best_of": 100}, "best_of"),
        ("match.completed", "m1", {}, None),
        ("tournament.completed", None, {"game": "chess"}, None),
    ],
)
def test_what_is_not_of_the_declared_shape(
    fact_type: str, match: str | None, data: dict[str, Any], field: str | None
) -> None:
    with pytest.raises(InvalidSchema) as refusal:
        normalise(fact_type, match, data)
    assert refusal.value.field == field


def test_later_fields_are_left_out_where_they_say_nothing() -> None:
    data: dict[str, Any] = {"played_at": "2018-08-15T16:03:00.000Z"}
    plain = normalise("match.completed", "m1", data)
    assert not {"placements", "retired", "kind"} & plain.keys()
    said = {**data, "placements": [], "retired": [], "kind": "match"}
    assert normalise("match.completed", "m1", said) == plain
    told = {"placements": [{"id": "red", "place": 1}], "retired": ["red"], "kind": "friendly"}
    assert normalise("match.completed", "m1", {**data, **told}) == {**plain, **told}


@pytest.mark.parametrize("match", [None, 5])
def test_a_match_fact_needs_a_match(match: Any) -> None:
    with pytest.raises(InvalidSchema):
        normalise("match.cancelled", match, {})


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)
DATA = st.dictionaries(st.text(max_size=5), VALUES, max_size=6)


@given(DATA, st.randoms(use_true_random=False))
def test_the_order_of_keys_is_no_content(data: dict[str, Any], dice: Any) -> None:
    keys = list(data)
    dice.shuffle(keys)
    shuffled = {key: data[key] for key in keys}
    assert content_hash("t", "m", data) == content_hash("t", "m", shuffled)


@given(DATA, DATA)
def test_another_content_has_another_hash(one: dict[str, Any], two: dict[str, Any]) -> None:
    same = msgspec.msgpack.encode(one, order="sorted") == msgspec.msgpack.encode(
        two, order="sorted"
    )
    assert (content_hash("t", "m", one) == content_hash("t", "m", two)) is same
    assert content_hash("t", "m", one) != content_hash("t", "n", one) != content_hash("u", "n", one)


@given(st.integers(0, 99), st.floats(0, 1e6))
def test_normalising_again_changes_nothing(best_of: int, share: float) -> None:
    data = {
        "played_at": "2018-08-15T16:03:00.000Z",
        "best_of": best_of or None,
        "players": [{"player_id": "p", "stats": {"kills": best_of, "share": share}}],
    }
    once = normalise("match.completed", "m1", data)
    assert normalise("match.completed", "m1", once) == once
    line = once["players"][0]["stats"]
    assert (type(line["kills"]), type(line["share"])) == (int, float)
