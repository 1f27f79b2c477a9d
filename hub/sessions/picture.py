"""What newcomers of a room are shown: read from Redis once, rolled on, encoded once per codec."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hub.sessions.fanout import frame
from protocol.codecs import Codec
from protocol.envelope import with_ref

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from protocol.inbound import Since
    from storage.rooms import RoomView

# A picture is used for so long after it was read: a storm of joins reads a room once in that time,
# and whoever joins a node that went deaf without noticing is behind by so much more at most.
FRESH_S = 0.5
# Events after the document that it holds; over it the room is read again, whose document is newer
# then. Fewer than any kind of room keeps, so that nothing is shown that Redis would not.
EVENTS_MAX = 64
BYTES_MAX = 131_072


class Picture:
    """A room as of `offset`, for this node's newcomers and for those who return to it."""

    __slots__ = ("_bytes", "_bytes_left", "_document", "_frames", "epoch", "offset", "read_at_s",
                 "shown", "view")  # fmt: skip

    def __init__(self, view: RoomView, *, document: bool, read_at_s: float) -> None:
        """`view`: as read for a newcomer. document: whether rooms of this kind have one."""
        # As it was read, and as it was last shown.
        self.view = self.shown = view
        self.epoch = view.epoch
        self.offset = view.offset
        self.read_at_s = read_at_s
        self._document = document
        self._frames: list[bytes] = []
        self._bytes_left = BYTES_MAX - sum(len(each) for each in view.events)
        self._bytes: dict[str, tuple[int, bytes]] = {}

    def roll_on(self, offset: int, packed: bytes) -> bool:
        """The room's next event; False when the picture got too large to be kept."""
        if offset != self.offset + 1:
            # Read later than this node has heard: it is in the view already, or out of line.
            return offset <= self.offset
        self.offset = offset
        self._frames.append(packed)
        self._bytes_left -= len(packed)
        return self._bytes_left > 0 and len(self._frames) + len(self.view.events) <= EVENTS_MAX

    def for_newcomer(self) -> RoomView:
        """The room as of now, as `read` gives it to whoever names no position."""
        if self.shown.offset != self.offset:
            if self._document:
                events = [*self.view.events, *self._frames]
                self.shown = replace(self.view, offset=self.offset, events=events)
            else:
                at = self.offset
                self.shown = replace(self.view, offset=at, first_offset=at + 1)
        return self.shown

    def since(self, since: Since) -> RoomView | None:
        """What somebody missed who was at `since`; None where only Redis can tell."""
        if since.epoch != self.epoch or since.offset > self.offset:
            return None
        held = [*(self.view.events if self._document else ()), *self._frames]
        missed = self.offset - since.offset
        if missed > len(held):
            return None
        return replace(
            self.view,
            offset=self.offset,
            recovered=True,
            document_offset=-1,
            document=b"",
            first_offset=since.offset + 1,
            events=held[len(held) - missed :],
        )

    def joined_frame(
        self, codec: Codec, ref: int | str | None, message: Callable[[], dict[str, Any]]
    ) -> bytes:
        """`joined` for a newcomer as one frame; `message` makes it, without a ref."""
        made = self._bytes.get(codec.subprotocol)
        if made is None or made[0] != self.offset:
            made = self._bytes[codec.subprotocol] = (self.offset, codec.encode(message()))
        payload = made[1] if ref is None else with_ref(made[1], ref, codec)
        return frame(payload, binary=codec.binary)
