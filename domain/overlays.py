"""Stream overlays: what one shows, how it looks, how long its token lives, and whose it may be."""

from __future__ import annotations

import enum
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from domain.errors import Forbidden, InvalidSchema
from domain.events import Principal, Role
from domain.facts import schema_error
from domain.ids import check_id
from domain.payloads import Name

# An owner has at most so many at a time; the next is refused until one is taken away.
OVERLAYS_MAX = 50
# Overlays that were taken away while their tokens would live on are remembered as revoked, in a
# place that everyone shares. An owner with so many gets no new overlay until some of them have
# ended, so that nobody fills it by making overlays and taking them away; ADMIN may.
GONE_MAX = 500
LIFE_S_DEFAULT = 365 * 86_400
LIFE_S_MAX = 366 * 86_400
LIFE_S_MIN = 60


class Kind(enum.StrEnum):
    """What an overlay shows: a match's score, a match's events, or a player's totals."""

    SCOREBOARD = "scoreboard"
    FEED = "feed"
    PLAYER = "player"


Colour = Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{6}$")]


class Options(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How an overlay looks: the query of its address. What is left out is the page's default.

    scale 1 is made for 1920 x 1080; delay is seconds behind the hub, to match the stream; a and b
    are the colours of the two sides, as six hex digits.
    """

    theme: Literal["dark", "light", "glass"] | None = None
    side: Literal["top", "bottom", "left", "right"] | None = None
    scale: Annotated[float, Meta(ge=0.5, le=3)] | None = None
    delay: Annotated[float, Meta(ge=0, le=900)] | None = None
    lines: Annotated[int, Meta(ge=1, le=12)] | None = None
    a: Colour | None = None
    b: Colour | None = None


class Wish(Struct, frozen=True, kw_only=True):
    """The body of a request for an overlay: `match` for scoreboard and feed, `user` for player."""

    kind: Kind
    match: str | None = None
    user: str | None = None
    title: Name | None = None
    options: Options = Options()
    life_s: Annotated[int, Meta(ge=LIFE_S_MIN, le=LIFE_S_MAX)] = LIFE_S_DEFAULT


class Overlay(Struct, frozen=True, kw_only=True):
    """An overlay as it is kept. Its id is the jti of its token; times are s since the epoch.

    subject: `match:ID`, or `user:ID` for a player's totals, as in the token's claim.
    """

    overlay_id: str
    owner: str
    kind: Kind
    subject: str
    title: str | None
    options: Options
    created_at_s: int
    expires_at_s: int

    @property
    def shown_id(self) -> str:
        """The id of the match or the user that it shows."""
        return self.subject.partition(":")[2]


def planned(who: Principal, body: dict[str, Any], overlay_id: str, now_s: int) -> Overlay:
    """The overlay that `who` asks for, to be stored.

    Players and up make overlays of any match (whoever may watch it may show it) and of their own
    totals; of somebody else's totals only ADMIN. Raises Forbidden, or InvalidSchema with the field.
    """
    check_may_own(who)
    try:
        wish = msgspec.convert(body, Wish)
    except msgspec.ValidationError as error:
        raise schema_error(error) from None
    return Overlay(
        overlay_id=overlay_id,
        owner=who.subject,
        kind=wish.kind,
        subject=_subject(who, wish),
        title=wish.title,
        options=wish.options,
        created_at_s=now_s,
        expires_at_s=now_s + wish.life_s,
    )


def check_may_own(who: Principal) -> None:
    """Raises Forbidden for servers, overlays and spectators, who own nothing here."""
    if who.kind != "user" or who.role < Role.PLAYER:
        raise Forbidden("overlays belong to users from PLAYER up")


def _subject(who: Principal, wish: Wish) -> str:
    if wish.kind is Kind.PLAYER:
        if wish.match is not None:
            raise InvalidSchema("kind player shows a user, not a match", field="match")
        user = check_id(wish.user if wish.user is not None else who.subject, "user")
        if user != who.subject and who.role < Role.ADMIN:
            raise Forbidden("another user's totals need the role ADMIN", field="user")
        return f"user:{user}"
    if wish.user is not None:
        raise InvalidSchema(f"an overlay of kind {wish.kind} shows a match", field="user")
    return f"match:{check_id(wish.match, 'match')}"
