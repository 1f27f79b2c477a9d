"""Boards: their names, who stands on which, the score that orders a Redis set, and their rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, NamedTuple

from msgspec import Meta, Struct

from domain.ids import is_id
from domain.payloads_derived import Count
from domain.results import SubjectType

# Rows of one page at most, and those whose changes are pushed (LB-01, LB-08).
TOP = 100
# LB-03: so many before and behind oneself.
NEIGHBOURS = 5

PLAYERS = "global"
TEAMS = "teams"
_REGION = "region-"
_CODE = re.compile(r"[A-Z][A-Z0-9]{1,15}\Z")

# -- the order: rating, wins, earlier to reach it, then id (contract: Rating arithmetic) -----------

_MINUTE_MS = 60_000
_START_MS = 1_420_070_400_000  # 2015-01-01T00:00Z
MINUTE_MAX = 2**24 - 1
WINS_MAX = 2**17 - 1


def minute_of(played_at_ms: int) -> int:
    """Whole minutes since 2015-01-01T00:00Z, clamped to 0..2^24 - 1."""
    minute = (played_at_ms - _START_MS) // _MINUTE_MS
    return minute if 0 <= minute <= MINUTE_MAX else min(max(minute, 0), MINUTE_MAX)


def score(rating: int, wins: int, minute: int) -> int:
    """What a sorted set keeps of a place, best first when read upwards; exact in a double.

    rating 100..3000, wins from 0, minute as of `minute_of`.
    """
    return -(rating << 41 | min(wins, WINS_MAX) << 24 | (MINUTE_MAX - minute))


class Place(NamedTuple):
    """What a score says: the wins up to WINS_MAX."""

    rating: int
    wins: int
    minute: int


def place_of(kept: int) -> Place:
    """The reverse of `score`."""
    whole = -kept
    return Place(whole >> 41, whole >> 24 & WINS_MAX, MINUTE_MAX - (whole & MINUTE_MAX))


# -- names: {game}/{scope}, split at the last slash ------------------------------------------------


def board_of(game: str, scope: str) -> str:
    """The name of a board."""
    return f"{game}/{scope}"


def split_board(board: str) -> tuple[str, str]:
    """(game, scope) of a board's name; a game may have slashes, a scope has none."""
    game, _, scope = board.rpartition("/")
    return game, scope


def has_room(board: str) -> bool:
    """Whether `leaderboard:{board}` can be a room: a very long game's name leaves no space."""
    return is_id(board)


def subject_type_of(scope: str) -> SubjectType:
    """Who stands on boards of this scope."""
    return "team" if scope == TEAMS else "user"


class Regions:
    """What regions there are: countries, and groups of them by the setting REGIONS (CF-33).

    A group hides the country of its name: with NA=US,CA the region NA is not Namibia.
    """

    def __init__(self, groups: Mapping[str, Iterable[str]] | None = None) -> None:
        self._groups = {name: tuple(sorted(each)) for name, each in (groups or {}).items()}

    def countries(self, region: str) -> tuple[str, ...] | None:
        """The countries of a region; None for what cannot be one."""
        if region in self._groups:
            return self._groups[region]
        return (region,) if len(region) == 2 and _CODE.match(region) else None

    def of(self, country: str | None) -> list[str]:
        """The regions that a country belongs to."""
        if country is None:
            return []
        own = [] if country in self._groups else [country]
        return own + [name for name, each in self._groups.items() if country in each]

    def scopes(self, subject_type: str, country: str | None) -> list[str]:
        """The scopes of a game's boards that a subject stands on; teams have no region."""
        if subject_type == "team":
            return [TEAMS]
        return [PLAYERS, *map(region_scope, self.of(country))]

    def made_of(self, scope: str) -> str:
        """What a board of this scope is made of: another answer makes another board of the name."""
        countries = countries_of(scope, self)
        return "all" if countries is None else ",".join(countries)


def region_scope(region: str) -> str:
    """The scope of a region's board."""
    return _REGION + region


def countries_of(scope: str, regions: Regions) -> tuple[str, ...] | None:
    """Whose players a board of this scope shows; None: everyone's."""
    if not scope.startswith(_REGION):
        return None
    return regions.countries(scope.removeprefix(_REGION)) or ()


# -- rows ------------------------------------------------------------------------------------------


class Row(Struct, kw_only=True):
    """One row of a board (LB-06).

    trend: places won since the last nightly snapshot of all of the game's players, or teams, on
    regional boards too; null: new since then. country: null for teams and who says none.
    """

    rank: Annotated[int, Meta(ge=1)]
    id: str
    type: SubjectType
    name: str | None
    rating: int
    wins: Count
    tier: str
    trend: int | None
    country: str | None


class BoardPage(Struct, kw_only=True):
    """A page of a board, best first.

    version: counts the changes of the first hundred, as leaderboard.updated tells them; null where
    the board was read past its cache. size: how many stand on the board.
    """

    board: str
    game: str
    scope: str
    version: int | None
    size: Count
    rows: list[Row]
    next_cursor: str | None


class OwnPlace(Struct, kw_only=True):
    """Where a user stands, between up to five before and five behind; rank null: not rated yet."""

    board: str
    game: str
    version: int | None
    rank: int | None
    rating: int | None
    tier: str | None
    rows: list[Row]
