"""Time as text and as milliseconds: there and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidSchema
from domain.times import TIME_MAX_MS, TIME_MIN_MS, parse_time, time_text


@given(st.integers(TIME_MIN_MS, TIME_MAX_MS))
def test_there_and_back(ms: int) -> None:
    text = time_text(ms)
    assert parse_time(text, "at") == ms
    assert len(text) == len("2018-08-15T16:03:00.000Z")


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01T00:00:00.0019Z", 2),
        ("2018-08-15T16:03:00.123Z", 1_534_348_980_123),
        ("2018-08-15 16:03:00+00:00", 1_534_348_980_000),
    ],
)
def test_texts(text: str, ms: int) -> None:
    assert parse_time(text, "at") == ms


@pytest.mark.parametrize(
    "text",
    ["", "today", "2018-08-15", "2018-08-15T16:03:00", "2018-13-01T00:00:00Z", "0", "é",
     "0001-12-31T23:59:59Z", "9999-12-31T23:59:59-01:00"],
)  # fmt: skip
def test_no_times(text: str) -> None:
    with pytest.raises(InvalidSchema) as refusal:
        parse_time(text, "at")
    assert refusal.value.field == "at"
