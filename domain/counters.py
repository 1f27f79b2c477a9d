"""Counters of a game: what kind each is, and how several of its values become one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

Kind = Literal["sum", "max", "min"]

KINDS_MAX = 4096  # names whose kind is remembered; of others it is worked out each time

# Counters that a game does not declare: named so, the least or the greatest is kept; else the sum.
_LEAST = ("fastest_",)
_GREATEST = ("best_", "max_")


def default_kind(name: str) -> Kind:
    """The kind of a counter that nobody declared: fastest_* min; best_*, max_*, streak max."""
    if name.startswith(_LEAST):
        return "min"
    return "max" if name.startswith(_GREATEST) or name == "streak" else "sum"


class Kinds(dict[str, Kind]):
    """The kinds of a game's counters by name: as declared, else by default_kind.

    Remembers the defaults that it was asked for, up to KINDS_MAX names: the fold asks millions of
    times. `declared` are the names that the game knows.
    """

    __slots__ = ("declared",)

    def __init__(self, declared: Mapping[str, Kind] | None = None) -> None:
        super().__init__(declared or {})
        self.declared = frozenset(self)

    def __missing__(self, name: str) -> Kind:
        kind = default_kind(name)
        if len(self) < KINDS_MAX:
            self[name] = kind
        return kind


DEFAULT_KINDS = Kinds()


def total(kind: Kind, values: Sequence[float]) -> float:
    """At least one value as one; whole sums stay whole, and none depends on the order."""
    if kind == "max":
        return max(values)
    if kind == "min":
        return min(values)
    return sum(values) if all(type(each) is int for each in values) else math.fsum(values)


def merge_stats(
    lines: Sequence[Mapping[str, float]], kinds: Mapping[str, Kind] = DEFAULT_KINDS
) -> dict[str, float]:
    """Counters of several lines as one, each by its kind: as declared, else by its name."""
    if len(lines) == 1:
        return dict(lines[0])
    known = kinds if isinstance(kinds, Kinds) else Kinds(kinds)
    values: dict[str, list[float]] = {}
    for line in lines:
        for name, value in line.items():
            values.setdefault(name, []).append(value)
    return {name: total(known[name], found) for name, found in values.items()}
