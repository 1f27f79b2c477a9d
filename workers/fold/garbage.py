"""Python's search for garbage in circles, put off while many objects come that are in none."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def none_looked_for() -> Iterator[None]:
    """Within, objects go when nobody holds them any more, and only circles of them stay.

    A batch makes a hundred thousand objects and a rebuild millions, none of them ever in a circle;
    Python would look through them again and again, for a fifth of the fold's time and a third of a
    rebuild's. Those who wait meanwhile may overlap: it is on when the first of them is through.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
