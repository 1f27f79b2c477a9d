"""The life of a client: started, welcomed, lost and found again, closed; both clients share it."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from websockets.asyncio.client import ClientConnection

from domain.errors import GamehubError
from protocol.client_link import LOST, Link
from protocol.errors import ConnectionRefused, HubUnreachable
from protocol.reconnect import Plan


class Life:
    """One task that connects, serves and connects again, until it is closed or refused for good.

    A client says what is its own: `_serve` a connection, what is `_lost` with it, and whom to tell
    when it `_failed` or is `_closing`.
    """

    def __init__(self, link: Link, connect_timeout_s: float, name: str) -> None:
        self._link = link
        self._connect_timeout_s = connect_timeout_s
        self._name = name
        self._log = logging.getLogger(f"gamehub.{name}")
        self._task: asyncio.Task[None] | None = None
        self._failure: GamehubError | None = None
        self._closed = False
        # Set at the first welcome, and when there will be none.
        self._welcomed = asyncio.Event()

    async def _start(self) -> None:
        """Begins; waits for the welcome, at most `connect_timeout_s` (0: not at all).

        Raises HubUnreachable, or what the hub refused; it is closed then.
        """
        self._task = asyncio.create_task(self._run(), name=self._name)
        self._task.add_done_callback(self._ended)
        if self._connect_timeout_s <= 0:
            return
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                await self._welcomed.wait()
        except TimeoutError:
            await self.close()
            raise HubUnreachable(
                f"no hub at {self._link.url} within {self._connect_timeout_s:g} s "
                f"({self._link.last_problem})"
            ) from None
        except BaseException:
            await self.close()  # nobody has it, so nobody else would
            raise
        if self._failure is not None:
            await self.close()
            raise self._failure

    async def close(self) -> None:
        """Ends the connection at once."""
        self._closed = True
        try:
            if self._task is not None:
                self._task.cancel()
                # Waited for, not awaited: whoever is cancelled meanwhile must hear of it.
                await asyncio.wait([self._task])
        finally:
            await self._closing()
        if self._task is not None:
            with contextlib.suppress(asyncio.CancelledError, GamehubError):
                self._task.result()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """The task is over: those who wait learn why."""
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        if not isinstance(error, GamehubError):
            self._log.error("the client of %s failed", self._link.url, exc_info=error)
            error = ConnectionRefused("internal_error", f"the client failed: {error!r}")
        self._failure = error
        self._failed(error)
        self._welcomed.set()

    async def _run(self) -> None:
        while True:
            try:
                ws = await self._link.connect()
                try:
                    await self._serve(ws)
                finally:
                    self._lost()
                    await ws.close()
            except LOST as error:
                plan = self._link.failed(error)
                problem = self._link.last_problem
                self._log.info("%s: %s; again in %.1f s", self._link.url, problem, plan.delay_s)
                self._waiting_for(plan)
                await asyncio.sleep(plan.delay_s)

    async def _serve(self, ws: ClientConnection) -> None:
        """One connection, from its first message to its end (raises one of LOST)."""
        await ws.wait_closed()

    def _lost(self) -> None:
        """The connection is gone."""

    def _waiting_for(self, plan: Plan) -> None:
        """The next try comes after the plan's delay."""

    def _failed(self, error: GamehubError) -> None:
        """There will be no next try."""

    async def _closing(self) -> None:
        """It was closed by its owner."""
