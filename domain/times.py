"""Time as text: RFC 3339 in UTC with milliseconds, and milliseconds since the epoch."""

from __future__ import annotations

from datetime import UTC, datetime

from domain.errors import InvalidSchema


def parse_time(text: str, field: str) -> int:
    """RFC 3339 text -> ms since the epoch; raises InvalidSchema naming `field`."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError
        return round(moment.timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        raise InvalidSchema(
            f"{field} must be an RFC 3339 time with an offset, such as 2018-08-15T16:03:00.000Z",
            field=field,
        ) from None


def time_text(ms: int) -> str:
    """ms since the epoch -> RFC 3339 UTC with milliseconds."""
    moment = datetime.fromtimestamp(ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}Z"
