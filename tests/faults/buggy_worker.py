"""A worker of a release with a bug: the XP of one match cannot be worked out, that of others can.

python -m tests.faults.buggy_worker MATCH, with the environment of `gamehub worker`.
"""

from __future__ import annotations

import sys

from domain.results import Result
from gamehub.cli import main
from workers.fold import stages
from workers.fold.battlepass import give_xp as sound
from workers.fold.telling import Telling
from workers.fold.world import Seats, World


def give_xp(world: World, result: Result, seats: Seats, telling: Telling) -> None:
    """The stage as that release had it."""
    if result.match_id == POISON:
        raise ZeroDivisionError("nobody thought of this match")
    sound(world, result, seats, telling)


if __name__ == "__main__":
    POISON = sys.argv[1]
    setattr(stages, give_xp.__name__, give_xp)
    sys.argv[1:] = ["worker"]
    main()
