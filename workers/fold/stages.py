"""The stages of the fold, in order: what one fact means for everyone it concerns."""

from __future__ import annotations

from typing import Any

from domain.games import policy_of
from domain.results import Result, result_of
from domain.seasons import season_of
from workers.fold.achievements import complete_tournament, unlock
from workers.fold.battlepass import give_xp
from workers.fold.history import remember
from workers.fold.ratings import rate_result
from workers.fold.statistics import count
from workers.fold.telling import Telling
from workers.fold.world import World


def fold(
    world: World,
    fact_type: str,
    payload: dict[str, Any],
    log_seq: int,
    occurred_at_ms: int,
    telling: Telling,
) -> None:
    """Folds one fact into the world, in the log's order."""
    result = result_of(fact_type, payload)
    if result is not None:
        fold_result(world, result, log_seq, telling)
    elif fact_type == "tournament.completed":
        complete_tournament(world, payload, log_seq, occurred_at_ms, telling)
    elif fact_type == "game.configured":
        world.declare(policy_of(payload, log_seq))
    elif fact_type == "season.started":
        world.begin(season_of(payload, log_seq))


def fold_result(world: World, result: Result, log_seq: int, telling: Telling) -> None:
    """Statistics, ratings, history, battle pass, achievements: in this order (contract: The fold).

    Each stage is over for everyone before the next begins.
    """
    rules = world.rules(result.game)
    careers = {user_id: world.career(user_id) for user_id in result.players}
    before = {user_id: dict(career) for user_id, career in careers.items()}
    shown = count(world, result, rules, careers, telling)
    moved = rate_result(world, result, rules, careers, shown, telling)
    remember(world, result, log_seq, moved)
    give_xp(world, result, careers, telling)
    cause = (result.match_id, result.played_at_ms, log_seq)
    for user_id, career in careers.items():
        unlock(world, user_id, before[user_id], career, cause, telling)
