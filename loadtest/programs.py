"""The programs of the load test: two in C, compiled where a compiler is; all end with us."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

COMPILE_TIMEOUT_S = 60
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
    """cc, gcc or clang; None when there is none of them, or when this is not Linux."""
    if sys.platform != "linux":
        return None
    found = (shutil.which(name) for name in ("cc", "gcc", "clang"))
    return next((each for each in found if each is not None), None)


def ending_with_us(words: list[str]) -> list[str]:
    """The command line of a program whose life is tied to ours; its pid stays the child's."""
    return [sys.executable, "-I", "-S", str(_HERE / "child.py"), str(os.getpid()), *words]
