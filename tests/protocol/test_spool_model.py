"""Outbox and spool against a model hub: kills at any point never lose or double a frame."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.codecs import MSGPACK
from protocol.outbox import Outbox
from protocol.outbox_road import Entry
from protocol.spool_files import SPOOL_BYTES_MIN, Spool
from tests.protocol.test_outbox_model import Story

STEPS = st.lists(
    st.sampled_from(
        ["live", "live", "patch", "state", "fact", "fact", "bad", "take", "take", "take", "round"]
        + 3 * ["deliver", "answer"]
        + ["cut", "connect", "connect", "need", "gap", "kill", "kill", "torn"]
    ),
    max_size=120,
)


class SpoolStory(Story):
    """The story of an outbox whose process is killed, and goes on from its spool."""

    def __init__(self, seed: int, folder: Path) -> None:
        super().__init__(seed, live_max=10**6)
        self.folder = folder
        self.streams: set[str] = set()
        self.killing = True
        self.spool = self._open()

    def _open(self) -> Spool:
        self.outbox = Outbox(live_max=10**6, fact_max=10**6)
        spool = Spool(self.folder, "server-1", SPOOL_BYTES_MIN)
        self.outbox.restore(spool.ledger)
        self.outbox.journal, spool.standing = spool, self.outbox.standing
        self.streams.add(spool.stream)
        # What this process knows of the frames is what they say themselves.
        for entry in self.outbox.facts():
            entry.tag = MSGPACK.decode(b"\x84" + entry.body)["data"]["n"]
        return spool

    def hand_over(self, entry: Entry) -> None:
        self.spool.put(entry)
        self.outbox.put(entry)

    def do_take(self) -> None:
        message = self.outbox.take(7)
        if message is not None:
            self.spool.write_notes()
            if self.killing and self.dice.random() < 0.2:
                self.do_kill()  # after the note, before the message
                return
            self.wire.append(message)

    def _answer(self, answer: dict[str, Any]) -> None:
        before = self.outbox.acked
        super()._answer(answer)
        if self.outbox.acked != before and self.dice.random() < 0.8:
            self.spool.acked(*self.outbox.acked)
            self.spool.write_notes()

    def do_kill(self) -> None:
        """What was noted and not written is lost; what was acked and not noted is sent again."""
        self.wire.clear()
        self.hub.answers.clear()
        self.up = False
        self.spool.close()
        self.spool = self._open()

    def do_torn(self) -> None:
        """The kill falls into a write."""
        half = b"\xff\xa5" + bytes(self.dice.randrange(256) for _ in range(self.dice.randrange(9)))
        newest = max(self.folder.glob("*.segment"))
        with newest.open("ab") as file:
            file.write(half)
        self.do_kill()
        assert self.spool.torn_bytes == len(half)

    def finish(self) -> None:
        self.killing = False
        super().finish()

    def do_round(self) -> None:
        self.spool.sync_round().run(fsync=False)


@settings(max_examples=300, deadline=None)
@given(steps=STEPS, seed=st.integers(0, 2**32))
def test_no_frame_is_lost_or_doubled_and_the_order_is_kept_over_kills(
    steps: list[str], seed: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        story = SpoolStory(seed, Path(folder))
        for name in steps:
            story.step(name)
        story.finish()
        story.spool.close()

    hub = story.hub
    assert [frame["data"]["n"] for frame in hub.log] == story.facts
    assert set(story.acked) == set(story.facts)
    assert set(story.refused) == set(story.bad)
    assert len(story.streams) == 1
    for match, room in hub.rooms.items():
        assert room == [n for n in story.put[match] if n not in story.bad]
    for match, document in story.documents.items():
        assert hub.documents[match] == document


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, seed=st.integers(0, 2**32))
def test_the_folder_stays_small_when_the_hub_acknowledges(steps: list[str], seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        story = SpoolStory(seed, Path(folder))
        for name in steps:
            story.step(name)
        story.finish()
        story.spool.acked(*story.outbox.acked)
        story.spool.write_notes()
        story.do_round()

        assert len(list(Path(folder).glob("*.segment"))) == 1
        story.spool.close()
