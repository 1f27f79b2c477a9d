"""Events into rooms full of viewers: one room or many, one at a time or in bursts."""

from __future__ import annotations

import contextlib
import statistics

from msgspec import Struct

from loadtest.bed import Bed
from loadtest.report import Figure, Goal, Result, age_at, middle
from loadtest.sides import Shape, Side, compared, floor_side, hub_side, notes_on, rounds_of


class Options(Struct, frozen=True, kw_only=True):
    """`depth`: messages of each server under way at once. `rounds` of `seconds` of each side.

    goal: of CPU per delivery, as a ratio to the floor.
    """

    scenario: str
    shape: Shape = Shape()
    depth: int = 1
    seconds: float = 3.0
    latency_seconds: float = 3.0
    rounds: int = 3
    goal: Goal | None = None


async def run(bed: Bed, options: Options) -> Result:
    """Rounds as fast as it goes, hub and floor in turn; then both at half of the hub's rate.

    Raises Undelivered when an event is lost or a viewer refused.
    """
    shape = options.shape
    async with contextlib.AsyncExitStack() as stack:
        hub, text_bytes = await stack.enter_async_context(hub_side(bed, shape))
        sides: list[Side] = [hub]
        if bed.floor is not None:
            sides.append(await stack.enter_async_context(floor_side(bed, shape, text_bytes)))
        name = options.scenario.capitalize()
        fast = await rounds_of(
            bed,
            sides,
            options.rounds,
            name,
            lambda side, tell: side.pressed(options.seconds, options.depth, tell),
        )
        frames = shape.rooms * shape.burst / shape.servers
        half = statistics.median(each.events_per_s for each in fast[bed.hub.name]) / 2
        slow = await rounds_of(
            bed,
            sides,
            options.rounds,
            f"{name} at half rate",
            lambda side, tell: side.paced(options.latency_seconds, half / frames, tell),
        )
    ours, floors = ([*rounds.values(), []][:2] for rounds in (fast, slow))
    pressed, beside = ours[0], ours[1]
    ages, floor_ages = (middle([each.ages for each in rounds]) for rounds in floors)
    figures = [
        compared(
            "server CPU per million deliveries", "s", lambda r: r.cpu_per_million, pressed, beside,
            options.goal,
        ),
        compared("deliveries", "per s", lambda r: r.deliveries_per_s, pressed, beside),
        compared("events", "per s", lambda r: r.events_per_s, pressed, beside),
    ]  # fmt: skip
    figures += [
        Figure(
            name=f"publish to receive, {label}, at {half:,.0f} events/s",
            unit="ms",
            hub=[age_at(each.ages, share) for each in floors[0]],
            floor=[age_at(each.ages, share) for each in floors[1]],
        )
        for label, share in (("p50", 50), ("p99", 99), ("p99.9", 99.9))
    ]
    return Result(
        scenario=options.scenario,
        case=case_of(shape, options.depth, text_bytes),
        figures=figures,
        hub_ages=ages,
        floor_ages=floor_ages,
        notes=notes_on([*pressed, *beside]),
    )


def case_of(shape: Shape, depth: int, text_bytes: int) -> str:
    """What was done, in a line."""
    rooms = "1 room" if shape.rooms == 1 else f"{shape.rooms} rooms"
    servers = "1 game server" if shape.servers == 1 else f"{shape.servers} game servers"
    if shape.burst > 1:
        flight = f"bursts of {shape.burst}"
    elif depth == 1:
        flight = "one at a time"
    else:
        flight = f"{depth} per room under way"
    return f"{rooms} x {shape.members:,} viewers, {servers}, events of {text_bytes} bytes, {flight}"


def one_room(members: int, burst: int, size_bytes: int, seconds: float, rounds: int) -> Options:
    """`fanout`, with its goal (issue "Full speed"): 1.4 of the floor, in bursts 0.15."""
    bound = 1.4 if burst == 1 else 0.15
    return Options(
        scenario="fanout",
        shape=Shape(members=members, burst=burst, size_bytes=size_bytes),
        seconds=seconds,
        latency_seconds=seconds,
        rounds=rounds,
        goal=Goal("ratio_max", bound, f"<= {bound:g} x floor"),
    )


def many_rooms(
    rooms: int,
    members: int,
    servers: int,
    depth: int,
    size_bytes: int,
    seconds: float,
    rounds: int,
) -> Options:
    """`rooms`, with its goal: 1.6 of the floor. `rounds` of `seconds`; `rooms` with `members`."""
    return Options(
        scenario="rooms",
        shape=Shape(rooms=rooms, members=members, servers=servers, size_bytes=size_bytes),
        depth=depth,
        seconds=seconds,
        latency_seconds=seconds,
        rounds=rounds,
        goal=Goal("ratio_max", 1.6, "<= 1.6 x floor"),
    )
