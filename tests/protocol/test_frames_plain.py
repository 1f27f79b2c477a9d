"""Frames whose data is checked as it is decoded: the same frames, and nothing that is not plain."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidSchema
from protocol.codecs import check_plain
from protocol.frames import Frame, PlainFrame, parse_message

_pack = msgspec.msgpack.Encoder().encode
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=3)
    | st.builds(msgspec.msgpack.Ext, st.integers(0, 127), st.binary(max_size=3))
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3) | st.integers(0, 9), inner, max_size=3)
    ),
    max_leaves=12,
)
DATA = st.dictionaries(st.text(max_size=3), VALUES, max_size=3)


def is_plain(value: Any) -> bool:
    try:
        check_plain(value, "data")
    except InvalidSchema:
        return False
    return True


def packed(data: Any, patch: Any) -> dict[str, Any]:
    return {"seq": 1, "type": "live.state", "match": "m", "data": data, "patch": patch}


@given(st.lists(st.tuples(DATA, st.none() | DATA), min_size=1, max_size=3), st.booleans())
def test_it_is_the_frame_that_is_checked_afterwards(
    said: list[tuple[Any, Any]], alone: bool
) -> None:
    frames = [packed(*each) for each in said]
    if alone:
        frames = frames[:1]
    parsed = parse_message(_pack(frames[0] if alone else frames))
    expected = msgspec.msgpack.decode(_pack(frames), type=list[Frame])
    assert isinstance(parsed, list)
    assert _pack(parsed) == _pack(expected)
    for each in parsed:
        if type(each) is PlainFrame:
            assert is_plain(each.data)
            assert each.patch is None or is_plain(each.patch)


@pytest.mark.parametrize("value", [b"x", float("nan"), float("-inf"), {1: 2}, [[b"x"]]])
def test_what_is_not_plain_is_left_to_the_check(value: Any) -> None:
    for data, patch in (({"a": value}, None), ({}, {"a": value})):
        (frame,) = parse_message(_pack(packed(data, patch)))  # type: ignore[misc]
        assert type(frame) is Frame
        assert not (is_plain(frame.data) and is_plain(frame.patch))


def test_what_servers_send_is_known_to_be_plain() -> None:
    data = {"a": [{"b": {"c": [1, -1.5, None, True, "x", 2**64 - 1]}}]}
    (frame,) = parse_message(_pack([packed(data, data)]))  # type: ignore[misc]
    assert type(frame) is PlainFrame
    assert frame.data == frame.patch == data
