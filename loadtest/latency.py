"""From a game server's send to the viewers' receive at a steady rate, beside the floor's."""

from __future__ import annotations

import contextlib

from msgspec import Struct

from loadtest.bed import Bed
from loadtest.report import Figure, Goal, Result, age_at, middle
from loadtest.sides import Shape, Side, compared, floor_side, hub_side, notes_on, rounds_of

ABOVE_FLOOR_MS = 8.0


class Options(Struct, frozen=True, kw_only=True):
    """`rate` events per second into one room."""

    shape: Shape = Shape()
    rate: float = 50.0
    seconds: float = 10.0
    rounds: int = 3


async def run(bed: Bed, options: Options) -> Result:
    """Rounds of hub and floor in turn; raises Undelivered when an event is lost."""
    async with contextlib.AsyncExitStack() as stack:
        hub, text_bytes = await stack.enter_async_context(hub_side(bed, options.shape))
        sides: list[Side] = [hub]
        if bed.floor is not None:
            sides.append(
                await stack.enter_async_context(floor_side(bed, options.shape, text_bytes))
            )
        rounds = await rounds_of(
            bed,
            sides,
            options.rounds,
            "Latency",
            lambda side, tell: side.paced(options.seconds, options.rate, tell),
        )
    ours, beside = [*rounds.values(), []][:2]
    goal = Goal("above_floor_max", ABOVE_FLOOR_MS, f"<= floor + {ABOVE_FLOOR_MS:g} ms")
    figures = [
        Figure(
            name=f"publish to receive, {label}",
            unit="ms",
            hub=[age_at(each.ages, share) for each in ours],
            floor=[age_at(each.ages, share) for each in beside],
            goal=goal if share == 99 else None,
        )
        for label, share in (("p50", 50), ("p99", 99), ("p99.9", 99.9), ("max", 100))
    ]
    figures.append(
        compared(
            "server CPU per million deliveries", "s", lambda r: r.cpu_per_million, ours, beside
        )
    )
    return Result(
        scenario="latency",
        case=f"1 room x {options.shape.members:,} viewers, {options.rate:g} events/s of "
        f"{text_bytes} bytes",
        figures=figures,
        hub_ages=middle([each.ages for each in ours]),
        floor_ages=middle([each.ages for each in beside]),
        notes=notes_on([*ours, *beside]),
    )
