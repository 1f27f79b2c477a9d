"""One tree of errors with stable codes, shared by every layer.

    GamehubError
     +-- SettingsError            invalid_settings       a setting is missing or malformed
     +-- StartError               start_failed           a server or process cannot start
     +-- Unavailable              unavailable            Postgres or Redis is away; retry later
     +-- Refusal                                         what someone asked for is refused
          +-- InvalidSchema       invalid_schema         a message is not of the documented shape
          +-- PayloadTooLarge     payload_too_large      a frame or field is over its limit
          +-- Forbidden           forbidden_action       the role or scope does not allow it
          +-- Unauthenticated     unauthenticated        no token came in time
          +-- TokenExpired        token_expired          the token's time is over
          +-- TokenInvalid        token_invalid          the token is not ours, or malformed
          |    +-- TokenRevoked   token_revoked          the token, or its subject's, were revoked
          +-- UnknownRoom         unknown_room           no such room
          +-- UnknownOverlay      unknown_overlay        no such overlay, or not the caller's
          +-- UnknownNotification unknown_notification   no such notice in the caller's inbox
          +-- LimitReached        limit_reached          no more of these are kept
          +-- AlreadyExists       already_exists         another one has this id or number
          +-- RoomLimit           room_limit_exceeded    too many rooms on one socket
          +-- RoomFull            room_full              the room takes no more members
          +-- RateLimited         message_rate_limit_exceeded
          +-- ConnectionLimit     connection_limit_exceeded  too many sockets of one kind
          +-- OriginNotAllowed    origin_not_allowed     a page of another site opens a socket
          +-- Draining            draining               this hub is about to stop
          +-- IngestRefusal                              a game server's frame is nacked
               +-- UnknownMatch       unknown_match
               +-- NotHolder          not_holder         another stream holds the match's lease
               +-- MatchCompleted     match_completed    the match has another result already
               +-- InvalidTransition  invalid_transition the match's state does not allow it
               +-- SequenceReused     sequence_reused    the number was used for another content
               +-- SequenceGap        sequence_gap       a FACT is missing before it (not final)
               +-- ImpossibleValue    impossible_value   well-formed, but it cannot be true

Codes are part of the wire contract (contract.md; RATE-09): they never change their meaning.
"""

from __future__ import annotations

from typing import ClassVar


class GamehubError(Exception):
    """Anything that gamehub itself reports; `code` is stable, `message` is for people."""

    code: ClassVar[str] = "internal_error"
    http_status: ClassVar[int] = 500

    def __init__(
        self, message: str, *, field: str | None = None, retry_after_ms: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.retry_after_ms = retry_after_ms

    def as_dict(self) -> dict[str, object]:
        """The wire form: code, message and, where known, field and retry_after_ms."""
        body: dict[str, object] = {"code": self.code, "message": self.message}
        if self.field is not None:
            body["field"] = self.field
        if self.retry_after_ms is not None:
            body["retry_after_ms"] = self.retry_after_ms
        return body


class SettingsError(GamehubError):
    """A setting is missing or malformed; `field` is its environment name."""

    code = "invalid_settings"


class StartError(GamehubError):
    """A server, process or port is not usable, with what to do about it in the message."""

    code = "start_failed"


class Unavailable(GamehubError):
    """Postgres or Redis does not answer; the same request may succeed later."""

    code = "unavailable"
    http_status = 503


class Refusal(GamehubError):
    """What someone asked for is refused; asking again unchanged gives the same answer."""

    code = "refused"
    http_status = 400


class InvalidSchema(Refusal):
    """A message or body is not of the documented shape (RATE-11)."""

    code = "invalid_schema"


class PayloadTooLarge(Refusal):
    """A frame, document or field is larger than its limit (RATE-05)."""

    code = "payload_too_large"
    http_status = 413


class Forbidden(Refusal):
    """The token's role or scope does not allow the action (WSA-06, SEC-06)."""

    code = "forbidden_action"
    http_status = 403


class Unauthenticated(Refusal):
    """No token was given, or none in time (WSA-03)."""

    code = "unauthenticated"
    http_status = 401


class TokenExpired(Refusal):
    """The token's time is over, leeway included (WSA-02, WSA-04)."""

    code = "token_expired"
    http_status = 401


class TokenInvalid(Refusal):
    """The token's form, signature, issuer or audience is wrong (WSA-02, AUTH-03)."""

    code = "token_invalid"
    http_status = 401


class TokenRevoked(TokenInvalid):
    """The token was revoked, or all of its subject's up to a time (contract: Tokens)."""

    code = "token_revoked"


class UnknownRoom(Refusal):
    """The room's kind or id does not exist (WSA-03)."""

    code = "unknown_room"
    http_status = 404


class UnknownOverlay(Refusal):
    """There is no overlay of this id, or it belongs to somebody else."""

    code = "unknown_overlay"
    http_status = 404


class UnknownNotification(Refusal):
    """There is no notice of this id in the caller's inbox (NOTF-08)."""

    code = "unknown_notification"
    http_status = 404


class LimitReached(Refusal):
    """As many of these are kept as may be; the message says what to do instead."""

    code = "limit_reached"
    http_status = 409


class AlreadyExists(Refusal):
    """Another one, with another content, has this id or number."""

    code = "already_exists"
    http_status = 409


class RoomLimit(Refusal):
    """One socket has joined as many rooms as it may."""

    code = "room_limit_exceeded"


class RoomFull(Refusal):
    """The room has its maximum of members (RATE-09)."""

    code = "room_full"


class RateLimited(Refusal):
    """Too many messages in too short a time (RATE-09)."""

    code = "message_rate_limit_exceeded"
    http_status = 429


class ConnectionLimit(Refusal):
    """Too many sockets of one user, one address or one overlay token at once (RATE-09)."""

    code = "connection_limit_exceeded"
    http_status = 429


class OriginNotAllowed(Refusal):
    """The page that opens the socket comes from a site that may not (WSA-09)."""

    code = "origin_not_allowed"
    http_status = 403


class Draining(Refusal):
    """This hub is stopping; another one, or this one soon, will answer (SCALE-06)."""

    code = "draining"
    http_status = 503


class IngestRefusal(Refusal):
    """A game server's frame is refused; a nack is final but for `sequence_gap` (ING-06)."""

    code = "refused"
    http_status = 409


class UnknownMatch(IngestRefusal):
    """The match was never scheduled and the token may not create it (ING-06)."""

    code = "unknown_match"
    http_status = 404


class NotHolder(IngestRefusal):
    """Another stream holds the lease of the match (contract: Ingest)."""

    code = "not_holder"


class MatchCompleted(IngestRefusal):
    """The match has a result of another content; correcting it is a person's decision."""

    code = "match_completed"


class InvalidTransition(IngestRefusal):
    """The match's state does not allow this move (MTCH-02)."""

    code = "invalid_transition"


class SequenceReused(IngestRefusal):
    """The stream used this number for another content (contract: Ingest, idempotency)."""

    code = "sequence_reused"


class SequenceGap(IngestRefusal):
    """A FACT before this one never arrived: send from the last ack on; not final."""

    code = "sequence_gap"


class ImpossibleValue(IngestRefusal):
    """The frame is well-formed but says what cannot be true (ING-06)."""

    code = "impossible_value"
