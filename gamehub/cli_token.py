"""`gamehub token mint | show`: tokens for people, game servers and overlays."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.markup import escape

from domain.errors import SettingsError
from domain.settings import Settings
from gamehub import cli_audit, keys, running
from gamehub.cli_options import Data, console, settings_from

app = typer.Typer(help="Make a token, or read one.", no_args_is_help=True)

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
    data: Data = None,
) -> None:
    """Print a token, signed with this installation's key (made if there is none)."""
    settings = settings_from(data=data)
    settings = keys.with_keys(settings, running.data_path(settings))
    token = keys.mint(
        settings,
        sub=sub or f"my-{kind}",
        kind=kind,
        role=role.upper(),
        scope=(scope or keys.SERVER_SCOPES) if kind == "server" else (scope or ()),
        games=game or None,
        subject=subject,
        ttl_s=None if ttl is None else parse_ttl(ttl),
    )
    typer.echo(token)
    cli_audit.note_token(settings, token)


@app.command()
def show(
    token: Annotated[str, typer.Argument(help="The token; - reads it from stdin.")],
    data: Data = None,
) -> None:
    """Say what a token says, whether it is valid here, and why not; exit code 1 if it is not."""
    settings = settings_from(data=data)
    settings = keys.with_keys(settings, running.data_path(settings))
    text = sys.stdin.read() if token == "-" else token  # noqa: S105 - the usual name of stdin
    seen = keys.inspect(settings, text.strip())
    claims = dict(seen.claims)
    for name in ("iat", "exp"):
        if isinstance(claims.get(name), int | float):
            moment = datetime.fromtimestamp(claims[name], UTC)
            claims[name] = f"{claims[name]} ({moment:%Y-%m-%d %H:%M:%S} UTC)"
    console.print_json(json.dumps({"header": dict(seen.header), "claims": claims}))
    if seen.problem is None:
        console.print("[green]valid[/]")
        return
    console.print(f"[red]not valid:[/] {escape(seen.problem)}")
    raise typer.Exit(1)


def server_token(settings: Settings, sub: str) -> str:
    """A server's token with every scope, made with the local key."""
    settings = keys.with_keys(settings, running.data_path(settings))
    return keys.mint(settings, sub=sub, kind="server", scope=keys.SERVER_SCOPES)


def parse_ttl(text: str) -> int:
    """Seconds of "90", "90s", "15m", "12h" or "30d"; raises SettingsError."""
    match = _TTL.match(text.strip().lower())
    if match is None:
        raise SettingsError("ttl must be like 90s, 15m, 12h or 30d", field="ttl")
    return int(match[1]) * _UNITS_S[match[2]]
