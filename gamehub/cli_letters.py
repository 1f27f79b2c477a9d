"""`gamehub deadletters | quarantine`: what was set aside, why, and another try for it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from domain.errors import SettingsError, StartError
from domain.settings import Settings
from gamehub.cli_options import Data, console, settings_from
from gamehub.cli_pool import actor, on_pool, on_servers
from gamehub.cli_tables import add, print_fields, print_json, print_table, table, when

if TYPE_CHECKING:
    import asyncpg
    from redis.asyncio import Redis

    from storage.deadletters import Letter
    from storage.ingest import Refused
    from storage.log import LoggedEvent

deadletters_app = typer.Typer(help="Facts that a worker could not digest.", no_args_is_help=True)
quarantine_app = typer.Typer(help="Facts that the hub refused.", no_args_is_help=True)

# `retry --all` reads the numbers of so many at a time.
PAGE_ROWS = 100
NOTHING = "Nothing is waiting here."

Limit = Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many at most.")]
Number = Annotated[int, typer.Argument(min=1, help="Its number in the list.")]
Numbers = Annotated[
    list[int] | None, typer.Argument(min=1, help="Their numbers in the list.", show_default=False)
]
All = Annotated[bool, typer.Option("--all", help="All that wait now, the oldest first.")]


@deadletters_app.command("list")
def list_letters(limit: Limit = 50, data: Data = None) -> None:
    """The oldest first, with the reason of the last try."""

    async def read(pool: asyncpg.Pool) -> list[Letter]:
        from storage import deadletters

        async with pool.acquire() as connection:
            return await deadletters.page(connection, limit)

    rows = table("#", "pipeline", "fact", "tries", "last try", "reason")
    for each in on_pool(data, read):
        reason = f"{each.error_type}: {each.error_text}"
        at = when(each.failed_at_ms)
        add(rows, each.id, each.pipeline, each.type, each.attempts, at, reason)
    print_table(rows, NOTHING)


@deadletters_app.command("show")
def show_letter(number: Number, data: Data = None) -> None:
    """One dead letter and the fact that it is about."""

    async def read(pool: asyncpg.Pool) -> tuple[Letter | None, list[LoggedEvent]]:
        from storage import deadletters, log

        async with pool.acquire() as connection:
            letter = await deadletters.get(connection, number)
            facts = [] if letter is None else await log.by_ids(connection, [letter.event_id])
            return letter, facts

    letter, facts = on_pool(data, read)
    if letter is None:
        raise _missing("deadletters", number)
    print_fields(
        {
            "pipeline": letter.pipeline,
            "fact": f"{letter.type}, number {letter.seq} of the log",
            "tries": f"{letter.attempts}, last {when(letter.failed_at_ms)}",
            "reason": f"{letter.error_type}: {letter.error_text}",
        }
    )
    for fact in facts:
        print_json(fact.payload)


@deadletters_app.command("retry")
def retry_letters(numbers: Numbers = None, every: All = False, data: Data = None) -> None:
    """Apply the facts again; exit code 1 when one fails again."""

    async def waiting(pool: asyncpg.Pool) -> list[int]:
        from storage import deadletters

        found: list[int] = []
        async with pool.acquire() as connection:
            while page := await deadletters.page(connection, PAGE_ROWS, found[-1] if found else 0):
                found += [each.id for each in page]
        return found

    async def again(pool: asyncpg.Pool, redis: Redis, number: int) -> bool | None:
        from workers import pipeline
        from workers.app import pipelines

        known = pipelines(settings_from(data=data))
        outcome = await pipeline.retry(known, pool, redis, number, actor())
        if outcome is None:
            return None
        if outcome.error is not None:
            console.print(f"[red]failed again:[/] {number}: {escape(outcome.error)}")
            return False
        letter = outcome.letter
        console.print(f"[green]done:[/] {number}: {letter.type} went through {letter.pipeline}")
        return True

    _retry("deadletters", numbers, every, data, waiting, again)


@quarantine_app.command("list")
def list_refused(limit: Limit = 50, data: Data = None) -> None:
    """The newest first, with the reason."""

    async def read(pool: asyncpg.Pool) -> list[Refused]:
        from storage import ingest

        async with pool.acquire() as connection:
            return await ingest.refused_page(connection, limit)

    rows = table("#", "server", "fact", "match", "received", "reason")
    for each in on_pool(data, read):
        reason = f"{each.code}: {each.message}"
        at = when(each.received_at_ms)
        add(rows, each.id, each.server, each.type, each.match_id or "", at, reason)
    print_table(rows, NOTHING)


@quarantine_app.command("show")
def show_refused(number: Number, data: Data = None) -> None:
    """One refused fact with everything that the server sent."""

    async def read(pool: asyncpg.Pool) -> Refused | None:
        from storage import ingest

        async with pool.acquire() as connection:
            return await ingest.get_refused(connection, number)

    refused = on_pool(data, read)
    if refused is None:
        raise _missing("quarantine", number)
    print_fields(
        {
            "server": f"{refused.server}, stream {refused.stream}, number {refused.seq}",
            "fact": refused.type,
            "match": refused.match_id or "",
            "received": when(refused.received_at_ms),
            "scopes": ", ".join(sorted(refused.scope)),
            "reason": f"{refused.code}: {refused.message}",
        }
    )
    print_json(refused.data)


@quarantine_app.command("retry")
def retry_refused(numbers: Numbers = None, every: All = False, data: Data = None) -> None:
    """Decide about the facts again, as of now; exit code 1 when one is refused again."""

    async def waiting(pool: asyncpg.Pool) -> list[int]:
        from storage import ingest

        found: list[int] = []
        async with pool.acquire() as connection:
            before = 2**62
            while page := await ingest.refused_page(connection, PAGE_ROWS, before):
                before = page[-1].id
                found += [each.id for each in page]
        return found[::-1]

    async def again(pool: asyncpg.Pool, _: Redis, number: int) -> bool | None:
        from services.ingest import quarantine

        now_ms = round(time.time() * 1000)
        outcome = await quarantine.retry_refused(pool, number, now_ms, actor())
        if outcome is None:
            return None
        if outcome.error is not None:
            console.print(f"[red]refused again:[/] {number}: {escape(str(outcome.error))}")
            return False
        done = f"{outcome.refused.type} is in the log"
        if outcome.event is None:
            done = "it changed nothing (that was known already)"
        console.print(f"[green]done:[/] {number}: {done}")
        return True

    _retry("quarantine", numbers, every, data, waiting, again)


def _retry(
    command: str,
    numbers: list[int] | None,
    every: bool,
    data: str | None,
    waiting: Callable[[asyncpg.Pool], Awaitable[list[int]]],
    again: Callable[[asyncpg.Pool, Redis, int], Awaitable[bool | None]],
) -> None:
    """Tries each number, or all that `waiting` names, in a transaction of its own each.

    Raises SettingsError unless numbers or --all are given, StartError at a number that is not
    there; what was done before it stays. One that fails again makes the exit code 1.
    """
    if bool(numbers) == every:
        raise SettingsError("name numbers of the list, or --all", field="numbers")

    async def work(pool: asyncpg.Pool, settings: Settings) -> list[bool]:
        from storage import log
        from storage.redis import connect

        assert settings.redis_url is not None
        redis = connect(settings.redis_url)
        try:
            done = []
            try:
                for number in await waiting(pool) if every else dict.fromkeys(numbers or ()):
                    outcome = await again(pool, redis, number)
                    # With --all, somebody else may have been quicker.
                    if outcome is None and not every:
                        raise _missing(command, number)
                    done.append(outcome is not False)
            finally:
                await log.wake(redis)
            return done
        finally:
            await redis.aclose()

    done = on_servers(data, work)
    if not done:
        console.print(NOTHING)
    if not all(done):
        raise typer.Exit(1)


def _missing(command: str, number: int) -> StartError:
    what = {"deadletters": "dead letter", "quarantine": "refused fact"}[command]
    return StartError(f"there is no {what} {number}; `gamehub {command} list`")
