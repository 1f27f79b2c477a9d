"""What a user shows of itself: name, country, and whether others may see its statistics."""

from __future__ import annotations

from dataclasses import dataclass

from domain.errors import Forbidden
from domain.events import Principal, Role


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


def check_may_see(who: Principal, profile: Profile) -> None:
    """Raises Forbidden unless `who` may see what the user played (STAT-06).

    Who hides it is seen by itself and by ADMIN; boards show name and rating of everyone.
    """
    itself = who.kind == "user" and who.subject == profile.user_id
    if not (profile.is_public or itself or who.role >= Role.ADMIN):
        raise Forbidden("this player does not show what it played")
