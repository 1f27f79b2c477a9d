"""One way to publish, and a typed call for each type of event that servers send (RT-15)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from domain.events import EVENT_TYPES
from protocol.client import GameServer, Receipt, Tournament
from protocol.client_match import Match
from tests.hubs import running_hub, server_token


class Ledger:
    """A server that only writes down what it is handed."""

    def __init__(self) -> None:
        self.types: list[str] = []

    async def fact(
        self, fact_type: str, match: str | None, data: Mapping[str, Any], ts: int | None = None
    ) -> Receipt:
        self.types.append(fact_type)
        return cast("Receipt", None)

    def live(
        self,
        live_type: str,
        match: str,
        data: Mapping[str, Any],
        patch: Mapping[str, Any] | None = None,
        ts: int | None = None,
    ) -> None:
        self.types.append(live_type)


async def test_each_type_has_its_call() -> None:
    ledger = Ledger()
    await Match(ledger, "m1", game="arena", competitors=["red", "blue"]).schedule()
    # A match each: what was started or ended remembers it.
    for name in ("start", "complete", "forfeit", "cancel"):
        match = Match(ledger, f"m-{name}", game="arena", competitors=["red", "blue"])
        winner = {"winner": "red"} if name in ("complete", "forfeit") else {}
        await getattr(match, name)(**winner)
    Match(ledger, "m1", game="arena").score({"red": 1})
    await Tournament(ledger, "cup", game="arena").complete(["red", "blue"])
    assert set(ledger.types) == {name for name, each in EVENT_TYPES.items() if each.by_servers}


async def test_the_final_standing_is_taken(database_url: str, redis_url: str) -> None:
    async with running_hub(database_url, redis_url) as hub:
        async with GameServer(hub.url, server_token(hub.settings)) as server:
            cup = Tournament(server, "cup-1", game="arena")
            tied = [{"place": 1, "id": "red"}, {"place": 1, "id": "blue"}]
            await (await cup.complete(tied, disqualified=["grey"]))
            await (await Tournament(server, "cup-2", game="arena").complete(["red", "blue"]))
        async with hub.hub.context.pool.acquire() as connection:
            logged = await connection.fetchval(
                "SELECT count(*) FROM log.facts WHERE type = 'tournament.completed'"
            )
    assert logged == 2
