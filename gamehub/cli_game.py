"""`gamehub game list | show | set`: what games declare: how they are rated, their counters."""

from __future__ import annotations

import sys
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.markup import escape

from domain.errors import SettingsError
from gamehub.cli_options import Data, console
from gamehub.cli_pool import announcing, on_pool, operator
from gamehub.cli_tables import add, print_json, print_table, table

if TYPE_CHECKING:
    import asyncpg

    from domain.games import GamePolicy

app = typer.Typer(help="What games declare: rating policy and counters.", no_args_is_help=True)

FILE_LENGTH_MAX = 100_000  # of a declaration, in characters

File = Annotated[Path, typer.Argument(help="A TOML file; - reads stdin.", allow_dash=True)]


@app.command("list")
def list_games(data: Data = None) -> None:
    """Every game that declared something; all others have the defaults."""

    async def work(pool: asyncpg.Pool) -> dict[str, GamePolicy]:
        from storage import games

        async with pool.acquire() as connection:
            return await games.load_all(connection)

    shown = table("game", "title", "rating", "counters")
    for policy in on_pool(data, work).values():
        counters = ", ".join(f"{stat.name} ({stat.total})" for stat in policy.stats)
        add(shown, policy.game, policy.title or "", _rating(policy), counters)
    print_table(shown, "No game declared anything.")


@app.command()
def show(game: Annotated[str, typer.Argument(help="The game's id.")], data: Data = None) -> None:
    """What one game declares, as `set` takes it; the defaults where it declares nothing."""

    async def work(pool: asyncpg.Pool) -> GamePolicy | None:
        from storage import games

        async with pool.acquire() as connection:
            return await games.get(connection, game)

    policy = on_pool(data, work)
    if policy is None:
        console.print(f"[dim]{escape(game)} declared nothing; the defaults hold.[/]")
        return
    told: dict[str, Any] = {"game": policy.game, "title": policy.title}
    told["rating"] = msgspec.to_builtins(policy.rating)
    told["stats"] = msgspec.to_builtins(policy.stats)
    print_json(told)


@app.command("set")
def set_game(file: File, data: Data = None) -> None:
    """Declare a game: for results from now on; earlier ones stay as they were rated.

    The file says game, title, [rating] with system and preset, and [[stats]] with name, total
    (sum, max or min) and title.
    """
    raw = read_toml(file)

    async def work(pool: asyncpg.Pool) -> tuple[GamePolicy, bool]:
        from services import games

        return await games.configure(pool, None, operator(), raw, round(time.time() * 1000))

    policy, new = announcing(data, work)
    if new:
        console.print(f"[green]done:[/] {escape(policy.game)} is rated by {_rating(policy)}")
    else:
        console.print(f"{escape(policy.game)} is declared so already.")


def read_toml(file: Path) -> dict[str, Any]:
    """A declaration's file; raises SettingsError."""
    import tomllib

    try:
        if str(file) == "-":
            content = sys.stdin.read(FILE_LENGTH_MAX + 1)
        else:
            with file.open(encoding="utf-8") as opened:
                content = opened.read(FILE_LENGTH_MAX + 1)
        if len(content) > FILE_LENGTH_MAX:
            raise SettingsError(f"{file} is longer than {FILE_LENGTH_MAX} characters", field="file")
        found = tomllib.loads(content)
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}", field="file") from None
    except ValueError as error:  # tomllib.TOMLDecodeError and UnicodeDecodeError
        raise SettingsError(f"{file} is not TOML: {error}", field="file") from None
    # TOML has times of its own; declarations have RFC 3339 text.
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in found.items()
    }


def _rating(policy: GamePolicy) -> str:
    rating = policy.rating
    return f"elo ({rating.preset})" if rating.system == "elo" else rating.system
