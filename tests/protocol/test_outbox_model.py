"""The outbox against a model hub: random frames, losses and returns never lose or double a FACT."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.client_frames import fact_entry, live_entry
from protocol.mergepatch import apply_patch
from protocol.outbox import Outbox
from protocol.outbox_road import Entry
from tests.protocol.model_hub import ModelHub


def fact(match: str, n: int, **more: Any) -> Entry:
    return fact_entry("match.started", match, {"n": n, **more}, 1)


def live(match: str, n: int, patch: dict[str, Any] | None = None) -> Entry:
    return live_entry("live.kill", match, {"n": n}, patch, 1)


STEPS = st.lists(
    st.sampled_from(
        [
            "live",
            "live",
            "live",
            "patch",
            "patch",
            "state",
            "fact",
            "fact",
            "bad",
            "take",
            "take",
            "deliver",
            "deliver",
            "answer",
            "answer",
            "cut",
            "connect",
            "need",
            "gap",
        ]
    ),
    max_size=120,
)


class Story:
    """An outbox, a model hub, and a connection between them that may be cut at any point."""

    def __init__(self, seed: int, live_max: int) -> None:
        self.dice = random.Random(seed)
        self.outbox = Outbox(live_max=live_max, fact_max=10**6)
        self.hub = ModelHub()
        self.credit = (self.dice.choice([1, 3, 50]), self.dice.choice([1, 2, 50]))
        self.wire: list[bytes] = []
        self.up = False
        self.n = 0
        self.put: dict[str, list[int]] = {}
        self.facts: list[int] = []
        self.bad: list[int] = []
        self.documents: dict[str, Any] = {}
        self.acked: list[int] = []
        self.refused: list[int] = []

    def step(self, name: str) -> None:
        getattr(self, f"do_{name}")()

    def hand_over(self, entry: Entry) -> None:
        self.outbox.put(entry)

    def _put(self, entry: Entry, match: str, n: int) -> None:
        entry.tag = n
        self.hand_over(entry)
        self.put.setdefault(match, []).append(n)

    def _next(self) -> tuple[str, int]:
        self.n += 1
        return self.dice.choice(["m1", "m2", "m3"]), self.n

    def do_live(self) -> None:
        match, n = self._next()
        self._put(live(match, n), match, n)

    def do_patch(self) -> None:
        match, n = self._next()
        patch: dict[str, Any] = {self.dice.choice("abc"): self.dice.choice([n, None, {"x": n}])}
        self.documents[match] = apply_patch(self.documents.get(match), patch)
        self._put(live(match, n, patch), match, n)

    def do_state(self) -> None:
        match, n = self._next()
        self.documents[match] = {"whole": n}
        self.hand_over(live_entry("live.state", match, {"whole": n}, None, 1))

    def do_fact(self) -> None:
        match, n = self._next()
        self.facts.append(n)
        self._put(fact(match, n), match, n)

    def do_bad(self) -> None:
        match, n = self._next()
        self.bad.append(n)
        self._put(fact(match, n, bad=True), match, n)

    def do_take(self) -> None:
        message = self.outbox.take(7)
        if message is not None:
            self.wire.append(message)

    def do_deliver(self) -> None:
        if self.wire:
            self.hub.receive(self.wire.pop(0))

    def do_answer(self) -> None:
        if self.up and self.hub.answers:
            self._answer(self.hub.answers.pop(0))

    def _answer(self, answer: dict[str, Any]) -> None:
        if answer["op"] == "ack":
            done = self.outbox.settled(answer["live_seq"], answer["fact_seq"])
            self.acked += [entry.tag for entry in done]
            return
        entry = self.outbox.refused("fact", answer["seq"], answer["code"])
        if entry is not None:
            self.refused.append(entry.tag)

    def do_cut(self) -> None:
        self.wire.clear()
        self.hub.answers.clear()
        self.outbox.disconnected()
        self.up = False

    def do_connect(self) -> None:
        if not self.up:
            self.up = self.outbox.connected(self.hub.live_seq, self.hub.fact_seq, *self.credit)
            assert self.up

    def do_need(self) -> None:
        self.outbox.need_state(self.dice.choice(["m1", "m2"]))

    def do_gap(self) -> None:
        """The hub forgets what is on the wire without the connection ending."""
        if self.up and self.wire and not self.hub.answers:
            self.do_cut()
            self.do_connect()

    def finish(self) -> None:
        self.do_connect()
        for _ in range(10_000):
            self.do_take()
            self.do_deliver()
            while self.hub.answers:
                self.do_answer()
            if not self.wire and self.outbox.confirming:
                self.acked += [entry.tag for entry in self.outbox.confirmed()]
            if self.outbox.empty and not self.wire:
                return
        pytest.fail("the outbox never became empty")


@settings(max_examples=400, deadline=None)
@given(steps=STEPS, seed=st.integers(0, 2**32), live_max=st.sampled_from([1, 3, 10, 1000]))
def test_no_fact_is_lost_or_doubled_and_no_patch_is_missed_whatever_the_connection_does(
    steps: list[str], seed: int, live_max: int
) -> None:
    story = Story(seed, live_max)
    for name in steps:
        story.step(name)
    story.finish()

    hub = story.hub
    assert [frame["data"]["n"] for frame in hub.log] == story.facts
    assert sorted(story.acked) == story.facts
    assert sorted(story.refused) == story.bad
    shown = [n for room in hub.rooms.values() for n in room]
    assert len(shown) == len(set(shown))
    for match, room in hub.rooms.items():
        assert room == [n for n in story.put[match] if n in set(room)]
    expected = {n for sent in story.put.values() for n in sent} - set(story.bad)
    assert len(expected - set(shown)) <= story.outbox.dropped
    for match, document in story.documents.items():
        assert hub.documents[match] == document
