"""The life of a match: its states, what a server's FACT does to it, and the normalised result."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from domain.errors import (
    Forbidden,
    ImpossibleValue,
    InvalidSchema,
    InvalidTransition,
    MatchCompleted,
    NotHolder,
    UnknownMatch,
)
from domain.facts import content_hash
from domain.ids import check_id
from domain.matches.outcome import check_sides, forfeited, settled
from domain.payloads import Competitor
from domain.times import parse_time, time_text

PLAYED_AT_PAST_MS = 24 * 3600 * 1000
PLAYED_AT_FUTURE_MS = 60 * 1000
# The lease of a match ends so long after its holder fell silent (contract: Ingest).
LEASE_S = 10.0


class Status(StrEnum):
    """States of a match (MTCH-02); a server's result confirms itself (MTCH-03)."""

    SCHEDULED = "SCHEDULED"
    LIVE = "LIVE"
    COMPLETED = "COMPLETED"
    FORFEIT = "FORFEIT"
    CANCELLED = "CANCELLED"


ENDED = frozenset({Status.COMPLETED, Status.FORFEIT, Status.CANCELLED})
_RESULT_TYPES = {
    "match.completed": Status.COMPLETED,
    "match.forfeited": Status.FORFEIT,
    "match.cancelled": Status.CANCELLED,
}


class Match(Struct, frozen=True, kw_only=True, gc=False):
    """What the hub remembers of a match; times are ms since the epoch, UTC."""

    match_id: str
    game: str
    competitors: tuple[Competitor, ...]
    status: Status = Status.SCHEDULED
    tournament_id: str | None = None
    title: str | None = None
    round: str | None = None
    best_of: int | None = None
    delay_s: int = 0
    starts_at_ms: int | None = None
    started_at_ms: int | None = None
    played_at_ms: int | None = None
    scores: dict[str, int] | None = None
    outcome: str | None = None
    winner_id: str | None = None
    result_hash: bytes | None = None
    holder_server: str | None = None
    holder_stream: str | None = None


class Sender(Struct, frozen=True, kw_only=True):
    """Who sends a FACT: the server's token and its stream."""

    server: str
    stream: str
    scope: frozenset[str]
    games: frozenset[str] | None = None

    def check_game(self, game: str) -> None:
        """Raises Forbidden unless the token may act for `game`."""
        if self.games is not None and game not in self.games:
            raise Forbidden(f"this token may not act for the game {game!r}", field="match")


Lease = Literal["ours", "free", "other"]


def lease_of(match: Match, sender: Sender, *, alive: bool, closed: bool) -> Lease:
    """Who holds the match, as `sender` sees it (contract: Ingest).

    alive: the holder's connection was heard within LEASE_S; closed: it is known to be closed, so
    that a new stream of the same server takes over at once.
    """
    if match.holder_stream is None:
        return "free"
    if match.holder_server == sender.server:
        if match.holder_stream == sender.stream:
            return "ours"
        return "free" if closed or not alive else "other"
    return "other" if alive else "free"


class Decision(Struct, frozen=True, kw_only=True, gc=False):
    """What an acceptable FACT does: `fact` is None when it is acked and changes nothing."""

    match: Match | None
    fact: dict[str, Any] | None


def decide(
    match: Match | None,
    fact_type: str,
    data: dict[str, Any],
    sender: Sender,
    lease: Lease,
    now_ms: int,
) -> Decision:
    """What a normalised match FACT does to `match` (None: nobody knows it yet).

    Pure; raises a Refusal when it must be nacked. A returned `fact` is the complete payload for
    the log. Rules: contract.md, Ingest; MTCH-02; ING-06.
    """
    if match is None:
        return _create(fact_type, data, sender, now_ms)
    sender.check_game(match.game)
    if fact_type == "match.scheduled":
        return _schedule_again(match, data)
    if fact_type == "match.started":
        return _start(match, data, sender, lease, now_ms)
    return _finish(match, fact_type, data, sender, lease, now_ms)


def scheduled(data: dict[str, Any]) -> Match:
    """The match that a normalised match.scheduled payload describes; raises InvalidSchema."""
    return Match(
        match_id=check_id(data["match_id"], "match_id"),
        game=check_id(data["game"], "game"),
        competitors=competitors_of(data),
        tournament_id=data.get("tournament_id")
        and check_id(data["tournament_id"], "tournament_id"),
        title=data.get("title"),
        round=data.get("round"),
        best_of=data.get("best_of"),
        delay_s=data.get("delay_s") or 0,
        starts_at_ms=_time_or_none(data.get("starts_at"), "starts_at"),
    )


def competitors_of(data: dict[str, Any]) -> tuple[Competitor, ...]:
    """The payload's competitors; raises InvalidSchema when they are missing or not distinct."""
    if not data.get("competitors"):
        raise InvalidSchema("competitors are needed: at least two", field="competitors")
    sides = tuple([msgspec.convert(each, Competitor) for each in data["competitors"]])
    for side in sides:
        check_id(side.id, "competitors.id")
        for member in side.roster:
            check_id(member.id, "competitors.roster.id")
    # Also a team and a user of one id: scores and winners name competitors by id alone.
    if len({side.id for side in sides}) != len(sides):
        raise ImpossibleValue("a competitor is named twice", field="competitors")
    return sides


def _create(fact_type: str, data: dict[str, Any], sender: Sender, now_ms: int) -> Decision:
    if fact_type not in ("match.scheduled", "match.started"):
        raise UnknownMatch("this match was never scheduled", field="match")
    if "match:create" not in sender.scope:
        raise UnknownMatch(
            "this match was never scheduled, and the token has no scope match:create",
            field="match",
        )
    if not data.get("game"):
        raise InvalidSchema("game is needed to create a match", field="game")
    sender.check_game(data["game"])
    match = scheduled(data)
    if fact_type == "match.started":
        started_ms = _time_or_none(data.get("started_at"), "started_at") or now_ms
        match = replace(
            match,
            status=Status.LIVE,
            started_at_ms=started_ms,
            holder_server=sender.server,
            holder_stream=sender.stream,
        )
        return Decision(match=match, fact=_started_payload(match, started_ms))
    return Decision(match=match, fact=scheduled_payload(match))


def _schedule_again(match: Match, data: dict[str, Any]) -> Decision:
    if data["game"] != match.game or competitors_of(data) != match.competitors:
        raise InvalidTransition("the match exists with another game or competitors", field="match")
    if data.get("delay_s", 0) > match.delay_s:
        # Acked, it would be played in the belief that nobody sees it yet.
        raise InvalidTransition("the match exists with a shorter delay_s", field="delay_s")
    return Decision(match=None, fact=None)


def _start(
    match: Match, data: dict[str, Any], sender: Sender, lease: Lease, now_ms: int
) -> Decision:
    if match.status in ENDED:
        return Decision(match=None, fact=None)
    if lease == "other":
        raise NotHolder("another stream holds this match", field="match")
    held = replace(match, holder_server=sender.server, holder_stream=sender.stream)
    if match.status is Status.LIVE:
        return Decision(match=held if held != match else None, fact=None)
    started_ms = _time_or_none(data.get("started_at"), "started_at") or now_ms
    held = replace(held, status=Status.LIVE, started_at_ms=started_ms)
    if data.get("competitors") and not match.competitors:
        held = replace(held, competitors=competitors_of(data))
    return Decision(match=held, fact=_started_payload(held, started_ms))


def _finish(
    match: Match,
    fact_type: str,
    data: dict[str, Any],
    sender: Sender,
    lease: Lease,
    now_ms: int,
) -> Decision:
    payload = result_payload(match, fact_type, data)
    digest = content_hash(fact_type, match.match_id, payload)
    if fact_type == "match.forfeited" and match.started_at_ms is None:
        # Whoever gives up before the start never appeared (contract: Rating arithmetic).
        payload["walkover"] = payload["walkover"] or "import" not in sender.scope
    if match.status in ENDED:
        if match.result_hash == digest:
            return Decision(match=None, fact=None)
        raise MatchCompleted(
            f"the match is {match.status} with another content; a correction is an organiser's",
            field="match",
        )
    if lease == "other":
        raise NotHolder("another stream holds this match", field="match")
    if (
        fact_type == "match.completed"
        and match.status is Status.SCHEDULED
        and "import" not in sender.scope
    ):
        raise InvalidTransition("send match.started before match.completed", field="type")
    played_ms = None
    if "played_at" in payload:
        played_ms = parse_time(payload["played_at"], "played_at")
        if "import" not in sender.scope:
            check_played_at(played_ms, now_ms)
    ended = replace(
        match,
        status=_RESULT_TYPES[fact_type],
        played_at_ms=played_ms or now_ms,
        scores=payload.get("scores", match.scores),
        outcome=payload.get("outcome"),
        winner_id=payload.get("winner_id"),
        result_hash=digest,
    )
    return Decision(match=ended, fact=payload)


def scheduled_payload(match: Match) -> dict[str, Any]:
    """match.scheduled for the log and the rooms."""
    return _drop_none(
        {
            **_base_payload(match),
            "starts_at": _time_text(match.starts_at_ms),
            "delay_s": match.delay_s,
        }
    )


def _started_payload(match: Match, started_ms: int) -> dict[str, Any]:
    return _drop_none({**_base_payload(match), "started_at": _time_text(started_ms)})


def _base_payload(match: Match) -> dict[str, Any]:
    return {
        "match_id": match.match_id,
        "game": match.game,
        "tournament_id": match.tournament_id,
        "title": match.title,
        "round": match.round,
        "best_of": match.best_of,
        "competitors": msgspec.to_builtins(match.competitors),
    }


def result_payload(match: Match, fact_type: str, data: dict[str, Any]) -> dict[str, Any]:
    """A result made complete from what is known of the match (ING-03); raises ImpossibleValue.

    Every way in ends here, so that all results have one shape (MTCH-09); how outcome, winner and
    places go together: domain.matches.outcome.
    """
    payload = {**data}
    if data.get("game") not in (None, match.game):
        raise ImpossibleValue("the match belongs to another game", field="game")
    payload["game"] = match.game
    payload["tournament_id"] = match.tournament_id or data.get("tournament_id")
    if payload["tournament_id"] is not None:
        check_id(payload["tournament_id"], "tournament_id")
    if fact_type == "match.cancelled":
        return _drop_none(payload)
    sides = [side.id for side in match.competitors]
    if data.get("competitors"):
        known = {(side.type, side.id) for side in match.competitors}
        if {(side.type, side.id) for side in competitors_of(data)} != known:
            text = "the competitors differ from the scheduled ones"
            raise ImpossibleValue(text, field="competitors")
    payload["competitors"] = data.get("competitors") or msgspec.to_builtins(match.competitors)
    payload["played_at"] = _time_text(parse_time(data["played_at"], "played_at"))
    check_sides(payload, sides)
    payload |= (
        forfeited(payload, sides) if fact_type == "match.forfeited" else settled(payload, sides)
    )
    return _drop_none(payload)


def check_played_at(played_ms: int, now_ms: int) -> None:
    """Raises ImpossibleValue unless within now - 24 h and now + 60 s (contract: Ingest)."""
    if not now_ms - PLAYED_AT_PAST_MS <= played_ms <= now_ms + PLAYED_AT_FUTURE_MS:
        raise ImpossibleValue(
            "played_at must lie within the last 24 hours (older results need the scope import)",
            field="played_at",
        )


def _time_text(ms: int | None) -> str | None:
    return None if ms is None else time_text(ms)


def _time_or_none(text: str | None, field: str) -> int | None:
    return None if text is None else parse_time(text, field)


def _drop_none(payload: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in payload.items() if value is not None}
