"""A token bucket in this process, pure: the same rule as storage/lua/take.lua has in Redis."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Bucket:
    """`burst` tokens at most, `rate_per_s` come back each second; begins full.

    Times are seconds of one monotonic clock; a clock that goes back adds nothing.
    """

    rate_per_s: float
    burst: float
    at_s: float
    level: float = -1.0

    def __post_init__(self) -> None:
        """A bucket without a level is a full one."""
        if self.level < 0:
            self.level = self.burst

    def take(self, now_s: float, want: int = 1, back: int = 0) -> int:
        """Gives at most `want` tokens, after `back` unused ones were put back; how many.

        At most half of what is there, but one while there is one: who asks first for many leaves
        something for who asks next.
        """
        self._refill(now_s)
        self.level = min(self.burst, self.level + back)
        granted = 0
        if self.level >= 1:
            granted = min(want, max(1, int(self.level / 2)))
        self.level -= granted
        return granted

    def wait_ms(self, now_s: float) -> int:
        """Milliseconds until there is a token, 0 when there is one."""
        self._refill(now_s)
        lack = 1 - self.level
        return 0 if lack <= 0 else int(lack / self.rate_per_s * 1000) + 1

    def _refill(self, now_s: float) -> None:
        gone_s = max(now_s - self.at_s, 0.0)
        self.at_s = now_s
        self.level = min(self.burst, self.level + gone_s * self.rate_per_s)
