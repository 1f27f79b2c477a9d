"""One room at a hub in memory, for the viewer's tests: epoch, offset, bounded history, document."""

from __future__ import annotations

from typing import Any

from protocol.mergepatch import apply_patch

Message = dict[str, Any]


class ModelRoom:
    """What contract.md promises a viewer of one room; `history_max` events can be resumed."""

    def __init__(self, name: str = "match:m1", history_max: int = 5) -> None:
        self.name = name
        self.history_max = history_max
        self.epoch = "e1"
        self.offset = 0
        self.events: list[Message] = []
        self.state: Any = None
        self.states: dict[tuple[str, int], Any] = {("e1", 0): None}
        self.base_offset = 0
        self.base: Any = None

    def publish(self, event_type: str, data: Any, patch: Any = None) -> Message:
        """The next event."""
        self.offset += 1
        event = {
            "op": "event",
            "v": 1,
            "type": event_type,
            "room": self.name,
            "offset": self.offset,
            "id": f"{self.epoch}-{self.offset}",
            "ts": self.offset,
            "data": data,
        }
        if event_type == "live.state":
            self.state = data
        elif patch is not None:
            event["patch"] = patch
            self.state = apply_patch(self.state, patch)
        self.states[self.epoch, self.offset] = self.state
        self.events = [*self.events, event][-self.history_max :]
        if self.offset % 3 == 0:
            self.base_offset, self.base = self.offset, self.state
        return event

    def new_epoch(self, epoch: str) -> Message:
        """Redis was emptied; members get a snapshot."""
        self.epoch, self.offset, self.events = epoch, 0, []
        self.base_offset, self.base = 0, self.state
        self.states[epoch, 0] = self.state
        return self.snapshot()

    def snapshot(self) -> Message:
        """The document now."""
        return {
            "op": "snapshot",
            "room": self.name,
            "epoch": self.epoch,
            "offset": self.offset,
            "state": self.state,
        }

    def joined(self, join: Message) -> Message:
        """The answer to a join."""
        since = join.get("since")
        first = self.offset - len(self.events) + 1
        answer = {
            "op": "joined",
            "room": self.name,
            "epoch": self.epoch,
            "offset": self.offset,
            "ref": join.get("ref"),
        }
        if since and since["epoch"] == self.epoch and first - 1 <= since["offset"] <= self.offset:
            missed = [e for e in self.events if e["offset"] > since["offset"]]
            return {**answer, "recovered": True, "events": missed}
        base_offset, base = self.base_offset, self.base
        if base_offset < first - 1:
            base_offset, base = self.offset, self.state
        return {
            **answer,
            "recovered": False,
            "snapshot": {"offset": base_offset, "state": base},
            "events": [e for e in self.events if e["offset"] > base_offset],
        }
