"""Duels of a rebuild: rated in the log's order, counted user by user.

Nearly all of many a log is of one kind: two users alone, rated by play. Only their ratings depend
on each other. All else (statistics, XP, achievements) is each user's own, so a rebuild lets the
lines of its users wait and counts many of one user at a time, while what they change is at hand: of
ten thousand users each one's rows lie far apart in memory, and to fetch them for each result takes
as long as the work itself. With the shorter way a result takes half of what `fold_result` takes.

What comes of it is what `fold_result` makes (tests/workers/test_fold_duels.py).
"""

from __future__ import annotations

import struct

from domain import leaderboards
from domain.ratings import rate_pair
from domain.results import Outcome, Said
from domain.times import ms_of, parse_moment
from storage import history
from workers.fold.lines import Lines, pack
from workers.fold.ratings import UPSET_POINTS, Brought, move
from workers.fold.world import World


def rate_duel(world: World, said: Said, log_seq: int) -> Lines | Brought:
    """The ratings and the history of a plain duel (domain.results.is_plain_duel).

    Answers the lines of its users, or what it brought where they cannot be packed.
    """
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
    world.texts.append(
        history.duel_text(
            said.match_id, log_seq, game, said.played_at,
            (one.id, outcome, before, new.rating),
            (two.id, opposite, other_before, other_new.rating),
        )
    )  # fmt: skip
    upset = outcome == "win" and other_before - before >= UPSET_POINTS
    other_upset = opposite == "win" and before - other_before >= UPSET_POINTS
    seconds = said.duration_s or 0
    try:
        shape, row = pack(world, game, stats, (at_ms, seconds, outcome, new.peak, upset, log_seq))
        own = (at_ms, seconds, opposite, other_new.peak, other_upset, log_seq)
        other_shape, other_row = pack(world, game, other_stats, own)
    except struct.error:  # mostly because they are no whole numbers
        return {one.id: (new.peak, upset), two.id: (other_new.peak, other_upset)}
    return row + other_row, one.id, shape, two.id, other_shape


_DRAW: tuple[tuple[int, int], Outcome, Outcome] = ((1, 1), "draw", "draw")
_FIRST: tuple[tuple[int, int], Outcome, Outcome] = ((1, 2), "win", "loss")
_SECOND: tuple[tuple[int, int], Outcome, Outcome] = ((2, 1), "loss", "win")


def _ends(said: Said) -> tuple[tuple[int, int], Outcome, Outcome]:
    """The places of both, the outcome for the first and for the second."""
    if said.outcome == "draw":
        return _DRAW
    return _FIRST if said.winner_id == said.competitors[0].id else _SECOND
