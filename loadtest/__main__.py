"""`python -m loadtest fanout|rooms|latency|idle|...`: load on a hub, measured beside a floor."""

from __future__ import annotations

import signal
import sys
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from loadtest.options import RunOptions, console, with_run_options
from protocol.errors import HubUnreachable, Undelivered

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells say it

app = typer.Typer(
    name="loadtest",
    help="Load on a hub: one that is started for it, alone on a core, or the one at --url.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Rounds = Annotated[int, typer.Option("--rounds", min=1, max=100, help="The median counts.")]
Seconds = Annotated[float, typer.Option("--seconds", min=0.1, help="Of each round.")]
Members = Annotated[int, typer.Option("--members", min=1, max=15_000, help="Viewers of a room.")]
Rooms = Annotated[int, typer.Option("--rooms", min=1, max=2000, help="Matches.")]
Burst = Annotated[int, typer.Option("--burst", min=1, max=500, help="Events at once.")]
Rate = Annotated[float, typer.Option("--rate", min=0.1, help="Events/s of each room.")]
Size = Annotated[int, typer.Option("--size", min=1, max=15_000, help="Bytes of a viewer's event.")]


@app.command()
@with_run_options
def fanout(
    shared: RunOptions,
    members: Members = 1000,
    burst: Burst = 1,
    size: Size = 200,
    seconds: Seconds = 3.0,
    rounds: Rounds = 3,
) -> None:
    """One room; the next event (or burst) is published when every viewer has had the last."""
    from loadtest import fanout as scenario

    options = scenario.one_room(members, burst, size, seconds, rounds)
    shared.run(lambda bed: scenario.run(bed, options), rounds=rounds)


@app.command()
@with_run_options
def rooms(
    shared: RunOptions,
    count: Rooms = 100,
    members: Members = 20,
    servers: Annotated[int, typer.Option("--servers", min=1, max=8, help="Game servers.")] = 4,
    depth: Annotated[
        int, typer.Option("--depth", min=1, max=100, help="Events of each room under way.")
    ] = 8,
    size: Size = 200,
    seconds: Seconds = 3.0,
    rounds: Rounds = 3,
) -> None:
    """Many rooms, published by game servers that hold several matches each."""
    from loadtest import fanout as scenario

    options = scenario.many_rooms(count, members, servers, depth, size, seconds, rounds)
    shared.run(lambda bed: scenario.run(bed, options), rounds=rounds)


@app.command()
@with_run_options
def latency(
    shared: RunOptions,
    members: Members = 1000,
    rate: Rate = 50.0,
    size: Size = 200,
    seconds: Seconds = 10.0,
    rounds: Rounds = 3,
) -> None:
    """One room at a steady rate: from the game server's send to the viewers' receive."""
    from loadtest import latency as scenario
    from loadtest.sides import Shape

    options = scenario.Options(
        shape=Shape(members=members, size_bytes=size), rate=rate, seconds=seconds, rounds=rounds
    )
    shared.run(lambda bed: scenario.run(bed, options), rounds=rounds)


@app.command()
@with_run_options
def idle(
    shared: RunOptions,
    connections: Annotated[
        int, typer.Option("--connections", min=1, max=100_000, help="How many.")
    ] = 10_000,
    opening: Annotated[
        int, typer.Option("--opening", min=1, max=2000, help="Under way at once.")
    ] = 64,
    hold: Annotated[float, typer.Option("--hold", min=0.0, help="Seconds that they stay.")] = 5.0,
    rounds: Rounds = 1,
) -> None:
    """Connections with a checked token in a room: connects per second, memory of each."""
    from loadtest import idle as scenario

    options = scenario.Options(connections=connections, opening=opening, hold_s=hold, rounds=rounds)
    shared.run(lambda bed: scenario.run(bed, options), rounds=rounds)


@app.command()
@with_run_options
def ingest(
    shared: RunOptions,
    matches: Annotated[int, typer.Option("--matches", min=1, max=100, help="With LIVE.")] = 8,
    batch: Annotated[
        int, typer.Option("--batch", min=1, max=100, help="LIVE frames of each in a message.")
    ] = 8,
    seconds: Seconds = 4.0,
    rounds: Rounds = 3,
) -> None:
    """What the hub takes in of a game server: frames per second, CPU of each, how soon acked."""
    from loadtest import ingest as scenario

    options = scenario.Options(matches=matches, batch=batch, seconds=seconds, rounds=rounds)
    shared.run(lambda bed: scenario.run(bed, options), rounds=rounds)


@app.command()
@with_run_options
def mixed(
    shared: RunOptions,
    count: Annotated[int, typer.Option("--rooms", min=1, max=1000, help="Matches.")] = 20,
    members: Members = 50,
    event_rate: Annotated[float, typer.Option("--event-rate", min=1, help="Per second.")] = 400.0,
    visit_rate: Annotated[float, typer.Option("--visit-rate", min=1, help="Per second.")] = 20.0,
    page_rate: Annotated[float, typer.Option("--page-rate", min=1, help="Per second.")] = 20.0,
    fact_rate: Annotated[float, typer.Option("--fact-rate", min=1, help="Per second.")] = 20.0,
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, help="In all.")] = 10.0,
) -> None:
    """A match day in small: events, viewers who come, ask and go, pages and FACTs at once."""
    from loadtest import mixed as scenario
    from loadtest.sides import Shape

    options = scenario.Options(
        shape=Shape(rooms=count, members=members, servers=min(2, count)),
        seconds=seconds,
        event_rate=event_rate,
        visit_rate=visit_rate,
        page_rate=page_rate,
        fact_rate=fact_rate,
    )
    shared.run(lambda bed: scenario.run(bed, options), rounds=1)


@app.command()
@with_run_options
def rivals(
    shared: RunOptions,
    beside: Annotated[
        list[str] | None, typer.Argument(help="websockets, aiohttp, ws [all that can run here].")
    ] = None,
    count: Rooms = 1,
    members: Members = 1000,
    burst: Burst = 1,
    size: Size = 200,
    seconds: Seconds = 3.0,
    rounds: Rounds = 3,
) -> None:
    """The complete hub beside servers in other libraries that do nothing but fan out."""
    from loadtest import rivals as scenario
    from loadtest.sides import Shape

    strangers = set(beside or ()) - set(scenario.RIVALS)
    if strangers:
        raise typer.BadParameter(f"knows {', '.join(scenario.RIVALS)}", param_hint="BESIDE")
    options = scenario.Options(
        shape=Shape(
            rooms=count, members=members, servers=min(4, count), burst=burst, size_bytes=size
        ),
        depth=8 if count > 1 else 1,
        seconds=seconds,
        rounds=rounds,
    )
    chosen = beside or scenario.here()
    shared.run(
        *(partial(scenario.run, options=options, rival=name) for name in chosen), rounds=rounds
    )


@app.command()
@with_run_options
def storm(
    shared: RunOptions,
    clients: Annotated[
        int, typer.Option("--clients", min=1, max=15_000, help="Who are cut off at once.")
    ] = 5000,
    how: Annotated[
        str, typer.Option("--how", help="cut (the lines), drain or kill (the hub, by its pid).")
    ] = "cut",
    rate: Rate = 2.0,
) -> None:
    """All clients lose their connection at once and resume: how long until they are back."""
    from loadtest import storm as scenario

    if how not in ("cut", "drain", "kill"):
        raise typer.BadParameter(f"{how} is none of cut, drain, kill", param_hint="--how")
    options = scenario.Options(clients=clients, how=how, rate=rate)  # type: ignore[arg-type]
    shared.run(lambda bed: scenario.run(bed, options), rounds=1)


@app.command()
@with_run_options
def slow(
    shared: RunOptions,
    members: Members = 1000,
    rate: Rate = 50.0,
    size: Size = 200,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.1, max=15.0, help="Of each half of a pair.")
    ] = 8.0,
    pairs: Annotated[int, typer.Option("--pairs", min=1, max=100, help="With and without.")] = 5,
) -> None:
    """One reader that has stopped reading among many: what the others notice, what it holds."""
    from loadtest import slow as scenario
    from loadtest.sides import Shape

    options = scenario.Options(
        shape=Shape(members=members, size_bytes=size), rate=rate, seconds=seconds, pairs=pairs
    )
    shared.run(lambda bed: scenario.run(bed, options), rounds=pairs)


@app.command()
@with_run_options
def soak(
    shared: RunOptions,
    seconds: Annotated[float, typer.Option("--seconds", min=10, help="In all.")] = 1200.0,
    viewers: Annotated[int, typer.Option("--viewers", min=1, max=2000, help="Who watch.")] = 200,
    matches: Annotated[int, typer.Option("--matches", min=2, max=100, help="At a time.")] = 8,
    rate: Rate = 10.0,
) -> None:
    """Comings, goings, stalls and cuts for a long while: fails when something leaks or is lost."""
    from loadtest import soak as scenario

    options = scenario.Options(seconds=seconds, viewers=viewers, matches=matches, rate=rate)
    shared.run(lambda bed: scenario.run(bed, options), rounds=1)


@app.command()
@with_run_options
def bench(
    shared: RunOptions,
    document: Annotated[
        Path | None,
        typer.Option("--document", help="Write the figures between this file's markers."),
    ] = None,
    rounds: Rounds = 3,
) -> None:
    """Every case of docs/benchmarks.md, one after the other: a quarter of an hour."""
    from loadtest import suite

    whole = shared.run_beds(suite.beds(rounds), rounds=rounds)
    if document is not None:
        suite.write(whole, document, shared.svg_file)


@app.command()
def nodes(
    processes: Annotated[str, typer.Option("--processes", help="How many, in turn.")] = "1,2,4",
    count: Rooms = 20,
    members: Members = 50,
    rate: Rate = 50.0,
    seconds: Seconds = 4.0,
    rounds: Rounds = 3,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the numbers to this file as well.")
    ] = None,
) -> None:
    """Hub processes that share a port: what one load costs with 1, 2 and 4 of them."""
    import msgspec
    import uvloop

    from loadtest import nodes as scenario
    from loadtest.options import raise_open_files
    from loadtest.sides import Shape

    raise_open_files()
    options = scenario.Options(
        counts=tuple(int(each) for each in processes.split(",")),
        shape=Shape(rooms=count, members=members),
        rate=rate,
        seconds=seconds,
        rounds=rounds,
    )
    with console.status("Starting") as status:
        found = uvloop.run(scenario.run(options, lambda text, _: status.update(text)))
    scenario.show(found, options, console)
    if json_file is not None:
        json_file.write_bytes(msgspec.json.encode(found))


def _stop(number: int, frame: FrameType | None) -> None:
    # As Ctrl-C does: what runs is cancelled alone, with all around it alive to take leave.
    signal.raise_signal(signal.SIGINT)


def main() -> int:
    """Runs the command line; the exit code."""
    # A shell starts what runs in its background with SIGINT ignored, and it is inherited.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _stop)
    try:
        app()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except (HubUnreachable, Undelivered, OSError) as error:
        console.print(f"[red]error:[/] {error}")
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
