"""What can happen and who may see it: event types, their payloads, rooms and roles, as data."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from domain import examples
from domain.deliveries import (
    Delivery,
    EventType,
    Payload,
    match_room,
    named_room,
    tournament_rooms,
)
from domain.errors import Forbidden, UnknownRoom
from domain.events_derived import DERIVED
from domain.ids import split_room
from domain.payloads import (
    AnnouncementPosted,
    ForfeitShown,
    MatchCancelled,
    MatchCompleted,
    MatchForfeited,
    MatchScheduled,
    MatchStarted,
    ScoreShown,
    ScoreUpdated,
    TournamentCompleted,
)

# A FACT's payload as msgpack; over it the FACT is nacked payload_too_large.
FACT_BYTES_MAX = 262_144

# -- roles ---------------------------------------------------------------------------------------


class Role(enum.IntEnum):
    """Roles of people, hierarchical (WSA-05)."""

    SPECTATOR = 1
    PLAYER = 2
    ORGANIZER = 3
    ADMIN = 4


TokenKind = Literal["user", "server", "overlay"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who a verified token speaks for (contract: Tokens)."""

    subject: str
    kind: TokenKind
    role: Role
    scope: frozenset[str] = frozenset()
    games: frozenset[str] | None = None
    overlay_room: str | None = None
    expires_at_s: int = 0
    issued_at_s: int = 0
    token_id: str = ""

    def may_play(self, game: str) -> bool:
        """Whether a server token may act for this game; no `games` claim means any."""
        return self.games is None or game in self.games


# -- rooms ---------------------------------------------------------------------------------------

Policy = Literal["keep-all", "latest-per-key"]
Audience = Literal["role", "own", "subject"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomKind:
    """A kind of room: who may join, how much history it keeps, how it treats slow readers.

    audience: role = everyone from `least_role` up; own = the user named by the id (and ADMIN);
    subject = like own, plus overlay tokens for that subject.
    of_tournament: the id is a tournament's, and a role within it counts here (WSA-05).
    history_max: events kept; at the limit the oldest goes and resuming clients get a snapshot.
    ttl_s: Redis keys of a room without events expire after so long.
    """

    least_role: Role = Role.SPECTATOR
    audience: Audience = "role"
    of_tournament: bool = False
    policy: Policy = "keep-all"
    history_max: int = 1000
    ttl_s: int = 24 * 3600
    document: bool = False


ROOM_KINDS: dict[str, RoomKind] = {
    "match": RoomKind(document=True, history_max=2000),
    "matches": RoomKind(policy="latest-per-key", history_max=500),
    "tournament": RoomKind(of_tournament=True),
    "user": RoomKind(audience="own"),
    # A user's feed for stream overlays. Quiet for days, and the last event is what a page shows.
    "overlay": RoomKind(audience="subject", history_max=100, ttl_s=30 * 24 * 3600),
    "team": RoomKind(least_role=Role.ORGANIZER),
    "staff": RoomKind(least_role=Role.ORGANIZER, of_tournament=True),
    "announce": RoomKind(history_max=100),
    # The rows of a board that changed; who missed some reads the board over HTTP.
    "leaderboard": RoomKind(policy="latest-per-key", history_max=100),
    "ops": RoomKind(least_role=Role.ADMIN),
}


def room_kind(room: str) -> RoomKind:
    """The declaration behind a room's name; raises UnknownRoom or InvalidSchema."""
    kind, _ = split_room(room)
    declared = ROOM_KINDS.get(kind)
    if declared is None:
        raise UnknownRoom(f"there are no rooms of kind {kind!r}", field="room")
    return declared


# A user's roles by tournament; the token's own role is global.
TournamentRoles = Mapping[str, Role]
NO_ROLES: TournamentRoles = {}


def role_within(who: Principal, roles: TournamentRoles, tournament_id: str | None) -> Role:
    """The role that counts in a tournament (WSA-05): one in it can only raise the token's own."""
    given = roles.get(tournament_id) if who.kind == "user" and tournament_id is not None else None
    return who.role if given is None else max(who.role, given)


def check_may_join(who: Principal, room: str, roles: TournamentRoles = NO_ROLES) -> None:
    """Raises UnknownRoom or Forbidden unless `who` may see `room` (WSA-06, SEC-06).

    Whoever may join a room sees all of it, so this is the whole question of visibility. `roles`:
    those of `who` within tournaments.
    """
    declared = room_kind(room)
    _, room_id = split_room(room)
    if who.kind == "overlay":
        if who.overlay_room == room:
            return
        raise Forbidden("this overlay token shows another room", field="room")
    if who.kind == "server":
        raise Forbidden("server tokens send; use a user token to watch", field="room")
    if declared.audience != "role":
        if who.subject == room_id or who.role >= Role.ADMIN:
            return
        raise Forbidden("this room belongs to another user", field="room")
    if role_within(who, roles, room_id if declared.of_tournament else None) < declared.least_role:
        raise Forbidden(f"this room needs the role {declared.least_role.name}", field="room")


def check_may_publish(
    who: Principal, room: str, event_type: str, roles: TournamentRoles = NO_ROLES
) -> None:
    """Raises unless `who` may publish `event_type` to `room` (announcements by ORGANIZER up)."""
    kind, room_id = split_room(room)
    role = role_within(who, roles, room_id if room_kind(room).of_tournament else None)
    allowed = event_type == "announcement.posted" and kind in ("announce", "tournament")
    if not allowed or who.kind != "user" or role < Role.ORGANIZER:
        raise Forbidden("only organisers publish, and only announcements", field="type")


# -- event types ---------------------------------------------------------------------------------


def _declare(*types: EventType) -> dict[str, EventType]:
    return {each.name: each for each in types}


EVENT_TYPES: dict[str, EventType] = _declare(
    EventType(
        name="match.scheduled",
        frame_class="fact",
        payload=MatchScheduled,
        when="a match is announced, by its server or by an organiser over HTTP",
        sent_by="game servers with match:create, organisers",
        example=examples.SCHEDULED,
    ),
    EventType(
        name="match.started",
        frame_class="fact",
        payload=MatchStarted,
        when="play begins; the match is leased to the stream that says so",
        example=examples.STARTED,
    ),
    EventType(
        name="match.completed",
        frame_class="fact",
        payload=MatchCompleted,
        when="the result stands",
        example=examples.COMPLETED,
        variants=examples.RESULTS,
    ),
    EventType(
        name="match.forfeited",
        frame_class="fact",
        payload=MatchForfeited,
        shown=ForfeitShown,
        when="a side gives up, or never appears",
        example=examples.FORFEITED,
        variants=examples.FORFEITS,
    ),
    EventType(
        name="match.cancelled",
        frame_class="fact",
        payload=MatchCancelled,
        when="the match will not be played, or does not count",
        example=examples.CANCELLED,
    ),
    EventType(
        name="tournament.completed",
        frame_class="fact",
        payload=TournamentCompleted,
        rooms=tournament_rooms,
        when="the final standing of a tournament is known",
        example=examples.TOURNAMENT_COMPLETED,
    ),
    EventType(
        name="announcement.posted",
        frame_class="fact",
        payload=AnnouncementPosted,
        rooms=named_room,
        by_servers=False,
        when="an organiser publishes a notice to a room",
        sent_by="organisers, with publish",
        example=examples.ANNOUNCEMENT,
    ),
    *DERIVED,
    EventType(
        name="match.score_updated",
        frame_class="live",
        payload=ScoreUpdated,
        shown=ScoreShown,
        when="the score that screens show changes during play",
        example=examples.SCORE,
    ),
)

# LIVE types that gamehub passes on without looking inside; the names after `live.` are the game's.
OPAQUE_TYPES: dict[str, EventType] = _declare(
    EventType(
        name="live.state",
        frame_class="live",
        rooms=match_room,
        when="the match document is told as a whole: at the start, or when the hub asks for it",
        sent_by="game servers; the hub itself when a room begins a new epoch",
        example=examples.STATE,
    ),
    EventType(
        name="live.*",
        frame_class="live",
        rooms=match_room,
        when="anything else happens in play: a kill, a position, a goal; a patch changes the match"
        " document",
        example=examples.KILL,
    ),
)

_LIVE = re.compile(r"live\.[a-z0-9_]{1,40}\Z")


# Games have a handful of types, and every LIVE frame names one.
@lru_cache(maxsize=1024)
def event_type(name: str) -> EventType | None:
    """The declaration of a type; any `live.*` name is declared, unknown others give None."""
    declared = EVENT_TYPES.get(name)
    if declared is None and _LIVE.match(name):
        return EventType(name=name, frame_class="live")
    return declared


def rooms_of(name: str, data: Payload) -> list[Delivery]:
    """(room, data) pairs that show this event; none for a type that stays inside."""
    declared = event_type(name)
    return [] if declared is None else declared.rooms(data)


def thinning_key(name: str, data: Payload) -> str:
    """What a later event of the same key replaces in a latest-per-key room."""
    return f"{name}\n{data.get('match_id', '')}"


def sample_key(name: str, field: str, data: Payload) -> str:
    """What a later event of a sampled type replaces: the same type and value of `field`.

    `field` is "" for a type whose every event replaces the one before.
    """
    return f"{name}\n{data.get(field, '') if field else ''}"
