"""`gamehub rebuild boards`: what can be made again from what is stored, while all goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from domain.settings import Settings
from gamehub.cli_options import Data, console
from gamehub.cli_pool import on_servers
from gamehub.cli_tables import add, print_table, table

if TYPE_CHECKING:
    import asyncpg

    from workers.leaderboards.rebuild import Rebuilt

app = typer.Typer(help="Make again what follows from the log.", no_args_is_help=True)

Check = Annotated[
    bool, typer.Option("--check", help="Change nothing; print what differs, exit code 1 if any.")
]


@app.command("boards")
def rebuild_boards(check: Check = False, data: Data = None) -> None:
    """Make the sets of all boards again from the ratings, beside the live ones."""

    def progress(board: str, subjects: int) -> None:
        console.print(f"{'compared' if check else 'made'} {board}: {subjects:,}")

    async def work(pool: asyncpg.Pool, settings: Settings) -> Rebuilt:
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
