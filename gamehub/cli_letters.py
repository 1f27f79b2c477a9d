"""`gamehub deadletters | quarantine`: what was set aside, why, and another try for it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.markup import escape
from rich.table import Table

from domain.errors import StartError
from domain.settings import Settings
from gamehub import logs, running
from gamehub.cli_options import Data, console, settings_from

if TYPE_CHECKING:
    import asyncpg

    from services.ingest.quarantine import RetriedFact
    from storage.deadletters import Letter
    from storage.ingest import Refused
    from storage.log import LoggedEvent
    from workers.pipeline import Retried

T = TypeVar("T")

deadletters_app = typer.Typer(help="Facts that a worker could not digest.", no_args_is_help=True)
quarantine_app = typer.Typer(help="Facts that the hub refused.", no_args_is_help=True)

Limit = Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many at most.")]
Number = Annotated[int, typer.Argument(min=1, help="Its number in the list.")]


@deadletters_app.command("list")
def list_letters(limit: Limit = 50, data: Data = None) -> None:
    """The oldest first, with the reason of the last try."""

    async def read(pool: asyncpg.Pool, _: Settings) -> list[Letter]:
        from storage import deadletters

        async with pool.acquire() as connection:
            return await deadletters.page(connection, limit)

    table = _table("#", "pipeline", "fact", "tries", "last try", "reason")
    for each in _on_pool(data, read):
        reason = f"{each.error_type}: {each.error_text}"
        when = _when(each.failed_at_ms)
        _add(table, each.id, each.pipeline, each.type, each.attempts, when, reason)
    _print(table)


@deadletters_app.command("show")
def show_letter(number: Number, data: Data = None) -> None:
    """One dead letter and the fact that it is about."""

    async def read(pool: asyncpg.Pool, _: Settings) -> tuple[Letter | None, list[LoggedEvent]]:
        from storage import deadletters, log

        async with pool.acquire() as connection:
            letter = await deadletters.get(connection, number)
            facts = [] if letter is None else await log.by_ids(connection, [letter.event_id])
            return letter, facts

    letter, facts = _on_pool(data, read)
    if letter is None:
        raise StartError(f"there is no dead letter {number}; `gamehub deadletters list`")
    _print_fields(
        {
            "pipeline": letter.pipeline,
            "fact": f"{letter.type}, number {letter.seq} of the log",
            "tries": f"{letter.attempts}, last {_when(letter.failed_at_ms)}",
            "reason": f"{letter.error_type}: {letter.error_text}",
        }
    )
    for fact in facts:
        _print_json(fact.payload)


@deadletters_app.command("retry")
def retry_letter(number: Number, data: Data = None) -> None:
    """Apply the fact again; exit code 1 when it fails again."""

    async def again(pool: asyncpg.Pool, settings: Settings) -> Retried | None:
        from storage import log
        from storage.redis import connect
        from workers import pipeline
        from workers.app import PIPELINES

        assert settings.redis_url is not None
        redis = connect(settings.redis_url)
        try:
            outcome = await pipeline.retry(PIPELINES, pool, redis, number)
            await log.wake(redis)
            return outcome
        finally:
            await redis.aclose()

    outcome = _on_pool(data, again)
    if outcome is None:
        raise StartError(f"there is no dead letter {number}; `gamehub deadletters list`")
    if outcome.error is not None:
        console.print(f"[red]failed again:[/] {escape(outcome.error)}")
        raise typer.Exit(1)
    console.print(f"[green]done:[/] {outcome.letter.type} went through {outcome.letter.pipeline}")


@quarantine_app.command("list")
def list_refused(limit: Limit = 50, data: Data = None) -> None:
    """The newest first, with the reason."""

    async def read(pool: asyncpg.Pool, _: Settings) -> list[Refused]:
        from storage import ingest

        async with pool.acquire() as connection:
            return await ingest.refused_page(connection, limit)

    table = _table("#", "server", "fact", "match", "received", "reason")
    for each in _on_pool(data, read):
        reason = f"{each.code}: {each.message}"
        when = _when(each.received_at_ms)
        _add(table, each.id, each.server, each.type, each.match_id or "", when, reason)
    _print(table)


@quarantine_app.command("show")
def show_refused(number: Number, data: Data = None) -> None:
    """One refused fact with everything that the server sent."""

    async def read(pool: asyncpg.Pool, _: Settings) -> Refused | None:
        from storage import ingest

        async with pool.acquire() as connection:
            return await ingest.get_refused(connection, number)

    refused = _on_pool(data, read)
    if refused is None:
        raise StartError(f"there is no refused fact {number}; `gamehub quarantine list`")
    _print_fields(
        {
            "server": f"{refused.server}, stream {refused.stream}, number {refused.seq}",
            "fact": refused.type,
            "match": refused.match_id or "",
            "received": _when(refused.received_at_ms),
            "scopes": ", ".join(sorted(refused.scope)),
            "reason": f"{refused.code}: {refused.message}",
        }
    )
    _print_json(refused.data)


@quarantine_app.command("retry")
def retry_refused(number: Number, data: Data = None) -> None:
    """Decide about the fact again, as of now; exit code 1 when it is refused again."""

    async def again(pool: asyncpg.Pool, settings: Settings) -> RetriedFact | None:
        from services.ingest import quarantine
        from storage import log
        from storage.redis import connect

        outcome = await quarantine.retry_refused(pool, number, int(time.time() * 1000))
        assert settings.redis_url is not None
        redis = connect(settings.redis_url)
        try:
            await log.wake(redis)
        finally:
            await redis.aclose()
        return outcome

    outcome = _on_pool(data, again)
    if outcome is None:
        raise StartError(f"there is no refused fact {number}; `gamehub quarantine list`")
    if outcome.error is not None:
        console.print(f"[red]refused again:[/] {escape(str(outcome.error))}")
        raise typer.Exit(1)
    if outcome.event is None:
        console.print("[green]done:[/] it changed nothing (that was known already)")
    else:
        console.print(f"[green]done:[/] {outcome.refused.type} is in the log")


def _on_pool(data: str | None, work: Callable[[asyncpg.Pool, Settings], Awaitable[T]]) -> T:
    """The work's result, on a pool of the running gamehub or of DATABASE_URL."""
    settings = running.with_servers(settings_from(data=data))
    logs.configure("gamehub", level="warning", log_format="console")

    async def run() -> T:
        from storage import database

        assert settings.database_url is not None
        pool = await database.connect_pool(
            settings.database_url, max_size=2, application_name="gamehub-cli"
        )
        try:
            with database.answering():
                return await work(pool, settings)
        finally:
            await pool.close()

    return asyncio.run(run())


def _when(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"


def _table(*headings: str) -> Table:
    table = Table()
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _add(table: Table, *cells: object) -> None:
    table.add_row(*(escape(str(cell)) for cell in cells))


def _print(table: Table) -> None:
    console.print(table if table.row_count else "Nothing is waiting here.")


def _print_fields(fields: dict[str, str]) -> None:
    for name, value in fields.items():
        console.print(f"[dim]{name:<10}[/]{escape(value)}", soft_wrap=True)


def _print_json(value: Any) -> None:
    console.print_json(json.dumps(value, default=str))
