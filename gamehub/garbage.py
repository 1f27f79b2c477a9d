"""How often a process that lives long looks for garbage in circles: its start is never garbage."""

from __future__ import annotations

import gc

# Containers made and not yet freed, before the youngest of them are looked through; then every how
# many of those looks the next generation, and the oldest. Python's 700 makes a hub under load spend
# a fifth of its time looking, and finding next to nothing: what it drops has no circles. It is
# more than a hub has under way, which else is looked through again and again; and everything waits
# meanwhile, about a millisecond for a thousand (25,000 took 12 to 36 ms at 5,000 FACTs/s).
THRESHOLDS = 10_000, 50, 20


def look_rarely() -> None:
    """For a hub or a worker, when everything is imported."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
