"""What a game server gets for each FACT: a receipt that becomes true when the hub has it."""

from __future__ import annotations

import asyncio
from collections.abc import Generator

from domain.errors import GamehubError
from protocol.outbox_road import Entry


class Receipt:
    """Await it, or `acked()`, to be sure: returns when the FACT is committed at the hub.

    Raises FrameRefused when the hub refused it, ConnectionRefused when the hub wants no more of
    this server, Undelivered when the client was closed before (a spool keeps the FACT for the next
    start). Nobody has to wait: what is refused
    is also in `GameServer.refusals`.
    """

    __slots__ = ("_entry", "_future")

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self._future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # A refusal that nobody waits for is no leak; asyncio would complain otherwise.
        self._future.add_done_callback(lambda done: done.cancelled() or done.exception())

    @property
    def type(self) -> str:
        """The FACT's type."""
        return self._entry.type

    @property
    def match(self) -> str | None:
        """The match that it is about."""
        return self._entry.match

    @property
    def seq(self) -> int:
        """The FACT's number in its stream; 0 until it was sent."""
        return self._entry.seq

    @property
    def done(self) -> bool:
        """Whether the hub has answered."""
        return self._future.done()

    @property
    def error(self) -> GamehubError | None:
        """Why it was refused or not delivered; None while it waits and when it was acked."""
        if not self._future.done() or self._future.cancelled():
            return None
        error = self._future.exception()
        return error if isinstance(error, GamehubError) else None

    async def acked(self) -> None:
        """Returns when the hub has committed the FACT (raises: see the class)."""
        # Shielded: a waiter that gives up must not cancel the receipt of the others.
        await asyncio.shield(self._future)

    def __await__(self) -> Generator[object, None, None]:
        return self.acked().__await__()

    def settle(self, error: GamehubError | None = None) -> None:
        """The answer is here (called by GameServer)."""
        if self._future.done():
            return
        if error is None:
            self._future.set_result(None)
        else:
            self._future.set_exception(error)


def receipt_of(entry: Entry) -> Receipt:
    """The receipt of a FACT that is being handed over."""
    entry.tag = receipt = Receipt(entry)
    return receipt


def settle(entry: Entry, error: GamehubError | None = None) -> None:
    """The hub's answer, for whoever has the FACT's receipt."""
    if isinstance(entry.tag, Receipt):
        entry.tag.settle(error)
