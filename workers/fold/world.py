"""The world as the fold sees it: the state of everyone a batch touches, or of everyone at all."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date

from domain import achievements, battlepass
from domain.counters import Kinds
from domain.games import GamePolicy
from domain.history import Entry
from domain.payloads_derived import RatingPolicy
from domain.ratings import Rating
from domain.results import SubjectType
from domain.seasons import Season
from domain.statistics import Lifetime, Tally, day_number, day_of
from storage.ratings import Stored

SubjectKey = tuple[str, str, str]  # type, id, game
RatingKey = tuple[str, str, str]  # game, type, id
DayKey = tuple[str, str, str, str, date]  # type, id, game, season, day
EnteredKey = tuple[str, str, str]  # type, id, tournament
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


@dataclass(slots=True)
class Person:
    """A user over all games: what achievements and the battle pass go by, the world's own rows.

    marks: by counter, what it must reach before anything can be unlocked, as far as it was asked;
    due: one of them was reached, and nobody has looked yet what that unlocks.
    """

    career: dict[str, float]
    xp: dict[str, int]
    earned: set[str]
    marks: dict[str, float] = field(default_factory=dict)
    due: bool = False

    def mark(self, counter: str) -> float:
        """What a counter must reach before anything can be unlocked."""
        mark = self.marks.get(counter)
        if mark is None:
            mark = achievements.mark_of(counter, self.career, self.earned)
            if counter in self.career:
                self.marks[counter] = mark
        return mark

    def count(self, counter: str, by: float = 1) -> None:
        """Adds to a counter of the career, which is 0 at first."""
        career = self.career
        try:
            mark = self.marks[counter]
        except KeyError:
            # As it is before: then an entry of several criteria waits where it will be reached.
            mark = self.marks[counter] = achievements.mark_of(counter, career, self.earned)
            career.setdefault(counter, 0)
        value = career[counter] = career[counter] + by
        if value >= mark:
            self.due = True

    def reach(self, counter: str, value: float) -> None:
        """A counter of the career is at least this from now on."""
        held = self.career.get(counter, 0)
        if value > held:
            self.count(counter, value - held)


@dataclass(slots=True)
class Seat:
    """A subject in a game, with the rows that a result of it changes: found by one look in all.

    rating and day are None until they are asked for: not every result is rated. `person`: a user's.
    """

    key: SubjectKey
    lifetime: Lifetime
    person: Person | None
    rating: Stored | None = None
    day: Tally | None = None
    day_number: int = 0
    season_id: str = ""


Seats = dict[str, Seat]  # of a result's users, or of all of a game


@dataclass(frozen=True, slots=True)
class Shape:
    """How lines of a game with these counters are packed; where kills and streak are, else -1."""

    number: int
    game: str
    names: tuple[str, ...]
    size: int
    pack: Callable[..., bytes]
    unpack: Callable[[bytearray], Iterator[tuple[int, ...]]]
    kills: int
    streak: int


@dataclass(slots=True)
class Run:
    """A user's lines of one shape; first: the number in the log of the first one."""

    shape: Shape
    first: int
    before: Run | None
    rows: bytearray = field(default_factory=bytearray)


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
        self.texts: list[str] = []  # entries of duels, as storage.history has them for COPY
        self.new_entered: list[tuple[SubjectType, str, str, str | None]] = []
        self.new_played_for: list[tuple[str, str]] = []
        self.new_earned: list[Earned] = []
        self.new_ended: list[tuple[str, int]] = []
        self.new_policies: list[GamePolicy] = []
        self.new_seasons: list[Season] = []
        # Lines that wait to be counted (workers.fold.lines): by user the last of them, who has them
        # with the first, who has waited longest first, and how many bytes they are.
        self.waiting: dict[str, Run] = {}
        self.uncounted: deque[tuple[str, Run]] = deque()
        self.waiting_bytes = 0
        self.shapes: list[Shape] = []
        self.shape_of: dict[tuple[str, tuple[str, ...]], Shape] = {}
        self.causes: dict[int, str] = {}  # their matches, by number in the log, and of some before
        self.causes_kept = 0
        self._people: dict[str, Person] = {}
        self._seats: dict[tuple[SubjectType, str], Seats] = {}
        self._rules: dict[str, Rules] = {}
        self._pass: battlepass.Season | None = None

    def person(self, user_id: str) -> Person:
        """A user over all games, to be changed."""
        found = self._people.get(user_id)
        if found is None:
            found = self._people[user_id] = Person(
                self.careers.setdefault(user_id, {}),
                self.xp.setdefault(user_id, {}),
                self.earned.setdefault(user_id, set()),
            )
        return found

    def seats(self, kind: SubjectType, game: str) -> Seats:
        """The seats of a game by subject, as far as they were asked for."""
        key = (kind, game)
        found = self._seats.get(key)
        if found is None:
            found = self._seats[key] = {}
        return found

    def seat(self, kind: SubjectType, subject_id: str, game: str) -> Seat:
        """A subject in a game, to be changed."""
        seats = self.seats(kind, game)
        found = seats.get(subject_id)
        if found is None:
            key = (kind, subject_id, game)
            lifetime = self.lifetime.get(key)
            if lifetime is None:
                lifetime = self.lifetime[key] = Lifetime()
            person = self.person(subject_id) if kind == "user" else None
            found = seats[subject_id] = Seat(key, lifetime, person)
        return found

    def turn_to_day(self, seat: Seat, season_id: str, at_ms: int) -> Tally:
        """The day of a moment in a season, to be changed; the seat has it for the next results."""
        day_key = (*seat.key, season_id, day_of(at_ms))
        day = self.days.get(day_key)
        if day is None:
            day = self.days[day_key] = Tally()
        seat.day, seat.day_number, seat.season_id = day, day_number(at_ms), season_id
        return day

    def rating(self, seat: Seat, kind: SubjectType, subject_id: str, game: str) -> Stored:
        """The rating of a subject that is rated, to be changed."""
        stored = seat.rating
        if stored is None:
            key = (game, kind, subject_id)
            stored = self.ratings.get(key)
            if stored is None:
                stored = self.ratings[key] = Stored(Rating(), 0, 0, 0)
            seat.rating = stored
        return stored

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
