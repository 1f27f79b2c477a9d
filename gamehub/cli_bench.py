"""`gamehub bench`: how fast a hub is on this machine, as a table and as JSON."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from gamehub.bench_cases import Part
from gamehub.cli_options import console

if TYPE_CHECKING:
    from gamehub.bench import Report
    from loadtest.bench import Line, Load, Spread

SECONDS_MAX = 120
_PARTS = {
    "start": "Starting a gamehub of its own",
    "facts": "FACTs at a fixed rate",
    "fanout": "LIVE to viewers of one match",
    "ingest": "LIVE as fast as it goes",
}


def bench(
    seconds: Annotated[
        int, typer.Option("--seconds", min=1, max=SECONDS_MAX, help="Of each of the three parts.")
    ] = 10,
    fact_rate: Annotated[
        int, typer.Option("--fact-rate", min=1, max=10_000, help="FACTs offered per second.")
    ] = 500,
    viewers: Annotated[
        int, typer.Option("--viewers", min=1, max=2000, help="Who watch the one match.")
    ] = 200,
    live_rate: Annotated[
        int, typer.Option("--live-rate", min=1, max=1000, help="Events per second in it.")
    ] = 50,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the numbers to this file as well.")
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--dir", exists=True, file_okay=False, help="For the temporary data: whose disk counts."
        ),
    ] = None,
    only: Annotated[
        list[Part] | None,
        typer.Option("--only", help="Instead of the three parts: cases of the log and the fold."),
    ] = None,
    results: Annotated[
        int,
        typer.Option("--results", min=10, max=100_000, help="Of the fold; a rebuild has 100 x."),
    ] = 10_000,
    rounds: Annotated[int, typer.Option("--rounds", min=1, max=20, help="With --only.")] = 3,
    document: Annotated[
        Path | None, typer.Option("--document", help="With --only: write into this file's part.")
    ] = None,
) -> None:
    """Measure a hub on this machine: it starts one of its own, and leaves nothing behind."""
    if only:
        _bench_parts(only, results, seconds, rounds, json_file, document, folder)
        return
    from gamehub import bench as benchmark
    from loadtest.bench import Load, Progress

    def load(url: str, server_token: str, viewer_token: str) -> Load:
        return Load(
            url=url,
            server_token=server_token,
            viewer_token=viewer_token,
            run=benchmark.new_run(),
            fact_rate=fact_rate,
            fact_s=seconds,
            viewers=viewers,
            live_rate=live_rate,
            live_s=seconds,
            ingest_s=seconds,
        )

    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()
    with Bars(*columns, TimeElapsedColumn(), console=console) as bars:
        tasks = {name: bars.add_task(text, total=1.0, start=False) for name, text in _PARTS.items()}

        def tell(line: Line) -> None:
            if isinstance(line, Progress):
                bars.start_task(tasks[line.part])
                bars.update(tasks[line.part], completed=line.done)

        report = benchmark.run(load, folder, tell)
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    show(report)


def _bench_parts(
    only: list[Part], results: int, seconds: int, rounds: int, json_file: Path | None,
    document: Path | None, folder: Path | None,
) -> None:  # fmt: skip
    from gamehub import bench_ground, bench_parts
    from loadtest.report import save

    sizes = bench_parts.Sizes(
        results=results, rebuilt=100 * results, seconds=seconds, rounds=rounds
    )
    command = " ".join(["gamehub", *sys.argv[1:]])
    with console.status("Starting") as status:
        report, fsync = bench_parts.run(only, sizes, folder, command, status.update)
    if json_file is not None:
        save(report, json_file)
    bench_ground.shown(report, console, fsync)
    if document is not None:
        bench_ground.written(report, document, fsync)


def show(report: Report) -> None:
    """The table, with the machine and the versions under it."""
    facts, fanout, ingest = (
        report.measured.facts,
        report.measured.fanout,
        report.measured.ingest,
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for title in ("p50", "p99", "max"):
        table.add_column(title, justify="right")
    table.add_column("")
    table.add_row(
        f"FACT to ack, {facts.offered_per_s:,}/s",
        *_times(facts.ack),
        f"{facts.acked:,} of {facts.sent:,} acked",
    )
    table.add_row(
        "fsync of that disk, idle", *_times(report.fsync), f"{report.fsync.count:,} pages"
    )
    table.add_row(
        f"LIVE to viewers, {fanout.offered_per_s:,}/s",
        *_times(fanout.receive),
        f"{fanout.received:,} of {fanout.expected:,} seen",
    )
    table.add_row("LIVE ingest, full credit", "", "", "", f"{ingest.frames_per_s:,.0f} acked/s")
    console.print(table)
    cpu = " / ".join(f"{each.client_cpu:g}" for each in (facts, fanout, ingest))
    console.print(f"[dim]Client and servers share the cores; the client used {cpu} of one.[/]")
    machine = report.machine
    console.print(
        f"[dim]{machine['processor']}, {machine['cores']} cores, {machine['memory_mib']:,} MiB, "
        f"{machine['system']}, {machine['file_system']}[/]"
    )
    console.print(f"[dim]{', '.join(f'{name} {v}' for name, v in report.versions.items())}[/]")


def _times(spread: Spread) -> list[str]:
    return [f"{ms:.2f} ms" for ms in (spread.p50_ms, spread.p99_ms, spread.max_ms)]
