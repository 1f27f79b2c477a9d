"""The session without a socket: what goes in, and the effects that come out."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest

from domain.errors import TokenExpired, TokenInvalid, TokenRevoked, Unavailable
from domain.events import Principal, Role
from hub.sessions.limits import Limits
from hub.sessions.session import (
    PRESENCE_INTERVAL_S,
    ROOMS_MAX,
    Close,
    Effect,
    JoinRoom,
    LeaveRoom,
    PublishText,
    ReadHistory,
    ReadPresence,
    ReviewRooms,
    Send,
    Session,
    Verify,
)
from protocol.codecs import JSON, MSGPACK, Codec

LIMITS = Limits(
    max_payload_bytes=16384,
    heartbeat_s=20.0,
    auth_timeout_s=5.0,
    idle_timeout_s=120.0,
    leeway_s=60,
    exempt=True,  # how many messages may come is tests/hub/sessions/test_limits.py
)


def somebody(role: Role = Role.SPECTATOR, **changes: Any) -> Principal:
    return Principal(
        **{"subject": "anna", "kind": "user", "role": role, "expires_at_s": 10_000, **changes}
    )


def make(codec: Codec = JSON, room: str | None = None) -> Session:
    return Session("s1", LIMITS, codec, opened_at_s=100.0, door_room=room)


def greeted(who: Principal | None = None, **options: Any) -> Session:
    session = make(**options)
    session.opened("a-token")
    session.verified(who or somebody(), None)
    return session


def say(session: Session, now_s: float = 101.0, **message: Any) -> list[Effect]:
    return session.received(json.dumps(message).encode(), now_s)


def error_codes(effects: list[Effect]) -> list[str]:
    return [
        each.message["code"]
        for each in effects
        if isinstance(each, Send) and each.message["op"] == "error"
    ]


def closes(effects: list[Effect]) -> list[int]:
    return [each.code for each in effects if isinstance(each, Close)]


def test_token_at_the_door_is_verified_then_welcomed() -> None:
    session = make()
    assert session.opened("a-token") == [Verify("a-token", None)]
    [welcome] = session.verified(somebody(Role.PLAYER), None)
    assert isinstance(welcome, Send)
    assert welcome.message["op"] == "welcome"
    assert welcome.message["role"] == "PLAYER"
    assert welcome.message["limits"]["max_payload_bytes"] == 16384


def test_room_of_the_url_is_joined_after_the_welcome() -> None:
    session = make(room="match:m1")
    session.opened("a-token")
    effects = session.verified(somebody(), None)
    assert effects[1] == JoinRoom("match:m1", None, None, at_door=True)


def test_unknown_room_kind_in_the_url_closes_4004() -> None:
    session = make(room="kitchen:m1")
    session.opened("a-token")
    effects = session.verified(somebody(), None)
    assert error_codes(effects) == ["unknown_room"]
    assert closes(effects) == [4004]


def test_no_token_closes_4001_after_the_auth_timeout_and_not_before() -> None:
    session = make()
    assert session.opened(None) == []
    assert session.tick(104.9, 0) == []
    effects = session.tick(105.0, 0)
    assert error_codes(effects) == ["unauthenticated"]
    assert closes(effects) == [4001]


def test_in_band_auth_is_verified() -> None:
    session = make()
    session.opened(None)
    assert say(session, op="auth", token="t", ref=7) == [Verify("t", 7)]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TokenExpired("late"), 4002),
        (TokenInvalid("bad"), 4003),
        (TokenRevoked("dead"), 4003),
        (Unavailable("no keys"), 1012),
    ],
)
def test_refused_tokens_say_why_and_close(error: Any, code: int) -> None:
    effects = make().refused(error, None)
    assert error_codes(effects) == [error.code]
    assert closes(effects) == [code]


def test_server_token_is_refused_at_the_viewers_door() -> None:
    server = somebody(kind="server")
    assert closes(make().verified(server, None)) == [4003]


def test_token_end_closes_4002_after_the_leeway() -> None:
    session = greeted()
    assert session.tick(101.0, 10_060) == []
    effects = session.tick(101.0, 10_060.5)
    assert error_codes(effects) == ["token_expired"]
    assert closes(effects) == [4002]


def test_fresh_token_of_the_same_subject_extends_and_keeps_rooms() -> None:
    session = greeted()
    session.joined("match:m1")
    effects = session.verified(somebody(expires_at_s=20_000), 3)
    assert [each.message["op"] for each in effects if isinstance(each, Send)] == ["welcome"]
    assert session.rooms == {"match:m1"}
    assert session.tick(101.0, 15_000) == []


def test_fresh_token_of_another_subject_is_refused_and_changes_nothing() -> None:
    session = greeted()
    effects = session.verified(somebody(subject="berta"), None)
    assert error_codes(effects) == ["token_invalid"]
    assert session.who == somebody()


def test_fresh_token_with_a_lower_role_leaves_rooms_that_it_may_not_see() -> None:
    session = greeted(somebody(Role.ORGANIZER))
    session.joined("staff:t1")
    session.joined("match:m1")
    assert session.verified(somebody(Role.PLAYER), None)[-1] == ReviewRooms()
    effects = session.rooms_now_forbidden()
    assert error_codes(effects) == ["forbidden_action"]
    assert LeaveRoom("staff:t1", None) in effects
    assert LeaveRoom("match:m1", None) not in effects


@pytest.mark.parametrize(
    ("who", "room", "code"),
    [
        (somebody(), "staff:t1", "forbidden_action"),
        (somebody(Role.PLAYER), "ops:all", "forbidden_action"),
        (somebody(), "user:berta", "forbidden_action"),
        (somebody(), "kitchen:m1", "unknown_room"),
        (somebody(), "match", "invalid_schema"),
        (somebody(), "match:a b", "invalid_schema"),
        (somebody(kind="overlay", overlay_room="match:m2"), "match:m1", "forbidden_action"),
    ],
)
def test_joins_that_are_refused(who: Principal, room: str, code: str) -> None:
    effects = say(greeted(who), op="join", room=room, ref=1)
    assert error_codes(effects) == [code]
    assert isinstance(effects[0], Send)
    assert effects[0].message["ref"] == 1


@pytest.mark.parametrize(
    ("who", "room"),
    [
        (somebody(), "match:cwl-2018-08-19-champs/champs-pool-A-3"),
        (somebody(), "matches:all"),
        (somebody(), "user:anna"),
        (somebody(Role.ADMIN), "user:berta"),
        (somebody(Role.ORGANIZER), "staff:t1"),
        (somebody(kind="overlay", overlay_room="match:m1"), "match:m1"),
    ],
)
def test_joins_that_are_allowed(who: Principal, room: str) -> None:
    name = room
    assert say(greeted(who), op="join", room=name) == [JoinRoom(name, None, None)]


def test_rooms_per_socket_are_bounded() -> None:
    session = greeted()
    for number in range(ROOMS_MAX):
        session.joined(f"match:m{number}")
    assert error_codes(say(session, op="join", room="match:one-more")) == ["room_limit_exceeded"]
    assert say(session, op="join", room="match:m0") == [JoinRoom("match:m0", None, None)]


def test_messages_before_the_token_are_refused() -> None:
    session = make()
    session.opened(None)
    assert error_codes(say(session, op="join", room="match:m1")) == ["unauthenticated"]


def test_third_malformed_message_within_ten_seconds_closes_4008() -> None:
    session = greeted()
    assert closes(session.received(b"{", 101.0)) == []
    assert closes(session.received(b"[]", 102.0)) == []
    effects = session.received(b'{"op":"nope"}', 103.0)
    assert closes(effects) == [4008]
    assert isinstance(effects[0], Send)
    assert effects[0].message["retry_after_ms"] > 0


def test_malformed_messages_far_apart_are_forgiven() -> None:
    session = greeted()
    for second in range(0, 100, 6):
        assert closes(session.received(b"{", 101.0 + second)) == []


def test_errors_name_the_field() -> None:
    effects = say(greeted(), op="join", room="match:m1", since={"epoch": "e", "offset": -1})
    assert isinstance(effects[0], Send)
    assert effects[0].message["field"] == "since.offset"


def test_too_big_a_message_closes_4009() -> None:
    assert closes(greeted().received(b" " * 16385, 101.0)) == [4009]


def test_text_on_a_binary_socket_is_a_strike() -> None:
    assert error_codes(greeted(codec=MSGPACK).wrong_frame(101.0)) == ["invalid_schema"]


def test_msgpack_is_read_like_json() -> None:
    session = greeted(codec=MSGPACK)
    packed = msgpack.packb({"op": "join", "room": "match:m1", "since": {"epoch": "e", "offset": 3}})
    [join] = session.received(packed, 101.0)
    assert isinstance(join, JoinRoom)
    assert join.since is not None
    assert (join.since.epoch, join.since.offset) == ("e", 3)


def test_history_and_leave_and_ping() -> None:
    session = greeted()
    assert say(session, op="history", room="match:m1", limit=5) == [
        ReadHistory("match:m1", None, 5, None)
    ]
    assert say(session, op="leave", room="match:m1", ref="x") == [LeaveRoom("match:m1", "x")]
    assert say(session, op="ping", ref=2) == [Send({"op": "pong", "ref": 2})]


def test_presence_is_answered_every_two_seconds_at_most() -> None:
    session = greeted()
    assert say(session, 101.0, op="presence", room="match:m1") == [ReadPresence("match:m1", None)]
    assert error_codes(say(session, 102.0, op="presence", room="match:m1")) == [
        "message_rate_limit_exceeded"
    ]
    later = 101.0 + PRESENCE_INTERVAL_S
    assert say(session, later, op="presence", room="match:m1") == [ReadPresence("match:m1", None)]


@pytest.mark.parametrize(
    ("role", "allowed"),
    [(Role.SPECTATOR, False), (Role.PLAYER, False), (Role.ORGANIZER, True), (Role.ADMIN, True)],
)
def test_only_organisers_publish(role: Role, allowed: bool) -> None:
    effects = say(
        greeted(somebody(role)),
        op="publish",
        room="announce:all",
        type="announcement.posted",
        data={"text": "hello"},
    )
    if allowed:
        assert effects == [PublishText("announce:all", {"text": "hello"}, None)]
    else:
        assert error_codes(effects) == ["forbidden_action"]


def test_organisers_publish_announcements_only() -> None:
    effects = say(
        greeted(somebody(Role.ADMIN)),
        op="publish",
        room="match:m1",
        type="match.completed",
        data={},
    )
    assert error_codes(effects) == ["forbidden_action"]


def test_idle_socket_without_rooms_is_closed_and_one_with_rooms_is_not() -> None:
    session = greeted()
    assert closes(session.tick(100.0 + 120.0, 0)) == [1001]
    session.joined("match:m1")
    assert session.tick(100.0 + 1200.0, 0) == []


def test_next_tick_follows_the_earliest_deadline() -> None:
    session = make()
    session.opened(None)
    assert session.next_tick_s(100.0, 0) == 105.0
    session.verified(somebody(expires_at_s=1010), None)
    assert session.next_tick_s(101.0, 1000) == pytest.approx(101.0 + 70.1)


def test_a_revoked_token_s_close_says_so_and_nothing_else() -> None:
    error = TokenRevoked("the token was revoked")
    assert greeted().refused(error, None)[-1] == Close(4003, "revoked")


def test_a_session_with_a_token_goes_on_when_a_fresh_one_cannot_be_checked() -> None:
    effects = greeted().refused(Unavailable("no keys", retry_after_ms=1000), 7)
    assert error_codes(effects) == ["unavailable"]
    assert closes(effects) == []


CUP = {"cup": Role.ORGANIZER}


def test_a_role_counts_within_its_tournament_alone() -> None:
    session = make()
    assert session.role_in("cup") is Role.SPECTATOR
    session.verified(somebody(Role.PLAYER), None, CUP)
    assert [session.role_in(each) for each in ("cup", "other", None)] == [
        Role.ORGANIZER,
        Role.PLAYER,
        Role.PLAYER,
    ]
    assert say(session, op="join", room="staff:cup") == [JoinRoom("staff:cup", None, None)]
    for room in ("staff:other", "team:cup", "ops:cup", "user:cup"):
        assert error_codes(say(session, op="join", room=room)) == ["forbidden_action"]


def test_a_lower_role_in_a_tournament_than_the_token_s_changes_nothing() -> None:
    session = make()
    session.verified(somebody(Role.ADMIN), None, {"cup": Role.PLAYER})
    assert session.role_in("cup") is Role.ADMIN


def test_changed_roles_are_reviewed_once() -> None:
    session = greeted()
    assert session.roles_changed(CUP) == [ReviewRooms()]
    assert session.roles_changed(dict(CUP)) == []
    assert session.joined("staff:cup") == []
    assert session.rooms_now_forbidden() == []
    assert session.roles_changed({}) == [ReviewRooms()]
    assert LeaveRoom("staff:cup", None) in session.rooms_now_forbidden()


def test_a_join_that_ends_after_its_role_is_gone_is_undone() -> None:
    session = make()
    session.verified(somebody(), None, CUP)
    say(session, op="join", room="staff:cup")
    session.roles_changed({})
    assert session.rooms_now_forbidden() == []
    effects = session.joined("staff:cup")
    assert error_codes(effects) == ["forbidden_action"]
    assert effects[-1] == LeaveRoom("staff:cup", None)
