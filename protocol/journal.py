"""What an outbox tells of its frames, so that a spool keeps up; without one nobody listens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from protocol.outbox_road import Entry


class Journal(Protocol):
    """Each call is a note; who listens writes them down before the frames are sent."""

    def made(self, entry: Entry) -> None:
        """The outbox made a frame of its own, a `live.state`."""

    def left(self, entry: Entry) -> None:
        """A frame got its number and is about to be sent for the first time."""

    def dropped(self, entry: Entry, torn: str | None) -> None:
        """A LIVE frame will never be sent; `torn`: its match, when a patch is lost with it."""

    def done(self, entries: Iterable[Entry]) -> None:
        """Frames that the hub has, or refused."""


class NoJournal:
    """Nobody listens."""

    def made(self, entry: Entry) -> None:
        """Nothing to do."""

    def left(self, entry: Entry) -> None:
        """Nothing to do."""

    def dropped(self, entry: Entry, torn: str | None) -> None:
        """Nothing to do."""

    def done(self, entries: Iterable[Entry]) -> None:
        """Nothing to do."""
