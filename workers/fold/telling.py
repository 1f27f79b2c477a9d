"""What the fold announces of a fact, in the order in which everyone shall see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from domain.payloads_derived import Reward

Told = tuple[str, str, str, dict[str, Any]]  # type, subject, key, payload


@dataclass(slots=True)
class Telling:
    """What is announced of one fact, in order; nothing when nobody listens (a rebuild).

    standings: the `stats` of a stats.updated, whose current_rank is looked up before it is
    announced, with (game, rating, won, minute) of that moment.
    """

    silent: bool = False
    told: list[Told] = field(default_factory=list)
    standings: list[tuple[dict[str, Any], tuple[str, int, int, int]]] = field(default_factory=list)


SILENT = Telling(silent=True)


def plain(reward: Reward | None) -> dict[str, Any] | None:
    """A reward as payloads hold it."""
    if reward is None:
        return None
    return {"type": reward.type, "amount": reward.amount, "item": reward.item}
