"""What a user shows of itself: name, country, and whether others may see its statistics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A user's profile; who never said anything has the defaults (STAT-06: public).

    updated_at_ms: None when nothing was ever said.
    """

    user_id: str
    display_name: str | None = None
    country: str | None = None
    is_public: bool = True
    updated_at_ms: int | None = None
