"""The cases of docs/benchmarks.md, and how their figures are written there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from loadtest import fanout, idle, ingest, latency, mixed, rivals, slow, storm
from loadtest.options import Scenario
from loadtest.report import Report, rows

BEGIN = "<!-- loadtest: begin, written by `make bench` -->"
END = "<!-- loadtest: end -->"


def beds(rounds: int) -> Sequence[Sequence[Scenario]]:
    """Groups of scenarios; each group has a fresh hub, as memory is what the first in it finds."""

    def fanned(options: fanout.Options) -> Scenario:
        return lambda bed: fanout.run(bed, options)

    def idling(options: idle.Options) -> Scenario:
        return lambda bed: idle.run(bed, options)

    return [
        [
            idling(idle.Options(connections=10_000, rounds=rounds)),
            fanned(fanout.one_room(1000, 1, 200, 3.0, rounds)),
            fanned(fanout.one_room(1000, 64, 200, 3.0, rounds)),
            fanned(fanout.many_rooms(100, 20, 4, 8, 200, 3.0, rounds)),
            fanned(fanout.many_rooms(100, 20, 4, 1, 200, 3.0, rounds)),
            lambda bed: latency.run(bed, latency.Options(rounds=rounds)),
            lambda bed: ingest.run(bed, ingest.Options(rounds=rounds)),
            lambda bed: mixed.run(bed, mixed.Options()),
        ],
        [
            idling(idle.Options(connections=15_000)),
            lambda bed: slow.run(bed, slow.Options()),
            lambda bed: storm.run(bed, storm.Options()),
            *(
                partial(rivals.run, options=rivals.Options(rounds=rounds), rival=name)
                for name in rivals.here()
            ),
        ],
    ]


def write(report: Report, document: Path, picture: Path | None = None) -> None:
    """Puts the figures between the markers of a Markdown file; what stands around them stays.

    `picture` is linked above them. Raises ValueError when the file has no markers.
    """
    text = document.read_text()
    head, found, rest = text.partition(BEGIN)
    _, closed, tail = rest.partition(END)
    if not found or not closed:
        raise ValueError(f"{document} has no lines {BEGIN} and {END}")
    shown = ""
    if picture is not None:
        place = os.path.relpath(picture, document.parent)
        shown = f"![Percentiles of the time from publish to receive]({place})\n\n"
    document.write_text(f"{head}{BEGIN}\n\n{shown}{markdown(report)}\n{END}{tail}")


def markdown(report: Report) -> str:
    """The report as Markdown: where, with what, then a table per case."""
    about = report.machine
    versions = ", ".join(f"{name} {text}" for name, text in report.versions.items())
    how = f"medians of {report.rounds} rounds, hub and floor in turn; {report.pinning}"
    where = f"{about['processor']}, {about['cores']} cores, {about['memory_mib']:,} MiB"
    parts = [f"`{report.command}`, {report.at}; {how}.", ""]
    parts += [f"{where}, {about['system']}; {versions}.", "", *tables(report)]
    return "\n".join(parts)


def tables(report: Report) -> list[str]:
    """A table per case, as lines of Markdown."""
    parts: list[str] = []
    for result in report.results:
        parts += [f"**{result.scenario}**: {result.case}", ""]
        parts += [f"| | hub | {result.beside or report.floor or 'floor'} | ratio | goal |"]
        parts += ["| --- | ---: | ---: | ---: | --- |"]
        parts += ["| " + " | ".join(row) + " |" for row in rows(result)]
        parts += ["", *(f"{note}\n" for note in result.notes)]
    return parts
