"""What operators' commands share: a pool, who they are, times in options, tables and JSON lines."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import typer
from rich.markup import escape
from rich.table import Table

from domain.errors import InvalidSchema, SettingsError
from domain.settings import Settings
from domain.times import TIME_MIN_MS, parse_time
from gamehub import logs, running
from gamehub.cli_options import console, settings_from

if TYPE_CHECKING:
    import asyncpg

T = TypeVar("T")

_AGO = re.compile(r"(\d{1,9})([smhd])\Z")
_UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_NAMES = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*(\.\*)?\Z")


def actor() -> str:
    """Whom the audit log names for what is done on the command line: `cli:<user of the system>`.

    It is the user that the process runs as, not what the environment says.
    """
    try:
        import pwd

        return f"cli:{pwd.getpwuid(os.getuid()).pw_name}"
    except (ImportError, KeyError):  # not a Unix, or a container's user without a name
        return f"cli:{os.getuid() if hasattr(os, 'getuid') else os.environ.get('USERNAME', '?')}"


def on_pool(data: str | None, work: Callable[[asyncpg.Pool, Settings], Awaitable[T]]) -> T:
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


def moment(text: str | None, option: str) -> int | None:
    """An option's time in ms: "15m", "12h", "30d" ago, a day or an RFC 3339 time; SettingsError."""
    if text is None:
        return None
    ago = _AGO.match(text.strip().lower())
    if ago is not None:
        at_ms = round(time.time() * 1000) - int(ago[1]) * _UNITS_MS[ago[2]]
        return max(at_ms, TIME_MIN_MS)
    day = re.fullmatch(r"\d{4}-\d{2}-\d{2}", text.strip()) is not None
    try:
        return parse_time(f"{text.strip()}T00:00:00Z" if day else text.strip(), option)
    except InvalidSchema:
        raise SettingsError(
            f"--{option} must be like 15m, 12h or 30d (ago), 2018-08-15 or 2018-08-15T16:03:00Z",
            field=option,
        ) from None


def dotted(text: str | None, option: str) -> str | None:
    """An option's dotted name, `match.completed` or a family of them, `match.*`; SettingsError."""
    if text is not None and _NAMES.match(text) is None:
        raise SettingsError(
            f"--{option} must be a name like auth.login, or a family like auth.*", field=option
        )
    return text


def when(at_ms: int) -> str:
    """A time for people, UTC."""
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"


def table(*headings: str) -> Table:
    """An empty table; what does not fit is folded."""
    made = Table()
    for heading in headings:
        made.add_column(heading, overflow="fold")
    return made


def add(to: Table, *cells: object) -> None:
    """One row; nothing in it is markup."""
    to.add_row(*(escape(str(cell)) for cell in cells))


def print_table(shown: Table, empty: str) -> None:
    """The table, or the text that says that there is nothing."""
    console.print(shown if shown.row_count else empty)


def print_fields(fields: dict[str, str]) -> None:
    """One line per field."""
    for name, value in fields.items():
        console.print(f"[dim]{name:<10}[/]{escape(value)}", soft_wrap=True)


def print_json(value: Any) -> None:
    """A value over several lines, for people."""
    console.print_json(json.dumps(value, default=str))


def print_line(value: Any) -> None:
    """A value as one line of JSON, for programs."""
    typer.echo(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
