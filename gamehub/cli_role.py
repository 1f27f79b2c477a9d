"""`gamehub role grant | revoke | list`: who is what within one tournament."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from domain.errors import SettingsError
from domain.events import Role
from domain.times import time_text
from gamehub.cli_options import Data, console
from gamehub.cli_pool import changing, on_pool, operator

if TYPE_CHECKING:
    import asyncpg

    from storage.tournaments import TournamentRole

app = typer.Typer(help="Roles of people within one tournament.", no_args_is_help=True)

Tournament = Annotated[str, typer.Argument(help="The tournament's id.")]
User = Annotated[str, typer.Argument(help="The user's id: the sub of their tokens.")]


@app.command()
def grant(
    tournament: Tournament,
    user: User,
    role: Annotated[str, typer.Argument(help="PLAYER, ORGANIZER or ADMIN.")],
    data: Data = None,
) -> None:
    """Give a role in a tournament; open sockets have it within a second."""
    if role.upper() not in Role.__members__:
        raise SettingsError("role must be PLAYER, ORGANIZER or ADMIN", field="role")

    async def work(pool: asyncpg.Pool) -> bool:
        from services import tournaments

        given = Role[role.upper()]
        return await tournaments.grant(pool, None, operator(), tournament, user, given)

    if changing(data, work):
        console.print(f"[green]done:[/] {escape(user)} is {role.upper()} in {escape(tournament)}")
    else:
        console.print(f"{escape(user)} is {role.upper()} there already.")


@app.command()
def revoke(tournament: Tournament, user: User, data: Data = None) -> None:
    """Take a role in a tournament back; rooms that are forbidden now are left within a second."""

    async def work(pool: asyncpg.Pool) -> bool:
        from services import tournaments

        return await tournaments.revoke(pool, None, operator(), tournament, user)

    if changing(data, work):
        console.print(f"[green]done:[/] {escape(user)} has no role in {escape(tournament)}")
    else:
        console.print(f"{escape(user)} has no role there.")


@app.command("list")
def list_roles(
    tournament: Tournament,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000)] = 1000,
    data: Data = None,
) -> None:
    """Who has a role in a tournament, since when and from whom."""

    async def work(pool: asyncpg.Pool) -> tuple[list[TournamentRole], str | None]:
        from storage import tournaments

        async with pool.acquire() as connection:
            return await tournaments.page(connection, tournament, limit)

    rows, more = on_pool(data, work)
    table = Table("user", "role", "since", "by")
    for row in rows:
        name = "" if row.role is None else row.role.name
        table.add_row(escape(row.user_id), name, time_text(row.granted_at_ms), row.granted_by)
    console.print(table if rows else "Nobody has a role in this tournament.")
    if more is not None:
        console.print(f"[dim]There are more than {limit}.[/]")
