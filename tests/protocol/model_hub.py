"""A hub in memory for the outbox's tests: what contract.md promises a game server, no sockets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgpack

from protocol.mergepatch import apply_patch


@dataclass
class ModelHub:
    """One stream at a hub. `answers` are messages on their way back to the server."""

    live_seq: int = 0
    fact_seq: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)
    rooms: dict[str, list[Any]] = field(default_factory=dict)
    documents: dict[str, Any] = field(default_factory=dict)
    nacked: set[int] = field(default_factory=set)
    answers: list[dict[str, Any]] = field(default_factory=list)

    def receive(self, message: bytes) -> None:
        """One message of frames; answers as the hub does: nacks at once, acks when they move."""
        before = (self.live_seq, self.fact_seq)
        for frame in msgpack.unpackb(message):
            if frame["type"].startswith("match."):
                self._fact(frame)
            else:
                self._live(frame)
        if (self.live_seq, self.fact_seq) != before:
            self.answers.append({"op": "ack", "live_seq": self.live_seq, "fact_seq": self.fact_seq})

    def _fact(self, frame: dict[str, Any]) -> None:
        seq = frame["seq"]
        if seq > self.fact_seq + 1:
            self._nack(seq, "sequence_gap")
        elif seq in self.nacked or (seq == self.fact_seq + 1 and frame["data"].get("bad")):
            self.nacked.add(seq)
            self.fact_seq = max(self.fact_seq, seq)
            self._nack(seq, "invalid_transition")
        elif seq == self.fact_seq + 1:
            self.fact_seq = seq
            self.log.append(frame)
            self.rooms.setdefault(frame["match"], []).append(frame["data"]["n"])

    def _nack(self, seq: int, code: str) -> None:
        self.answers.append({"op": "nack", "class": "fact", "seq": seq, "code": code})

    def _live(self, frame: dict[str, Any]) -> None:
        if frame["seq"] <= self.live_seq:
            return
        self.live_seq = frame["seq"]
        match = frame["match"]
        if frame["type"] == "live.state":
            self.documents[match] = frame["data"]
            return
        self.rooms.setdefault(match, []).append(frame["data"]["n"])
        if "patch" in frame:
            self.documents[match] = apply_patch(self.documents.get(match), frame["patch"])
