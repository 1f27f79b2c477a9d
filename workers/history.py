"""The history pipeline: a row per team and per user for every result, and the users' new totals."""

from __future__ import annotations

from collections.abc import Sequence

from redis.asyncio import Redis

from domain.events import EVENT_TYPES
from domain.history import HistoryRow, rows_of
from domain.ids import derived_event_id
from storage import history, log
from storage.history import Totals
from storage.log import Event, LoggedEvent, Transaction
from workers.pipeline import Pipeline

_TOLD = "stats.updated"


async def apply(tx: Transaction, _redis: Redis, batch: Sequence[LoggedEvent]) -> None:
    """Stores the rows of the batch's results and announces what users have reached by them.

    A replay finds all rows there, changes nothing and announces nothing.
    """
    rows = [(event, row) for event in batch for row in rows_of(event.type, event.payload)]
    fresh = await history.add(tx.connection, [(event.seq, row) for event, row in rows])
    await _tell(tx, [pair for pair in rows if (pair[1].match_id, pair[1].subject_id) in fresh])


async def _tell(tx: Transaction, rows: Sequence[tuple[LoggedEvent, HistoryRow]]) -> None:
    """One stats.updated per user of new rows (STAT-10, HOOK-05).

    It says what is reached, not what happened: of several results in one batch (an import) the last
    one tells for all of them. An event that the log has already (the rows were emptied and are made
    again) is not announced a second time. Over the log's limit per transaction users are left out;
    their next result tells.
    """
    last = {row.subject_id: (event, row) for event, row in rows if row.subject_type == "user"}
    if not last:
        return
    totals = await history.totals(tx.connection, list(last))
    events = [_event(*last[user_id], found) for user_id, found in totals.items()]
    known = await log.by_ids(tx.connection, [each.event_id for each in events])
    there = {each.event_id for each in known}
    room = log.ANNOUNCED_MAX - len(tx.events)
    for event in [each for each in events if each.event_id not in there][:room]:
        log.announce(tx, event)


def _event(cause: LoggedEvent, row: HistoryRow, reached: Totals) -> Event:
    subject = f"user:{row.subject_id}"
    return Event(
        event_id=derived_event_id(cause.root_id, _TOLD, subject),
        type=_TOLD,
        v=EVENT_TYPES[_TOLD].v,
        subject=subject,
        cause_id=cause.event_id,
        root_id=cause.root_id,
        occurred_at_ms=cause.occurred_at_ms,
        payload={
            "user": {"username": row.subject_id, "display_name": row.name or row.subject_id[:100]},
            "stats": {
                "tournaments_played": reached.tournaments_played,
                "matches_won": reached.matches_won,
                "current_rank": None,
            },
        },
    )


PIPELINE = Pipeline("history", apply)
