"""Ids: their form, and the identity of events."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidSchema
from domain.ids import (
    RootIds,
    check_id,
    derived_event_id,
    is_id,
    is_stream,
    root_event_id,
    split_room,
    uuid7,
)


@pytest.mark.parametrize(
    "text", ["a", "7", "cwl-2018-08-19-champs/champs-pool-A-3", "a.b_c-d", "A" * 128, "a/b/c"]
)
def test_ids(text: str) -> None:
    assert is_id(text)
    assert check_id(text, "match") == text


@pytest.mark.parametrize(
    "text",
    ["", " ", "a b", "-a", ".a", "_a", "/a", "a/", "a//b", "a/-b", "a:b", "a{b", "é", "a\n",
     "a\x00", "A" * 129, None, 5, b"a"],
)  # fmt: skip
def test_no_ids(text: object) -> None:
    assert not is_id(text)
    with pytest.raises(InvalidSchema) as refusal:
        check_id(text, "match")
    assert refusal.value.field == "match"


@given(st.text(max_size=140))
def test_an_id_needs_no_care_in_room_names(text: str) -> None:
    if is_id(text):
        assert split_room(f"match:{text}") == ("match", text)
        assert not set(text) & set(" :{}\x00\n")


@pytest.mark.parametrize(
    "room", ["", "match", "match:", ":m1", "Match:m1", "match:a:b", "m" * 17 + ":a"]
)
def test_no_rooms(room: str) -> None:
    with pytest.raises(InvalidSchema):
        split_room(room)


def test_streams() -> None:
    assert is_stream("0123456789abcdef" * 2)
    for text in ("", "0" * 31, "0" * 33, "A" * 32, "g" * 32, None):
        assert not is_stream(text)


def test_the_ids_of_events_stay_what_they_are() -> None:
    """They are in logs and webhooks: another formula would make everything new."""
    root = root_event_id("srv", "a" * 32, "fact", 7)
    assert root == root_event_id("srv", "a" * 32, "fact", 7)
    assert str(root) == "c8ca23ff-834c-5e6a-aef5-29c31cabdd1f"
    assert (
        str(derived_event_id(root, "rating.updated", "user:ann"))
        == "afdc4480-26b9-599c-92b5-e4415372eda3"
    )


@given(st.integers(1, 2**53), st.integers(1, 2**53), st.sampled_from(["fact", "live"]))
def test_another_frame_is_another_event(one: int, two: int, kind: str) -> None:
    same = one == two and kind == "fact"
    first = root_event_id("srv", "a" * 32, "fact", one)
    assert (first == root_event_id("srv", "a" * 32, kind, two)) is same
    assert first != root_event_id("srv2", "a" * 32, "fact", one)
    assert derived_event_id(first, "t", "user:a") != derived_event_id(first, "t", "team:a")


@given(st.integers(0, 2**48 - 1), st.integers(0, 2**74 - 1))
def test_a_uuid7_tells_its_time(now_ms: int, bits: int) -> None:
    made = uuid7(now_ms, bits)
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == now_ms
    assert uuid7(now_ms, bits ^ 1) != made
    assert now_ms == 2**48 - 1 or uuid7(now_ms + 1, 0) > made


@pytest.mark.parametrize("seq", [1, 7, 2**53])
@pytest.mark.parametrize("kind", ["live", "fact"])
def test_ids_of_a_stream_are_those_of_its_frames(kind: str, seq: int) -> None:
    ids = RootIds("srv-1", "a" * 32, kind)
    assert ids.of(seq) == str(root_event_id("srv-1", "a" * 32, kind, seq))
