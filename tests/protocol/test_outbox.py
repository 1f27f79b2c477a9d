"""The outbox: order, numbers, credit, drops, resends, whatever the connection does."""

from __future__ import annotations

from typing import Any

import msgpack

from protocol.client_frames import fact_entry, live_entry
from protocol.outbox import Outbox
from protocol.outbox_road import Entry


def fact(match: str = "m1", n: int = 0, **more: Any) -> Entry:
    return fact_entry("match.started", match, {"n": n, **more}, 1)


def live(match: str = "m1", n: int = 0, patch: dict[str, Any] | None = None) -> Entry:
    return live_entry("live.kill", match, {"n": n}, patch, 1)


def connected(outbox: Outbox, live_credit: int = 100, fact_credit: int = 100) -> Outbox:
    assert outbox.connected(0, 0, live_credit, fact_credit)
    return outbox


def box(live_max: int = 100) -> Outbox:
    return Outbox(live_max=live_max, fact_max=100)


def taken(outbox: Outbox) -> list[dict[str, Any]]:
    message = outbox.take(7)
    frames: list[dict[str, Any]] = [] if message is None else msgpack.unpackb(message)
    return frames


def brief(outbox: Outbox) -> list[tuple[str, int, str, int]]:
    return [(f["type"], f["seq"], f["match"], f["data"].get("n", -1)) for f in taken(outbox)]


def test_what_waits_goes_together_in_order_each_class_counting_from_one() -> None:
    outbox = connected(box())
    for entry in (fact(n=1), live(n=2), live("m2", n=3), fact("m2", n=4)):
        outbox.put(entry)

    assert brief(outbox) == [
        ("match.started", 1, "m1", 1),
        ("live.kill", 1, "m1", 2),
        ("live.kill", 2, "m2", 3),
        ("match.started", 2, "m2", 4),
    ]
    assert outbox.take(7) is None


def test_nothing_leaves_before_the_welcome() -> None:
    outbox = box()
    outbox.put(fact())

    assert outbox.take(7) is None


def test_a_message_is_bounded_in_bytes() -> None:
    outbox = connected(box())
    for _ in range(40):
        outbox.put(live_entry("live.kill", "m1", {"text": "x" * 10_000}, None, 1))

    first = outbox.take(7)

    assert first is not None
    assert 131_072 <= len(first) <= 131_072 + 11_000
    assert outbox.take(7) is not None


def test_no_more_is_under_way_than_the_credit_allows() -> None:
    outbox = connected(box(), live_credit=2, fact_credit=1)
    for n in range(4):
        outbox.put(live("m1", n))
        outbox.put(fact("m2", n))

    assert [b[3] for b in brief(outbox)] == [0, 0, 1]
    outbox.settled(1, 0)
    assert brief(outbox) == [("live.kill", 3, "m1", 2)]
    outbox.settled(3, 1)
    assert [b[0] for b in brief(outbox)] == ["match.started", "live.kill"]


def test_facts_without_credit_stop_only_the_live_frames_of_their_own_match() -> None:
    outbox = connected(box(), fact_credit=1)
    outbox.put(fact("m1", 1))
    outbox.put(fact("m1", 2))
    outbox.put(live("m1", 3))
    outbox.put(live("m2", 4))

    assert [b[3] for b in brief(outbox)] == [1, 4]
    outbox.settled(0, 1)
    assert [b[3] for b in brief(outbox)] == [2, 3]


def test_live_without_credit_does_not_stop_facts_of_other_matches() -> None:
    outbox = connected(box(), live_credit=1)
    outbox.put(live("m1", 1))
    outbox.put(live("m1", 2))
    outbox.put(fact("m2", 3))
    outbox.put(fact("m1", 4))

    assert [b[3] for b in brief(outbox)] == [1, 3]
    outbox.settled(1, 0)
    assert [b[3] for b in brief(outbox)] == [2, 4]


def test_after_a_loss_what_was_not_acked_goes_again_with_the_same_numbers_first() -> None:
    outbox = connected(box())
    outbox.put(fact(n=1))
    outbox.put(live(n=2))
    outbox.put(live(n=3))
    sent = taken(outbox)
    outbox.settled(1, 0)
    outbox.disconnected()
    outbox.put(live(n=4))

    connected(outbox)

    again = taken(outbox)
    assert again[:2] == [sent[0], sent[2]]
    assert (again[2]["seq"], again[2]["data"]) == (3, {"n": 4})


def test_a_fact_that_the_hub_has_is_sent_again_and_settled_by_a_later_facts_ack() -> None:
    outbox = connected(box())
    first = fact(n=1)
    outbox.put(first)
    taken(outbox)
    outbox.disconnected()
    assert outbox.connected(0, 1, 100, 100)

    outbox.put(live(n=3))
    assert [f["seq"] for f in taken(outbox)] == [1, 1]
    assert outbox.settled(1, 1) == []  # an ack of LIVE frames says nothing about the nack
    second = fact(n=2)
    outbox.put(second)
    taken(outbox)
    assert outbox.settled(1, 2) == [first, second]


def test_a_fact_that_the_hub_has_is_settled_by_time_when_no_nack_comes() -> None:
    outbox = connected(box())
    first = fact(n=1)
    outbox.put(first)
    taken(outbox)
    outbox.disconnected()
    assert outbox.connected(0, 1, 100, 100)
    taken(outbox)

    assert outbox.confirming
    assert outbox.confirmed() == [first]
    assert outbox.empty


def test_facts_that_the_hub_has_hold_no_new_one_back() -> None:
    """Else a server that restarts all the time would never get beyond a full credit of them."""
    outbox = connected(box(), fact_credit=3)
    for n in range(3):
        outbox.put(fact(n=n))
    assert len(taken(outbox)) == 3
    outbox.disconnected()
    for n in range(3, 7):
        outbox.put(fact(n=n))

    assert outbox.connected(0, 2, 100, 3)
    assert [b[1] for b in brief(outbox)] == [1, 2, 3, 4, 5]
    assert outbox.refused("fact", 1, "not_holder") is not None
    assert outbox.take(7) is None
    assert len(outbox.settled(0, 4)) == 3
    assert [b[1] for b in brief(outbox)] == [6, 7]


def test_a_nack_takes_the_fact_out_and_acks_pass_over_it() -> None:
    outbox = connected(box())
    good, bad = fact(n=1), fact(n=2)
    outbox.put(bad)
    outbox.put(good)
    taken(outbox)

    assert outbox.refused("fact", 1, "not_holder") is bad
    assert outbox.settled(0, 2) == [good]
    assert outbox.refused("fact", 1, "not_holder") is None


def test_a_sequence_gap_is_not_final_everything_from_the_ack_on_goes_again() -> None:
    outbox = connected(box())
    for n in (1, 2, 3):
        outbox.put(fact(n=n))
    taken(outbox)
    outbox.settled(0, 1)

    assert outbox.refused("fact", 3, "sequence_gap") is None
    assert outbox.refused("fact", 2, "sequence_gap") is None

    assert [f["seq"] for f in taken(outbox)] == [2, 3]
    assert outbox.take(7) is None


def test_a_hub_that_knows_less_than_it_acked_needs_a_new_stream() -> None:
    outbox = connected(box())
    kept = fact(n=2)
    outbox.put(fact(n=1))
    outbox.put(kept)
    taken(outbox)
    outbox.settled(0, 1)
    outbox.disconnected()

    assert not outbox.connected(0, 0, 100, 100)
    outbox.renew()
    connected(outbox)

    assert [(f["seq"], f["data"]["n"]) for f in taken(outbox)] == [(1, 2)]
    assert outbox.settled(0, 1) == [kept]


def test_a_stream_of_an_earlier_process_goes_on_behind_its_last_number() -> None:
    outbox = box()
    assert outbox.connected(40, 6, 100, 100)
    outbox.put(fact(n=1))
    outbox.put(live(n=2))

    assert [f["seq"] for f in taken(outbox)] == [7, 41]


def test_a_full_buffer_drops_the_oldest_live_and_never_a_fact() -> None:
    outbox = box(live_max=2)
    outbox.put(fact(n=0))
    for n in (1, 2, 3):
        outbox.put(live(n=n))

    connected(outbox)

    assert [f["data"]["n"] for f in taken(outbox)] == [0, 2, 3]
    assert outbox.dropped == 1


def test_after_dropped_patches_the_document_goes_before_the_matchs_next_frame() -> None:
    outbox = box(live_max=2)
    outbox.put(fact(n=0))
    for n in (1, 2, 3):
        outbox.put(live(n=n, patch={f"k{n}": n}))

    connected(outbox)

    started, state, *rest = taken(outbox)
    assert started["type"] == "match.started"
    assert (state["type"], state["data"], state["ts"]) == ("live.state", {"k1": 1}, 7)
    assert [f["patch"] for f in rest] == [{"k2": 2}, {"k3": 3}]


def test_frames_sent_again_lose_their_patch_when_its_base_was_dropped() -> None:
    outbox = connected(box(live_max=2))
    for n in (1, 2):
        outbox.put(live(n=n, patch={f"k{n}": n}))
    taken(outbox)
    outbox.disconnected()
    outbox.put(live(n=3, patch={"k3": 3}))

    connected(outbox)

    frames = taken(outbox)
    assert [f["type"] for f in frames] == ["live.kill", "live.state", "live.kill"]
    assert [f["seq"] for f in frames] == [2, 3, 4]
    assert "patch" not in frames[0]
    assert frames[1]["data"] == {"k1": 1, "k2": 2}


def test_need_state_is_answered_by_the_whole_document_at_once_when_nothing_waits() -> None:
    outbox = connected(box())
    outbox.put(live(n=1, patch={"a": {"b": 1}}))
    taken(outbox)

    outbox.need_state("m1")
    outbox.need_state("unknown")

    (state,) = taken(outbox)
    assert (state["type"], state["seq"], state["data"]) == ("live.state", 2, {"a": {"b": 1}})


def test_a_nacked_patch_is_healed_by_the_whole_document() -> None:
    outbox = connected(box())
    outbox.put(live(n=1, patch={"a": 1}))
    taken(outbox)

    outbox.refused("live", 1, "payload_too_large")

    assert [f["type"] for f in taken(outbox)] == ["live.state"]
    outbox.refused("live", 2, "payload_too_large")
    assert outbox.take(7) is None


def test_documents_of_ended_matches_are_forgotten_after_a_while() -> None:
    outbox = connected(Outbox(live_max=1000, fact_max=1000), 1000, 1000)
    for n in range(40):
        outbox.put(live(f"m{n}", n, patch={"n": n}))
        outbox.put(fact_entry("match.completed", f"m{n}", {"n": n}, 1))
    taken(outbox)

    outbox.settled(40, 40)

    assert "m0" not in outbox.documents
    assert "m39" in outbox.documents
    assert len(outbox.documents) == 32


def test_what_the_caller_changes_later_does_not_count() -> None:
    outbox = connected(box())
    data, patch = {"n": 1}, {"k": [1]}
    outbox.put(live_entry("live.kill", "m1", data, patch, 1))
    data["n"], patch["k"] = 2, [2]

    (frame,) = taken(outbox)

    assert (frame["data"], frame["patch"]) == ({"n": 1}, {"k": [1]})
