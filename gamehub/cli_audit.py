"""`gamehub audit list`, and the audit rows of what is done on the command line itself."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from domain.settings import Settings
from gamehub import running
from gamehub.cli_options import Data
from gamehub.cli_pool import actor, on_pool
from gamehub.cli_tables import add, dotted, moment, print_line, print_table, table, when

if TYPE_CHECKING:
    import asyncpg

    from storage.audit import Entry, Filter, StoredEntry
    from storage.database import Connection

app = typer.Typer(help="Who did what, when and from where.", no_args_is_help=True)

ROWS_MAX = 10_000
# Making a token needs no database; it waits no longer for one that should hear of it.
NOTE_TIMEOUT_S = 3.0


@app.command("list")
def list_entries(
    who: Annotated[
        str | None, typer.Option("--actor", help="user:ID, server:ID, cli:NAME or nobody.")
    ] = None,
    action: Annotated[
        str | None, typer.Option("--action", help="auth.failed, or a family: auth.*")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", help="A kind (match), or one of it (match:ID).")
    ] = None,
    tournament: Annotated[str | None, typer.Option("--tournament", help="Its id.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="15m, 12h, 30d (ago), or a time.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="The same; not included.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=ROWS_MAX)] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    data: Data = None,
) -> None:
    """The newest first."""
    from storage.audit import Filter, shown

    kind, _, target_id = (target or "").partition(":")
    wanted = Filter(
        actor=who,
        action=dotted(action, "action"),
        target_type=kind or None,
        target_id=target_id or None,
        tournament_id=tournament,
        since_ms=moment(since, "since"),
        until_ms=moment(until, "until"),
    )

    async def read(pool: asyncpg.Pool) -> list[StoredEntry]:
        return await _read(pool, wanted, limit)

    found = on_pool(data, read)
    if as_json:
        for each in found:
            print_line(shown(each))
        return
    rows = table("when (UTC)", "who", "did", "to", "from", "more")
    for each in found:
        to = f"{each.target_type}:{each.target_id}" if each.target_id else each.target_type or ""
        name = each.actor if each.role in ("NONE", "CLI") else f"{each.actor} ({each.role})"
        more = json.dumps(dict(each.metadata), ensure_ascii=False) if each.metadata else ""
        add(rows, when(each.occurred_at_ms), name, each.action, to, each.ip or "", more)
    print_table(rows, "Nothing of this kind is in the audit log.")


async def _read(pool: asyncpg.Pool, wanted: Filter, limit: int) -> list[StoredEntry]:
    from storage import audit

    found: list[StoredEntry] = []
    cursor = None
    async with pool.acquire() as conn:
        while len(found) < limit:
            part = min(limit - len(found), audit.PAGE_MAX)
            rows, cursor = await audit.page(conn, wanted, part, cursor)
            found += rows
            if cursor is None:
                break
    return found


# -- what the command line itself does -----------------------------------------------------------


def entry(action: str, target_type: str, target_id: str, **metadata: Any) -> Entry:
    """A row for something that was done here, now, by whoever runs this."""
    from storage.audit import Entry

    return Entry(
        actor=actor(),
        role="CLI",
        action=action,
        occurred_at_ms=round(time.time() * 1000),
        target_type=target_type,
        target_id=target_id,
        metadata=metadata,
    )


async def note_migration(conn: Connection, name: str, forward: bool) -> None:
    """For storage.migrate: a row in the same transaction, where there is an audit log by then."""
    from storage import audit

    if await audit.exists(conn):
        action = "migration.applied" if forward else "migration.taken_back"
        await audit.append(conn, [entry(action, "migration", name)])


def note_tokens(settings: Settings, tokens: Sequence[str]) -> None:
    """Tells the audit log of tokens that were made, if there is a database to tell.

    A token is made with the key alone, also where no database is; then nobody is told. One that
    does not answer is a warning.
    """
    import jwt

    url = settings.database_url
    if url is None:
        found = running.find_running(running.data_path(settings))
        url = None if found is None else found.database_url
    if url is None:
        return
    made = []
    for token in tokens:
        claims = jwt.decode(token, options={"verify_signature": False})
        names = ("jti", "kind", "role", "scope", "subject", "exp")
        told = {name: claims.get(name) for name in names}
        made.append(entry("token.minted", str(claims["kind"]), str(claims["sub"]), **told))
    try:
        asyncio.run(_append(url, made))
    except Exception as error:  # noqa: BLE001 - the token is good all the same
        said = escape(str(error) or type(error).__name__)
        err = typer.style("not in the audit log:", dim=True)
        typer.echo(f"{err} {said}", err=True)


async def _append(url: str, made: list[Entry]) -> None:
    from storage import audit, database

    async with asyncio.timeout(NOTE_TIMEOUT_S), database.connection(url) as conn:
        await audit.append(conn, made)
