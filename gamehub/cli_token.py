"""`gamehub token mint | show | revoke | revocations`: tokens for people, servers and overlays."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from domain.errors import GamehubError, SettingsError
from domain.settings import Settings
from domain.times import time_text
from gamehub import cli_audit, running
from gamehub.cli_options import Data, console, settings_from
from gamehub.cli_pool import changing, on_pool, operator
from gamehub.cli_tables import add, moment, print_table, table, when

if TYPE_CHECKING:
    import asyncpg

    from gamehub import keys
    from storage.tokens import StoredRevocation

app = typer.Typer(help="Make a token, read one, or revoke it.", no_args_is_help=True)

_TTL = re.compile(r"(\d{1,9})([smhd]?)\Z")
_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


@app.command()
def mint(
    sub: Annotated[str | None, typer.Option("--sub", help="Whom it speaks for.")] = None,
    role: Annotated[
        str, typer.Option("--role", help="SPECTATOR, PLAYER, ORGANIZER or ADMIN.")
    ] = "SPECTATOR",
    kind: Annotated[str, typer.Option("--kind", help="user, server or overlay.")] = "user",
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", help="A server's: ingest, match:create, import (repeat) [all]."),
    ] = None,
    game: Annotated[
        list[str] | None, typer.Option("--game", help="Only this game (repeat) [any].")
    ] = None,
    subject: Annotated[
        str | None, typer.Option("--subject", help="An overlay's: the one room or user it shows.")
    ] = None,
    ttl: Annotated[
        str | None, typer.Option("--ttl", help="Life: 90s, 15m, 12h, 30d [12h, server 30d].")
    ] = None,
    count: Annotated[
        int | None,
        typer.Option("--count", min=1, max=10_000, help="So many, for SUB-1, SUB-2, ... (tests)."),
    ] = None,
    data: Data = None,
) -> None:
    """Print a token, signed with this installation's key (made if there is none)."""
    from gamehub import keys

    settings = settings_from(data=data)
    settings = keys.with_keys(settings, running.data_path(settings))
    first = sub or f"my-{kind}"
    tokens = [
        keys.mint(
            settings,
            sub=name,
            kind=kind,
            role=role.upper(),
            scope=(scope or keys.SERVER_SCOPES) if kind == "server" else (scope or ()),
            games=game or None,
            subject=subject,
            ttl_s=None if ttl is None else parse_ttl(ttl),
        )
        for name in ([first] if count is None else [f"{first}-{n}" for n in range(1, count + 1)])
    ]
    typer.echo("\n".join(tokens))
    cli_audit.note_tokens(settings, tokens)


@app.command()
def show(
    token: Annotated[str, typer.Argument(help="The token; - reads it from stdin.")],
    data: Data = None,
) -> None:
    """Say what a token says, whether it is valid here, and why not; exit code 1 if it is not.

    Where the database can be asked, also whether it was revoked.
    """
    seen = _inspect(token, data)
    claims = dict(seen.claims)
    for name in ("iat", "exp"):
        if isinstance(claims.get(name), int | float):
            moment = datetime.fromtimestamp(claims[name], UTC)
            claims[name] = f"{claims[name]} ({moment:%Y-%m-%d %H:%M:%S} UTC)"
    console.print_json(json.dumps({"header": dict(seen.header), "claims": claims}))
    problem = seen.problem
    if problem is None:
        try:
            problem = _revoked(seen.claims, data)
        except GamehubError:
            console.print("[dim]No database to ask whether it was revoked.[/]")
    if problem is None:
        console.print("[green]valid[/]")
        return
    console.print(f"[red]not valid:[/] {escape(problem)}")
    raise typer.Exit(1)


@app.command()
def revoke(
    token: Annotated[
        str | None, typer.Argument(help="The token; - reads it from stdin.", show_default=False)
    ] = None,
    jti: Annotated[str | None, typer.Option("--jti", help="One token, by its jti.")] = None,
    sub: Annotated[
        str | None, typer.Option("--sub", help="All tokens of this sub, of whatever kind.")
    ] = None,
    at: Annotated[
        str | None,
        typer.Option("--at", help="With --sub: issued up to a time, or 12h (ago) [now]."),
    ] = None,
    data: Data = None,
) -> None:
    """End a token, or all of a user's, before their time: open sockets close within a second."""
    if sum(each is not None for each in (token, jti, sub)) != 1 or (at and sub is None):
        raise SettingsError("name one: a TOKEN, --jti, or --sub (with --at)", field="token")
    ends_at_s = None
    if token is not None:
        seen = _inspect(token, data)
        jti = str(seen.claims.get("jti", ""))
        # The end of a token that we could not check may be a lie: then it is kept for long.
        ends_at_s = int(seen.claims["exp"]) if seen.problem is None else None
    until_ms = moment(at, "at")

    async def work(pool: asyncpg.Pool) -> bool | int | None:
        from services import tokens

        if sub is not None:
            return await tokens.revoke_subject(pool, operator(), sub, issued_until_ms=until_ms)
        assert jti is not None
        return await tokens.revoke_token(pool, operator(), jti, ends_at_s=ends_at_s)

    done = changing(data, work)
    if not done:
        console.print("It was revoked before.")
    elif sub is not None:
        console.print(f"[green]done:[/] tokens of {escape(sub)} up to {time_text(done)} are dead")
    else:
        console.print(f"[green]done:[/] the token {escape(jti or '')} is dead")


@app.command()
def revocations(
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many at most.")] = 50,
    data: Data = None,
) -> None:
    """What is revoked and still matters, the newest first."""

    async def work(pool: asyncpg.Pool) -> list[StoredRevocation]:
        from storage import tokens

        async with pool.acquire() as connection:
            return await tokens.page(connection, limit)

    rows = on_pool(data, work)
    shown = table("what", "revoked", "by", "kept until")
    for row in rows:
        what = f"jti {row.token_id}" if row.token_id else _all_of(row)
        kept = when(round(row.kept_until_s * 1000))
        add(shown, what, when(row.revoked_at_ms), row.revoked_by, kept)
    print_table(shown, "Nothing is revoked.")


def _all_of(row: StoredRevocation) -> str:
    return f"all of {row.subject} up to {time_text(round(row.issued_until_s * 1000))}"


def _inspect(token: str, data: str | None) -> keys.Inspection:
    from gamehub import keys

    settings = settings_from(data=data)
    settings = keys.with_keys(settings, running.data_path(settings))
    text = sys.stdin.read() if token == "-" else token  # noqa: S105 - the usual name of stdin
    return keys.inspect(settings, text.strip())


def _revoked(claims: Mapping[str, Any], data: str | None) -> str | None:
    """Why a token is dead though it looks well; raises StartError or Unavailable."""

    async def work(pool: asyncpg.Pool) -> list[StoredRevocation]:
        from storage import tokens

        async with pool.acquire() as connection:
            return await tokens.about(connection, str(claims["jti"]), str(claims["sub"]))

    for row in on_pool(data, work):
        if row.token_id is not None or int(claims["iat"]) <= row.issued_until_s:
            when = time_text(row.revoked_at_ms)
            what = "it was" if row.token_id else f"all tokens of {row.subject} were"
            return f"{what} revoked at {when} by {row.revoked_by}"
    return None


def server_token(settings: Settings, sub: str) -> str:
    """A server's token with every scope, made with the local key."""
    from gamehub import keys

    settings = keys.with_keys(settings, running.data_path(settings))
    return keys.mint(settings, sub=sub, kind="server", scope=keys.SERVER_SCOPES)


def parse_ttl(text: str) -> int:
    """Seconds of "90", "90s", "15m", "12h" or "30d"; raises SettingsError."""
    match = _TTL.match(text.strip().lower())
    if match is None:
        raise SettingsError("ttl must be like 90s, 15m, 12h or 30d", field="ttl")
    return int(match[1]) * _UNITS_S[match[2]]
