"""What a user shows of itself: name, country, and whether others may see its statistics."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, replace
from typing import Any

from msgspec import Struct

from domain.errors import Forbidden, InvalidSchema
from domain.events import Principal, Role
from domain.facts import declared
from domain.payloads import Name
from domain.payloads_derived import Country

# They would turn the text around a name.
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# Letters and symbols that show nothing.
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")


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
    if said.display_name is not None and not _can_be_shown(said.display_name):
        raise InvalidSchema("display_name must be one line that can be seen", field="display_name")
    after = replace(profile, **{name: getattr(said, name) for name in raw})
    names = ProfileChange.__struct_fields__
    return after, [name for name in names if getattr(after, name) != getattr(profile, name)]


def _can_be_shown(name: str) -> bool:
    """Whether a name is one line, has something to see, and leaves the text around it alone.

    Users choose it themselves, and it stands on boards and on air; scripts that are written from
    right to left turn by themselves.
    """
    kinds = [unicodedata.category(each) for each in name]
    if not _TURNING.isdisjoint(name) or not {"Cc", "Zl", "Zp"}.isdisjoint(kinds):
        return False
    pairs = zip(name, kinds, strict=True)
    return any(kind[0] in "LNPS" and each not in _BLANK for each, kind in pairs)


def check_may_see(who: Principal, profile: Profile) -> None:
    """Raises Forbidden unless `who` may see what the user played (STAT-06).

    Who hides it is seen by itself and by ADMIN; boards show name and rating of everyone.
    """
    itself = who.kind == "user" and who.subject == profile.user_id
    if not (profile.is_public or itself or who.role >= Role.ADMIN):
        raise Forbidden("this player does not show what it played")
