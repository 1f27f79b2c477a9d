"""When a client comes back, by close code, and when it must not."""

from __future__ import annotations

import random

import pytest

from protocol.errors import ConnectionRefused
from protocol.reconnect import (
    BACKOFF_FLOOR_S,
    BACKOFF_MAX_S,
    HubSaid,
    after_close,
    after_refusal,
    backoff_s,
)

DICE = random.Random(1)


def test_the_delay_is_jittered_between_half_a_second_and_twenty() -> None:
    for attempt in (0, 1, 5, 50, 5000):
        delays = [backoff_s(attempt, DICE) for _ in range(200)]
        assert min(delays) >= BACKOFF_FLOOR_S
        assert max(delays) <= min(BACKOFF_MAX_S, 0.5 * 2 ** min(attempt + 1, 10))
        assert max(delays) > 1.5 * min(delays)


@pytest.mark.parametrize("code", [None, 1000, 1001, 1006, 1011, 1012, 4011, 4999])
def test_these_closes_are_followed_by_another_try(code: int | None) -> None:
    assert BACKOFF_FLOOR_S <= after_close(code, "", None, 0, DICE).delay_s <= 1.0


@pytest.mark.parametrize("code", [4001, 4003, 4004, 4009])
def test_these_closes_are_final(code: int) -> None:
    said = HubSaid("some_code", "some text")

    with pytest.raises(ConnectionRefused) as caught:
        after_close(code, "reason", said, 0, DICE)

    assert (caught.value.code, caught.value.message) == ("some_code", "some text")
    assert caught.value.close_code == code


def test_an_expired_token_is_replaced_first() -> None:
    assert after_close(4002, "", None, 0, DICE).fresh_token


@pytest.mark.parametrize(
    ("reason", "low", "high"), [("1500", 1.5, 1.5), ("later", 0.5, 1.0), ("999999999", 120, 120)]
)
def test_a_draining_hub_says_when_to_return(reason: str, low: float, high: float) -> None:
    assert low <= after_close(4010, reason, None, 0, DICE).delay_s <= high


def test_over_a_limit_the_hub_says_how_long_to_wait() -> None:
    said = HubSaid("message_rate_limit_exceeded", "slow down", retry_after_ms=4000)

    assert after_close(4008, "", said, 0, DICE).delay_s == 4.0
    assert after_close(4008, "", None, 0, DICE).delay_s >= 1.0


def test_a_door_that_sheds_load_is_obeyed_and_one_that_says_no_is_final() -> None:
    assert after_refusal(503, "7", 0, DICE, known=False).delay_s == 7
    assert after_refusal(429, None, 0, DICE, known=False).delay_s <= 1.0
    assert after_refusal(404, None, 0, DICE, known=True).delay_s <= 1.0
    for status, known in ((404, False), (401, True), (403, True)):
        with pytest.raises(ConnectionRefused):
            after_refusal(status, None, 0, DICE, known=known)
