"""Becomes a program that the kernel ends with SIGTERM when the load test dies, however it does.

Started as a file by the bare interpreter (`python -I -S child.py PARENT PROGRAM ARGUMENT...`), so
that nothing of ours runs between fork and exec. Hooks run there and directly after, and what a hook
raises is lost: a KeyboardInterrupt too, and then a load that was told to stop would go on.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(parent: int, program: list[str]) -> None:
    """Ties its life to the parent's where Linux can, and becomes the program."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it died before the kernel knew of the wish
            sys.exit(1)
    try:
        os.execvp(program[0], program)  # noqa: S606 - no shell is wanted
    except OSError as error:
        sys.stderr.write(f"cannot run {program[0]}: {error.strerror}\n")
        sys.exit(126)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
