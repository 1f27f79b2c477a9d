"""What the SDK raises: branches of the one tree in domain/errors, with the hub's own codes.

GamehubError
 +-- HubError                 the hub's own code     what a hub answered, word for word
 |    +-- FrameRefused        ... and the frame      a FACT or LIVE frame was nacked for good
 |    +-- RequestRefused      ... and the room       a viewer's join, history or presence
 |    +-- ConnectionRefused   ... and close_code     the hub does not want this client back
 +-- Unavailable
      +-- HubUnreachable      hub_unreachable        no hub answered in time
      +-- Undelivered         undelivered            closed before the hub had everything
      +-- SpoolFailed         spool_failed           the spool cannot be opened or written
           +-- SpoolLocked    spool_locked           another process has it
           +-- SpoolForeign   spool_foreign          of another server, or of a later format
           +-- SpoolDamaged   spool_damaged          ... and file, offset: bytes in it went bad
"""

from __future__ import annotations

from domain.errors import GamehubError, Unavailable


class HubError(GamehubError):
    """A hub's answer: `code` is the one it sent (contract: Ingest, Sockets for viewers)."""

    code: str  # type: ignore[misc]  # the hub decides it, so it belongs to the instance

    def __init__(
        self,
        code: str,
        message: str,
        *,
        field: str | None = None,
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(message, field=field, retry_after_ms=retry_after_ms)
        self.code = code

    def __str__(self) -> str:
        where = f" (field {self.field})" if self.field else ""
        return f"{self.code}: {self.message}{where}"


class FrameRefused(HubError):
    """The hub nacked a frame; the answer is final, another try is a new frame."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        field: str | None = None,
        frame_class: str = "fact",
        frame_type: str = "",
        match: str | None = None,
        seq: int = 0,
    ) -> None:
        super().__init__(code, message, field=field)
        self.frame_class = frame_class
        self.frame_type = frame_type
        self.match = match
        self.seq = seq


class RequestRefused(HubError):
    """The hub refused what a viewer asked for; `room` names the room it was about."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        field: str | None = None,
        retry_after_ms: int | None = None,
        room: str | None = None,
    ) -> None:
        super().__init__(code, message, field=field, retry_after_ms=retry_after_ms)
        self.room = room


class ConnectionRefused(HubError):
    """The hub closed the connection for good: trying again unchanged would give the same."""

    def __init__(self, code: str, message: str, *, close_code: int | None = None) -> None:
        super().__init__(code, message)
        self.close_code = close_code


class HubUnreachable(Unavailable):
    """No hub answered in the time that was given; the message says what was tried last."""

    code = "hub_unreachable"


class Undelivered(Unavailable):
    """Closed, or out of time, with `frames` that the hub had not acknowledged."""

    code = "undelivered"

    def __init__(self, message: str, *, frames: int) -> None:
        super().__init__(message)
        self.frames = frames


class SpoolFailed(Unavailable):
    """The spool cannot be opened or written; what was being handed over was not taken."""

    code = "spool_failed"


class SpoolLocked(SpoolFailed):
    """Another process, or another GameServer of this one, has the spool open."""

    code = "spool_locked"


class SpoolForeign(SpoolFailed):
    """The spool belongs to another server, or a later version of gamehub wrote it."""

    code = "spool_foreign"


class SpoolDamaged(SpoolFailed):
    """Bytes in the middle of a spool went bad; nothing was changed or sent."""

    code = "spool_damaged"

    def __init__(self, message: str, *, file: str, offset: int) -> None:
        super().__init__(message)
        self.file = file
        self.offset = offset
