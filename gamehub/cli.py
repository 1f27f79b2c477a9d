"""The command line: `gamehub up | demo | hub | worker | migrate | token | doctor | replay | ...`.

Commands import what they run inside their functions: `gamehub --help` and `gamehub token` then
need not wait for web server, database drivers and code that they never touch.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from domain.errors import GamehubError, SettingsError
from gamehub import (
    cli_audit,
    cli_bench,
    cli_game,
    cli_letters,
    cli_log,
    cli_rebuild,
    cli_role,
    cli_season,
    cli_token,
)
from gamehub.cli_options import (
    Data,
    Host,
    Port,
    console,
    inherited,
    settings_from,
    with_servers_and_keys,
)

if TYPE_CHECKING:
    from storage.migrate import MigrationStatus

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells say it

app = typer.Typer(
    name="gamehub",
    help="A live-match hub: game servers stream matches in, everyone else watches.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
migrate_app = typer.Typer(help="Bring the database up to date, back, or show where it is.")
app.add_typer(migrate_app, name="migrate")
app.add_typer(cli_token.app, name="token")
app.add_typer(cli_role.app, name="role")
app.add_typer(cli_rebuild.app, name="rebuild")
app.add_typer(cli_letters.deadletters_app, name="deadletters")
app.add_typer(cli_letters.quarantine_app, name="quarantine")
app.add_typer(cli_log.app, name="log")
app.add_typer(cli_audit.app, name="audit")
app.add_typer(cli_game.app, name="game")
app.add_typer(cli_season.app, name="season")
app.command()(cli_bench.bench)


def main() -> None:
    """The console script: an error is one line on stderr and an exit code, never a traceback."""
    try:
        app()
    except SettingsError as error:
        _complain(error.code, error.message)
        sys.exit(EXIT_USAGE)
    except GamehubError as error:
        _complain(error.code, error.message)
        sys.exit(EXIT_FAILED)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:  # `gamehub ... | head`
        sys.stderr.close()
        sys.exit(EXIT_FAILED)
    except Exception as error:
        if os.environ.get("LOG_LEVEL", "").lower() == "debug":
            raise
        _complain(*_explained(error))
        sys.exit(EXIT_FAILED)


def _complain(code: str, message: str) -> None:
    Console(stderr=True, highlight=False).print(
        f"[red]gamehub:[/] {escape(message)} [dim]({code})[/]", soft_wrap=True
    )


def _explained(error: Exception) -> tuple[str, str]:
    """(code, message) of an error that no layer of ours has put into words."""
    family = type(error).__module__.partition(".")[0]
    if family in ("asyncpg", "redis") or isinstance(error, OSError):
        said = str(error) or type(error).__name__
        return "unavailable", f"{said}; `gamehub doctor` looks for causes"
    return "internal_error", (
        f"unexpected {type(error).__name__}: {error}; LOG_LEVEL=debug shows where it comes from"
    )


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gamehub {importlib.metadata.version('gamehub')}")
        raise typer.Exit


@app.callback()
def _gamehub(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Every option is also a setting: an environment variable, listed in .env.example."""


@app.command()
def up(host: Host = None, port: Port = None, data: Data = None) -> None:
    """Start everything: Postgres, Valkey, hub and worker; Ctrl-C stops it all."""
    from gamehub import supervisor

    raise typer.Exit(supervisor.up(settings_from(host=host, port=port, data=data), fleet=False))


@app.command()
def demo(
    host: Host = None,
    port: Port = None,
    data: Data = None,
    servers: Annotated[
        int, typer.Option("--servers", min=0, max=1000, help="Game servers; 0 = a good number.")
    ] = 0,
) -> None:
    """The same with simulated game servers, and pages that anyone may watch."""
    from domain.settings import LOOPBACK
    from gamehub import supervisor

    settings = settings_from(host=host, port=port, data=data).with_(public_spectating=True)
    settings = settings.with_(ws_rate_exempt_cidrs=settings.ws_rate_exempt_cidrs or LOOPBACK)
    raise typer.Exit(supervisor.up(settings, fleet=True, servers=servers))


@app.command()
def hub(
    host: Host = None,
    port: Port = None,
    data: Data = None,
    processes: Annotated[
        int | None,
        typer.Option("--processes", help="Hub processes on one port [GAMEHUB_PROCESSES]."),
    ] = None,
    sockets: Annotated[str, typer.Option("--sockets", hidden=True)] = "",
    number: Annotated[int, typer.Option("--number", hidden=True)] = 0,
) -> None:
    """A hub on DATABASE_URL and REDIS_URL or the running gamehub's servers; SIGHUP renews it."""
    settings = with_servers_and_keys(
        settings_from(host=host, port=port, data=data, processes=processes)
    )
    from gamehub import logs

    level, log_format = settings.log_level, settings.log_format
    logs.configure("hub", level=level, log_format=log_format, process=number)
    if settings.processes > 1 and not number:
        from gamehub import hub_processes

        raise typer.Exit(hub_processes.run(settings))
    from gamehub import garbage
    from hub import app as hub_app

    garbage.look_rarely()
    raise typer.Exit(hub_app.run(settings, inherited(sockets)))


@app.command()
def worker(data: Data = None) -> None:
    """One worker process, on DATABASE_URL and REDIS_URL or the running gamehub's servers."""
    settings = with_servers_and_keys(settings_from(data=data))
    from gamehub import garbage, logs
    from workers import app as worker_app

    logs.configure("worker", level=settings.log_level, log_format=settings.log_format)
    garbage.look_rarely()
    raise typer.Exit(worker_app.run(settings))


@migrate_app.callback(invoke_without_command=True)
def _migrate(context: typer.Context, data: Data = None) -> None:
    context.obj = data
    if context.invoked_subcommand is None:
        migrate_up(context)


@migrate_app.command("up")
def migrate_up(context: typer.Context, data: Data = None) -> None:
    """Apply what is missing."""
    from storage import migrate

    url = _database_url(context, data)
    applied = asyncio.run(migrate.up(url, noted=cli_audit.note_migration))
    for name in applied:
        console.print(f"[green]applied[/] {name}")
    if not applied:
        console.print("The database is up to date.")


@migrate_app.command("down")
def migrate_down(
    context: typer.Context,
    steps: Annotated[int, typer.Option("--steps", min=1, help="How many to take back.")] = 1,
    data: Data = None,
) -> None:
    """Take back the last migration (and the data that it brought)."""
    from storage import migrate

    url = _database_url(context, data)
    for name in asyncio.run(migrate.down(url, steps=steps, noted=cli_audit.note_migration)):
        console.print(f"[yellow]took back[/] {name}")


@migrate_app.command("status")
def migrate_status(context: typer.Context, data: Data = None) -> None:
    """List the migrations and their states; exit code 1 unless all are applied."""
    rows = asyncio.run(_migration_status(_database_url(context, data)))
    for row in rows:
        color = "green" if row.state == "applied" else "yellow"
        console.print(f"[{color}]{row.state:<8}[/] {row.name}")
    raise typer.Exit(0 if all(row.state == "applied" for row in rows) else EXIT_FAILED)


async def _migration_status(database_url: str) -> list[MigrationStatus]:
    from storage import database, migrate

    with database.answering():
        async with database.connection(database_url) as conn:
            return await migrate.status(conn)


def _database_url(context: typer.Context, data: str | None) -> str:
    from gamehub import logs, running

    settings = settings_from(data=data or context.obj)
    logs.configure("gamehub", level="warning", log_format="console")
    url = settings.database_url or running.with_servers(settings).database_url
    assert url is not None
    return url


@app.command()
def doctor(host: Host = None, port: Port = None, data: Data = None) -> None:
    """Check settings, servers, clock and limits, and say how to mend what is wrong."""
    from gamehub import doctor as checks

    raise typer.Exit(checks.run(settings_from(host=host, port=port, data=data), console))


@app.command()
def replay(
    files: Annotated[
        list[Path], typer.Argument(help="JSONL files, plain or .gz.", exists=True, dir_okay=False)
    ],
    speed: Annotated[
        float, typer.Option("--speed", min=0.01, help="Times the recorded pace.")
    ] = 1.0,
    max_gap: Annotated[
        float | None, typer.Option("--max-gap", min=0, help="Longest pause in seconds.")
    ] = None,
    url: Annotated[str | None, typer.Option("--url", help="The hub [the running one].")] = None,
    token: Annotated[
        str | None, typer.Option("--token", help="A server's token [made with the local key].")
    ] = None,
    data: Data = None,
) -> None:
    """Stream recorded matches into a hub, as their game servers would have."""
    from gamehub import replay as replaying
    from gamehub import running

    settings = settings_from(data=data)
    if url is None:
        found = running.find_running(running.data_path(settings))
        url = found.url if found else running.hub_url(settings)
    token = token or cli_token.server_token(settings, "replay")
    report = asyncio.run(replaying.replay(files, url, token, speed=speed, max_gap_s=max_gap))
    # The report was printed; scripts hear by the exit code that something was refused.
    if report.facts_refused:
        raise typer.Exit(1)
