"""What a node knows of tokens and people: read in order, kept over outages, never too little."""

from __future__ import annotations

from dataclasses import dataclass, field

import asyncpg
import pytest
from redis.asyncio import Redis

from domain.errors import TokenRevoked, Unavailable
from domain.events import Principal, Role
from hub import standing as module
from hub.standing import Standing
from services import tokens as revoking
from services import tournaments as deciding
from storage import redis as redis_store
from storage import tokens, tournaments
from storage.audit import Entry
from tests.hubs import eventually

BY = Entry(actor="cli:test", role="CLI", action="", occurred_at_ms=0)


def person(subject: str = "ann", jti: str = "j-1", iat: int = 1000) -> Principal:
    return Principal(
        subject=subject, kind="user", role=Role.SPECTATOR, issued_at_s=iat, token_id=jti
    )


@dataclass(eq=False)
class Holder:
    """A socket that counts how often it was told."""

    who: Principal | None
    told: list[str] = field(default_factory=list)

    def standing_changed(self) -> None:
        self.told.append("changed")


@pytest.fixture
async def known(pool: asyncpg.Pool, redis_url: str) -> Standing:
    """Not started: a test says when to look."""
    return Standing(pool, redis_store.connect(redis_url, socket_timeout_s=None))


def is_dead(standing: Standing, who: Principal) -> bool:
    try:
        standing.check(who)
    except TokenRevoked:
        return True
    return False


async def test_before_the_first_look_nothing_is_good(known: Standing) -> None:
    with pytest.raises(Unavailable):
        known.check(person())
    await known.look()
    assert not is_dead(known, person())


async def test_only_whom_it_concerns_is_told(known: Standing, pool: asyncpg.Pool) -> None:
    await known.look()
    named, same_user, other, nobody = (
        Holder(person()), Holder(person(jti="j-2")), Holder(person("bob", "j-3")), Holder(None),
    )  # fmt: skip
    for holder in (named, same_user, other, nobody):
        known.watch(holder)
    await revoking.revoke_token(pool, BY, "j-1")
    await known.look()
    assert (named.told, same_user.told, other.told, nobody.told) == (["changed"], [], [], [])
    await revoking.revoke_subject(pool, BY, "ann")
    await known.look()
    assert (len(named.told), len(same_user.told), other.told) == (2, 1, [])
    known.forget(other)
    await deciding.grant(pool, None, BY, "cup", "bob", Role.PLAYER)
    await deciding.grant(pool, None, BY, "cup", "ann", Role.PLAYER)
    await known.look()
    assert (len(named.told), other.told) == (3, [])
    await known.look()
    assert len(named.told) == 3


async def test_more_rows_than_one_read_takes(
    known: Standing, pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "READ_MAX", 2)
    monkeypatch.setattr(tournaments, "READ_MAX", 2)
    for number in range(5):
        await revoking.revoke_token(pool, BY, f"j-{number}")
        await deciding.grant(pool, None, BY, f"cup-{number}", "ann", Role.PLAYER)
    await known.look()
    assert all(is_dead(known, person(jti=f"j-{number}")) for number in range(5))
    assert len(known.roles_of(person())) == 5


async def test_after_an_older_database_came_back(known: Standing, pool: asyncpg.Pool) -> None:
    """What is dead stays dead; roles are those of the database; what is new is heard."""
    await revoking.revoke_token(pool, BY, "j-1")
    for cup in ("a", "b", "c"):
        await deciding.grant(pool, None, BY, cup, "ann", Role.PLAYER)
    await known.look()
    async with pool.acquire() as conn:
        await conn.execute("TRUNCATE tokens.revocations, tournaments.roles")
        await conn.execute("UPDATE tokens.head SET seq = 0")
        await conn.execute("UPDATE tournaments.head SET seq = 0")
    ann = Holder(person(jti="j-9"))
    known.watch(ann)
    await known.look()
    assert is_dead(known, person())
    assert known.roles_of(person()) == {}
    assert ann.told == ["changed"]
    await revoking.revoke_token(pool, BY, "j-9")
    await deciding.grant(pool, None, BY, "d", "ann", Role.PLAYER)
    await known.look()
    assert is_dead(known, person(jti="j-9"))
    assert known.roles_of(person()) == {"d": Role.PLAYER}


async def test_what_has_ended_is_not_kept(pool: asyncpg.Pool, redis_url: str) -> None:
    now_s = [1e9]
    known = Standing(pool, redis_store.connect(redis_url), now=lambda: now_s[0])
    await revoking.revoke_token(pool, BY, "j-1")
    await known.look()
    assert known.kept == 1
    now_s[0] = 1e11
    await known.look()
    assert known.kept == 0


async def test_a_database_that_is_not_migrated_opens_no_door(
    empty_database_url: str, redis_url: str
) -> None:
    nowhere = await asyncpg.create_pool(empty_database_url, min_size=0, max_size=1)
    known = Standing(nowhere, redis_store.connect(redis_url, socket_timeout_s=None))
    await known.start()
    with pytest.raises(Unavailable):
        known.check(person())
    await known.stop()
    await nowhere.close()


async def test_a_word_in_redis_means_a_look(
    known: Standing, pool: asyncpg.Pool, redis_url: str
) -> None:
    await known.start()
    redis = redis_store.connect(redis_url)
    await eventually(lambda: _listens(redis))
    await revoking.revoke_token(pool, BY, "j-1")
    await redis_store.tell_standing(redis)
    await eventually(lambda: is_dead(known, person()), timeout_s=module.POLL_S / 2)
    await known.stop()
    await redis.aclose()


async def _listens(redis: Redis) -> bool:
    [(_, count)] = await redis.pubsub_numsub(redis_store.STANDING_CHANNEL)
    return int(count) == 1
