"""What one socket may take up: its place among sockets, its places in rooms, its messages."""

from __future__ import annotations

import asyncio
import random
import time
from functools import lru_cache
from typing import TYPE_CHECKING

import structlog

from domain.errors import ConnectionLimit, RoomFull, SettingsError, Unavailable
from domain.events import ROOM_KINDS, Role
from domain.ids import split_room
from hub.peer import is_in, network_of, networks
from hub.sessions.caps import Caps
from storage import limits as store

if TYPE_CHECKING:
    from domain.events import Principal
    from hub.context import Context

log = structlog.get_logger(__name__)

# Who is refused at a cap is told to come back after a while that differs from the others'. After
# kill -9 of a hub the places of its sockets are free within 15 s.
FULL_RETRY_MS = (5_000, 15_000)
# Who asks for what cannot be done while Redis or Postgres is away may ask again after so long.
AWAY_RETRY_MS = 1000
# A lease of messages waits so long for Redis; then, and for so long after, messages pass unlimited.
TAKE_TIMEOUT_S = 0.5
AWAY_S = 1.0
# Addresses of which it is remembered whether they are exempt; the one used longest ago goes.
ADDRESSES_MAX = 4096
# How places in rooms are told from the others.
ROOM = "room:"


class Gate:
    """One per hub process."""

    def __init__(self, context: Context) -> None:
        settings = context.settings
        self.context = context
        self.caps = Caps(context.redis, context.node, context.metrics)
        self.room_caps = settings.room_caps()
        strangers = set(self.room_caps) - {"", *ROOM_KINDS}
        if strangers:
            raise SettingsError(
                f"WS_RATE_ROOM_MAX_MEMBERS names no kind of room: {', '.join(sorted(strangers))}",
                field="WS_RATE_ROOM_MAX_MEMBERS",
            )
        exempt = networks(settings.ws_rate_exempt_cidrs)
        self._exempt = lru_cache(maxsize=ADDRESSES_MAX)(lambda ip: is_in(ip, exempt))
        self._away_until_s = 0.0

    def is_exempt(self, ip: str) -> bool:
        """Whether sockets from this address have no caps and no buckets (WS_RATE_EXEMPT_CIDRS)."""
        return self._exempt(ip)

    async def lease(self, user: str, want: int, back: int) -> tuple[int, int]:
        """Tokens of the user's bucket, and ms until there is one when there are none (RATE-01).

        While Redis is away everyone gets what they want: messages fail open.
        """
        settings = self.context.settings
        if time.monotonic() >= self._away_until_s:
            try:
                async with asyncio.timeout(TAKE_TIMEOUT_S):
                    answer = await store.take(
                        self.context.redis,
                        user,
                        rate_per_s=settings.ws_rate_msg_rps,
                        burst=settings.ws_rate_msg_burst,
                        want=want,
                        back=back,
                    )
            except (TimeoutError, Unavailable) as error:
                if not self._away_until_s:
                    log.warning("messages_unlimited", error=type(error).__name__)
                self._away_until_s = time.monotonic() + AWAY_S
            else:
                if self._away_until_s:
                    log.info("messages_limited_again")
                    self._away_until_s = 0.0
                return answer
        self.context.metrics.limits_without_redis.labels("messages").inc()
        return want, 0


class Visit:
    """What one socket takes up at the gate. Each place is given back once, however it ends."""

    __slots__ = ("_ended", "_gate", "_ip", "_places", "exempt")

    def __init__(self, gate: Gate, ip: str) -> None:
        self._gate = gate
        self._ip = ip
        self.exempt = gate.is_exempt(ip)
        # None while it has none: exempt sockets take up places only in rooms that have a cap.
        self._places: set[str] | None = None
        self._ended = False

    async def arrive(self) -> None:
        """The socket is open, who it is is not known yet; raises ConnectionLimit (RATE-03)."""
        await self._hold({self._address})

    async def identify(self, who: Principal) -> None:
        """The token is verified; raises ConnectionLimit (RATE-02). Harmless when called again.

        Overlays and servers count by their token or name alone: a studio, or a rack of game
        servers, has many behind one address.
        """
        if who.kind == "overlay":
            await self._hold({f"overlay:{who.token_id}"})
        elif who.kind == "server":
            await self._hold({f"server:{who.subject}"})
        else:
            await self._hold({self._address, f"user:{who.subject}"})

    async def enter(self, room: str, role: Role) -> None:
        """Takes a place in a room, unless it has one; raises RoomFull (RATE-04).

        Organisers and admins come in although it is full, and count like everyone.
        """
        kind, _ = split_room(room)
        caps = self._gate.room_caps
        cap = caps.get(kind, caps[""])
        if cap == 0 or f"{ROOM}{room}" in (self._places or ()):
            return
        if not await self._take(f"{ROOM}{room}", 0 if role >= Role.ORGANIZER else cap):
            self._gate.context.metrics.places_refused.labels("room").inc()
            raise RoomFull(
                f"the room has its {cap} members", field="room", retry_after_ms=_retry_ms()
            )

    def leave(self, room: str) -> None:
        """Gives the place in a room back, if it has one."""
        self._give(f"{ROOM}{room}")

    def end(self) -> None:
        """The socket is gone: gives everything back."""
        self._ended = True
        for place in list(self._places or ()):
            self._give(place)

    async def lease(self, who: Principal, want: int, back: int) -> tuple[int, int]:
        """Like Gate.lease."""
        return await self._gate.lease(who.subject, want, back)

    @property
    def _address(self) -> str:
        return f"ip:{network_of(self._ip)}"

    async def _hold(self, wanted: set[str]) -> None:
        """Takes what it does not hold yet, then gives back what is no longer wanted."""
        if self.exempt:
            return
        for subject in sorted(wanted - (self._places or set())):
            cap, cap_name = self._cap_of(subject)
            if cap == 0:
                continue
            if not await self._take(subject, cap):
                self._gate.context.metrics.places_refused.labels(cap_name).inc()
                raise ConnectionLimit(
                    f"at most {cap} sockets per {_WORDS[cap_name]}", retry_after_ms=_retry_ms()
                )
        for place in (self._places or set()) - wanted:
            if not place.startswith(ROOM):
                self._give(place)

    def _cap_of(self, subject: str) -> tuple[int, str]:
        settings = self._gate.context.settings
        name = subject.partition(":")[0]
        caps = {
            "ip": settings.ws_rate_conn_per_ip,
            "user": settings.ws_rate_conn_per_user,
            "overlay": settings.ws_rate_conn_per_overlay,
            "server": settings.ws_rate_conn_per_server,
        }
        return caps[name], name

    async def _take(self, subject: str, cap: int) -> bool:
        if not await self._gate.caps.admit(subject, cap):
            return False
        if self._ended:  # the socket ended while it asked
            self._gate.caps.release(subject)
            return False
        if self._places is None:
            self._places = set()
        self._places.add(subject)
        return True

    def _give(self, place: str) -> None:
        if self._places is not None and place in self._places:
            self._places.discard(place)
            self._gate.caps.release(place)


_WORDS = {
    "ip": "address",
    "user": "user",
    "overlay": "overlay token",
    "server": "game server's name",
}


def _retry_ms() -> int:
    return random.randint(*FULL_RETRY_MS)
