"""The facts that the fold reads, and what it announces of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from uuid import UUID

from domain.events import EVENT_TYPES
from domain.ids import derived_event_id
from domain.results import RESULT_TYPES
from storage import log
from storage.log import Event, LoggedEvent, Transaction
from workers.fold.telling import Telling
from workers.pace import in_slices

NAME = "fold"
# A fact of these has the world for itself: what follows it sees what it changed, stored.
BARRIERS = frozenset({"tournament.completed", "season.started", "game.configured"})
TYPES = RESULT_TYPES | BARRIERS
# Facts whose followers are written up at a time: less than 1 ms.
SLICE = 25

Following = tuple[LoggedEvent, list[Event]]  # a fact, and what follows from it


async def announce(tx: Transaction, following: Sequence[Following], told: Collection[UUID]) -> None:
    """Announces what follows, except for what the log has: of a fact that is folded once more.

    told: root facts that brought others before (storage.rules).
    """
    again = [each for cause, events in following if cause.root_id in told for each in events]
    known: set[UUID] = set()
    if again:
        known = await log.known(tx.connection, [each.event_id for each in again])
    for _, events in following:
        if known:
            events = [each for each in events if each.event_id not in known]
        log.announce(tx, *events)


async def written_up(tellings: Sequence[tuple[LoggedEvent, Telling]]) -> list[Following]:
    """The facts that are told, while others have their turn in between; raises like `following`."""
    return [following(cause, telling) async for cause, telling in in_slices(tellings, SLICE)]


def following(cause: LoggedEvent, telling: Telling) -> Following:
    """A fact with what is told of it.

    Raises ValueError when a stage tells the same twice: that is this fact's fault, and found only
    when the transaction ends it would stop the pipeline instead of going to the dead letters.
    """
    events = events_of(cause, telling)
    if len({event.event_id for event in events}) < len(events):
        raise ValueError(f"what follows from {cause.type} {cause.event_id} is told twice")
    return cause, events


def events_of(cause: LoggedEvent, telling: Telling) -> list[Event]:
    """The facts that are told of one."""
    return [
        Event(
            event_id=derived_event_id(cause.root_id, event_type, subject, key),
            type=event_type,
            v=EVENT_TYPES[event_type].v,
            subject=subject,
            cause_id=cause.event_id,
            root_id=cause.root_id,
            occurred_at_ms=cause.occurred_at_ms,
            payload=payload,
        )
        for event_type, subject, key, payload in telling.told
    ]
