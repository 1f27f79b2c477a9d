"""Limits in a real Redis: the bucket on Redis' clock, and places counted over nodes."""

from __future__ import annotations

import asyncio
import random

import pytest
from redis.asyncio import Redis

from domain.errors import Unavailable
from hub.bucket import Bucket
from storage import limits
from storage.limits import PlaceAsk
from storage.redis import connect


async def take(redis: Redis, user: str = "anna", want: int = 1, back: int = 0) -> tuple[int, int]:
    # A thousandth of a token per second: time plays no part.
    return await limits.take(redis, user, rate_per_s=0.001, burst=20, want=want, back=back)


async def test_the_script_has_the_rule_of_the_bucket(redis: Redis) -> None:
    dice = random.Random(7)
    for user in range(20):
        bucket = Bucket(0.001, 20, 0.0)
        for _ in range(30):
            want, back = dice.randint(1, 10), dice.choice([0, 0, 0, 1, 5])
            granted, wait_ms = await take(redis, f"u{user}", want, back)
            assert granted == bucket.take(0.0, want, back)
            assert (wait_ms == 0) == (granted > 0)


async def test_tokens_come_back_with_redis_time(redis: Redis) -> None:
    for _ in range(30):
        granted, wait_ms = await limits.take(redis, "anna", rate_per_s=50, burst=5, want=5, back=0)
        if not granted:
            assert 0 < wait_ms <= 20
            await asyncio.sleep(wait_ms / 1000)
            break
    else:
        raise AssertionError("a bucket of five has no end")
    assert (await limits.take(redis, "anna", rate_per_s=50, burst=5, want=1, back=0))[0] == 1


async def test_buckets_are_each_users_own_and_do_not_stay(redis: Redis) -> None:
    while (await take(redis, "anna", 10))[0]:
        pass
    assert (await take(redis, "berta"))[0] == 1
    await limits.take(redis, "cleo", rate_per_s=10, burst=20, want=1, back=0)
    assert 0 < await redis.pttl("gamehub:bucket:{user:cleo}") <= 3000


async def admit(redis: Redis, node: str, *asks: PlaceAsk, **options: bool) -> list[bool]:
    return (await limits.take_turn(redis, node, [], {}, asks, **options)).admitted


async def test_caps_hold_over_nodes(redis: Redis) -> None:
    assert await admit(redis, "a", PlaceAsk("user:anna", 3, 0)) == [True]
    assert await admit(redis, "a", PlaceAsk("user:anna", 3, 1)) == [True]
    assert await admit(redis, "b", PlaceAsk("user:anna", 3, 0)) == [True]
    assert await admit(redis, "b", PlaceAsk("user:anna", 3, 1)) == [False]
    assert await admit(redis, "a", PlaceAsk("user:anna", 3, 2)) == [False]
    assert await admit(redis, "a", PlaceAsk("user:anna", 0, 2)) == [True]


async def test_one_turn_counts_those_before_it(redis: Redis) -> None:
    ask = PlaceAsk("ip:1.2.3.4", 3, 1)
    assert await admit(redis, "a", *[ask] * 4) == [True, True, False, False]


async def test_a_turn_carried_out_twice_counts_once(redis: Redis) -> None:
    ask = PlaceAsk("user:anna", 2, 1)
    assert await admit(redis, "a", ask) == [True]
    assert await admit(redis, "a", ask) == [True]
    assert await admit(redis, "b", PlaceAsk("user:anna", 3, 0)) == [True]
    assert await admit(redis, "b", PlaceAsk("user:anna", 3, 1)) == [False]


async def test_what_a_node_gives_back_is_free(redis: Redis) -> None:
    await limits.take_turn(redis, "a", [], {"user:anna": 3}, [])
    assert await admit(redis, "b", PlaceAsk("user:anna", 3, 0)) == [False]
    await limits.take_turn(redis, "a", [], {"user:anna": 0}, [])
    assert await admit(redis, "b", PlaceAsk("user:anna", 3, 0)) == [True]


async def test_a_node_whose_lease_ended_is_forgotten(redis: Redis) -> None:
    await limits.take_turn(redis, "a", [], {"user:anna": 3}, [])
    turn = await limits.take_turn(redis, "b", [], {}, [PlaceAsk("user:anna", 3, 0)])
    assert (turn.others, turn.admitted) == (["a"], [False])
    assert 0 < await redis.pttl("gamehub:{places}:node:a") <= limits.LEASE_MS <= 15_000
    await redis.delete("gamehub:{places}:node:a")
    turn = await limits.take_turn(redis, "b", ["a"], {}, [PlaceAsk("user:anna", 3, 0)])
    assert turn.admitted == [True]
    assert (await limits.take_turn(redis, "b", ["a"], {}, [])).others == []


async def test_redis_says_when_it_lost_the_counts(redis: Redis) -> None:
    assert not (await limits.take_turn(redis, "a", [], {}, [], anew=True)).had_counts
    assert (await limits.take_turn(redis, "a", [], {}, [])).had_counts
    await redis.flushall()
    assert not (await limits.take_turn(redis, "a", [], {}, [])).had_counts


async def test_anew_forgets_what_was_told_before(redis: Redis) -> None:
    await limits.take_turn(redis, "a", [], {"user:anna": 3, "user:berta": 1}, [])
    await limits.take_turn(redis, "a", [], {"user:berta": 1}, [], anew=True)
    assert await admit(redis, "b", PlaceAsk("user:anna", 1, 0)) == [True]
    assert await admit(redis, "b", PlaceAsk("user:berta", 1, 0)) == [False]


async def test_a_node_that_stops_is_out_at_once(redis: Redis) -> None:
    await limits.take_turn(redis, "a", [], {"user:anna": 3}, [])
    await limits.retire(redis, "a")
    assert await admit(redis, "b", PlaceAsk("user:anna", 3, 0)) == [True]


async def test_away_is_unavailable() -> None:
    nowhere = connect("redis://127.0.0.1:1/0")
    with pytest.raises(Unavailable):
        await limits.take_turn(nowhere, "a", [], {}, [])
    with pytest.raises(Unavailable):
        await limits.take(nowhere, "anna", rate_per_s=1, burst=1, want=1, back=0)
    await limits.retire(nowhere, "a")
    await nowhere.aclose()
