"""What `gamehub up` shows on the terminal: progress, the summary, what died and came back."""

from __future__ import annotations

import contextlib
import os.path
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console, Group
from rich.markup import escape
from rich.panel import Panel
from rich.status import Status
from rich.table import Table
from rich.text import Text

from domain.settings import Settings
from gamehub import keys, running

# (label, what it may do, claims); enough to try everything right after the start.
ROLES: tuple[tuple[str, str], ...] = (
    ("SPECTATOR", "watches"),
    ("PLAYER", "watches, has a feed of its own"),
    ("ORGANIZER", "schedules matches, announces"),
    ("ADMIN", "may everything"),
)


class _Terminal(Console):
    def on_broken_pipe(self) -> None:
        """Whoever read us is gone (`up | head`): by default rich would end the process for that."""
        with contextlib.suppress(SystemExit):
            super().on_broken_pipe()


class Screen:
    """The terminal of one `gamehub up`."""

    def __init__(self, data: Path) -> None:
        """Shows the data directory in the summary."""
        self._console = _Terminal(highlight=False)
        self._data = data
        self._status: Status | None = None

    @contextlib.contextmanager
    def starting(self) -> Iterator[None]:
        """A spinner while the steps run (plain lines where there is no terminal)."""
        with self._console.status("Starting gamehub", spinner="dots") as self._status:
            yield
        self._status = None

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """One line with its time when the step is done; a failure is the caller's to tell."""
        begun = time.monotonic()
        if self._status is not None:
            self._status.update(f"Starting {name}")
        yield
        taken = f"{time.monotonic() - begun:.1f} s"
        self._console.print(f"  [green]✓[/] {name:<24}[dim]{taken:>7}[/]")

    def stopping(self, name: str) -> None:
        """A part is being stopped."""
        self._say(f"[dim]Stopping {name}[/]")

    def stopped(self) -> None:
        """Everything has ended."""
        self._say("[dim]Everything is stopped.[/]")

    def _say(self, text: str) -> None:
        # The terminal may be gone (SIGHUP, a closed pipe); what has to be done is done anyway.
        with contextlib.suppress(OSError):
            self._console.print(text)

    def died(self, name: str, log: Path, delay_s: float) -> None:
        """A part ended by itself."""
        self._say(
            f"[yellow]{name} ended unexpectedly[/], next try in {delay_s:g} s [dim](log: {log})[/]"
        )

    def restarted(self, name: str) -> None:
        """A part runs again."""
        self._say(f"[green]{name} runs again[/]")

    def failed(self, name: str, message: str) -> None:
        """A part could not be started again this time."""
        self._say(f"[yellow]{name}:[/] {escape(message)}")

    def gave_up(self, name: str, log: Path, last: str) -> None:
        """A part could not be kept alive."""
        self._say(f"[red]{name} keeps ending[/]; stopping everything. Log: {log}")
        self._say(f"[dim]{escape(last)}[/]")

    def summary(self, settings: Settings, fleet: bool) -> None:
        """The addresses, the tokens, what to try next."""
        url = running.hub_url(settings)
        pages = Table.grid(padding=(0, 3))
        pages.add_row("Live matches", f"[bold cyan]{url}/[/]")
        pages.add_row("Overlays", f"[cyan]{url}/overlays[/]  [dim](for streams; link below)[/]")
        pages.add_row("Health", f"[cyan]{url}/health[/]   [cyan]{url}/metrics[/]")
        pages.add_row("Sockets", f"[cyan]{url.replace('http', 'ws', 1)}/ws[/]  [dim](viewers)[/]")
        pages.add_row("", f"[cyan]{url.replace('http', 'ws', 1)}/ingest[/]  [dim](servers)[/]")
        pages.add_row("Data, logs", Text(str(self._data), style="dim"))
        ahead = Table.grid(padding=(0, 3))
        for what, command in _next_steps(settings, fleet):
            ahead.add_row(what, Text(command, style="bold"))
        title = "[bold]gamehub is live[/]" if fleet else "[bold]gamehub is up[/]"
        self._console.print()
        self._console.print(
            Panel(Group(pages, Text(), ahead), title=title, border_style="green", padding=(1, 2))
        )
        if settings.jwt_signing_key_file is not None:
            self._tokens(settings)
        self._console.print("[dim]Ctrl-C stops everything.[/]")

    def _tokens(self, settings: Settings) -> None:
        """One token per line and unbroken, so that a double click takes the whole of it."""
        self._console.print()
        self._console.print("Tokens for trying things out [dim](12 hours; a server's 30 days)[/]")
        for role, can in ROLES:
            token = keys.mint(settings, sub=f"demo-{role.lower()}", role=role)
            self._token(role, can, token)
        token = keys.mint(settings, sub="my-server", kind="server", scope=keys.SERVER_SCOPES)
        self._token("game server", "streams matches in", token)
        # After the # nothing is ever sent to a server, or into a log.
        token = keys.mint(settings, sub="demo-organizer", role="ORGANIZER")
        link = f"{running.hub_url(settings)}/overlays#token={token}"
        self._token("stream overlays", "opens your overlays: open, copy into OBS", link)
        self._console.print()

    def _token(self, label: str, can: str, token: str) -> None:
        self._console.print(f"[bold]{label}[/] [dim]{can}[/]")
        self._console.print(token, soft_wrap=True, markup=False, style="cyan")


def _next_steps(settings: Settings, fleet: bool) -> list[tuple[str, str]]:
    """(what, command) to try in another terminal; with --data where that would not find us."""
    us, place = _our_command(), ""
    if running.data_path(settings) != running.data_path(settings.with_(data_dir=None)):
        place = f" --data {settings.data_dir}"
    steps = [] if fleet else [("Simulated matches", f"{us} demo")]
    return [
        *steps,
        ("Replay recorded matches", f"{us} replay FILE.jsonl.gz --speed 10{place}"),
        ("A token of your own", f"{us} token mint --role PLAYER --sub me{place}"),
        ("Is all well?", f"{us} doctor{place}"),
    ]


def _our_command() -> str:
    """How to call gamehub here: by its name where the shell finds it, else by its path."""
    if shutil.which("gamehub") is not None:
        return "gamehub"
    path = Path(sys.executable).with_name("gamehub")
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
