"""What a simulated match consists of: its plan, its acts, and its document for latecomers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from loadtest.teams import Team, Title
from protocol.mergepatch import apply_patch

BEST_OF = 5


@dataclass(frozen=True, slots=True)
class Plan:
    """Who plays what, where and when; times are ms since the epoch."""

    match_id: str
    title: Title
    tournament_id: str
    round: str
    home: Team
    away: Team
    starts_at_ms: int

    def scheduled(self) -> dict[str, Any]:
        """The data of match.scheduled, but for the time."""
        return {
            "match_id": self.match_id,
            "game": self.title.slug,
            "tournament_id": self.tournament_id,
            "round": self.round,
            "best_of": BEST_OF,
            "competitors": [_competitor(self.home), _competitor(self.away)],
        }


@dataclass(frozen=True, slots=True)
class Act:
    """A frame and the second, counted from the match's start, at which it is sent."""

    at_s: float
    frame_class: Literal["fact", "live"]
    type: str
    data: dict[str, Any]
    patch: dict[str, Any] | None = None


def document(plan: Plan) -> dict[str, Any]:
    """The match document before anything happened (docs/protocol.md: the match document)."""
    sides = (plan.home, plan.away)
    return {
        "match_id": plan.match_id,
        "game": plan.title.slug,
        "phase": "live",
        "best_of": BEST_OF,
        "series": {side.id: 0 for side in sides},
        "games": {},
        "teams": {side.id: {"name": side.name} for side in sides},
        "players": {
            player: {"name": player, "team": side.id, "kills": 0, "deaths": 0}
            for side in sides
            for player in side.players
        },
    }


def from_middle(acts: list[Act], skip_s: float) -> Iterator[Act]:
    """The same match for somebody who comes `skip_s` late: facts, the document, what follows."""
    live = [act for act in acts if act.frame_class == "live"]
    missed = [act for act in live if act.at_s < skip_s]
    if not missed:
        yield from acts
        return
    yield from (act for act in acts if act.frame_class == "fact" and act.at_s < skip_s)
    state: dict[str, Any] = {}
    for act in missed:
        if act.type == "live.state":
            state = act.data
        elif act.patch is not None:
            state = apply_patch(state, act.patch)
    scores = {"match_id": state["match_id"], "scores": state["series"]}
    yield Act(skip_s, "live", "live.state", state)
    yield Act(skip_s, "live", "match.score_updated", scores)
    yield from (act for act in acts if act.at_s >= skip_s)


def _competitor(team: Team) -> dict[str, Any]:
    roster = [{"id": player, "name": player} for player in team.players]
    return {"id": team.id, "name": team.name, "type": "team", "roster": roster}


def time_text(ms: int) -> str:
    """RFC 3339 UTC with milliseconds."""
    moment = datetime.fromtimestamp(ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
