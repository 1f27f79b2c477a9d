"""The keys of boards in Redis, and calls of their scripts in one pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from domain.errors import Unavailable
from storage.redis import AWAY, Script

# Members of one call of a script, which nothing interrupts.
CALL_MEMBERS_MAX = 500
# Calls that go out together.
CALLS_MAX = 500

# A script with its keys and arguments.
Call = tuple[Script, list[str], list[Any]]


@lru_cache(maxsize=4096)
def key_of(part: str, board: str) -> str:
    """The key of a part of a board."""
    # One hash tag per board: a script finds all of a board's keys on one node of a cluster.
    return f"leaderboards:{part}:{{{board}}}"


def keys_of(board: str, *parts: str) -> list[str]:
    """The keys of parts of a board, for one call of a script."""
    return [key_of(part, board) for part in parts]


async def call(redis: Redis, calls: Sequence[Call]) -> list[Any]:
    """The answers of script calls, CALLS_MAX at a time; raises Unavailable."""
    answers: list[Any] = []
    for start in range(0, len(calls), CALLS_MAX):
        answers += await _pipelined(redis, calls[start : start + CALLS_MAX])
    return answers


async def _pipelined(redis: Redis, calls: Sequence[Call]) -> list[Any]:
    try:
        pipe = redis.pipeline(transaction=False)
        for script, keys, args in calls:
            pipe.evalsha(script.sha, len(keys), *keys, *args)
        answers = await pipe.execute(raise_on_error=False)
    except AWAY as error:
        raise away(error) from error
    for index, answer in enumerate(answers):
        if isinstance(answer, NoScriptError):
            # After a restart; the ones after it find it loaded, on one server.
            answers[index] = await calls[index][0](redis, calls[index][1], calls[index][2])
        elif isinstance(answer, AWAY):
            raise away(answer) from answer
        elif isinstance(answer, Exception):
            raise answer
    return list(answers)


def away(error: BaseException) -> Unavailable:
    """What callers see of a failure of the connection."""
    return Unavailable(f"Redis does not answer: {type(error).__name__}")
