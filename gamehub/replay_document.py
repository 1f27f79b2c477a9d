"""One recorded match as it goes on: each live event becomes frames and a patch of the document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from protocol.mergepatch import apply_patch


@dataclass(frozen=True, slots=True)
class LiveFrame:
    """A LIVE frame to send, in this order."""

    type: str
    data: dict[str, Any]
    patch: dict[str, Any] | None = None


class RecordedMatch:
    """The document of one match (docs/protocol.md: the match document) while its events pass.

    kills and deaths count enemies only: a suicide (killer = victim) and a team kill are shown as
    events, and change no count (docs/replay-format.md).
    """

    def __init__(
        self, match_id: str, scheduled: dict[str, Any], record: dict[str, Any] | None, events: int
    ) -> None:
        self.match_id = match_id
        self.scheduled = scheduled
        self.record = record
        self.events_left = events
        self.series = {side["id"]: 0 for side in scheduled["competitors"]}
        names = record_names(record)
        self._names = names
        self._number = 0
        self._best_of = scheduled.get("best_of")
        self._team_of: dict[str, str] = {}
        self._kills: dict[str, int] = {}
        self._deaths: dict[str, int] = {}
        self._started_ms = 0
        self.document: dict[str, Any] = {
            "match_id": match_id,
            "game": scheduled["game"],
            "phase": "live",
            "series": dict(self.series),
            "games": {},
            "teams": {side["id"]: {"name": side["name"]} for side in scheduled["competitors"]},
            "players": {},
        }
        for key in ("title", "round", "best_of"):
            if key in scheduled:
                self.document[key] = scheduled[key]

    def opening(self) -> LiveFrame:
        """The whole document: before the first event, and after events that were not sent."""
        return LiveFrame("live.state", self.document)

    def frames(self, event: dict[str, Any], at_ms: int) -> list[LiveFrame]:
        """The frames of one event; `document` stands after them."""
        self.events_left -= 1
        kind = event["type"]
        data = {k: v for k, v in event.items() if k not in ("type", "at", "match_id", "game")}
        patch: dict[str, Any] | None = None
        scores = False
        if kind == "game_start":
            patch = self._game_start(event, at_ms)
        elif kind == "round_start":
            patch = {"current": {"round": event.get("round")}}
        elif kind == "kill":
            patch = self._kill(event)
        elif kind == "round_end":
            patch, scores = {"current": {"scores": event.get("scores", {})}}, True
        elif kind == "game_end":
            patch, scores = self._game_end(event, at_ms), True
        frames = [LiveFrame(f"live.{kind}", data, patch)]
        if scores:
            frames.append(self._score(event))
        if patch is not None:
            self.document = apply_patch(self.document, patch)
        return frames

    def _game_start(self, event: dict[str, Any], at_ms: int) -> dict[str, Any]:
        self._number += 1
        self._team_of = {player["id"]: player["team"] for player in event["players"]}
        self._started_ms = at_ms
        return {
            "phase": "live",
            "current": {
                "game_id": event["game_id"],
                "number": self._number,
                "mode": event.get("mode"),
                "map": event.get("map"),
                "round": 1,
                "started_at_ms": at_ms,
                "scores": dict.fromkeys(event["teams"], 0),
            },
            "clock": {"running": True, "started_at_ms": at_ms, "elapsed_ms": 0},
            "players": {
                player: {
                    "name": self._names.get(player, player),
                    "team": team,
                    "kills": self._kills.setdefault(player, 0),
                    "deaths": self._deaths.setdefault(player, 0),
                }
                for player, team in self._team_of.items()
            },
        }

    def _kill(self, event: dict[str, Any]) -> dict[str, Any] | None:
        killer, victim = event.get("killer"), event.get("victim")
        teams = self._team_of
        if killer not in teams or victim not in teams or teams[killer] == teams[victim]:
            return None
        self._kills[killer] += 1
        self._deaths[victim] += 1
        kills = {"kills": self._kills[killer]}
        return {"players": {killer: kills, victim: {"deaths": self._deaths[victim]}}}

    def _game_end(self, event: dict[str, Any], at_ms: int) -> dict[str, Any]:
        winner = event.get("winner")
        if winner in self.series:
            self.series[winner] += 1
        current = self.document.get("current") or {}
        ended = {
            "game_id": event["game_id"],
            "mode": current.get("mode"),
            "map": current.get("map"),
            "scores": event.get("scores", {}),
            "winner": winner,
        }
        return {
            "phase": "over" if self._over() else "break",
            "series": dict(self.series),
            "games": {str(self._number): {k: v for k, v in ended.items() if v is not None}},
            "current": None,
            "clock": {"running": False, "elapsed_ms": at_ms - self._started_ms},
        }

    def _over(self) -> bool:
        """Only a file with the result says that this was the last game."""
        return self.record is not None and self.events_left == 0

    def _score(self, event: dict[str, Any]) -> LiveFrame:
        shown = "–".join(str(points) for points in event.get("scores", {}).values())
        where = (self.document.get("current") or {}).get("map")
        data: dict[str, Any] = {"match_id": self.match_id, "scores": dict(self.series)}
        if shown:
            data["detail"] = f"{where} {shown}" if where else shown
        return LiveFrame("match.score_updated", data)


def record_names(record: dict[str, Any] | None) -> dict[str, str]:
    """Players' names by id, from a match record."""
    games = [] if record is None else record.get("games", [])
    lines = [line for game in games for line in game.get("players", [])]
    return {line["player_id"]: line["name"] for line in lines if line.get("name")}
