"""What GameServer does with its spool: opens it, writes before it sends, syncs off the loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from domain.errors import InvalidSchema
from protocol.errors import SpoolFailed
from protocol.outbox import Outbox
from protocol.outbox_road import Entry
from protocol.spool_files import SPOOL_BYTES_MIN, Spool

log = logging.getLogger("gamehub.spool")

SpoolPath = str | os.PathLike[str]
SpoolFsync = Literal["always", "interval", "never"]

# Bytes of the folder, deleted frames not yet counted out; at it `fact` waits, and from half of it
# on LIVE frames are left out of the spool and counted.
SPOOL_BYTES_MAX = 256 * 1024 * 1024
# How much a power cut may take with spool_fsync="interval"; also how soon files are deleted.
FSYNC_INTERVAL_S = 1.0
# A disk that is full is tried again after so long, while frames that need it wait.
RETRY_S = 1.0


class SpoolDesk:
    """A spool and the thread that makes it durable, several frames per `fsync` (group commit)."""

    def __init__(self, path: SpoolPath, server: str, fsync: SpoolFsync, bytes_max: int) -> None:
        """Raises InvalidSchema for settings that cannot be; the folder is touched by `open`."""
        if fsync not in ("always", "interval", "never"):
            raise InvalidSchema("spool_fsync is always, interval or never", field="spool_fsync")
        if bytes_max < SPOOL_BYTES_MIN:
            text = f"spool_bytes_max must be at least {SPOOL_BYTES_MIN}"
            raise InvalidSchema(text, field="spool_bytes_max")
        self.left_out = 0
        self._folder, self._server, self._bytes_max = Path(path), server, bytes_max
        self._fsync = fsync
        self._opened: Spool | None = None
        self._outbox: Outbox | None = None
        self._thread = ThreadPoolExecutor(1, "gamehub-spool")
        self._round: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._durable = 0
        self._acked = (0, 0)
        self._failure: SpoolFailed | None = None

    @property
    def spool(self) -> Spool:
        """The open spool."""
        assert self._opened is not None
        return self._opened

    async def open(self, outbox: Outbox) -> list[Entry]:
        """Opens the spool and puts what it holds into the outbox; answers the FACTs of that.

        Raises SpoolLocked, SpoolForeign, SpoolDamaged or SpoolFailed.
        """
        opening = asyncio.get_running_loop().run_in_executor(
            self._thread, Spool, self._folder, self._server, self._bytes_max
        )
        try:
            spool = self._opened = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_let_go)
            raise
        facts = outbox.restore(spool.ledger)
        outbox.journal, spool.standing = spool, outbox.standing
        spool.ledger.pending.clear()
        self._outbox, self._acked = outbox, outbox.acked
        self._soon()
        return facts

    # -- frames in --------------------------------------------------------------------------------

    def has_room(self, entry: Entry) -> bool:
        """Whether the spool takes this frame now."""
        if not self.spool.has_room(entry):
            self._write()  # what was dropped since then makes room
        return self.spool.has_room(entry)

    def put_fact(self, entry: Entry) -> None:
        """Writes a FACT; raises SpoolFailed, and then it was not taken."""
        if self._failure is not None:
            raise self._failure
        self.spool.put(entry)
        self._soon()

    def put_live(self, entry: Entry) -> None:
        """Writes a LIVE frame, or leaves it out and counts it when there is no room for it."""
        try:
            if self._failure is None and self.has_room(entry):
                self.spool.put(entry)
                self._soon()
                return
        except SpoolFailed as error:
            if self.left_out == 0:
                log.warning("%s; LIVE frames go on without it", error.message)
        self.left_out += 1

    async def handed_over(self) -> None:
        """Returns when all that was put is as safe as the policy says; raises SpoolFailed."""
        if self._fsync == "always":
            await self._until_durable()

    # -- frames out -------------------------------------------------------------------------------

    async def before_sending(self, alive: Callable[[], Awaitable[None]]) -> None:
        """Returns when the numbers of the frames that are about to be sent are written down.

        While the disk is full this waits, and calls `alive` now and then, so that no lease ends.
        """
        while True:
            try:
                self.spool.write_notes()
                break
            except SpoolFailed as error:
                log.warning("%s; nothing is sent until it can", error.message)
            await asyncio.sleep(RETRY_S)
            await alive()
        self._soon()
        if self.spool.fact_noted and self._fsync == "always":
            with contextlib.suppress(SpoolFailed):  # what is not safe here is better at the hub
                await self._until_durable()
        self.spool.fact_noted = False

    def answered(self) -> None:
        """The hub answered: what it has need not be kept."""
        assert self._outbox is not None
        if self._outbox.acked != self._acked:
            self._acked = self._outbox.acked
            self.spool.acked(*self._acked)
            self._write()

    def renewed(self, stream: str) -> None:
        """The hub lost this stream; what waits goes on under a new one."""
        self.spool.renewed(stream)
        self._acked = (0, 0)
        self._write()

    def _write(self) -> None:
        """Notes that cannot be written now are written before anything is sent."""
        with contextlib.suppress(SpoolFailed):
            self.spool.write_notes()
        self._soon()

    # -- durability -------------------------------------------------------------------------------

    def _soon(self) -> None:
        if self._timer is None and self.spool.needs_sync:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(FSYNC_INTERVAL_S, self._due)

    def _due(self) -> None:
        self._timer = None
        self._begin_round()

    def _begin_round(self) -> asyncio.Task[None]:
        if self._round is None or self._round.done():
            self._round = asyncio.create_task(self._sync(), name="game-server-spool")
        return self._round

    async def _until_durable(self) -> None:
        written = self.spool.written
        while self._durable < written:
            if self._failure is not None:
                raise self._failure
            # Shielded: others wait for the same round.
            await asyncio.shield(self._begin_round())

    async def _sync(self) -> None:
        work = self.spool.sync_round()
        try:
            await asyncio.get_running_loop().run_in_executor(
                self._thread, lambda: work.run(fsync=self._fsync != "never")
            )
        except OSError as error:
            # After a failed fsync nobody knows what the disk has: no later one can tell.
            text = f"the spool {self._folder} cannot be made durable: {error.strerror or error}"
            log.error("%s", text)
            self._failure = SpoolFailed(text)
            return
        self._durable = work.written

    async def close(self) -> None:
        """Writes and syncs what is left, and lets go of the folder."""
        if self._opened is not None:
            self._write()
            if self._timer is not None:
                self._timer.cancel()
            try:
                while self._running or (self._failure is None and self.spool.needs_sync):
                    await self._begin_round()
            finally:
                # Whoever is cancelled here waits for the rest of one round: it has our files.
                self._thread.shutdown()
                self.spool.close()
                self._opened = None
        self._thread.shutdown(wait=False)

    @property
    def _running(self) -> bool:
        return self._round is not None and not self._round.done()


def _let_go(opening: asyncio.Future[Spool]) -> None:
    """Nobody waited until the spool was open."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
