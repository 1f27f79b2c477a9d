"""One match as a game server plays it: the FACTs and LIVE frames of contract.md by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from protocol.client_receipt import Receipt

Side = str | Mapping[str, Any]


class Sender(Protocol):
    """What a match needs of its server."""

    async def fact(
        self, fact_type: str, match: str | None, data: Mapping[str, Any], ts: int | None = None
    ) -> Receipt:
        """Hands over a FACT."""

    def live(
        self,
        live_type: str,
        match: str,
        data: Mapping[str, Any],
        patch: Mapping[str, Any] | None = None,
        ts: int | None = None,
    ) -> None:
        """Hands over a LIVE frame."""


def now_text() -> str:
    """The present as RFC 3339 UTC with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Match:
    """A match of this server. Each FACT returns its receipt at once; awaiting that is optional.

    When the hub has refused `start` (another server holds the match, for example), every later
    call raises that refusal, so nobody plays on for nothing.
    """

    def __init__(
        self,
        server: Sender,
        match_id: str,
        *,
        game: str | None = None,
        competitors: Sequence[Side] = (),
        **details: Any,
    ) -> None:
        """`competitors`: ids, or maps {id, name, type: team|user, roster?}.

        `details`: tournament_id, title, round, best_of, as in match.scheduled.
        """
        self.match_id = match_id
        self._server = server
        self._started: Receipt | None = None
        sides = [_side(each) for each in competitors]
        about = {"match_id": match_id, "game": game, "competitors": sides or None, **details}
        self._about = {key: value for key, value in about.items() if value is not None}

    def _check(self) -> None:
        if self._started is not None and self._started.error is not None:
            raise self._started.error

    async def _fact(self, fact_type: str, ts: int | None, **data: Any) -> Receipt:
        self._check()
        known = {key: value for key, value in data.items() if value is not None}
        return await self._server.fact(
            fact_type, self.match_id, {"match_id": self.match_id, **known}, ts
        )

    async def schedule(
        self, *, starts_at: str | None = None, ts: int | None = None, **more: Any
    ) -> Receipt:
        """match.scheduled: the match is announced. Needs the scope match:create."""
        return await self._fact("match.scheduled", ts, **self._about, starts_at=starts_at, **more)

    async def start(
        self, *, started_at: str | None = None, ts: int | None = None, **more: Any
    ) -> Receipt:
        """match.started: it is live, and this server's stream holds it from now on."""
        self._started = None
        receipt = await self._fact(
            "match.started", ts, **self._about, started_at=started_at or now_text(), **more
        )
        self._started = receipt
        return receipt

    def live(
        self,
        kind: str,
        data: Mapping[str, Any],
        patch: Mapping[str, Any] | None = None,
        *,
        ts: int | None = None,
    ) -> None:
        """A LIVE frame `live.KIND`; `patch` (RFC 7396) is what it changes in the document."""
        self._check()
        name = kind if kind.startswith("live.") else f"live.{kind}"
        self._server.live(name, self.match_id, data, patch, ts)

    def state(self, document: Mapping[str, Any], *, ts: int | None = None) -> None:
        """The whole document anew, in place of what it was."""
        self._check()
        self._server.live("live.state", self.match_id, document, None, ts)

    def score(
        self,
        scores: Mapping[str, int],
        patch: Mapping[str, Any] | None = None,
        *,
        detail: str | None = None,
        ts: int | None = None,
    ) -> None:
        """match.score_updated: what scoreboards and the lobby show now."""
        self._check()
        data: dict[str, Any] = {"match_id": self.match_id, "scores": dict(scores)}
        if detail is not None:
            data["detail"] = detail
        self._server.live("match.score_updated", self.match_id, data, patch, ts)

    async def complete(
        self,
        *,
        winner: str | None = None,
        scores: Mapping[str, int] | None = None,
        places: Sequence[str] | Mapping[str, int] | None = None,
        played_at: str | None = None,
        ts: int | None = None,
        **more: Any,
    ) -> Receipt:
        """match.completed. Without a winner equal scores mean a draw; else say outcome="none".

        `places`, of a free-for-all: everyone, the best first, or {id: place} where some share one
        (1, 2, 2, 4); who is first has won. `more`: games, players, outcome, incomplete, retired,
        kind, duration_s and what else the FACT has.
        """
        if places is not None:
            more["placements"] = _placements(places)
        return await self._fact(
            "match.completed",
            ts,
            winner_id=winner,
            scores=None if scores is None else dict(scores),
            played_at=played_at or now_text(),
            **more,
        )

    async def forfeit(
        self,
        *,
        winner: str,
        loser: str | None = None,
        walkover: bool = False,
        reason: str | None = None,
        played_at: str | None = None,
        ts: int | None = None,
    ) -> Receipt:
        """match.forfeited: a side gave up, or (walkover) never appeared."""
        return await self._fact(
            "match.forfeited",
            ts,
            winner_id=winner,
            loser_id=loser,
            walkover=walkover,
            reason=reason,
            played_at=played_at or now_text(),
        )

    async def cancel(self, *, reason: str | None = None, ts: int | None = None) -> Receipt:
        """match.cancelled: it will not be played, or does not count."""
        return await self._fact("match.cancelled", ts, reason=reason)


def _placements(places: Sequence[str] | Mapping[str, int]) -> list[dict[str, Any]]:
    if not isinstance(places, Mapping):
        places = {each: place for place, each in enumerate(places, 1)}
    return [{"id": each, "place": place} for each, place in places.items()]


def _side(side: Side) -> dict[str, Any]:
    if isinstance(side, str):
        return {"id": side, "name": side, "type": "team"}
    return {"name": side["id"], "type": "team", **side}
