"""Duels of a rebuild: rated in the log's order, counted user by user.

Nearly all of many a log is of one kind: two users alone, rated by play. Only their ratings depend
on each other. All else (statistics, XP, achievements) is each user's own, so a rebuild lets the
lines of its users wait and counts many of one user at a time, while what they change is at hand: of
ten thousand users each one's rows lie far apart in memory, and to fetch them for each result takes
as long as the work itself. With the shorter way a result takes half of what `fold_result` takes.

What comes of it is what `fold_result` makes (tests/workers/test_fold_duels.py).
"""

from __future__ import annotations

from domain import battlepass, leaderboards
from domain.ratings import rate_pair
from domain.results import Outcome, Said
from domain.statistics import DAY_MS, count_match
from domain.times import ms_of, parse_moment
from storage import history
from workers.fold.achievements import unlock
from workers.fold.battlepass import add_xp
from workers.fold.ratings import UPSET_POINTS, move
from workers.fold.statistics import advance
from workers.fold.telling import SILENT
from workers.fold.world import Line, Person, World


def rate_duel(world: World, said: Said, log_seq: int) -> None:
    """The ratings and the history of a plain duel (domain.results.is_plain_duel); lines wait."""
    game = said.game
    rules = world.rules(game)
    one, two = said.competitors
    seats = world.seats("user", game)
    seat = seats.get(one.id) or world.seat("user", one.id, game)
    other_seat = seats.get(two.id) or world.seat("user", two.id, game)
    stored = seat.rating or world.rating(seat, "user", one.id, game)
    other = other_seat.rating or world.rating(other_seat, "user", two.id, game)

    places, outcome, opposite = _ends(said)
    old, other_old = stored.rating, other.rating
    new, other_new = rate_pair(rules.rating, old, other_old, places)
    at_ms = ms_of(parse_moment(said.played_at, "played_at"))
    minute = leaderboards.minute_of(at_ms)
    move(stored, new, outcome == "win", at_ms, minute)
    move(other, other_new, opposite == "win", at_ms, minute)

    stats = other_stats = name = other_name = None
    for line in said.players:
        if line.player_id == one.id:
            stats, name = line.stats, line.name
        else:
            other_stats, other_name = line.stats, line.name
    stored.name = name or one.name or stored.name
    other.name = other_name or two.name or other.name

    before, other_before = old.rating, other_old.rating
    match_id, seconds = said.match_id, said.duration_s or 0
    world.texts.append(
        history.duel_text(
            match_id, log_seq, game, said.played_at,
            (one.id, outcome, before, new.rating),
            (two.id, opposite, other_before, other_new.rating),
        )
    )  # fmt: skip
    upset = outcome == "win" and other_before - before >= UPSET_POINTS
    own: Line = (seat, outcome, at_ms, seconds, stats, new.peak, upset, match_id, log_seq)
    _wait(world, one.id, own)
    upset = opposite == "win" and before - other_before >= UPSET_POINTS
    peak = other_new.peak
    own = (other_seat, opposite, at_ms, seconds, other_stats, peak, upset, match_id, log_seq)
    _wait(world, two.id, own)


_DRAW: tuple[tuple[int, int], Outcome, Outcome] = ((1, 1), "draw", "draw")
_FIRST: tuple[tuple[int, int], Outcome, Outcome] = ((1, 2), "win", "loss")
_SECOND: tuple[tuple[int, int], Outcome, Outcome] = ((2, 1), "loss", "win")


def _ends(said: Said) -> tuple[tuple[int, int], Outcome, Outcome]:
    """The places of both, the outcome for the first and for the second."""
    if said.outcome == "draw":
        return _DRAW
    return _FIRST if said.winner_id == said.competitors[0].id else _SECOND


def _wait(world: World, user_id: str, line: Line) -> None:
    person = line[0].person
    assert person is not None
    if not person.lines:
        world.uncounted.append((user_id, person))
    person.lines.append(line)


def count_all(world: World) -> None:
    """Counts the lines of everyone."""
    for user_id, person in world.uncounted:
        count_lines(world, user_id, person)
    world.uncounted.clear()


def count_lines(world: World, user_id: str, person: Person) -> None:
    """Statistics, XP and achievements of a user's lines, in their order."""
    season = world.battle_pass()
    season_id, per_tier = season.season_id, season.xp_per_tier
    career, xp, count = person.career, person.xp, person.count
    last = None
    for seat, outcome, at_ms, seconds, stats, peak, upset, match_id, log_seq in person.lines:
        if seat is not last:
            last, lifetime, rules = seat, seat.lifetime, world.rules(seat.key[2])
        day = seat.day
        if day is None or seat.day_number != at_ms // DAY_MS or seat.season_id != rules.season_id:
            day = world.turn_to_day(seat, rules.season_id, at_ms)
        count_match(lifetime, day, outcome, at_ms, 0, seconds, stats, rules.kinds)
        advance(person, lifetime, outcome, 0, stats)
        if peak > career.get("best_rating", 0):
            person.reach("best_rating", peak)
        if upset:
            count("upsets")
        won = outcome == "win"
        amount = battlepass.line_xp(stats, won=won, streak=lifetime.streak, seconds=seconds)
        before = xp.get(season_id, 0)
        if before // per_tier == (before + amount) // per_tier:
            xp[season_id] = before + amount
        else:
            add_xp(user_id, person, season, amount, SILENT)
        if person.due:
            unlock(world, user_id, person, (match_id, at_ms, log_seq), SILENT)
    person.lines.clear()
