"""The stages of the fold, in order: what one fact means for everyone it concerns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from domain.games import policy_of
from domain.results import RESULT_TYPES, Result, is_plain_duel, read_said, result_said
from domain.seasons import season_of
from storage.log import LoggedEvent
from storage.rebuild import Root
from workers.fold.achievements import complete_tournament, unlock
from workers.fold.battlepass import give_xp
from workers.fold.duels import rate_duel
from workers.fold.history import remember
from workers.fold.lines import Lines, count_all, count_lines, wait
from workers.fold.ratings import Brought, rate_result, reach
from workers.fold.statistics import count
from workers.fold.telling import SILENT, Telling
from workers.fold.world import Rules, Seats, World


def fold(world: World, event: LoggedEvent | Root, result: Result | None, telling: Telling) -> None:
    """Folds one fact into the world, in the log's order; `result`: what result_of makes of it."""
    if result is not None:
        fold_result(world, result, event.seq, telling)
        return
    count_all(world)
    if event.type == "tournament.completed":
        complete_tournament(world, event.payload, event.seq, event.occurred_at_ms, telling)
    elif event.type == "game.configured":
        world.declare(policy_of(event.payload, event.seq))
    elif event.type == "season.started":
        world.begin(season_of(event.payload, event.seq))


def fold_again(world: World, packed: bytes, log_seq: int) -> None:
    """Folds a match.completed of the log once more and tells nobody; plain duels the short way.

    Their users' lines wait for `count_all`, or for whatever else concerns the user.
    """
    said = read_said(packed)
    if is_plain_duel(said):
        lines = rate_duel(world, said, log_seq)
        if isinstance(lines, dict):
            _count_rated(world, result_said("match.completed", said), log_seq, lines)
        else:
            wait(world, said.match_id, log_seq, lines)
    else:
        fold_result(world, result_said("match.completed", said), log_seq, SILENT)


def fold_result(world: World, result: Result, log_seq: int, telling: Telling) -> None:
    """Statistics, ratings, history, battle pass, achievements: in this order (contract: The fold).

    Each stage is over for everyone before the next begins.
    """
    rules, seats = _seated(world, result)
    shown = count(world, result, rules, seats, telling)
    moved, brought = rate_result(world, result, rules, seats, shown, telling)
    remember(world, result, log_seq, moved)
    _follow(world, result, log_seq, seats, brought, telling)


def _seated(world: World, result: Result) -> tuple[Rules, Seats]:
    """What holds for a result, and everyone in it, of whom nothing waits any more."""
    rules = world.rules(result.game)
    if rules.kinds.declared:
        result.count_by(rules.kinds)
    seats = {user_id: world.seat("user", user_id, result.game) for user_id in result.players}
    if world.waiting:
        for user_id in seats:
            count_lines(world, user_id)
    return rules, seats


def _follow(
    world: World, result: Result, log_seq: int, seats: Seats, brought: Brought, telling: Telling
) -> None:
    """What comes after the ratings."""
    for user_id, (peak, upset) in brought.items():
        person = seats[user_id].person
        assert person is not None
        reach(person, peak, upset)
    give_xp(world, result, seats, telling)
    for user_id, seat in seats.items():
        if seat.person is not None and seat.person.due:
            cause = (result.match_id, result.played_at_ms, log_seq)
            unlock(world, user_id, seat.person, cause, telling)


# -- the same in two halves, each in a process of its own (workers.fold.beside) --------------------

# What the half that counts is told of a fact: its number, its type and payload, and what it brought
# if it is a result, when it occurred (ms) otherwise; of a plain duel its match and its lines.
Rated = tuple[int, str, bytes, Brought | int] | tuple[int, str, Lines]


def rate_again(world: World, row: Iterable[Any]) -> Rated:
    """The half of a rebuild that needs the log's order over all users: ratings and history.

    row: the fields of Root.
    """
    seq, fact_type, occurred_at, packed = row
    if fact_type not in RESULT_TYPES:
        fact = Root(seq, fact_type, occurred_at, packed)
        if fact_type != "tournament.completed":
            fold(world, fact, None, SILENT)
        return seq, fact_type, packed, fact.occurred_at_ms
    said = read_said(packed)
    if fact_type == "match.completed" and is_plain_duel(said):
        lines = rate_duel(world, said, seq)
        if isinstance(lines, dict):
            return seq, fact_type, packed, lines
        return seq, said.match_id, lines
    result = result_said(fact_type, said)
    rules, seats = _seated(world, result)
    moved, brought = rate_result(world, result, rules, seats, {}, SILENT)
    remember(world, result, seq, moved)
    return seq, fact_type, packed, brought


def count_again(
    world: World, log_seq: int, fact_type: str, packed: bytes, brought: Brought
) -> None:
    """The other half, of one result: statistics, battle pass and achievements."""
    _count_rated(world, result_said(fact_type, read_said(packed)), log_seq, brought)


def _count_rated(world: World, result: Result, log_seq: int, brought: Brought) -> None:
    rules, seats = _seated(world, result)
    count(world, result, rules, seats, SILENT)
    _follow(world, result, log_seq, seats, brought, SILENT)
