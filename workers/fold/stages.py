"""The stages of the fold, in order: what one fact means for everyone it concerns."""

from __future__ import annotations

from domain.games import policy_of
from domain.results import Result
from domain.seasons import season_of
from storage.log import LoggedEvent
from storage.rebuild import Root
from workers.fold.achievements import complete_tournament, unlock
from workers.fold.battlepass import give_xp
from workers.fold.history import remember
from workers.fold.ratings import rate_result
from workers.fold.statistics import count
from workers.fold.telling import Telling
from workers.fold.world import World


def fold(world: World, event: LoggedEvent | Root, result: Result | None, telling: Telling) -> None:
    """Folds one fact into the world, in the log's order; `result`: what result_of makes of it."""
    if result is not None:
        fold_result(world, result, event.seq, telling)
    elif event.type == "tournament.completed":
        complete_tournament(world, event.payload, event.seq, event.occurred_at_ms, telling)
    elif event.type == "game.configured":
        world.declare(policy_of(event.payload, event.seq))
    elif event.type == "season.started":
        world.begin(season_of(event.payload, event.seq))


def fold_result(world: World, result: Result, log_seq: int, telling: Telling) -> None:
    """Statistics, ratings, history, battle pass, achievements: in this order (contract: The fold).

    Each stage is over for everyone before the next begins.
    """
    rules = world.rules(result.game)
    if rules.kinds.declared:
        result.count_by(rules.kinds)
    game = result.game
    seats = {user_id: world.seat("user", user_id, game) for user_id in result.players}
    shown = count(world, result, rules, seats, telling)
    moved = rate_result(world, result, rules, seats, shown, telling)
    remember(world, result, log_seq, moved)
    give_xp(world, result, seats, telling)
    for user_id, seat in seats.items():
        if seat.person is not None and seat.person.due:
            cause = (result.match_id, result.played_at_ms, log_seq)
            unlock(world, user_id, seat.person, cause, telling)
