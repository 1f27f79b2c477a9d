"""The options that all verbs of the load test share, and the run that they describe."""

from __future__ import annotations

import inspect
import resource
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import uvloop
from msgspec import Struct
from rich.console import Console
from rich.progress import BarColumn, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from loadtest import report as reports
from loadtest.target import Target

if TYPE_CHECKING:
    from loadtest.bed import Bed

Scenario = Callable[["Bed"], Awaitable[reports.Result]]
console = Console(highlight=False)


class Common(Struct, frozen=True, kw_only=True):
    """Whom to press, and what becomes of the numbers."""

    url: Annotated[
        str | None,
        typer.Option("--url", envvar="GAMEHUB_LOAD_URL", help="Press this hub [start one]."),
    ] = None
    viewer_tokens: Annotated[
        Path | None,
        typer.Option(
            "--viewer-tokens",
            envvar="GAMEHUB_LOAD_VIEWER_TOKENS",
            help="With --url: a file of viewers' tokens, one per line.",
        ),
    ] = None
    server_tokens: Annotated[
        Path | None,
        typer.Option(
            "--server-tokens",
            envvar="GAMEHUB_LOAD_SERVER_TOKENS",
            help="With --url: a file of game servers' tokens, one per line.",
        ),
    ] = None
    pid: Annotated[
        list[int] | None,
        typer.Option("--pid", help="With --url: a process of the hub on this machine (repeat)."),
    ] = None
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="Without --url: NAME=VALUE, a setting of the hub (repeat)."),
    ] = None
    floor: Annotated[
        bool, typer.Option("--floor/--no-floor", help="Measure a bare server beside the hub.")
    ] = True
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the numbers to this file as well.")
    ] = None
    svg_file: Annotated[
        Path | None, typer.Option("--svg", help="Draw the latency percentiles into this file.")
    ] = None

    def run(self, *scenarios: Scenario, rounds: int) -> reports.Report:
        """Runs the scenarios on one bed, shows and saves what they found.

        Raises HubUnreachable, Undelivered, OSError.
        """
        return self.run_beds([scenarios], rounds=rounds)

    def run_beds(self, beds: Sequence[Sequence[Scenario]], *, rounds: int) -> reports.Report:
        """The same, with a hub started anew for each group of scenarios."""
        from loadtest.bed import bed

        raise_open_files()
        results: list[reports.Result] = []
        columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()
        with Bars(*columns, TimeElapsedColumn(), console=console, transient=True) as bars:
            for scenarios in beds:
                with bed(
                    self.named_hub(),
                    with_floor=self.floor,
                    tell=_teller(bars),
                    changes=self._changes(),
                ) as made:
                    results += uvloop.run(_all_of(scenarios, made))
        whole = reports.report(
            results,
            command="python -m loadtest " + " ".join(sys.argv[1:]),
            cores=made.cores,
            ours=self.url is None,
            floor=made.floor.name if made.floor is not None else "",
            rounds=rounds,
        )
        reports.show(whole, console)
        if self.json_file is not None:
            reports.save(whole, self.json_file)
        if self.svg_file is not None:
            from loadtest.picture import draw

            self.svg_file.write_text(draw(whole))
        return whole

    def named_hub(self) -> Target | None:
        """The hub at --url; None = one of our own."""
        if self.url is None:
            return None
        if not self.url.startswith(("http://", "ws://")):
            raise typer.BadParameter(
                "the load speaks no TLS: name the hub's own port, http://host:8000",
                param_hint="--url",
            )
        return Target(
            url=self.url,
            viewer_tokens=_lines(self.viewer_tokens, "--viewer-tokens"),
            server_tokens=_lines(self.server_tokens, "--server-tokens"),
            pids=tuple(self.pid or ()),
        )

    def _changes(self) -> dict[str, str]:
        for each in self.setting or ():
            if "=" not in each:
                raise typer.BadParameter(f"{each} is not NAME=VALUE", param_hint="--set")
        return dict(each.split("=", 1) for each in self.setting or ())


def with_common(
    verb: Callable[..., None],
) -> Callable[..., None]:
    """Gives a command the options of Common; it gets them as its first argument."""

    @wraps(verb)
    def command(**given: Any) -> None:
        common = Common(**{name: given.pop(name) for name in Common.__struct_fields__})
        verb(common, **given)

    own = list(inspect.signature(verb, eval_str=True).parameters.values())[1:]
    hints = inspect.get_annotations(Common, eval_str=True)
    shared = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hints[name]
        )
        for name, default in zip(Common.__struct_fields__, Common.__struct_defaults__, strict=True)
    ]
    own = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own]
    command.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in (*own, *shared)}
    del command.__wrapped__  # typer would read the verb's own
    return command


async def _all_of(scenarios: Sequence[Scenario], made: Bed) -> list[reports.Result]:
    return [await scenario(made) for scenario in scenarios]


def raise_open_files() -> None:
    """As many as we may have; our children inherit it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _teller(bars: Bars) -> Callable[[str, float], None]:
    """One bar at a time: for what is going on."""
    now: list[tuple[str, TaskID]] = []
    lines = not console.is_terminal  # a log shows no bars

    def tell(what: str, done: float) -> None:
        if not now or now[0][0] != what:
            if now:
                bars.remove_task(now.pop()[1])
            if lines:
                console.print(what)
            now.append((what, bars.add_task(what, total=1.0)))
        bars.update(now[0][1], completed=done)

    return tell


def _lines(path: Path | None, option: str) -> tuple[str, ...]:
    if path is None:
        raise typer.BadParameter(
            "is needed with --url: gamehub token mint --count 200 > FILE", param_hint=option
        )
    found = tuple(path.read_text().split())
    if not found:
        raise typer.BadParameter(f"{path} is empty", param_hint=option)
    return found
