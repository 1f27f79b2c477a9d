"""`gamehub log list | show | tail | stats`: the facts as operators read them (EVT-04)."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from domain.errors import SettingsError, StartError
from gamehub.cli_options import Data, console
from gamehub.cli_pool import on_pool
from gamehub.cli_tables import (
    add,
    dotted,
    moment,
    print_fields,
    print_json,
    print_line,
    print_table,
    table,
    when,
)

if TYPE_CHECKING:
    import asyncpg

    from storage.log import LoggedEvent
    from storage.log.pages import Bucket, Count, Filter, Order

app = typer.Typer(help="The log of facts: what happened, in order.", no_args_is_help=True)

ROWS_MAX = 10_000
FOLLOW_S = 0.5
PAYLOAD_SHOWN_MAX = 160  # characters in a table; `show` and --json have all
# Lines of `stats`; over it a coarser --by is asked for (days: the latest are shown).
BUCKETS_MAX = 400
BAR_WIDTH = 30
# By how frequent a type is; all rare ones share the last.
COLORS = ("cyan", "green", "yellow", "magenta", "blue", "red", "white")
_BUCKET_MS = {"minute": 60_000, "hour": 3_600_000, "day": 86_400_000}

Type = Annotated[str | None, typer.Option("--type", help="match.completed, or a family: match.*")]
Subject = Annotated[
    str | None, typer.Option("--subject", help="Whom it is about: user:ID, match:ID, ...")
]
Since = Annotated[str | None, typer.Option("--since", help="15m, 12h, 30d (ago), or a time.")]
Until = Annotated[str | None, typer.Option("--until", help="The same; not included.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]


@app.command("list")
def list_facts(
    type_: Type = None,
    subject: Subject = None,
    since: Since = None,
    until: Until = None,
    since_seq: Annotated[
        int | None, typer.Option("--since-seq", min=0, help="Those after this number, in order.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=ROWS_MAX)] = 50,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """The newest first; with --since-seq in the log's order."""
    wanted = _filter(type_, subject, since, until)
    order: Order = "newest" if since_seq is None else "oldest"

    async def read(pool: asyncpg.Pool) -> list[LoggedEvent]:
        return await _read(pool, wanted, limit, since_seq, order)

    _print(on_pool(data, read), as_json)


@app.command("show")
def show_fact(
    which: Annotated[str, typer.Argument(help="Its number in the log, or its event id.")],
    data: Data = None,
) -> None:
    """One fact with its whole payload."""
    seq, event_id = _which(which)

    async def read(pool: asyncpg.Pool) -> LoggedEvent | None:
        from storage.log import pages as log_pages

        async with pool.acquire() as conn:
            if event_id is not None:
                return await log_pages.by_id(conn, event_id)
            return await log_pages.get(conn, seq)

    fact = on_pool(data, read)
    if fact is None:
        raise StartError(f"there is no fact {which} in the log; `gamehub log list`")
    print_fields(
        {
            "number": str(fact.seq),
            "type": f"{fact.type} (version {fact.v})",
            "subject": fact.subject or "",
            "event id": str(fact.event_id),
            "follows": "nothing" if fact.cause_id is None else str(fact.cause_id),
            "occurred": when(fact.occurred_at_ms),
            "recorded": when(fact.recorded_at_ms),
        }
    )
    from storage.log.pages import shown

    print_json(shown(fact)["payload"])


@app.command("tail")
def tail_facts(
    type_: Type = None,
    subject: Subject = None,
    since_seq: Annotated[
        int | None, typer.Option("--since-seq", min=0, help="Begin after this number.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=ROWS_MAX)] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """The last facts in the log's order, and with --follow every further one."""
    wanted = _filter(type_, subject, None, None)

    async def read(pool: asyncpg.Pool) -> None:
        from storage.log.pages import PAGE_MAX

        if since_seq is None:
            # Those up to the head as it is now, then what comes after it.
            after = await _head(pool)
            found = (await _read(pool, wanted, limit, after + 1, "newest"))[::-1]
        else:
            found = await _read(pool, wanted, limit, since_seq, "oldest")
            after = found[-1].seq if found else since_seq
        _print_lines(found, as_json)
        while follow:
            head = await _head(pool)
            found = await _read(pool, wanted, PAGE_MAX, after, "oldest")
            _print_lines(found, as_json)
            if len(found) < PAGE_MAX:
                # All up to the head was looked at, also where nothing of it was wanted.
                after = max(head, found[-1].seq if found else 0, after)
                await asyncio.sleep(FOLLOW_S)
            else:
                after = found[-1].seq

    on_pool(data, read)


@app.command("stats")
def count_facts(
    since: Annotated[str, typer.Option("--since", help="15m, 12h, 30d (ago), or a time.")] = "24h",
    by: Annotated[
        str | None, typer.Option("--by", help="minute, hour or day [what fits --since].")
    ] = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """How many facts of each type were recorded, and when: by the hour or the day (UTC)."""
    since_ms = moment(since, "since")
    assert since_ms is not None
    now_ms = round(time.time() * 1000)
    bucket = _bucket(by, now_ms - since_ms)

    async def read(pool: asyncpg.Pool) -> list[Count]:
        from storage.log import pages as log_pages

        async with pool.acquire() as conn:
            return await log_pages.counts(conn, bucket, since_ms)

    found = on_pool(data, read)
    if as_json:
        from domain.times import time_text

        for each in found:
            print_line({"at": time_text(each.at_ms), "type": each.type, "facts": each.facts})
        return
    if not found:
        console.print("Nothing was recorded since then.")
        return
    _print_bars(found, bucket)


# -- arguments -----------------------------------------------------------------------------------


def _filter(type_: str | None, subject: str | None, since: str | None, until: str | None) -> Filter:
    from storage.log.pages import Filter

    if subject is not None and not all(subject.partition(":")):
        raise SettingsError("--subject must be like user:ID or match:ID", field="subject")
    return Filter(
        type=dotted(type_, "type"),
        subject=subject,
        since_ms=moment(since, "since"),
        until_ms=moment(until, "until"),
    )


def _which(text: str) -> tuple[int, uuid.UUID | None]:
    if text.isascii() and text.isdecimal() and len(text) <= 18:
        return int(text), None
    try:
        return 0, uuid.UUID(text)
    except ValueError:
        raise SettingsError(
            f"a fact is named by its number or its event id, not {text[:80]!r}", field="which"
        ) from None


def _bucket(by: str | None, span_ms: int) -> Bucket:
    if by is None:
        by = "hour" if span_ms <= 3 * _BUCKET_MS["day"] else "day"
        if span_ms <= 2 * _BUCKET_MS["hour"]:
            by = "minute"
    for name in ("minute", "hour", "day"):
        if by == name:
            if span_ms / _BUCKET_MS[name] > BUCKETS_MAX and name != "day":
                raise SettingsError(f"--by {by} gives too many lines for this --since", field="by")
            return name
    raise SettingsError("--by must be minute, hour or day", field="by")


# -- reading and showing -------------------------------------------------------------------------


async def _head(pool: asyncpg.Pool) -> int:
    from storage import log

    async with pool.acquire() as conn:
        return await log.head(conn)


async def _read(
    pool: asyncpg.Pool, wanted: Filter, limit: int, after: int | None, order: Order
) -> list[LoggedEvent]:
    from storage.log import pages as log_pages

    found: list[LoggedEvent] = []
    async with pool.acquire() as conn:
        while len(found) < limit:
            part = min(limit - len(found), log_pages.PAGE_MAX)
            rows = await log_pages.page(conn, wanted, part, after, order)
            found += rows
            if len(rows) < part:
                break
            after = rows[-1].seq
    return found


def _print(found: list[LoggedEvent], as_json: bool) -> None:
    if as_json:
        _print_lines(found, as_json)
        return
    rows = table("#", "recorded (UTC)", "type", "subject", "payload")
    for each in found:
        payload = _brief(each)
        add(rows, each.seq, when(each.recorded_at_ms), each.type, each.subject or "", payload)
    print_table(rows, "Nothing of this kind is in the log.")


def _print_lines(found: list[LoggedEvent], as_json: bool) -> None:
    from storage.log.pages import shown

    for each in found:
        if as_json:
            print_line(shown(each))
        else:
            head = f"[dim]{each.seq:>8} {when(each.recorded_at_ms)}[/] [green]{each.type}[/]"
            rest = escape(f"{each.subject or ''} {_brief(each)}")
            console.print(f"{head} {rest}", soft_wrap=True)


def _brief(fact: LoggedEvent) -> str:
    text = json.dumps(fact.payload, ensure_ascii=False, default=str)
    return text if len(text) <= PAYLOAD_SHOWN_MAX else f"{text[:PAYLOAD_SHOWN_MAX]}..."


def _print_bars(found: list[Count], bucket: Bucket) -> None:
    """A line per type, then one per bucket: the count, and a bar in the types' colours."""
    sums: Counter[str] = Counter()
    lines: dict[int, Counter[str]] = {}
    for each in found:
        sums[each.type] += each.facts
        lines.setdefault(each.at_ms, Counter())[each.type] += each.facts
    named = [name for name, _ in sums.most_common()]
    colors = {name: COLORS[min(index, len(COLORS) - 1)] for index, name in enumerate(named)}
    types = Table.grid(padding=(0, 2))
    for name in named:
        alone = Counter({name: sums[name]})
        types.add_row(name, _right(sums[name]), _bar(alone, [name], colors, sums[named[0]]))
    types.add_row("all", _right(sums.total()), "")
    console.print(types)
    console.print()
    step_ms = _BUCKET_MS[bucket]
    first = max(min(lines), max(lines) - (BUCKETS_MAX - 1) * step_ms)
    highest = max(line.total() for line in lines.values())
    times = Table.grid(padding=(0, 2))
    for at_ms in range(first, max(lines) + 1, step_ms):
        line = lines.get(at_ms, Counter[str]())
        at = when(at_ms)[: 10 if bucket == "day" else 16]
        times.add_row(at, _right(line.total()), _bar(line, named, colors, highest))
    console.print(times)


def _right(count: int) -> Text:
    return Text(f"{count:>9}")


def _bar(line: Counter[str], order: list[str], colors: dict[str, str], highest: int) -> Text:
    """BAR_WIDTH cells stand for `highest`; the types' parts lie one behind the other."""
    bar = Text(no_wrap=True)
    so_far = 0
    for name in order:
        start = round(so_far / highest * BAR_WIDTH)
        so_far += line[name]
        bar.append("█" * (round(so_far / highest * BAR_WIDTH) - start), style=colors[name])
    if so_far and not bar.plain:
        bar.append("▏", style=colors[next(iter(line))])
    return bar
