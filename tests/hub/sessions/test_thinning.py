"""What a reader that lags is owed, without sockets."""

from __future__ import annotations

from typing import Any

import pytest

from hub.sessions.fanout import EventFrame
from hub.sessions.thinning import KEPT_MAX, KeyOf, Lag, key_of
from protocol.codecs import JSON

QUEUE_BYTES = 1_000_000


def event(offset: int, type_: str = "live.position", **data: Any) -> EventFrame:
    body = {"type": type_, "id": f"e{offset}", "ts": 1, "data": data}
    return EventFrame("match:m1", offset, body)


def added(lag: Lag, rule: KeyOf, *events: EventFrame, queue_bytes: int = QUEUE_BYTES) -> list[int]:
    """The offsets that are kept."""
    lag.add(events, rule, JSON, queue_bytes)
    return sorted(each.offset for each, _ in lag.kept.values())


def test_keep_all_keeps_nothing_of_what_was_missed() -> None:
    lag = Lag()
    assert added(lag, key_of("keep-all", {}), event(4), event(5), event(6)) == []
    assert lag.missed_at(6) == 3


def test_latest_per_key_keeps_one_of_each_type_and_match() -> None:
    lag = Lag()
    scores = [event(n, "match.score_updated", match_id=f"m{n % 2}") for n in range(1, 7)]
    ended = event(7, "match.completed", match_id="m0")
    assert added(lag, key_of("latest-per-key", {}), *scores, ended) == [5, 6, 7]
    assert lag.missed_at(7) == 4


def test_sampled_types_are_kept_by_their_field_and_others_are_missed() -> None:
    rule = key_of("keep-all", {"live.position": "player", "live.camera": ""})
    lag = Lag()
    kept = added(
        lag,
        rule,
        event(1, player="ann"),
        event(2, "live.kill", player="ann"),
        event(3, player="bob"),
        event(4, "live.camera", at=1),
        event(5, player="ann"),
        event(6, "live.camera", at=2),
        event(7),
        event(8),
    )
    assert kept == [3, 5, 6, 8]
    assert lag.missed_at(8) == 4
    frames = lag.newest()
    assert [frames.index(b'"e%d"' % n) for n in kept] == sorted(
        frames.index(b'"e%d"' % n) for n in kept
    )


def test_what_the_node_never_heard_of_is_missed_too() -> None:
    lag = Lag()
    added(lag, key_of("keep-all", {}), event(3), event(7))
    assert lag.missed_at(7) == 5
    assert lag.missed_at(10) == 8


def test_a_new_epoch_counts_anew_and_keeps_nothing_of_the_old() -> None:
    rule = key_of("keep-all", {"live.position": "player"})
    lag = Lag()
    added(lag, rule, event(50, player="ann"), event(51, player="bob"))
    lag.new_epoch()
    assert (lag.newest(), lag.missed_at(60)) == (b"", 2)
    # The socket learns of the epoch by the snapshot, so an event before that would mislead it.
    assert added(lag, rule, event(60, player="ann")) == []
    assert lag.missed_at(60) == 3


def test_a_room_that_goes_on_elsewhere_has_skipped_what_lies_between() -> None:
    lag = Lag()
    lag.skip(10, 19)
    assert lag.missed_at(19) == 9
    added(lag, key_of("keep-all", {}), event(20))
    lag.skip(10, 25)
    assert lag.missed_at(25) == 15


@pytest.mark.parametrize(
    ("queue_bytes", "most"), [(QUEUE_BYTES * 10, KEPT_MAX), (QUEUE_BYTES, 250), (0, 0)]
)
def test_what_is_kept_is_bounded_in_number_and_in_bytes(queue_bytes: int, most: int) -> None:
    rule = key_of("keep-all", {"live.position": "player"})
    lag = Lag()
    for n in range(1, KEPT_MAX + 200):
        added(lag, rule, event(n, player=f"p{n}", pad="x" * 880), queue_bytes=queue_bytes)
    assert len(lag.kept) <= most
    assert len(lag.newest()) <= queue_bytes / 4
    if most:
        assert len(lag.kept) > most * 0.9
        assert max(each.offset for each, _ in lag.kept.values()) == KEPT_MAX + 199, (
            "the oldest went"
        )
    assert lag.missed_at(KEPT_MAX + 199) + len(lag.kept) == KEPT_MAX + 199
