"""What a game declares of itself: how it is rated, and how its counters are totalled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from domain.errors import InvalidSchema
from domain.facts import declared
from domain.ids import check_id
from domain.payloads_derived import GameConfigured, RatingPolicy, StatKind

Total = Literal["sum", "max", "min"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GamePolicy:
    """A game's declaration; a game that declared nothing has the defaults.

    log_seq: of the game.configured that says so, 0 for none. It holds for results after it in the
    log; earlier ones stay as they were rated.
    """

    game: str
    title: str | None = None
    rating: RatingPolicy = field(default_factory=RatingPolicy)
    stats: tuple[StatKind, ...] = ()
    log_seq: int = 0

    def kinds(self) -> dict[str, Total]:
        """Counter name -> how two of its values become one, for the declared counters."""
        return {stat.name: stat.total for stat in self.stats}


def check_game(raw: dict[str, Any]) -> GameConfigured:
    """A declaration as somebody sent it; raises InvalidSchema naming the field."""
    for name in ("rating", "stats"):
        if raw.get(name) is None:
            raw = {key: value for key, value in raw.items() if key != name}
    said = declared(raw, GameConfigured)
    check_id(said.game, "game")
    if isinstance(raw.get("rating"), dict):
        declared(raw["rating"], RatingPolicy)
    for each in raw.get("stats", ()):
        declared(each, StatKind)
    names = [stat.name for stat in said.stats]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidSchema(f"the counter {twice[0]!r} is declared twice", field="stats.name")
    return said


def policy_of(payload: dict[str, Any], log_seq: int = 0) -> GamePolicy:
    """The policy that a payload of game.configured declares."""
    said = msgspec.convert(payload, GameConfigured)
    return GamePolicy(
        game=said.game,
        title=said.title,
        rating=said.rating,
        stats=tuple(said.stats),
        log_seq=log_seq,
    )
