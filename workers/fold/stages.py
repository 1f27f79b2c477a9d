"""The stages of the fold, in order: what one fact means for everyone it concerns."""

from __future__ import annotations

from domain.games import policy_of
from domain.results import Result, is_plain_duel, read_said, result_said
from domain.seasons import season_of
from storage.log import LoggedEvent
from storage.rebuild import Root
from workers.fold.achievements import complete_tournament, unlock
from workers.fold.battlepass import give_xp
from workers.fold.duels import count_all, count_lines, rate_duel
from workers.fold.history import remember
from workers.fold.ratings import rate_result
from workers.fold.statistics import count
from workers.fold.telling import SILENT, Telling
from workers.fold.world import World


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
        rate_duel(world, said, log_seq)
    else:
        fold_result(world, result_said("match.completed", said), log_seq, SILENT)


def fold_result(world: World, result: Result, log_seq: int, telling: Telling) -> None:
    """Statistics, ratings, history, battle pass, achievements: in this order (contract: The fold).

    Each stage is over for everyone before the next begins.
    """
    rules = world.rules(result.game)
    if rules.kinds.declared:
        result.count_by(rules.kinds)
    seats = {user_id: world.seat("user", user_id, result.game) for user_id in result.players}
    for user_id, seat in seats.items():
        if seat.person is not None and seat.person.lines:
            count_lines(world, user_id, seat.person)
    shown = count(world, result, rules, seats, telling)
    moved = rate_result(world, result, rules, seats, shown, telling)
    remember(world, result, log_seq, moved)
    give_xp(world, result, seats, telling)
    for user_id, seat in seats.items():
        if seat.person is not None and seat.person.due:
            cause = (result.match_id, result.played_at_ms, log_seq)
            unlock(world, user_id, seat.person, cause, telling)
