"""Boards: the order of subjects by rating (contract: Rating arithmetic)."""

from __future__ import annotations

_EPOCH_MS = 1_420_070_400_000  # 2015-01-01T00:00Z
MINUTE_MAX = 2**24 - 1


def minute_of(played_at_ms: int) -> int:
    """Whole minutes of a time since 2015-01-01T00:00Z, within 0 and MINUTE_MAX."""
    return max(0, min((played_at_ms - _EPOCH_MS) // 60_000, MINUTE_MAX))
