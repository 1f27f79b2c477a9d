"""The options that commands share, and the settings that follow from them and the environment."""

from __future__ import annotations

import os
import socket
from typing import Annotated

import typer
from rich.console import Console

from domain.settings import Settings
from gamehub import running

Host = Annotated[str | None, typer.Option("--host", help="Address to listen on [GAMEHUB_HOST].")]
Port = Annotated[int | None, typer.Option("--port", help="Port of the hub [GAMEHUB_PORT].")]
Data = Annotated[str | None, typer.Option("--data", help="Data directory [GAMEHUB_DATA].")]

console = Console(highlight=False)


def settings_from(
    *,
    host: str | None = None,
    port: int | None = None,
    data: str | None = None,
    processes: int | None = None,
) -> Settings:
    """The settings of the environment with the command line's on top.

    Raises SettingsError naming the variable, also for a value that came as an option.
    """
    given = {
        "GAMEHUB_HOST": host,
        "GAMEHUB_PORT": port,
        "GAMEHUB_DATA": data,
        "GAMEHUB_PROCESSES": processes,
    }
    options = {name: str(value) for name, value in given.items() if value is not None}
    return Settings.parse({**os.environ, **options})


def with_servers_and_keys(settings: Settings) -> Settings:
    """The settings for a process of its own: the running gamehub's servers, this machine's keys."""
    from gamehub import keys

    settings = running.with_servers(settings)
    return keys.with_keys(settings, running.data_path(settings))


def inherited(descriptors: str) -> list[socket.socket]:
    """Sockets that the parent opened and left to this process, by their numbers: "5,6"."""
    return [socket.socket(fileno=int(each)) for each in descriptors.split(",") if each]
