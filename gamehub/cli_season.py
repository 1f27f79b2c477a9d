"""`gamehub season list | start`: seasons of one game, or global ones."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from domain.times import time_text
from gamehub.cli_game import read_toml
from gamehub.cli_options import Data, console
from gamehub.cli_pool import announcing, on_pool, operator
from gamehub.cli_tables import add, moment, print_table, table, when

if TYPE_CHECKING:
    import asyncpg

    from domain.seasons import Season

app = typer.Typer(help="Seasons: list them, start the next one.", no_args_is_help=True)


@app.command("list")
def list_seasons(data: Data = None) -> None:
    """Every season, in the order in which they were started."""

    async def work(pool: asyncpg.Pool) -> list[Season]:
        from storage import seasons

        async with pool.acquire() as connection:
            return await seasons.all(connection)

    shown = table("season", "game", "number", "name", "started (UTC)", "ends (UTC)", "XP per tier")
    for row in on_pool(data, work):
        ends = "" if row.ends_at_ms is None else when(row.ends_at_ms)
        starts = when(row.starts_at_ms)
        game, name = row.game or "(all)", row.name or ""
        add(shown, row.season_id, game, row.number, name, starts, ends, row.xp_per_tier)
    print_table(shown, "No season was started.")


@app.command()
def start(
    game: Annotated[str | None, typer.Option("--game", help="Of this game [all of them].")] = None,
    number: Annotated[
        int | None, typer.Option("--number", min=1, help="Its number [the next one].")
    ] = None,
    season_id: Annotated[
        str | None, typer.Option("--id", help="Its id [season-N, or GAME/season-N].")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Its name, for people.")] = None,
    ends: Annotated[str | None, typer.Option("--ends", help="A day, or an RFC 3339 time.")] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", help="A TOML file with more: xp_per_tier, [rewards.5], [rating]."),
    ] = None,
    data: Data = None,
) -> None:
    """Start a season: it counts for every result from now on, until the next one of its game."""
    raw: dict[str, Any] = {} if file is None else read_toml(file)
    ends_ms = moment(ends, "ends")
    said = {
        "game": game,
        "number": number,
        "season_id": season_id,
        "name": name,
        "ends_at": None if ends_ms is None else time_text(ends_ms),
    }
    raw |= {key: value for key, value in said.items() if value is not None}

    async def work(pool: asyncpg.Pool) -> tuple[Season, bool]:
        from services import seasons

        return await seasons.start(pool, None, operator(), raw, round(time.time() * 1000))

    season, new = announcing(data, work)
    of = "all games" if season.game is None else season.game
    if new:
        told = f"{escape(season.season_id)} is season {season.number} of {escape(of)}"
        console.print(f"[green]done:[/] {told}")
    else:
        console.print(f"{escape(season.season_id)} was started already.")
