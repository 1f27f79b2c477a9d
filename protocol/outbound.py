"""What the hub sends to viewers: one function per message, each a plain map with `op`."""

from __future__ import annotations

from typing import Any, Literal

Message = dict[str, Any]


def _with_ref(message: Message, ref: int | str | None) -> Message:
    if ref is not None:
        message["ref"] = ref
    return message


def welcome(
    session: str,
    user: str,
    role: str,
    heartbeat_s: float,
    limits: dict[str, Any],
    ref: int | str | None = None,
) -> Message:
    """The token is accepted; also the answer to an in-band `auth`."""
    message = {
        "op": "welcome",
        "session": session,
        "user": user,
        "role": role,
        "heartbeat_s": heartbeat_s,
        "limits": limits,
    }
    return _with_ref(message, ref)


def joined(
    room: str,
    epoch: str,
    offset: int,
    *,
    recovered: bool,
    events: list[Message],
    snapshot: Message | None,
    ref: int | str | None = None,
) -> Message:
    """The room is joined at `offset`; `events` reach from the snapshot (or `since`) up to it."""
    message: Message = {
        "op": "joined",
        "room": room,
        "epoch": epoch,
        "offset": offset,
        "recovered": recovered,
        "events": events,
    }
    if snapshot is not None:
        message["snapshot"] = snapshot
    return _with_ref(message, ref)


def snapshot(room: str, epoch: str, offset: int, state: Any) -> Message:
    """The room's document at `offset`, after a new epoch or a lag; null where it has none."""
    return {"op": "snapshot", "room": room, "epoch": epoch, "offset": offset, "state": state}


def left(room: str, ref: int | str | None = None) -> Message:
    """The room is left."""
    return _with_ref({"op": "left", "room": room}, ref)


def history(room: str, epoch: str, events: list[Message], ref: int | str | None = None) -> Message:
    """Recent events, oldest first."""
    return _with_ref({"op": "history", "room": room, "epoch": epoch, "events": events}, ref)


def lagged(room: str, missed: int) -> Message:
    """This client was too slow for `missed` events; a snapshot follows."""
    return {"op": "lagged", "room": room, "missed": missed}


def presence(room: str, counts: dict[str, int], ref: int | str | None = None) -> Message:
    """How many watch, by role."""
    return _with_ref({"op": "presence", "room": room, "counts": counts}, ref)


def error(body: dict[str, object], ref: int | str | None = None) -> Message:
    """A refusal: `body` is GamehubError.as_dict()."""
    return _with_ref({"op": "error", **body}, ref)


def pong(ref: int | str | None = None) -> Message:
    """The answer to ping."""
    return _with_ref({"op": "pong"}, ref)


# -- close codes (contract: Sockets for viewers) -------------------------------------------------

Reconnect = Literal["backoff", "token", "after", "no"]

CLOSE_NO_TOKEN = 4001
CLOSE_EXPIRED = 4002
CLOSE_INVALID = 4003
CLOSE_UNKNOWN_ROOM = 4004
CLOSE_POLICY = 4008
CLOSE_TOO_BIG = 4009
CLOSE_DRAINING = 4010
CLOSE_TOO_SLOW = 4011

# The reason of 4003 when a token was revoked, at the door or while connected.
REASON_REVOKED = "revoked"

RECONNECT: dict[int, Reconnect] = {
    CLOSE_NO_TOKEN: "no",
    CLOSE_EXPIRED: "token",
    CLOSE_INVALID: "no",
    CLOSE_UNKNOWN_ROOM: "no",
    CLOSE_POLICY: "after",
    CLOSE_TOO_BIG: "no",
    CLOSE_DRAINING: "after",
    CLOSE_TOO_SLOW: "backoff",
}
