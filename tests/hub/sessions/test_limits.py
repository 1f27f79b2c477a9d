"""Message limits without a socket: the bucket's rule, leases over it, and what a session does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.events import Principal, Role
from hub.bucket import Bucket
from hub.sessions.limits import (
    FIXED_BURST,
    LEASE_FIRST,
    LEASE_LIFE_S,
    LEASE_MAX,
    Ask,
    FixedMeter,
    LeaseMeter,
    Limits,
)
from hub.sessions.session import Close, Effect, LeaseTokens, Send, Session, Verify
from protocol.codecs import JSON

RATE, BURST = 10.0, 20


# -- the bucket -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "want", "back", "granted"),
    [
        (20, 1, 0, 1),
        (20, 10, 0, 10),
        (12, 10, 0, 6),
        (3, 10, 0, 1),
        (1, 10, 0, 1),
        (0.9, 10, 0, 0),
        (0.5, 1, 1, 1),
        (20, 10, 10, 10),
    ],
)
def test_what_a_bucket_gives(level: float, want: int, back: int, granted: int) -> None:
    assert Bucket(RATE, BURST, 0.0, level).take(0.0, want, back) == granted


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, LEASE_MAX)), max_size=60))
def test_a_bucket_never_gives_more_than_burst_and_rate(asks: list[tuple[float, int]]) -> None:
    bucket, now_s, given_ = Bucket(RATE, BURST, 0.0), 0.0, 0
    for gap_s, want in asks:
        now_s += gap_s
        given_ += bucket.take(now_s, want)
        assert given_ <= BURST + RATE * now_s + 1e-6
        assert bucket.wait_ms(now_s) >= 0


@given(st.floats(0, 0.99), st.floats(0.5, 1000))
def test_the_wait_is_long_enough_and_no_longer(level: float, rate: float) -> None:
    bucket = Bucket(rate, BURST, 0.0, level)
    wait_s = bucket.wait_ms(0.0) / 1000
    assert Bucket(rate, BURST, 0.0, level).take(wait_s) == 1
    assert wait_s <= (1 - level) / rate + 0.0011


def test_a_clock_that_goes_back_gives_nothing() -> None:
    bucket = Bucket(RATE, BURST, 100.0, 0.0)
    assert bucket.take(50.0) == 0
    assert bucket.take(50.05) == 0


# -- leases ---------------------------------------------------------------------------------------


class Socket:
    """One socket of a user over the user's one bucket; counts calls to it."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.meter = LeaseMeter()
        self.calls = 0

    def send(self, now_s: float) -> bool:
        """Whether a message passes."""
        step = self.meter.step(now_s)
        if isinstance(step, Ask):
            self.calls += 1
            tokens = self.bucket.take(now_s, step.want, step.back)
            self.meter.granted(tokens, 0 if tokens else self.bucket.wait_ms(now_s), now_s)
            step = self.meter.step(now_s)
        assert isinstance(step, int)
        return step == 0


def sockets(count: int, level: float = BURST) -> list[Socket]:
    bucket = Bucket(RATE, BURST, 0.0, level)
    return [Socket(bucket) for _ in range(count)]


# When each of three sockets sends, in tenths of a beat of half a second: 2 messages/s each.
jitters = st.lists(st.tuples(*[st.floats(0, 0.499)] * 3), min_size=20, max_size=200)


@given(jitters)
def test_three_sockets_at_two_messages_a_second_are_never_refused(
    beats: list[tuple[float, ...]],
) -> None:
    all_ = sockets(3)
    sends = sorted(
        (beat * 0.5 + offset, number)
        for beat, offsets in enumerate(beats)
        for number, offset in enumerate(offsets)
    )
    assert all(all_[number].send(at_s) for at_s, number in sends)


@given(
    st.integers(1, 3),
    st.lists(st.tuples(st.floats(0, 2), st.integers(0, 2), st.integers(1, 30)), max_size=60),
)
def test_hoarding_is_bounded_by_what_is_leased(
    count: int, bursts: list[tuple[float, int, int]]
) -> None:
    all_, now_s, passed = sockets(count), 0.0, []
    for gap_s, number, tries in bursts:
        now_s += gap_s
        passed += [now_s for _ in range(tries) if all_[number % count].send(now_s)]
    # In every window: burst + rate * t + what was leased when it began.
    for first, begun_s in enumerate(passed):
        for last in range(first, len(passed)):
            window_s = passed[last] - begun_s
            assert last - first + 1 <= BURST + RATE * window_s + count * LEASE_MAX + 1e-6


def test_a_steady_sender_asks_once_per_lease() -> None:
    [one] = sockets(1)
    for number in range(1000):
        assert one.send(number * 0.125)
    assert one.calls <= 1000 / LEASE_MAX + 5


def test_a_rare_sender_leases_little_and_gives_back() -> None:
    meter = LeaseMeter()
    assert meter.step(0.0) == Ask(LEASE_FIRST, 0)
    meter.granted(LEASE_FIRST, 0, 0.0)
    assert meter.step(0.0) == 0
    assert meter.step(LEASE_LIFE_S) == Ask(1, LEASE_FIRST - 1)
    meter.granted(1, 0, LEASE_LIFE_S)
    assert meter.step(LEASE_LIFE_S) == 0


def test_a_refused_socket_does_not_ask_again_before_its_time() -> None:
    meter = LeaseMeter()
    assert isinstance(meter.step(0.0), Ask)
    meter.granted(0, 100, 0.0)
    assert meter.step(0.05) == 51
    assert isinstance(meter.step(0.11), Ask)


def test_a_fixed_bucket_asks_nobody() -> None:
    meter = FixedMeter.begin(0.0)
    assert [meter.step(0.0) for _ in range(FIXED_BURST)] == [0] * FIXED_BURST
    assert meter.step(0.0) == 1001
    assert meter.step(1.01) == 0


# -- the session ----------------------------------------------------------------------------------


def somebody(kind: Any = "user", **changes: Any) -> Principal:
    return Principal(subject="anna", kind=kind, role=Role.SPECTATOR, expires_at_s=10_000, **changes)


def session_of(who: Principal | None) -> Session:
    limits = Limits(
        max_payload_bytes=16384,
        heartbeat_s=20.0,
        auth_timeout_s=5.0,
        idle_timeout_s=120.0,
        leeway_s=60,
    )
    session = Session("s1", limits, JSON, opened_at_s=100.0)
    session.opened(None)
    if who is not None:
        session.verified(who, None)
    return session


def say(session: Session, now_s: float = 101.0, **message: Any) -> list[Effect]:
    return session.received(json.dumps(message).encode(), now_s)


def errors(effects: list[Effect]) -> list[dict[str, Any]]:
    sent = [each.message for each in effects if isinstance(each, Send)]
    return [each for each in sent if each["op"] == "error"]


def test_a_message_waits_for_its_lease_and_then_passes() -> None:
    session = session_of(somebody())
    [asked] = say(session, op="ping", ref=1)
    assert isinstance(asked, LeaseTokens)
    assert asked.asked == Ask(LEASE_FIRST, 0)
    assert session.leased(asked.message, 2, 0, 101.0) == [Send({"op": "pong", "ref": 1})]
    assert say(session, op="ping", ref=2) == [Send({"op": "pong", "ref": 2})]
    assert isinstance(say(session, op="ping")[0], LeaseTokens)


def test_over_the_limit_is_dropped_and_the_third_time_closes() -> None:
    session = session_of(somebody())
    [asked] = say(session, op="join", room="match:m1", ref=9)
    assert isinstance(asked, LeaseTokens)
    effects = session.leased(asked.message, 0, 80, 101.0)
    [error] = errors(effects)
    assert len(effects) == 1
    assert (error["code"], error["ref"]) == ("message_rate_limit_exceeded", 9)
    assert 80 <= error["retry_after_ms"] <= 81
    assert len(say(session, 101.01, op="ping")) == 1
    [last, close] = say(session, 101.02, op="ping")
    assert errors([last])[0]["retry_after_ms"] == 1000
    assert isinstance(close, Close)
    assert (close.code, close.reason) == (4008, "message_rate_limit_exceeded, retry_after_ms=1000")


def test_refusals_far_apart_are_forgiven() -> None:
    session = session_of(somebody())
    for second in range(0, 100, 6):
        [asked] = say(session, 101.0 + second, op="ping")
        assert isinstance(asked, LeaseTokens)
        assert len(session.leased(asked.message, 0, 80, 101.0 + second)) == 1


def test_before_a_principal_is_known_messages_are_few() -> None:
    session = session_of(None)
    tries = [say(session, op="auth", token="x") for _ in range(FIXED_BURST)]
    assert all(isinstance(each, Verify) for [each] in tries)
    codes = [errors(say(session, op="auth", token="x"))[0]["code"] for _ in range(2)]
    assert codes == ["message_rate_limit_exceeded"] * 2
    assert isinstance(say(session, op="auth", token="x")[-1], Close)


OVERLAY = somebody("overlay", overlay_room="match:m1")


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"op": "ping"}, None),
        ({"op": "join", "room": "match:m1"}, None),
        ({"op": "leave", "room": "match:m1"}, None),
        ({"op": "history", "room": "match:m1"}, None),
        ({"op": "auth", "token": "fresh"}, None),
        ({"op": "join", "room": "match:m2"}, "forbidden_action"),
        ({"op": "history", "room": "match:m2"}, "forbidden_action"),
        ({"op": "presence", "room": "match:m1"}, "forbidden_action"),
        (
            {"op": "publish", "room": "match:m1", "type": "announcement.posted", "data": {}},
            "forbidden_action",
        ),
    ],
)
def test_an_overlay_only_watches(message: dict[str, Any], code: str | None) -> None:
    effects = say(session_of(OVERLAY), **message)
    assert [each["code"] for each in errors(effects)] == ([] if code is None else [code])
    assert effects


def test_an_overlay_has_a_small_bucket_of_its_own() -> None:
    session = session_of(OVERLAY)
    for _ in range(FIXED_BURST):
        assert say(session, op="ping") == [Send({"op": "pong"})]
    assert errors(say(session, op="ping"))[0]["code"] == "message_rate_limit_exceeded"


@pytest.mark.parametrize(
    ("who", "shown"),
    [(somebody(), (10.0, 20)), (OVERLAY, (1.0, 10))],
)
def test_welcome_tells_the_limits(who: Principal, shown: tuple[float, int]) -> None:
    session = session_of(None)
    [welcome] = session.verified(who, None)
    assert isinstance(welcome, Send)
    limits = welcome.message["limits"]
    assert (limits["messages_per_s"], limits["message_burst"]) == shown
