"""What a user shows of itself: name, country, and whether others may see its statistics."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from msgspec import Struct

from domain.errors import Forbidden
from domain.events import Principal, Role
from domain.facts import declared
from domain.payloads import Name
from domain.payloads_derived import Country


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


class ProfileChange(Struct, kw_only=True):
    """What to change; what is left out stays, null takes a name or country back."""

    display_name: Name | None = None
    country: Country | None = None
    is_public: bool = True


def check_may_own(who: Principal) -> None:
    """Raises Forbidden for servers, overlays and spectators, whose tokens anybody may fetch."""
    if who.kind != "user" or who.role < Role.PLAYER:
        raise Forbidden("profiles belong to users from PLAYER up")


def changed(profile: Profile, raw: dict[str, Any]) -> tuple[Profile, list[str]]:
    """(the profile after a change as somebody sent it, which fields are new, in their order).

    Raises InvalidSchema naming the field.
    """
    said = declared(raw, ProfileChange)
    after = replace(profile, **{name: getattr(said, name) for name in raw})
    names = ProfileChange.__struct_fields__
    return after, [name for name in names if getattr(after, name) != getattr(profile, name)]


def check_may_see(who: Principal, profile: Profile) -> None:
    """Raises Forbidden unless `who` may see what the user played (STAT-06).

    Who hides it is seen by itself and by ADMIN; boards show name and rating of everyone.
    """
    itself = who.kind == "user" and who.subject == profile.user_id
    if not (profile.is_public or itself or who.role >= Role.ADMIN):
        raise Forbidden("this player does not show what it played")
