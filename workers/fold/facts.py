"""The facts that the fold reads, and what it announces of them."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from domain.events import EVENT_TYPES
from domain.ids import derived_event_id
from domain.results import RESULT_TYPES
from storage import log
from storage.log import Event, LoggedEvent, Transaction
from workers.fold.telling import Telling

NAME = "fold"
# A fact of these has the world for itself: what follows it sees what it changed, stored.
BARRIERS = frozenset({"tournament.completed", "season.started", "game.configured"})
TYPES = RESULT_TYPES | BARRIERS


async def announce(tx: Transaction, tellings: Sequence[tuple[LoggedEvent, Telling]]) -> None:
    """Announces what follows, except for what the log has: of a fact that is folded once more.

    Raises ValueError when a stage tells the same twice: that is this fact's fault, and found only
    when the transaction ends it would stop the pipeline instead of going to the dead letters.
    """
    again = await log.told_of(tx.connection, [event.root_id for event, _ in tellings])
    known: set[UUID] = set()
    if again:
        ids = [
            each.event_id
            for cause, telling in tellings
            if cause.root_id in again
            for each in _events(cause, telling)
        ]
        known = await log.known(tx.connection, ids)
    for cause, telling in tellings:
        events = _events(cause, telling)
        if len({event.event_id for event in events}) < len(events):
            raise ValueError(f"what follows from {cause.type} {cause.event_id} is told twice")
        for event in events:
            if event.event_id not in known:
                log.announce(tx, event)


def _events(cause: LoggedEvent, telling: Telling) -> list[Event]:
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
