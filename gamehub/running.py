"""The gamehub that is running on a data directory: its addresses, for a second terminal."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from domain.errors import StartError
from domain.settings import Settings, default_data_dir
from gamehub.embedded_home import is_locked, write_private

RUNTIME_FILE = "runtime.json"  # 0600: the addresses hold passwords


@dataclass(frozen=True, slots=True)
class Running:
    """Addresses of a running gamehub; keep them out of logs."""

    pid: int
    url: str
    database_url: str
    redis_url: str


def data_path(settings: Settings) -> Path:
    """The data directory: the setting, else the user's data folder."""
    if settings.data_dir is not None:
        return Path(settings.data_dir).expanduser().absolute()
    return Path(default_data_dir(os.environ, str(Path.home())))


def publish(data: Path, running: Running) -> None:
    """Let other terminals find this gamehub."""
    write_private(data / RUNTIME_FILE, json.dumps(asdict(running)))


def withdraw(data: Path) -> None:
    """This gamehub is about to stop."""
    (data / RUNTIME_FILE).unlink(missing_ok=True)


def find_running(data: Path) -> Running | None:
    """The gamehub on this data directory; None when there is none or it was killed.

    Raises StartError when it belongs to another user, is damaged, or `data` is no directory.
    """
    path = data / RUNTIME_FILE
    try:
        text = path.read_text()
        if not is_locked(data):  # its supervisor was killed, the file stayed behind
            return None
        return Running(**json.loads(text))
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise StartError(f"{data} is no directory: choose another with --data") from None
    except PermissionError:
        raise StartError(f"{path} belongs to another user: run this command as that user") from None
    except (ValueError, TypeError):
        raise StartError(f"{path} is damaged: restart gamehub") from None


def with_servers(settings: Settings) -> Settings:
    """The settings with the running gamehub's servers where none are named.

    Raises StartError, saying what to do, when servers are named nowhere and none are running.
    """
    if settings.database_url is not None and settings.redis_url is not None:
        return settings
    data = data_path(settings)
    running = find_running(data)
    if running is None:
        raise StartError(
            f"no gamehub is running on {data}: start `gamehub up` in another terminal "
            "(with the same --data), or set DATABASE_URL and REDIS_URL",
            field="DATABASE_URL" if settings.database_url is None else "REDIS_URL",
        )
    return settings.with_(
        database_url=settings.database_url or running.database_url,
        redis_url=settings.redis_url or running.redis_url,
    )


def hub_url(settings: Settings) -> str:
    """The hub's address as seen from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(settings.host, settings.host)  # noqa: S104 - the name of "everywhere", not a bind
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
