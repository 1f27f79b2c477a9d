"""The programs of the load test: two in C, compiled where a compiler is; all end with us."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

COMPILE_TIMEOUT_S = 60
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_HERE = Path(__file__).resolve().parent


def compiled(name: str, folder: Path) -> Path | None:
    """The program made of `name`.c, in `folder`; None without a compiler or off Linux (epoll)."""
    compiler = compiler_found()
    if compiler is None:
        return None
    program = folder / name
    done = subprocess.run(
        [compiler, "-O2", "-o", str(program), str(_HERE / f"{name}.c")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=COMPILE_TIMEOUT_S,
        check=False,
    )
    return program if done.returncode == 0 else None


def compiler_found() -> str | None:
    """The compiler: $CC, else cc, gcc or clang; None when there is none or this is not Linux."""
    if sys.platform != "linux":
        return None
    named = os.environ.get("CC")
    for name in (named,) if named is not None else ("cc", "gcc", "clang"):
        found = shutil.which(name) if name else None
        if found:
            return found
    return None


def end_with_parent() -> None:
    """In a child that is about to start: the kernel sends it SIGTERM when we die, however we do."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
