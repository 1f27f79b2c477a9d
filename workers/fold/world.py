"""The world as the fold sees it: the state of everyone a batch touches, or of everyone at all."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from domain import battlepass
from domain.counters import Kinds
from domain.games import GamePolicy
from domain.history import Entry
from domain.payloads_derived import RatingPolicy
from domain.results import SubjectType
from domain.seasons import Season
from domain.statistics import Lifetime, Tally
from storage.ratings import Stored

SubjectKey = tuple[str, str, str]  # type, id, game
RatingKey = tuple[str, str, str]  # game, type, id
DayKey = tuple[str, str, str, str, date]  # type, id, game, season, day
EnteredKey = tuple[str, str, str]  # type, id, tournament
Careers = dict[str, dict[str, float]]  # counters by user
Moved = dict[tuple[SubjectType, str], tuple[int, int]]  # rating before and after, by type and id


@dataclass(frozen=True, slots=True)
class Earned:
    """An achievement that a fact brought."""

    user_id: str
    code: str
    earned_at_ms: int
    match_id: str | None
    log_seq: int


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for the results of a game at one place of the log."""

    kinds: Kinds
    rating: RatingPolicy
    season_id: str


class World:
    """State by key; whoever is missing is new. The stages change it in place.

    A batch loads exactly those whom it touches, so whatever is loaded is saved. Rows that are only
    ever added are gathered in lists.
    """

    def __init__(self) -> None:
        self.policies: dict[str, GamePolicy] = {}
        self.seasons: list[Season] = []
        self.ratings: dict[RatingKey, Stored] = {}
        self.lifetime: dict[SubjectKey, Lifetime] = {}
        self.days: dict[DayKey, Tally] = {}
        self.careers: dict[str, dict[str, float]] = {}
        self.xp: dict[str, dict[str, int]] = {}
        self.earned: dict[str, set[str]] = {}
        self.entered: set[EnteredKey] = set()
        self.played_for: set[tuple[str, str]] = set()
        self.members: dict[tuple[str, str], list[str]] = {}
        self.ended: set[str] = set()
        self.entries: list[Entry] = []
        self.new_entered: list[tuple[SubjectType, str, str, str | None]] = []
        self.new_played_for: list[tuple[str, str]] = []
        self.new_earned: list[Earned] = []
        self.new_ended: list[tuple[str, int]] = []
        self.new_policies: list[GamePolicy] = []
        self.new_seasons: list[Season] = []
        self._rules: dict[str, Rules] = {}
        self._pass: battlepass.Season | None = None

    def career(self, user_id: str) -> dict[str, float]:
        """The counters of a user over all games, to be changed."""
        found = self.careers.get(user_id)
        if found is None:
            found = self.careers[user_id] = {}
        return found

    def rules(self, game: str) -> Rules:
        """What holds for a game's results now: its declaration, or its season's own.

        The season is the last one of the game itself, else the last global one (CF-03).
        """
        found = self._rules.get(game)
        if found is None:
            policy = self.policies.get(game) or GamePolicy(game=game)
            season = self._last_season(game) or self._last_season(None)
            found = self._rules[game] = Rules(
                Kinds(policy.kinds()),
                (season.rating if season is not None else None) or policy.rating,
                battlepass.PRESEASON if season is None else season.season_id,
            )
        return found

    def battle_pass(self) -> battlepass.Season:
        """The battle pass of the last global season, or that of the time before any."""
        if self._pass is None:
            self._pass = _pass_of(self._last_season(None))
        return self._pass

    def pass_of(self, season_id: str) -> battlepass.Season:
        """The battle pass of a season that XP was given in."""
        return _pass_of(next((each for each in self.seasons if each.season_id == season_id), None))

    def declare(self, policy: GamePolicy) -> None:
        """The game is this from here on."""
        self.policies[policy.game] = policy
        self.new_policies.append(policy)
        self._rules.clear()

    def begin(self, season: Season) -> None:
        """The season counts from here on; one that began already changes nothing."""
        if all(each.season_id != season.season_id for each in self.seasons):
            self.seasons.append(season)
            self.new_seasons.append(season)
            self._rules.clear()
            self._pass = None

    def _last_season(self, game: str | None) -> Season | None:
        return next((each for each in reversed(self.seasons) if each.game == game), None)


def _pass_of(season: Season | None) -> battlepass.Season:
    if season is None:
        return battlepass.DEFAULT
    return battlepass.Season(
        season.season_id, season.xp_per_tier, season.rewards or battlepass.DEFAULT.rewards
    )


def raise_counter(career: dict[str, float], counter: str, by: float = 1) -> None:
    """Adds to a counter, which is 0 at first."""
    career[counter] = career.get(counter, 0) + by
