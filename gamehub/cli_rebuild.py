"""`gamehub rebuild fold | boards`: what follows from the log made again, or compared with it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from domain.settings import Settings
from gamehub.cli_options import Data, console
from gamehub.cli_pool import on_servers
from gamehub.cli_tables import add, print_table, table

if TYPE_CHECKING:
    import asyncpg

    from workers.fold.rebuild import Progress as Done
    from workers.fold.rebuild import Rebuilt
    from workers.leaderboards.rebuild import Rebuilt as RebuiltBoards

app = typer.Typer(
    help="Make again what follows from the log: everything there can be lost and found.",
    no_args_is_help=True,
)

Check = Annotated[
    bool, typer.Option("--check", help="Change nothing; print what differs; exit code 1 then.")
]
# A row of a difference is cut to so many characters.
ROW_LENGTH_MAX = 160


@app.command()
def fold(check: Check = False, data: Data = None) -> None:
    """Statistics, ratings, history, battle pass and achievements, from the first fact on.

    The tables are made beside the live ones and swapped in at once; workers go on meanwhile.
    """

    async def work(pool: asyncpg.Pool, settings: Settings) -> Rebuilt:
        from workers.fold.rebuild import rebuild_fold

        with _bar() as progress:
            task = progress.add_task("folding", total=None)

            def report(done: Done) -> None:
                progress.update(task, completed=done.seq, total=done.until)

            return await rebuild_fold(pool, check=check, report=report)

    started_s = time.monotonic()
    rebuilt = on_servers(data, work)
    took_s = time.monotonic() - started_s
    console.print(
        f"{rebuilt.facts:,} facts folded in {took_s:,.1f} s, {rebuilt.facts / took_s:,.0f} a second"
    )
    if check:
        _print_differences(rebuilt)
    else:
        console.print("[green]done:[/] the new tables are the live ones")
        console.print(f"{rebuilt.ratings_changed:,} ratings changed; the boards follow")
        # Always: an earlier rebuild may have been stopped before them.
        _boards(False, data)


def _print_differences(rebuilt: Rebuilt) -> None:
    if not rebuilt.differences:
        console.print("[green]no differences[/]")
        return
    rows = table("table", "only", "row")
    for each in rebuilt.differences:
        add(rows, each.table, each.side, escape(str(each.row))[:ROW_LENGTH_MAX])
    print_table(rows, "")
    raise typer.Exit(1)


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


@app.command("boards")
def rebuild_boards(check: Check = False, data: Data = None) -> None:
    """Make the sets of all boards again from the ratings, beside the live ones."""
    _boards(check, data)


def _boards(check: bool, data: str | None) -> None:

    def progress(board: str, subjects: int) -> None:
        console.print(f"{'compared' if check else 'made'} {board}: {subjects:,}")

    async def work(pool: asyncpg.Pool, settings: Settings) -> RebuiltBoards:
        from domain.leaderboards import Regions
        from storage.redis import connect
        from workers.leaderboards.rebuild import rebuild

        assert settings.redis_url is not None
        redis = connect(settings.redis_url)
        try:
            regions = Regions(settings.region_groups())
            return await rebuild(pool, redis, regions, check=check, progress=progress)
        finally:
            await redis.aclose()

    done = on_servers(data, work)
    if not check:
        console.print(f"[green]done:[/] {done.boards:,} boards, {done.subjects:,} places")
        return
    rows = table("board", "who", "the set has", "the ratings say")
    for each in done.named:
        add(rows, each.board, each.id or "(no set)", _score(each.has), _score(each.should))
    print_table(rows, f"No differences on {done.boards:,} boards, {done.subjects:,} places.")
    if done.differences > len(done.named):
        console.print(f"... and {done.differences - len(done.named):,} more")
    raise typer.Exit(1 if done.differences else 0)


def _score(kept: int | None) -> str:
    from domain.leaderboards import place_of

    if not kept:
        return "-"
    place = place_of(kept)
    return f"{place.rating}, {place.wins} won, minute {place.minute}"
