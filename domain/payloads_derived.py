"""The payloads of what gamehub announces itself: what follows from results, and declarations."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from domain.payloads import STATS_MAX, Id, Name, StatName, Text

Subject = Annotated[str, Meta(min_length=6, max_length=133, pattern=r"^(user|team):")]
Rated = Annotated[int, Meta(ge=100, le=3000)]
Count = Annotated[int, Meta(ge=0)]
# {game}/{scope}: a game's id and a short word.
BoardName = Annotated[str, Meta(min_length=3, max_length=160)]
# ISO 3166-1 alpha-2; the length because `$` also matches before a line break.
Country = Annotated[str, Meta(min_length=2, max_length=2, pattern=r"^[A-Z]{2}$")]


class StatsUser(Struct, frozen=True, kw_only=True):
    """Whose totals these are; `username` is the user's id, display_name as last seen in a match."""

    username: Id
    display_name: Name


class StatsTotals(Struct, frozen=True, kw_only=True):
    """A user's totals; current_rank: on the game's board, null when it is not known."""

    tournaments_played: Annotated[int, Meta(ge=0)]
    matches_won: Annotated[int, Meta(ge=0)]
    current_rank: Annotated[int, Meta(ge=1)] | None = None


class StatsUpdated(Struct, kw_only=True):
    """A user's totals after a result (HOOK-05, STAT-10); told to the user and to overlays."""

    user: StatsUser
    stats: StatsTotals


class RatingUpdated(Struct, kw_only=True):
    """A rating after a rated result; reason `correction`: the net change of a correction."""

    subject: Subject
    game: Id
    before: Rated
    after: Rated
    delta: int
    tier: Name
    peak: Rated
    rated: Count
    won: Count
    name: Name | None = None
    match_id: Id | None = None
    reason: Literal["match", "correction"] = "match"


class XpGained(Struct, kw_only=True):
    """XP of one match, or of another source (XP-03), and what it makes in all."""

    user_id: Id
    source: Literal["match_win", "match_loss", "season_challenge", "daily_bonus"]
    amount: Annotated[int, Meta(ge=0)]
    total_xp: Count
    level: Annotated[int, Meta(ge=1)]
    season_id: Id
    match_id: Id | None = None


class PlayerLevelup(Struct, kw_only=True):
    """A user's level rose (XP-05)."""

    user_id: Id
    old: Annotated[int, Meta(ge=1)]
    new: Annotated[int, Meta(ge=1)]


class Reward(Struct, frozen=True, kw_only=True):
    """What is earned: coins, or an item."""

    type: Literal["coins", "item"]
    amount: Annotated[int, Meta(ge=1)] = 1
    item: Id | None = None


class TierReached(Struct, kw_only=True):
    """A tier of the season's battle pass was reached; it is claimable from now on (XP-08)."""

    user_id: Id
    season_id: Id
    tier: Annotated[int, Meta(ge=1, le=100)]


class RewardEarned(TierReached, kw_only=True):
    """A reached tier has a reward (XP-08)."""

    reward: Reward


class AchievementUnlocked(Struct, kw_only=True):
    """A user earned an achievement (ACH-10)."""

    user_id: Id
    achievement_code: Id
    title: Name
    description: Text
    icon: Name
    category: Literal["Tournament", "Social", "Economy", "Competitive"]
    rarity: Literal["common", "rare", "epic", "legendary"]
    reward: Reward | None = None
    match_id: Id | None = None


class TournamentPlacement(Struct, kw_only=True):
    """A user's place in a tournament, alone or with a team (ACH-04)."""

    user_id: Id
    tournament_id: Id
    placement: Annotated[int, Meta(ge=1)]
    team_id: Id | None = None


class RankChanged(Struct, kw_only=True):
    """A user's place on a board changed by the user's own match (LB-11)."""

    user_id: Id
    board: BoardName
    game: Id
    old: Annotated[int, Meta(ge=1)] | None
    new: Annotated[int, Meta(ge=1)]


class BoardRow(Struct, frozen=True, kw_only=True):
    """One row of a board (LB-06); trend: places won since the last nightly snapshot, null: new."""

    rank: Annotated[int, Meta(ge=1)]
    id: Id
    name: Name | None
    rating: Rated
    wins: Count
    tier: Name
    trend: int | None = None
    country: Country | None = None


class LeaderboardUpdated(Struct, kw_only=True):
    """The rows of a board's first 100 that changed (LB-08).

    version: counts a board's changes; a reader that missed one reads the board again.
    """

    board: BoardName
    version: Annotated[int, Meta(ge=1)]
    rows: Annotated[list[BoardRow], Meta(max_length=100)]
    size: Count


class NotificationCreated(Struct, kw_only=True):
    """A notice in a user's inbox, new or grown by an alike one (NOTF-01, NOTF-04)."""

    id: Id
    user_id: Id
    type: Name
    title: Name
    body: Text
    count: Annotated[int, Meta(ge=1)]
    unread: Count
    # Since 22 November 2026.
    position: Name | None = None


class NotificationRead(Struct, kw_only=True):
    """A user has read a notice, or with `id` null all up to one; every screen of it is told."""

    user_id: Id
    unread: Count
    id: Id | None = None


class RatingPolicy(Struct, frozen=True, kw_only=True):
    """How a game is rated: the system, and for Elo which preset of K (CF-01, ELO-16)."""

    system: Literal["elo", "glicko2", "openskill"] = "elo"
    preset: Literal["placement", "banded", "combined", "flat32"] = "combined"


class StatKind(Struct, frozen=True, kw_only=True):
    """A counter that a game declares: how two of them become one, and its name for people."""

    name: StatName
    total: Literal["sum", "max", "min"] = "sum"
    title: Name | None = None


class GameConfigured(Struct, kw_only=True):
    """What a game is from here on: title, rating policy, counters; earlier results stay."""

    game: Id
    title: Name | None = None
    rating: RatingPolicy = RatingPolicy()
    stats: Annotated[list[StatKind], Meta(max_length=STATS_MAX)] = []
    by: Id | None = None


class SeasonStarted(Struct, kw_only=True):
    """A season begins: later results count for it. Without a game it is the global one (CF-03)."""

    season_id: Id
    number: Annotated[int, Meta(ge=1, le=1_000_000)]
    starts_at: Text
    game: Id | None = None
    name: Name | None = None
    ends_at: Text | None = None
    xp_per_tier: Annotated[int, Meta(ge=1, le=1_000_000)] = 1000
    rewards: dict[str, Reward] = {}
    rating: RatingPolicy | None = None
    by: Id | None = None


class ProfileUpdated(Struct, kw_only=True):
    """What a user shows of itself changed; stays inside."""

    user_id: Id
    changed_fields: list[Name]
    display_name: Name | None = None
    country: Country | None = None
    is_public: bool = True
