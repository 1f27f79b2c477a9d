"""How long the end of a tournament is held back: it tells how the delayed matches ended."""

from __future__ import annotations

from collections.abc import Sequence

from storage import matches
from storage.database import Connection
from storage.log import pending


async def tournament_waits_s(conn: Connection, tournament_ids: Sequence[str]) -> dict[str, int]:
    """Per tournament that has to wait, whole seconds: until its last fact that waits is due, and
    the whole delay of a match whose end is not public, whoever is about to send that.
    """
    waits_s = await pending.tournament_waits_s(conn, tournament_ids)
    for tournament_id, delay_s in (await matches.undecided_delays_s(conn, tournament_ids)).items():
        waits_s[tournament_id] = max(waits_s.get(tournament_id, 0), delay_s)
    return waits_s
