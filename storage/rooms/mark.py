"""How far the relay has brought the log to the rooms: by number they know what is sent again."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from domain.errors import Unavailable
from storage.redis import AWAY, Script
from storage.rooms.wire import Command, Line, by_hand

_KEY = "gamehub:{relay}"
_SCRIPT = Script("mark.lua")


class Mark(NamedTuple):
    """The last fact that may have been published, and the name by which rooms know its log.

    A log that was rolled back (a restored Postgres) gives numbers again that the rooms have seen:
    it needs another name.
    """

    log: str
    seq: int
    event_id: str


async def read(redis: Redis) -> Mark | None:
    """None when Redis knows of none; raises Unavailable."""
    log, seq, event_id = await _asked(redis, ("HMGET", _KEY, "log", "seq", "event_id"))
    return None if log is None else Mark(log.decode(), int(seq), event_id.decode())


async def write(redis: Redis, mark: Mark, was: Mark | None) -> None:
    """Before anything up to there is published; `was`: what was read.

    Raises Unavailable, also when another relay has been there meanwhile: whoever was paused for so
    long that another took its place would bring back an old mark, and publish what rooms have.
    """
    read = ("", "") if was is None else (was.log, was.seq)
    args = 1, _KEY, *read, *mark
    try:
        done = await _asked(redis, ("EVALSHA", _SCRIPT.sha, *args))
    except NoScriptError:
        done = await _asked(redis, ("EVAL", _SCRIPT.text, *args))
    if not done:
        raise Unavailable("another relay is at work")


async def _asked(redis: Redis, command: Command) -> Any:
    try:
        line = by_hand(redis)
        if not isinstance(line, Line):
            return await cast("Any", line).execute_command(*command)
        [answer] = await line.call([command])
        if isinstance(answer, Exception):
            raise answer
    except NoScriptError:
        raise
    except AWAY as error:
        raise Unavailable(f"Redis does not answer: {type(error).__name__}") from error
    return answer
