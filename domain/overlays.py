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
    """What an overlay shows: a match's score or events, a player's totals or alerts, or a board."""

    SCOREBOARD = "scoreboard"
    FEED = "feed"
    PLAYER = "player"
    LEADERBOARD = "leaderboard"
    ALERTS = "alerts"


OF_MATCHES = (Kind.SCOREBOARD, Kind.FEED)


# The part of a board's name after its game (contract: Identity).
Scope = Annotated[str, Meta(pattern=r"^(global|teams|region-[A-Z0-9]{1,20})$")]
SCOPE_DEFAULT = "global"
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
    """The body of a request for an overlay.

    It names what the kind shows: `match` for scoreboard and feed, `user` for player and alerts,
    `game` (and `scope`, global unless said) for leaderboard.
    """

    kind: Kind
    match: str | None = None
    user: str | None = None
    game: str | None = None
    scope: Scope | None = None
    title: Name | None = None
    options: Options = Options()
    life_s: Annotated[int, Meta(ge=LIFE_S_MIN, le=LIFE_S_MAX)] = LIFE_S_DEFAULT


class Overlay(Struct, frozen=True, kw_only=True):
    """An overlay as it is kept. Its id is the jti of its token; times are s since the epoch.

    subject: `match:ID`, `user:ID` for a player's totals and alerts, or `leaderboard:GAME/SCOPE`, as
    in the token's claim.
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
        """The id of the match, the user or the game that it shows."""
        name = self.subject.partition(":")[2]
        return name.rpartition("/")[0] if self.kind is Kind.LEADERBOARD else name

    @property
    def scope(self) -> str | None:
        """Which board of its game it shows; None for what is no board, and for the global one."""
        if self.kind is not Kind.LEADERBOARD:
            return None
        scope = self.subject.rpartition("/")[2]
        return None if scope == SCOPE_DEFAULT else scope


def planned(who: Principal, body: dict[str, Any], overlay_id: str, now_s: int) -> Overlay:
    """The overlay that `who` asks for, to be stored.

    Players and up make overlays of any match or board (whoever may watch it may show it) and of
    their own totals and alerts; of somebody else's only ADMIN. Raises Forbidden, or InvalidSchema
    with the field.
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
    _check_named(wish)
    if wish.kind is Kind.LEADERBOARD:
        return f"leaderboard:{check_id(wish.game, 'game')}/{wish.scope or SCOPE_DEFAULT}"
    if wish.kind in OF_MATCHES:
        return f"match:{check_id(wish.match, 'match')}"
    user = check_id(wish.user if wish.user is not None else who.subject, "user")
    if user != who.subject and who.role < Role.ADMIN:
        raise Forbidden("another user's totals and alerts need the role ADMIN", field="user")
    return f"user:{user}"


def _check_named(wish: Wish) -> None:
    """Raises InvalidSchema for a field that says what another kind of overlay shows."""
    named = {"match": wish.match, "user": wish.user, "game": wish.game, "scope": wish.scope}
    fits = {"match"} if wish.kind in OF_MATCHES else {"user"}
    if wish.kind is Kind.LEADERBOARD:
        fits = {"game", "scope"}
    for field, value in named.items():
        if value is not None and field not in fits:
            shown = " and ".join(sorted(fits))
            raise InvalidSchema(f"kind {wish.kind} takes {shown}, not {field}", field=field)
