"""A second process that counts what a rebuild has rated: how it is started, fed and asked.

Only ratings depend on all users at once; statistics, XP and achievements are each user's own. One
Python process was what a rebuild waited for, with the second core idle. What is counted is fed in
the log's order: the packed lines of duels, and other facts with what the ratings brought.

The process ends with its standard input, so with us, however we end. It touches no database: its
tables come back as texts for COPY, for our transaction.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import structlog

from domain.errors import Unavailable
from workers.fold.stages import Rated
from workers.fold.world import World

logger = structlog.get_logger(__name__)

# Bytes on their way to the process before the rebuild waits for it, and on their way back.
ON_THE_WAY_MAX = 4 * 1024 * 1024
# For the process to end by itself once nothing is wanted of it any more.
END_TIMEOUT_S = 5.0

pack = msgspec.msgpack.Encoder().encode
unpack = msgspec.msgpack.Decoder().decode
# What is asked besides: to make the tables meanwhile, and to give them away.
COUNT, TABLES = pack("count"), pack("tables")


def frame(body: bytes) -> bytes:
    """A message as it goes over a pipe."""
    return len(body).to_bytes(4, "big") + body


def cores() -> int:
    """On how many cores this process may run."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.asynccontextmanager
async def counter() -> AsyncIterator[Beside | None]:
    """The process, which is gone afterwards; None where none can be started."""
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "workers.fold.counter"),
            stdin=PIPE,
            stdout=PIPE,
            limit=ON_THE_WAY_MAX,
            start_new_session=True,  # Ctrl-C is for us
        )
    except OSError as error:
        logger.warning("rebuild_counts_alone", error=str(error))
        yield None
        return
    try:
        yield Beside(process)
        await _end(process)
    finally:
        if process.returncode is None:
            process.kill()
            # Also what it has said still is read, or its pipe would stay open.
            await process.communicate()


async def _end(process: Process) -> None:
    assert process.stdin is not None
    process.stdin.close()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.communicate(), END_TIMEOUT_S)


class Beside:
    """The counted half of a rebuild's world, in that process.

    Every method raises Unavailable when the process has failed or is gone.
    """

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._to, self._from = process.stdin, process.stdout
        self._shapes = 0  # that it was told of
        self._to.transport.set_write_buffer_limits(high=ON_THE_WAY_MAX)

    async def count(self, world: World, part: Sequence[Rated]) -> None:
        """Facts that were rated in this world, in the log's order.

        Waits while too many are on their way.
        """
        shapes = [(each.game, each.names) for each in world.shapes[self._shapes :]]
        self._shapes = len(world.shapes)
        await self._tell(pack((shapes, part)))

    async def make_tables(self) -> None:
        """It makes its tables, in case that nothing comes any more; returns at once."""
        await self._tell(COUNT)

    async def tables(self) -> AsyncIterator[tuple[str, str, AsyncIterator[bytes]]]:
        """All counted tables: noun, table and its rows for COPY, to be read before the next one."""
        await self._tell(TABLES)
        while (head := await self._answer()) is not None:
            noun, table = head
            yield noun, table, self._chunks()

    async def _chunks(self) -> AsyncIterator[bytes]:
        while chunk := await self._answer():
            yield chunk

    async def _tell(self, body: bytes) -> None:
        try:
            self._to.write(frame(body))
            await self._to.drain()
        except (OSError, RuntimeError) as error:  # uvloop's transports raise RuntimeError
            # Why it is gone it may have said before.
            await self._answer()
            raise Unavailable("the process that counts for the rebuild is gone") from error

    async def _answer(self) -> Any:
        try:
            size = int.from_bytes(await self._from.readexactly(4), "big")
            said = unpack(await self._from.readexactly(size))
        except (OSError, asyncio.IncompleteReadError) as error:
            code = await self._process.wait()
            raise Unavailable(
                f"the process that counts for the rebuild has ended with {code}"
            ) from error
        if isinstance(said, str):
            raise Unavailable(f"the process that counts for the rebuild failed: {said}")
        return said
