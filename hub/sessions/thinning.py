"""What a reader that lags is owed: how many events it missed, and the newest of some of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from domain.events import Policy, sample_key, thinning_key
from hub.sessions.fanout import EventFrame
from protocol.codecs import Codec

# Of a room's events that replace one another a lagging socket keeps at most so many, in at most
# this share of its queue; over either the oldest goes, and counts as missed.
KEPT_MAX = 1000
KEPT_SHARE = 4

# An event's key: a later one of the same key is delivered in its place. None: missed for good.
KeyOf = Callable[[EventFrame], str | None]


# LIVE_SAMPLED_TYPES: type -> the field of its data that is part of the key, "" without one.
Sampled = Mapping[str, str]
NOTHING: Sampled = {}


def key_of(policy: Policy, sampled: Sampled) -> KeyOf:
    """The rule of a kind of room (contract: Rooms, policy)."""
    if policy == "latest-per-key":
        return _latest
    return partial(_sample, sampled) if sampled else _nothing


def _latest(event: EventFrame) -> str | None:
    return thinning_key(event.type, event.body["data"])


def _sample(sampled: Sampled, event: EventFrame) -> str | None:
    field = sampled.get(event.type)
    return None if field is None else sample_key(event.type, field, event.body["data"])


def _nothing(event: EventFrame) -> str | None:
    return None


class Lag:
    """What one socket missed in one room, from the first event that did not fit.

    missed: events that it was not sent. last: the offset of the newest of them. kept: the newest by
    key, to be sent with the notice.
    """

    __slots__ = ("_in_new_epoch", "_kept_bytes", "kept", "last", "missed")

    def __init__(self) -> None:
        self.missed = 0
        self.last = 0
        self.kept: dict[str, tuple[EventFrame, bytes]] = {}
        self._kept_bytes = 0
        self._in_new_epoch = False

    def add(
        self, frames: Iterable[EventFrame], key_of: KeyOf, codec: Codec, queue_bytes: int
    ) -> None:
        """Takes events that are not sent; `queue_bytes` is the bound of the socket's queue."""
        for each in frames:
            # What this node itself never heard of is missed as well.
            self.missed += max(each.offset - self.last, 1) if self.last else 1
            self.last = each.offset
            key = None if self._in_new_epoch else key_of(each)
            if key is not None:
                self._keep(key, each, each.bytes_for(codec))
        bytes_max = queue_bytes // KEPT_SHARE
        while len(self.kept) > KEPT_MAX or self._kept_bytes > max(bytes_max, 0):
            self._drop(next(iter(self.kept)))

    def _keep(self, key: str, event: EventFrame, data: bytes) -> None:
        self._drop(key)
        self.kept[key] = (event, data)
        self._kept_bytes += len(data)

    def _drop(self, key: str) -> None:
        before = self.kept.pop(key, None)
        if before is not None:
            self._kept_bytes -= len(before[1])

    def missed_at(self, offset: int) -> int:
        """Events that are never sent, when the socket goes on after `offset`."""
        unheard = max(offset - self.last, 0) if self.last else 0
        return self.missed + unheard - len(self.kept)

    def skip(self, before: int, offset: int) -> None:
        """The room went on after `offset` of the same epoch; the socket had all up to `before`."""
        self.missed += max(offset - (self.last or before), 0)
        self.last = offset

    def new_epoch(self) -> None:
        """Offsets count anew: nothing is kept, for a socket learns of it by the snapshot alone."""
        self.last = 0
        self._in_new_epoch = True
        self.kept.clear()
        self._kept_bytes = 0

    def newest(self) -> bytes:
        """What was kept, in the room's order, as frames."""
        ordered = sorted(self.kept.values(), key=lambda each: each[0].offset)
        return b"".join([data for _, data in ordered])
