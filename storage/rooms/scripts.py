"""Lua scripts of rooms: files of storage/lua, called by hash, loaded where Redis lacks them."""

from __future__ import annotations

from hashlib import sha1
from importlib import resources
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from domain.errors import Unavailable
from storage.redis import AWAY


class Script:
    """A Lua file of storage/lua, called by its hash."""

    def __init__(self, name: str) -> None:
        self.text = (resources.files("storage") / "lua" / name).read_text("utf-8")
        self.sha = sha1(self.text.encode(), usedforsecurity=False).hexdigest()


async def call(redis: Redis, script: Script, keys: list[str], args: list[Any]) -> Any:
    """What the script answers; raises Unavailable when Redis does not."""
    try:
        try:
            return await redis.evalsha(script.sha, len(keys), *keys, *args)
        except NoScriptError:
            return await redis.eval(script.text, len(keys), *keys, *args)
    except AWAY as error:
        raise Unavailable(f"Redis does not answer: {type(error).__name__}") from error
