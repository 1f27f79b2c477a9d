"""A tournament as a game server ends it: its final standing, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from protocol.client_match import Sender
from protocol.client_receipt import Receipt


class Tournament:
    """A tournament that this server runs; `server` is a GameServer."""

    def __init__(self, server: Sender, tournament_id: str, *, game: str) -> None:
        self.tournament_id = tournament_id
        self._server = server
        self._game = game

    async def complete(
        self,
        placements: Sequence[str | Mapping[str, Any]],
        *,
        disqualified: Sequence[str] = (),
        ts: int | None = None,
    ) -> Receipt:
        """tournament.completed: teams by id, the best first, or maps {place, id, type} for ties.

        Returns its receipt at once; awaiting that is optional.
        """
        data = {
            "tournament_id": self.tournament_id,
            "game": self._game,
            "placements": [_placement(place, each) for place, each in enumerate(placements, 1)],
            "disqualified": list(disqualified),
        }
        return await self._server.fact("tournament.completed", None, data, ts)


def _placement(place: int, side: str | Mapping[str, Any]) -> dict[str, Any]:
    return {"place": place, "id": side} if isinstance(side, str) else dict(side)
