"""The end of tasks that use Redis or Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

# A task that is not through with its end after so long is cancelled once more.
CANCEL_AGAIN_S = 1.0


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels tasks, and returns when they have ended, whatever they raised.

    Before Python 3.12 asyncio.wait_for, with which redis-py sends, forgets a cancellation that
    comes in the same turn of the loop as its result (python/cpython#86296). A task that goes on
    for ever then never ended, and neither did its process.
    """
    running = set(tasks)
    while running:
        for each in running:
            each.cancel()
        ended, running = await asyncio.wait(running, timeout=CANCEL_AGAIN_S)
        for each in ended:
            if not each.cancelled():
                each.exception()  # is known, and needs no warning
