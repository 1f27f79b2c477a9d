"""The process that counts beside a rebuild (workers.fold.beside starts it).

It reads frames from its standard input until that ends, as it does when whoever started it dies.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Iterator
from typing import BinaryIO

from domain.results import RESULT_TYPES
from storage.database import to_time
from storage.rebuild import Root, copy_texts
from workers.fold.beside import COUNT, TABLES, frame, pack, unpack
from workers.fold.counting import Counting
from workers.fold.lines import add_shape, wait
from workers.fold.stages import count_again
from workers.fold.world import World


def main() -> None:
    """Counts what it is told, and answers with the tables when it is asked."""
    gc.disable()  # workers.fold.garbage
    asked, answer = sys.stdin.buffer, sys.stdout.buffer
    counter = Counter()
    # Nobody reads the answer any more: the rebuild is over, one way or the other.
    with contextlib.suppress(BrokenPipeError):
        for body in frames(asked):
            try:
                counter.hear(body, answer)
            except Exception as error:  # noqa: BLE001 - whoever started us raises it
                answer.write(frame(pack(f"{type(error).__name__}: {error}")))
                break
            finally:
                answer.flush()


def frames(source: BinaryIO) -> Iterator[bytes]:
    """What was framed, up to the end; what is cut off there is left out."""
    while len(head := source.read(4)) == 4:
        size = int.from_bytes(head, "big")
        body = source.read(size)
        if len(body) == size:
            yield body


class Counter:
    """The counted half of a rebuild, by frames."""

    def __init__(self) -> None:
        self.counting = Counting(World())
        self._made: list[tuple[str, str, list[bytes]]] | None = None

    def hear(self, body: bytes, answer: BinaryIO) -> None:
        """Counts a part of the log, makes the tables, or gives them away."""
        if body == COUNT:
            self._made = list(self._make())
        elif body == TABLES:
            # Mostly they are made already: nothing has come since.
            for noun, table, chunks in self._made or self._make():
                answer.write(frame(pack([noun, table])))
                answer.writelines(frame(pack(chunk)) for chunk in chunks)
                answer.write(frame(pack(b"")))
            answer.write(frame(pack(None)))
        else:
            self._made = None
            self._count(body)

    def _count(self, body: bytes) -> None:
        counting = self.counting
        world = counting.world
        shapes, parts = unpack(body)
        for game, names in shapes:
            add_shape(world, game, tuple(names))
        for part in parts:
            if len(part) == 3:
                seq, match_id, lines = part
                wait(world, match_id, seq, lines)
                continue
            seq, fact_type, packed, brought = part
            if fact_type in RESULT_TYPES:
                count_again(world, seq, fact_type, packed, brought)
            else:
                at = to_time(brought, "occurred_at")
                counting.fold_other(Root(seq, fact_type, at, packed))
        counting.count()

    def _make(self) -> Iterator[tuple[str, str, list[bytes]]]:
        for noun, table, records in self.counting.tables():
            yield noun, table, list(copy_texts(records))


if __name__ == "__main__":
    main()
    os._exit(0)  # at once: to give back millions of objects takes a second
