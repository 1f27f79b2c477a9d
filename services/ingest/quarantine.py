"""The quarantine: a person looks at a refused FACT and tries it again."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import asyncpg

from domain.errors import Forbidden, Refusal, Unavailable
from domain.facts import normalise
from domain.ids import check_id, uuid7
from domain.matches import LEASE_S, Match, Sender, decide, lease_of
from services.ingest.batch import FactFrame, match_event, tournament_event
from services.ingest.endings import tournament_waits_s
from storage import audit, ingest, matches
from storage import log as facts
from storage.audit import Entry
from storage.database import CONFLICTS, Connection, answering
from storage.ingest import Refused
from storage.log import Event, Transaction

TRIES_MAX = 3


@dataclass(frozen=True, slots=True)
class RetriedFact:
    """A refused FACT after another try: in the log as `event`, needless (both None), or refused."""

    refused: Refused
    event: Event | None = None
    error: Refusal | None = None


async def retry_refused(
    pool: asyncpg.Pool, refused_id: int, now_ms: int, actor: str
) -> RetriedFact | None:
    """Decides a refused FACT again, as of now; None when there is none with this id.

    It counts as what a person does: a root fact with a UUIDv7, and the window of played_at is
    open, as with the scope import. The server's nack stays final: its stream is not touched. What
    is accepted or needless leaves the quarantine. `actor` is whom the audit log names, also when it
    is refused again. Raises Unavailable.
    """
    for _ in range(TRIES_MAX):
        try:
            with answering():
                async with facts.transaction(pool) as tx:
                    refused = await ingest.get_refused(tx.connection, refused_id)
                    if refused is None:
                        return None
                    try:
                        retried = RetriedFact(refused, event=await _apply(tx, refused, now_ms))
                    except Refusal as error:
                        retried = RetriedFact(refused, error=error)
                    await audit.append(tx.connection, [_entry(retried, now_ms, actor)])
                    if retried.error is None:
                        await ingest.delete_refused(tx.connection, refused_id)
                    return retried
        except CONFLICTS:
            continue
    raise Unavailable("too many transactions change the same match", retry_after_ms=500)


def _entry(retried: RetriedFact, now_ms: int, actor: str) -> Entry:
    refused, event, error = retried.refused, retried.event, retried.error
    return Entry(
        actor=actor,
        role="CLI",
        action="quarantine.retried",
        occurred_at_ms=now_ms,
        target_type="match" if refused.match_id else "refused",
        target_id=refused.match_id or str(refused.id),
        metadata={
            "refused": refused.id,
            "server": refused.server,
            "type": refused.type,
            "event_id": None if event is None else str(event.event_id),
            "error": None if error is None else error.code,
        },
    )


async def _apply(tx: Transaction, refused: Refused, now_ms: int) -> Event | None:
    conn = tx.connection
    sender = Sender(
        server=refused.server,
        stream=refused.stream,
        scope=refused.scope | {"import"},
        games=refused.games,
    )
    frame = FactFrame(
        sender=sender,
        seq=refused.seq,
        type=refused.type,
        match=refused.match_id,
        ts_ms=refused.sent_at_ms,
        data=refused.data,
        received_ms=refused.received_at_ms,
    )
    data = normalise(frame.type, frame.match, frame.data)
    if "ingest" not in sender.scope:
        raise Forbidden("the token had no scope ingest", field="type")
    event_id = uuid7(now_ms, secrets.randbits(74))
    if frame.type == "tournament.completed":
        sender.check_game(check_id(data["game"], "game"))
        waits_s = await tournament_waits_s(conn, [data["tournament_id"]])
        event = tournament_event(frame, event_id, data, waits_s)
    else:
        assert frame.match is not None
        match = (await matches.lock(conn, [frame.match])).get(frame.match)
        alive, closed = await _holder(conn, match)
        lease = "free" if match is None else lease_of(match, sender, alive=alive, closed=closed)
        decision = decide(match, frame.type, data, sender, lease, now_ms)
        if decision.match is not None:
            write = matches.insert if match is None else matches.update
            await write(conn, [decision.match])
        if decision.fact is None:
            return None
        assert decision.match is not None
        event = match_event(frame, event_id, decision.match, decision.fact)
    facts.announce(tx, event)
    return event


async def _holder(conn: Connection, match: Match | None) -> tuple[bool, bool]:
    if match is None or match.holder_server is None or match.holder_stream is None:
        return False, True
    holder = match.holder_server, match.holder_stream
    return (await ingest.liveness(conn, [holder], LEASE_S)).get(holder, (False, True))
