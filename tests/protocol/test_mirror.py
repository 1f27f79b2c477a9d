"""A viewer's rooms: positions, documents, duplicates, gaps, lags, epochs, whatever is lost."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.messages import Event, Joined, Lagged, Message, Snapshot
from protocol.mirror import Mirror
from protocol.watch import Watch
from tests.protocol.model_room import ModelRoom


def joined_mirror(room: ModelRoom) -> Mirror:
    mirror = Mirror(room.name)
    mirror.joined(room.joined({}))
    return mirror


def kinds(messages: list[Message]) -> list[str]:
    return [type(message).__name__ for message in messages]


def test_a_first_join_gives_the_snapshot_then_the_events_that_follow_it() -> None:
    room = ModelRoom()
    for n in range(5):
        room.publish("live.kill", {"n": n}, {"n": n})
    mirror = Mirror(room.name)

    step = mirror.joined(room.joined({}))

    joined, *events = step.messages
    assert isinstance(joined, Joined)
    assert (joined.state, joined.offset, joined.recovered) == ({"n": 2}, 5, False)
    assert [(e.offset, e.state) for e in events if isinstance(e, Event)] == [
        (4, {"n": 3}),
        (5, {"n": 4}),
    ]
    assert mirror.state == {"n": 4}
    assert mirror.since() == {"epoch": "e1", "offset": 5}


def test_a_join_of_an_empty_room_knows_its_position() -> None:
    mirror = joined_mirror(ModelRoom())

    assert mirror.since() == {"epoch": "e1", "offset": 0}


def test_an_event_seen_before_is_dropped() -> None:
    room = ModelRoom()
    mirror = joined_mirror(room)
    event = room.publish("live.kill", {}, {"a": 1})

    assert kinds(mirror.event(event).messages) == ["Event"]
    assert mirror.event(event).messages == []


def test_an_event_that_skips_one_asks_to_join_again_from_the_last_one() -> None:
    room = ModelRoom()
    mirror = joined_mirror(room)
    room.publish("live.kill", {"n": 1})
    late = room.publish("live.kill", {"n": 2})

    step = mirror.event(late)

    assert (step.messages, step.rejoin) == ([], "since")
    again = mirror.joined(room.joined({"since": mirror.since()}))
    assert kinds(again.messages) == ["Joined", "Event", "Event"]
    assert again.messages[0].recovered  # type: ignore[union-attr]


def test_live_state_replaces_the_document() -> None:
    room = ModelRoom()
    mirror = joined_mirror(room)
    mirror.event(room.publish("live.kill", {}, {"a": 1}))

    mirror.event(room.publish("live.state", {"b": 2}))

    assert mirror.state == {"b": 2}


def test_after_lagged_events_are_shown_and_nothing_counts_before_the_snapshot() -> None:
    room = ModelRoom()
    mirror = joined_mirror(room)
    mirror.event(room.publish("live.kill", {}, {"a": 1}))
    mirror.lagged({"missed": 2})
    for n in (2, 3):
        room.publish("live.kill", {}, {"a": n})

    newest = room.publish("live.kill", {}, {"a": 4})
    assert kinds(mirror.event(newest).messages) == ["Event"]
    assert mirror.event(newest).messages == []
    assert (mirror.state, mirror.offset) == ({"a": 1}, 1)
    (snapshot,) = mirror.snapshot(room.snapshot()).messages

    assert isinstance(snapshot, Snapshot)
    assert (snapshot.offset, mirror.state) == (4, {"a": 4})
    assert kinds(mirror.event(room.publish("live.kill", {}, {"a": 5})).messages) == ["Event"]


def test_a_snapshot_older_than_what_is_known_changes_nothing() -> None:
    room = ModelRoom()
    mirror = joined_mirror(room)
    old = room.snapshot()
    mirror.event(room.publish("live.kill", {}, {"a": 1}))

    mirror.snapshot(old)

    assert (mirror.offset, mirror.state) == (1, {"a": 1})


def test_a_new_epoch_begins_from_its_snapshot() -> None:
    room = ModelRoom()
    mirror = joined_mirror(room)
    mirror.event(room.publish("live.kill", {}, {"a": 1}))

    mirror.snapshot(room.new_epoch("e2"))

    assert mirror.since() == {"epoch": "e2", "offset": 0}
    assert kinds(mirror.event(room.publish("live.kill", {}, {"b": 1})).messages) == ["Event"]
    assert mirror.state == {"a": 1, "b": 1}


def test_what_was_shown_after_lagged_is_not_shown_again_when_the_snapshot_never_came() -> None:
    room = ModelRoom(history_max=50)
    mirror = joined_mirror(room)
    mirror.lagged({"missed": 2})
    events = [room.publish("live.kill", {"n": n}, {"a": n}) for n in range(4)]
    mirror.event(events[2])

    _, *again = mirror.joined(room.joined({"since": mirror.since()})).messages

    assert [each.data["n"] for each in again if isinstance(each, Event)] == [0, 1, 3]
    assert mirror.state == {"a": 3}


def test_an_answer_with_a_hole_is_asked_for_afresh_and_keeps_the_picture() -> None:
    room = ModelRoom(history_max=50)
    mirror = joined_mirror(room)
    mirror.event(room.publish("live.kill", {}, {"a": 1}))
    for n in range(4):
        room.publish("live.kill", {}, {"a": n})
    answer = room.joined({"since": mirror.since()})
    del answer["events"][1]

    step = mirror.joined(answer)

    assert (step.messages, step.rejoin) == ([], "fresh")
    assert (mirror.since(), mirror.state) == (None, {"a": 1})


def test_a_position_brought_along_has_no_document_until_the_hub_sends_one() -> None:
    room = ModelRoom()
    room.publish("live.kill", {}, {"a": 1})
    mirror = Mirror(room.name, epoch="e1", offset=1)
    room.publish("live.kill", {}, {"b": 1})

    mirror.joined(room.joined({"since": mirror.since()}))
    assert mirror.state is None
    mirror.snapshot(room.snapshot())
    assert mirror.state == {"a": 1, "b": 1}


# -- many rooms and open questions ----------------------------------------------------------------


def test_a_join_is_answered_once_and_repeated_after_a_loss_with_since() -> None:
    watch, room = Watch(), ModelRoom()
    tag = object()
    join = watch.join(room.name, tag=tag)

    outcome = watch.received(room.joined(join))
    room.publish("live.kill", {})
    again = watch.welcomed()

    assert [question.tag for question, _ in outcome.answered] == [tag]
    assert again == [
        {"op": "join", "room": "match:m1", "ref": 2, "since": {"epoch": "e1", "offset": 0}}
    ]


def test_a_question_without_an_answer_is_asked_again_after_a_loss() -> None:
    watch = Watch()
    ask = watch.ask({"op": "presence", "room": "match:m1"}, object())

    assert watch.asking
    assert watch.welcomed() == [ask]
    outcome = watch.received({**ask, "counts": {"SPECTATOR": 2}})
    assert outcome.answered[0][1].counts == {"SPECTATOR": 2}  # type: ignore[union-attr]
    assert not watch.asking


def test_a_gap_joins_again_only_once() -> None:
    watch, room = Watch(), ModelRoom()
    watch.received(room.joined(watch.join(room.name, tag=object())))
    room.publish("live.kill", {"n": 1})

    first = watch.received(room.publish("live.kill", {"n": 2}))
    second = watch.received(room.publish("live.kill", {"n": 3}))

    assert [m["op"] for m in first.to_hub] == ["join"]
    assert second.to_hub == []
    healed = watch.received(room.joined(first.to_hub[0]))
    assert [e.data["n"] for e in healed.messages if isinstance(e, Event)] == [1, 2, 3]


def test_a_refused_join_is_told_to_whoever_waits_and_the_room_is_given_up() -> None:
    watch = Watch()
    join = watch.join("match:m1", tag=object())

    error = {"op": "error", "code": "forbidden_action", "message": "no", "ref": join["ref"]}
    outcome = watch.received(error)

    assert outcome.messages == []
    assert outcome.answered[0][1].code == "forbidden_action"  # type: ignore[union-attr]
    assert watch.rooms == {}


def test_a_refused_rejoin_with_a_delay_is_tried_again() -> None:
    watch, room = Watch(), ModelRoom()
    watch.received(room.joined(watch.join(room.name, tag=object())))
    (again,) = watch.welcomed()

    body = {"op": "error", "code": "message_rate_limit_exceeded", "message": "slow"}
    outcome = watch.received({**body, "retry_after_ms": 500, "ref": again["ref"]})

    assert outcome.retry == ("match:m1", 500)
    assert "match:m1" in watch.rooms


def test_a_room_left_is_not_joined_again_and_its_late_events_are_dropped() -> None:
    watch, room = Watch(), ModelRoom()
    watch.received(room.joined(watch.join(room.name, tag=object())))

    leave = watch.leave(room.name, tag=object())

    assert watch.received(room.publish("live.kill", {})).messages == []
    assert watch.received({"op": "left", "room": room.name, "ref": leave["ref"]}).answered
    assert watch.welcomed() == []


# -- the model ------------------------------------------------------------------------------------

STEPS = st.lists(
    st.sampled_from(
        [
            "patch",
            "patch",
            "patch",
            "state",
            "plain",
            "drop",
            "double",
            "lag",
            "epoch",
            "cut",
            "connect",
            "answer",
        ]
    ),
    max_size=80,
)


class Watching:
    """A room, a viewer, and a wire that loses, doubles, lags and breaks."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.room = ModelRoom(history_max=self.dice.choice([2, 5, 50]))
        self.watch = Watch()
        self.up = True
        self.member = False
        self.lagging = False
        self.seen: list[Message] = []
        self.n = 0
        self.epochs = 1
        self.asked = [self.watch.join(self.room.name, tag=object())]

    def _deliver(self, message: dict[str, Any]) -> None:
        outcome = self.watch.received(message)
        self.seen += outcome.messages
        self.asked += outcome.to_hub

    def _publish(self, *, times: int = 1, patch: Any = None, state: Any = None) -> None:
        kind, data = ("live.kill", {"n": self.n}) if state is None else ("live.state", state)
        event = self.room.publish(kind, data, patch)
        if self.up and self.member:
            for _ in range(times):
                self._deliver(event)

    def step(self, name: str) -> None:
        self.n += 1
        patch = {self.dice.choice("abc"): self.dice.choice([None, self.n, {"x": self.n}])}
        match name:
            case "patch":
                self._publish(patch=patch)
            case "plain":
                self._publish()
            case "state":
                self._publish(state={"whole": self.n})
            case "drop":
                self._publish(times=0, patch=patch)
            case "double":
                self._publish(times=2, patch=patch)
            case _:
                getattr(self, f"do_{name}")()

    def do_lag(self) -> None:
        if self.up and self.member:
            self._deliver({"op": "lagged", "room": self.room.name, "missed": 1})
            for _ in range(self.dice.choice([0, 1, 3])):
                self._publish(times=self.dice.choice([0, 1]), patch={"lag": self.n})
            if self.dice.random() < 0.7:
                self._deliver(self.room.snapshot())
            else:
                self.do_cut()

    def do_epoch(self) -> None:
        self.epochs += 1
        snapshot = self.room.new_epoch(f"e{self.epochs}")
        if self.up and self.member:
            self._deliver(snapshot)

    def do_cut(self) -> None:
        self.up = self.member = False
        self.asked.clear()

    def do_connect(self) -> None:
        if not self.up:
            self.up = True
            self.asked = self.watch.welcomed()

    def do_answer(self) -> None:
        if self.up and self.asked:
            join = self.asked.pop(0)
            self.member = True
            self._deliver(self.room.joined(join))

    def finish(self) -> None:
        self.do_connect()
        self.do_answer()
        self._publish(patch={"end": 1})
        while self.asked:
            self.do_answer()


@settings(max_examples=400, deadline=None)
@given(steps=STEPS, seed=st.integers(0, 2**32))
def test_every_hole_is_told_and_each_event_comes_once_with_its_own_state(
    steps: list[str], seed: int
) -> None:
    watching = Watching(seed)
    for name in steps:
        watching.step(name)
    watching.finish()

    room, epoch, offset, told, holed = watching.room, "", 0, False, False
    ids: set[str] = set()
    for message in watching.seen:
        match message:
            case Joined():
                fresh = not message.recovered
                told, holed = told or fresh, False
                if fresh and message.epoch != epoch:
                    offset = 0
                epoch = message.epoch
            case Snapshot():
                epoch, offset, told, holed = message.epoch, message.offset, False, False
                assert message.state == room.states[epoch, offset]
            case Lagged():
                holed = True
            case Event():
                assert message.id not in ids, "nothing comes twice"
                ids.add(message.id)
                assert message.id == f"{epoch}-{message.offset}"
                if holed:
                    continue  # the newest of what was left out
                while f"{epoch}-{offset + 1}" in ids and offset + 1 < message.offset:
                    offset += 1
                assert message.offset > offset
                assert message.offset == offset + 1 or told
                offset, told = message.offset, False
                assert message.state == room.states[epoch, offset]
    assert watching.watch.rooms[room.name].state == room.state
    assert watching.watch.rooms[room.name].offset == room.offset
