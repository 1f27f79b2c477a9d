"""Run a program as another user, ended by the kernel when the process that started it dies.

Started as a file by the bare interpreter (`python -I -S embedded_child.py PARENT SIGNAL UID GID
PROGRAM ARGUMENT...`), so that nothing runs between fork and exec in the parent, which may have
threads. A UID of -1 keeps the user. It replaces itself by the program: same pid, no middleman.
"""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(arguments: list[str]) -> None:
    """Drop to the user, tie the life to the parent's, become the program."""
    parent, death_signal, uid, gid = (int(word) for word in arguments[:4])
    program = arguments[4:]
    # Loaded before the user is dropped: that user may not be able to read our interpreter.
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    os.umask(0o077)
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if libc is not None:
        # After setuid: a change of user clears the wish (prctl(2)).
        libc.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        if os.getppid() != parent:  # it died before the wish was known to the kernel
            sys.exit(1)
    try:
        os.execve(program[0], program, dict(os.environ))  # noqa: S606 - no shell is wanted
    except OSError as error:
        sys.stderr.write(f"cannot run {program[0]}: {error.strerror}\n")
        sys.exit(126)


if __name__ == "__main__":
    main(sys.argv[1:])
