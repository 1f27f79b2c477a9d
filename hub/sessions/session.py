"""One viewer's session, sans-I/O: bytes and a time go in, effects come out (design.md, law 2)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from domain.errors import (
    Forbidden,
    GamehubError,
    InvalidSchema,
    RateLimited,
    RoomLimit,
    TokenExpired,
    TokenInvalid,
    TokenRevoked,
    Unauthenticated,
    Unavailable,
)
from domain.events import (
    NO_ROLES,
    Principal,
    Role,
    TournamentRoles,
    check_may_join,
    check_may_publish,
    role_within,
    room_kind,
)
from hub.sessions.limits import UNMETERED, Ask, Limits, Meter
from protocol import inbound, outbound
from protocol.codecs import Codec
from protocol.inbound import Inbound, Since

# A socket may be in so many rooms at once; the next join is refused with room_limit_exceeded.
ROOMS_MAX = 200
# A strike is a message that is refused for its form, or because there were too many; the third one
# within the window closes 4008 (contract: Limits).
STRIKES_MAX = 3
STRIKE_WINDOW_S = 10.0
STRIKE_RETRY_AFTER_MS = 1000
# `presence` is answered at most so often per room and socket; asked earlier it is refused.
PRESENCE_INTERVAL_S = 2.0

Ref = int | str | None


# -- effects: what connection.py carries out, in this order ---------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    """Write one message."""

    message: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Close:
    """Close the socket; nothing after it is carried out."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Verify:
    """Verify a token, then call `verified` or `refused`."""

    token: str
    ref: Ref


@dataclass(frozen=True, slots=True)
class JoinRoom:
    """Join a room and answer `joined`; at the door a room that does not exist closes with 4004."""

    room: str
    since: Since | None
    ref: Ref
    at_door: bool = False


@dataclass(frozen=True, slots=True)
class LeaveRoom:
    """Stop the room's events, then answer `left`."""

    room: str
    ref: Ref


@dataclass(frozen=True, slots=True)
class ReadHistory:
    """Answer `history`."""

    room: str
    since: Since | None
    limit: int
    ref: Ref


@dataclass(frozen=True, slots=True)
class ReadPresence:
    """Answer `presence`."""

    room: str
    ref: Ref


@dataclass(frozen=True, slots=True)
class PublishText:
    """Post an announcement."""

    room: str
    data: dict[str, Any]
    ref: Ref


@dataclass(frozen=True, slots=True)
class ReviewRooms:
    """The session may see more or less than before: call `rooms_now_forbidden` for what it left."""


@dataclass(frozen=True, slots=True)
class LeaseTokens:
    """Lease tokens of the user's bucket, then call `leased` with the message that waits."""

    message: Inbound
    asked: Ask


Effect = (
    Send | Close | Verify | JoinRoom | LeaveRoom | ReadHistory | ReadPresence | PublishText
    | ReviewRooms | LeaseTokens
)  # fmt: skip


@dataclass(slots=True)
class Session:
    """State of one socket. Times are seconds of a monotonic clock, but expiry is of the epoch."""

    session_id: str
    limits: Limits
    codec: Codec
    opened_at_s: float
    door_room: str | None = None
    who: Principal | None = None
    roles: TournamentRoles = field(default_factory=lambda: NO_ROLES)
    rooms: set[str] = field(default_factory=set)
    last_heard_s: float = 0.0
    strikes: tuple[float, ...] = ()
    presence_asked_s: dict[str, float] | None = None
    last_op: str = "invalid"
    meter: Meter = UNMETERED

    # -- in ---------------------------------------------------------------------------------------

    def opened(self, token: str | None) -> list[Effect]:
        """The socket is open; `token` came at the door, or `auth` must come in time."""
        self.last_heard_s = self.opened_at_s
        self.meter = self.limits.meter(None, self.opened_at_s)
        return [] if token is None else [Verify(token, None)]

    def verified(self, who: Principal, ref: Ref, roles: TournamentRoles = NO_ROLES) -> list[Effect]:
        """A token was good: greet, and join the room of the URL; a fresh one extends (WSA-07).

        roles: what the user is within tournaments.
        """
        if who.kind == "server":
            refusal = TokenInvalid("a server token belongs to /ingest, not to /ws")
            return _refuse(refusal, outbound.CLOSE_INVALID, ref)
        if self.who is not None and who.subject != self.who.subject:
            refusal = TokenInvalid("the fresh token is another subject's", field="token")
            return [Send(outbound.error(refusal.as_dict(), ref))]
        if self.who is not None and who.kind != self.who.kind:
            refusal = TokenInvalid(f"the fresh token must be a {self.who.kind}'s", field="token")
            return [Send(outbound.error(refusal.as_dict(), ref))]
        first = self.who is None
        if self.who is None:
            self.meter = self.limits.meter(who, self.last_heard_s)
        self.who, self.roles = who, roles
        effects: list[Effect] = [
            Send(
                outbound.welcome(
                    self.session_id,
                    who.subject,
                    who.role.name if who.kind == "user" else "OVERLAY",
                    self.limits.heartbeat_s,
                    self.limits.shown(who, ROOMS_MAX),
                    ref,
                )
            )
        ]
        if first and self.door_room is not None:
            effects += self._join(inbound.Join(room=self.door_room), at_door=True)
        if not first:
            effects.append(ReviewRooms())
        return effects

    def roles_changed(self, roles: TournamentRoles) -> list[Effect]:
        """The user's roles within tournaments are others now."""
        if roles == self.roles:
            return []
        self.roles = roles
        return [ReviewRooms()]

    def role_in(self, tournament_id: str | None) -> Role:
        """The role that counts in a tournament, or outside of any (None)."""
        if self.who is None:
            return Role.SPECTATOR
        return role_within(self.who, self.roles, tournament_id)

    def rooms_now_forbidden(self) -> list[Effect]:
        """Leaves every room that may not be seen any more, each with its error (WSA-06)."""
        return [each for room in sorted(self.rooms) for each in self._left_if_forbidden(room)]

    def refused(self, error: GamehubError, ref: Ref) -> list[Effect]:
        """A token was not good."""
        if isinstance(error, TokenExpired):
            return _refuse(error, outbound.CLOSE_EXPIRED, ref)
        if isinstance(error, TokenRevoked):
            return [
                Send(outbound.error(error.as_dict(), ref)),
                Close(outbound.CLOSE_INVALID, outbound.REASON_REVOKED),
            ]
        if isinstance(error, TokenInvalid):
            return _refuse(error, outbound.CLOSE_INVALID, ref)
        if isinstance(error, Unavailable):
            effects = _refuse(error, 1012, ref)
            # Nothing is known of the fresh token: a session that has one goes on with it.
            return effects if self.who is None else effects[:1]
        return _refuse(error, 1011, ref)

    def over_limit(self, error: GamehubError, ref: Ref) -> list[Effect]:
        """There are too many sockets like this one."""
        return _refuse(error, outbound.CLOSE_POLICY, ref)

    def received(self, data: bytes, now_s: float) -> list[Effect]:
        """One message from the client (RT-16: form, then rate, then permission, then work)."""
        self.last_heard_s = now_s
        self.last_op = "invalid"
        if len(data) > self.limits.max_payload_bytes:
            return [Close(outbound.CLOSE_TOO_BIG, "message too big")]
        try:
            message = inbound.parse(data, self.codec)
        except InvalidSchema as error:
            return self._strike(error, now_s, None)
        self.last_op = type(message).__name__.lower()
        return self._metered(message, now_s)

    def leased(self, message: Inbound, tokens: int, wait_ms: int, now_s: float) -> list[Effect]:
        """So many tokens were leased for `message` and those after it (LeaseTokens)."""
        self.meter.granted(tokens, wait_ms, now_s)
        return self._metered(message, now_s)

    def _metered(self, message: Inbound, now_s: float) -> list[Effect]:
        step = self.meter.step(now_s)
        if isinstance(step, Ask):
            return [LeaseTokens(message, step)]
        if step > 0:
            error = RateLimited("too many messages; this one was dropped", retry_after_ms=step)
            return self._strike(error, now_s, message.ref)
        if isinstance(message, inbound.Auth):
            return [Verify(message.token, message.ref)]
        if self.who is None:
            error_ = Unauthenticated("send auth first", field="op")
            return self._strike(error_, now_s, message.ref)
        try:
            return self._handle(message, now_s)
        except InvalidSchema as error:
            return self._strike(error, now_s, message.ref)
        except GamehubError as error:
            return [Send(outbound.error(error.as_dict(), message.ref))]

    def wrong_frame(self, now_s: float) -> list[Effect]:
        """A binary message where text was agreed on, or the other way round."""
        wanted = "binary" if self.codec.binary else "text"
        error = InvalidSchema(f"{self.codec.subprotocol} uses {wanted} messages")
        return self._strike(error, now_s, None)

    def tick(self, now_s: float, epoch_s: float) -> list[Effect]:
        """Time has passed: close when no token came, when it ended, or when nobody is there."""
        if self.who is None:
            if now_s >= self.opened_at_s + self.limits.auth_timeout_s:
                error = Unauthenticated("no token came in time")
                return _refuse(error, outbound.CLOSE_NO_TOKEN, None)
            return []
        if epoch_s > self.who.expires_at_s + self.limits.leeway_s:
            return _refuse(TokenExpired("the token has ended"), outbound.CLOSE_EXPIRED, None)
        if not self.rooms and now_s >= self.last_heard_s + self.limits.idle_timeout_s:
            return [Close(1001, "idle")]
        return []

    def next_tick_s(self, now_s: float, epoch_s: float) -> float:
        """When `tick` is worth calling again, in seconds of the monotonic clock."""
        if self.who is None:
            return self.opened_at_s + self.limits.auth_timeout_s
        expiry = now_s + max(self.who.expires_at_s + self.limits.leeway_s - epoch_s, 0) + 0.1
        idle = max(self.last_heard_s, now_s - self.limits.idle_timeout_s / 2)
        return min(expiry, idle + self.limits.idle_timeout_s)

    def joined(self, room: str) -> list[Effect]:
        """The join was carried out; what the session may see can have changed meanwhile."""
        self.rooms.add(room)
        return self._left_if_forbidden(room)

    def left(self, room: str) -> None:
        """The room is left, on whoever's wish."""
        self.rooms.discard(room)
        if self.presence_asked_s is not None:
            self.presence_asked_s.pop(room, None)

    # -- inside -----------------------------------------------------------------------------------

    def _handle(self, message: Inbound, now_s: float) -> list[Effect]:
        assert self.who is not None
        if self.who.kind == "overlay" and isinstance(message, inbound.Presence | inbound.Publish):
            raise Forbidden("an overlay only watches", field="op")
        match message:
            case inbound.Join():
                return self._join(message)
            case inbound.Leave():
                return [LeaveRoom(message.room, message.ref)]
            case inbound.History():
                check_may_join(self.who, message.room, self.roles)
                return [ReadHistory(message.room, message.since, message.limit, message.ref)]
            case inbound.Presence():
                check_may_join(self.who, message.room, self.roles)
                return self._presence(message, now_s)
            case inbound.Publish():
                check_may_publish(self.who, message.room, message.type, self.roles)
                return [PublishText(message.room, message.data, message.ref)]
            case _:
                return [Send(outbound.pong(message.ref))]

    def _join(self, message: inbound.Join, *, at_door: bool = False) -> list[Effect]:
        assert self.who is not None
        try:
            room_kind(message.room)
            check_may_join(self.who, message.room, self.roles)
        except GamehubError as error:
            if not at_door:
                raise
            effects: list[Effect] = [Send(outbound.error(error.as_dict(), message.ref))]
            if error.code in ("unknown_room", "invalid_schema"):
                effects.append(Close(outbound.CLOSE_UNKNOWN_ROOM, error.message))
            return effects
        if message.room not in self.rooms and len(self.rooms) >= ROOMS_MAX:
            raise RoomLimit(f"at most {ROOMS_MAX} rooms on one socket", field="room")
        return [JoinRoom(message.room, message.since, message.ref, at_door)]

    def _presence(self, message: inbound.Presence, now_s: float) -> list[Effect]:
        asked = self.presence_asked_s
        if asked is None:
            asked = self.presence_asked_s = {}
        wait_s = asked.get(message.room, 0.0) + PRESENCE_INTERVAL_S - now_s
        if wait_s > 0 and message.room in asked:
            body: dict[str, object] = {
                "code": "message_rate_limit_exceeded",
                "message": "presence is answered every 2 s",
                "retry_after_ms": round(wait_s * 1000),
            }
            return [Send(outbound.error(body, message.ref))]
        if len(asked) >= ROOMS_MAX:
            asked.clear()
        asked[message.room] = now_s
        return [ReadPresence(message.room, message.ref)]

    def _left_if_forbidden(self, room: str) -> list[Effect]:
        assert self.who is not None
        try:
            check_may_join(self.who, room, self.roles)
        except GamehubError as error:
            return [Send(outbound.error(error.as_dict(), None)), LeaveRoom(room, None)]
        return []

    def _strike(self, error: GamehubError, now_s: float, ref: Ref) -> list[Effect]:
        recent = [at for at in self.strikes if at > now_s - STRIKE_WINDOW_S]
        self.strikes = (*recent, now_s)
        body = error.as_dict()
        if len(self.strikes) < STRIKES_MAX:
            return [Send(outbound.error(body, ref))]
        wait_ms = body["retry_after_ms"] = max(error.retry_after_ms or 0, STRIKE_RETRY_AFTER_MS)
        reason = f"{error.code}, retry_after_ms={wait_ms}"
        return [Send(outbound.error(body, ref)), Close(outbound.CLOSE_POLICY, reason)]


def _refuse(error: GamehubError, code: int, ref: Ref) -> list[Effect]:
    """Browsers can't read HTTP refusals, so an `error` goes first, then the close code."""
    return [Send(outbound.error(error.as_dict(), ref)), Close(code, error.message)]


def role_label(who: Principal | None) -> str:
    """The role as presence counts it."""
    if who is None:
        return Role.SPECTATOR.name
    return who.role.name if who.kind == "user" else "OVERLAY"
