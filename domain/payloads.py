"""The payloads of events: what each one says, field by field, with the limits beside them."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Id = Annotated[str, Meta(min_length=1, max_length=128)]
Name = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f]+$")]
Text = Annotated[str, Meta(max_length=500, pattern=r"^[^\x00-\x08\x0e-\x1f]*$")]
Score = Annotated[int, Meta(ge=-1_000_000_000, le=1_000_000_000)]
DurationS = Annotated[int, Meta(ge=0, le=7 * 86400)]
Stat = Annotated[float, Meta(ge=-1e12, le=1e12)]
WholeStat = Annotated[int, Meta(ge=-(10**12), le=10**12)]
StatName = Annotated[str, Meta(min_length=1, max_length=40, pattern=r"^[a-z][a-z0-9_]*$")]

COMPETITORS_MAX = 128
PLAYERS_MAX = 512
GAMES_MAX = 99
STATS_MAX = 64

Stats = Annotated[dict[StatName, WholeStat | Stat], Meta(max_length=STATS_MAX)]
Scores = Annotated[dict[Id, Score], Meta(max_length=COMPETITORS_MAX)]


class Member(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A user on a competitor's roster."""

    id: Id
    name: Name | None = None


class Competitor(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One side of a match: a team (with its roster, where known) or a user (MTCH-08)."""

    id: Id
    name: Name
    type: Literal["team", "user"] = "team"
    # A tuple: of nobody it is always the same one, and a hub keeps thousands of matches.
    roster: Annotated[tuple[Member, ...], Meta(max_length=64)] = ()


Competitors = Annotated[list[Competitor], Meta(min_length=2, max_length=COMPETITORS_MAX)]


class PlayerLine(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one user did in a game or in the whole match; `stats` are the game's own counters."""

    player_id: Id
    name: Name | None = None
    team_id: Id | None = None
    stats: Stats = {}


class GameLine(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One game (map) of a series."""

    game_id: Id
    mode: Name | None = None
    map: Name | None = None
    duration_s: DurationS | None = None
    ended_at: Text | None = None
    scores: Scores = {}
    winner_id: Id | None = None
    players: Annotated[list[PlayerLine], Meta(max_length=PLAYERS_MAX)] = []


class MatchScheduled(Struct, kw_only=True):
    """A match exists and may be watched; everything but id, game and competitors is optional."""

    match_id: Id
    game: Id
    competitors: Competitors
    tournament_id: Id | None = None
    title: Name | None = None
    round: Name | None = None
    best_of: Annotated[int, Meta(ge=1, le=GAMES_MAX)] | None = None
    starts_at: Text | None = None
    delay_s: Annotated[int, Meta(ge=0, le=900)] = 0


class MatchStarted(Struct, kw_only=True):
    """The match went live; creates it when nobody scheduled it and the token may."""

    match_id: Id
    game: Id | None = None
    competitors: Competitors | None = None
    tournament_id: Id | None = None
    title: Name | None = None
    round: Name | None = None
    best_of: Annotated[int, Meta(ge=1, le=GAMES_MAX)] | None = None
    started_at: Text | None = None


class ScoreUpdated(Struct, kw_only=True):
    """LIVE: the score that screens show now; goes to the match room and the lobby."""

    match_id: Id
    scores: Scores
    detail: Text | None = None
    seq: int | None = None


class ScoreShown(ScoreUpdated, kw_only=True):
    """The score as lobby and tournament show it: with what they filter by."""

    game: Id | None = None
    tournament_id: Id | None = None


class Place(Struct, frozen=True, kw_only=True):
    """A competitor's place in a free-for-all; ties share a place."""

    id: Id
    place: Annotated[int, Meta(ge=1, le=COMPETITORS_MAX)]


class MatchCompleted(Struct, kw_only=True):
    """The normalised result (ING-02, ING-03): always complete, whoever produced it.

    outcome: win, draw or none (recorded, never rated). Series marked incomplete have none.
    placements: of a free-for-all, every competitor. retired: who gave up in the middle, and lost.
    kind: a challenge weighs half in ratings, a friendly is recorded and not rated.
    """

    match_id: Id
    played_at: Text
    game: Id | None = None
    tournament_id: Id | None = None
    competitors: Competitors | None = None
    scores: Scores = {}
    outcome: Literal["win", "draw", "none"] | None = None
    winner_id: Id | None = None
    loser_id: Id | None = None
    placements: Annotated[list[Place], Meta(max_length=COMPETITORS_MAX)] = []
    retired: Annotated[list[Id], Meta(max_length=COMPETITORS_MAX)] = []
    kind: Literal["match", "challenge", "friendly"] = "match"
    incomplete: bool = False
    started_at: Text | None = None
    duration_s: DurationS | None = None
    best_of: Annotated[int, Meta(ge=1, le=GAMES_MAX)] | None = None
    map: Name | None = None
    mode: Name | None = None
    games: Annotated[list[GameLine], Meta(max_length=GAMES_MAX)] = []
    players: Annotated[list[PlayerLine], Meta(max_length=PLAYERS_MAX)] = []


class MatchForfeited(Struct, kw_only=True):
    """A side gave up: `walkover` when it never appeared (recorded, not rated)."""

    match_id: Id
    played_at: Text
    winner_id: Id
    game: Id | None = None
    tournament_id: Id | None = None
    competitors: Competitors | None = None
    loser_id: Id | None = None
    walkover: bool = False
    reason: Text | None = None


class ForfeitShown(MatchForfeited, kw_only=True):
    """A forfeit as rooms show it: the outcome said as in every result."""

    outcome: Literal["win"] = "win"


class MatchCancelled(Struct, kw_only=True):
    """The match will not be played or does not count."""

    match_id: Id
    game: Id | None = None
    tournament_id: Id | None = None
    reason: Text | None = None


class Placement(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One place of a tournament's final standing; ties share a place."""

    place: Annotated[int, Meta(ge=1, le=100_000)]
    id: Id
    type: Literal["team", "user"] = "team"


class TournamentCompleted(Struct, kw_only=True):
    """The final standing of a tournament."""

    tournament_id: Id
    game: Id
    placements: Annotated[list[Placement], Meta(max_length=10_000)] = []
    disqualified: Annotated[list[Id], Meta(max_length=10_000)] = []


class AnnouncementPosted(Struct, kw_only=True):
    """A notice by an organiser or admin to everyone who listens to the room."""

    id: Id
    room: str
    text: Annotated[Text, Meta(min_length=1)]
    by: Id
