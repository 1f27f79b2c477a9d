"""When a client's next message may go, so that the hub's message limit is kept, pure."""

from __future__ import annotations

from typing import Any

# A user's sockets share one limit: each keeps to this part of it.
SHARE = 2


class Pace:
    """`burst` messages at once, `rate_per_s` after that; without limits everything goes at once."""

    def __init__(self, rate_per_s: float = 0.0, burst: int = 1) -> None:
        self._gap_s = 1 / rate_per_s if rate_per_s > 0 else 0.0
        self._ahead_s = self._gap_s * max(burst - 1, 0)
        self._due_s = 0.0

    @classmethod
    def of(cls, limits: Any) -> Pace:
        """From `welcome.limits`; a hub that tells none has none."""
        told = limits if isinstance(limits, dict) else {}
        rate, burst = told.get("messages_per_s"), told.get("message_burst")
        if not isinstance(rate, int | float) or not isinstance(burst, int):
            return cls()
        return cls(rate / SHARE, max(burst // SHARE, 1))

    def wait_s(self, now_s: float) -> float:
        """Takes the next turn; how long to wait for it, in seconds. Turns come in order."""
        due_s = max(self._due_s, now_s)
        self._due_s = due_s + self._gap_s
        return max(due_s - self._ahead_s - now_s, 0.0)
