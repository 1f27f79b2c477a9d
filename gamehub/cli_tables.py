"""Tables, JSON lines, and times and names in options, of operators' commands."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from typing import Any

import typer
from rich.markup import escape
from rich.table import Table

from domain.errors import InvalidSchema, SettingsError
from domain.times import TIME_MIN_MS, parse_time
from gamehub.cli_options import console

_AGO = re.compile(r"(\d{1,9})([smhd])\Z")
_UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_NAMES = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*(\.\*)?\Z")


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
