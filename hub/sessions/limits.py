"""How many messages a socket may send, pure: leases on the user's bucket, or a small fixed one.

The user's bucket lies in Redis and is shared by all sockets of the user on all nodes (RATE-01,
RATE-06). A socket takes tokens from it in leases, so that most messages need no call to Redis.
Whatever was leased ahead may be spent at once, so in any t seconds a user gets at most

    burst + rate * t + what the user's sockets held at their start (LEASE_MAX each)

messages through. Leases grow and shrink with what a socket sends, and unused tokens go back with
the next request, so that a quiet socket takes nothing from the busy ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from domain.events import Principal
from hub.bucket import Bucket

# A lease holds at most so many tokens, and is worth nothing after its life.
LEASE_MAX = 10
LEASE_LIFE_S = 5.0
LEASE_FIRST = 4
# Before a principal is known, and for overlays, which have nothing to say (RATE-17): no lease, a
# bucket of the socket's own.
FIXED_RPS = 1.0
FIXED_BURST = 10


@dataclass(frozen=True, slots=True)
class Ask:
    """`want` tokens are needed from the user's bucket; `back` unused ones return to it."""

    want: int
    back: int


class Meter(Protocol):
    """Says of each message whether it may pass."""

    def step(self, now_s: float) -> Ask | int:
        """0: spent, the message passes. Above: refused for so many ms. Ask: take, then again."""

    def granted(self, tokens: int, wait_ms: int, now_s: float) -> None:
        """The answer to Ask: so many tokens, and when there are none, how long until the next."""


class Unmetered:
    """Lets everything pass (WS_RATE_EXEMPT_CIDRS)."""

    def step(self, now_s: float) -> Ask | int:
        """Always passes."""
        return 0

    def granted(self, tokens: int, wait_ms: int, now_s: float) -> None:
        """Never asked."""


UNMETERED = Unmetered()


@dataclass(slots=True)
class FixedMeter:
    """A small bucket of the socket's own."""

    bucket: Bucket

    @classmethod
    def begin(cls, now_s: float) -> FixedMeter:
        """A full one."""
        return cls(Bucket(FIXED_RPS, FIXED_BURST, now_s))

    def step(self, now_s: float) -> Ask | int:
        """Spends one, or says how long until the next."""
        return 0 if self.bucket.take(now_s) else self.bucket.wait_ms(now_s)

    def granted(self, tokens: int, wait_ms: int, now_s: float) -> None:
        """Never asked."""


@dataclass(slots=True)
class LeaseMeter:
    """Tokens leased from the user's bucket in Redis."""

    left: int = 0
    want: int = LEASE_FIRST
    ends_s: float = 0.0
    refused_until_s: float = 0.0
    size: int = 0

    def step(self, now_s: float) -> Ask | int:
        """Spends one of the lease; without one asks, unless the answer is known to be no."""
        if self.left > 0 and now_s < self.ends_s:
            self.left -= 1
            return 0
        if now_s < self.refused_until_s:
            return int((self.refused_until_s - now_s) * 1000) + 1
        return self._ask()

    def _ask(self) -> Ask:
        if self.left > 0:  # it ended unused: so much was too much
            self.want = max(1, self.size - self.left)
        elif self.size >= self.want:  # it was used up in its time
            self.want = min(LEASE_MAX, 2 * self.want)
        back, self.left, self.size = self.left, 0, 0
        return Ask(self.want, back)

    def granted(self, tokens: int, wait_ms: int, now_s: float) -> None:
        """Begins a lease of so many tokens."""
        self.left = self.size = tokens
        self.ends_s = now_s + LEASE_LIFE_S
        self.refused_until_s = now_s + wait_ms / 1000 if tokens == 0 else 0.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What a session needs of the settings."""

    max_payload_bytes: int
    heartbeat_s: float
    auth_timeout_s: float
    idle_timeout_s: float
    leeway_s: int
    message_rps: float = 10.0
    message_burst: int = 20
    exempt: bool = False

    def shown(self, who: Principal, rooms_max: int) -> dict[str, Any]:
        """What `welcome` tells the client; without message limits where there are none."""
        shown = {"max_payload_bytes": self.max_payload_bytes, "rooms": rooms_max}
        if self.exempt:
            return shown
        overlay = who.kind == "overlay"
        rps, burst = self.message_rps, self.message_burst
        rate = (FIXED_RPS, FIXED_BURST) if overlay else (rps, burst)
        return {**shown, "messages_per_s": rate[0], "message_burst": rate[1]}

    def meter(self, who: Principal | None, now_s: float) -> Meter:
        """What counts the messages of this principal, or of nobody yet (RATE-01, RATE-17)."""
        if self.exempt:
            return UNMETERED
        return LeaseMeter() if who and who.kind == "user" else FixedMeter.begin(now_s)
