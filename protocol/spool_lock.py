"""Keeps a spool to one process at a time; the kernel lets go when that process ends, however."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from protocol.errors import SpoolFailed, SpoolLocked

if sys.platform == "win32":  # pragma: no cover
    import msvcrt

    def _take(file: int) -> None:
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _take(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def lock(folder: Path) -> int:
    """Takes the folder's lock; answers the open file that holds it (close it to let go).

    Raises SpoolLocked when somebody has it, SpoolFailed where the file system has no locks.
    """
    file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _take(file)
    except (BlockingIOError, PermissionError):
        os.close(file)
        text = f"{folder} is in use by another GameServer; each needs a spool of its own"
        raise SpoolLocked(text) from None
    except OSError as error:
        os.close(file)
        text = f"{folder} cannot be locked ({error.strerror}); put the spool onto a local disk"
        raise SpoolFailed(text) from None
    return file
