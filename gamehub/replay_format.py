"""The files that `gamehub replay` reads (docs/replay-format.md): lines in, checked records out."""

from __future__ import annotations

import gzip
import heapq
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec
import orjson
from msgspec import Struct

from domain.errors import InvalidSchema
from domain.ids import check_id
from domain.times import parse_time

# A line that is longer is refused: no match record comes near.
LINE_BYTES_MAX = 4 * 1024 * 1024
# The game of a live file that comes without its matches file and names none.
UNNAMED_GAME = "replay"
_EVENT_TYPE = re.compile(r"[a-z0-9_]{1,40}\Z")
_STAT = re.compile(r"[a-z][a-z0-9_]{0,39}\Z")

Kind = Literal["matches", "live"]


class _Side(Struct):
    id: str
    name: str
    type: Literal["team", "user"] = "team"


class _Line(Struct):
    player_id: str
    name: str | None = None
    team_id: str | None = None


class _GameRecord(Struct):
    game_id: str
    scores: dict[str, int] = {}
    players: list[_Line] = []


class MatchRecord(Struct):
    """One line of a matches file, as far as its shape matters here."""

    match_id: str
    game: str
    competitors: list[_Side]
    played_at: str
    started_at: str | None = None
    games: list[_GameRecord] = []


@dataclass(slots=True)
class LiveIndex:
    """What the first reading of the live files told about one match."""

    first_at_ms: int
    game: str
    events: int = 0
    teams: dict[str, None] = field(default_factory=dict)


@dataclass(slots=True)
class Recording:
    """All files together. `matches`: raw match records by id, in the order of their `played_at`.

    Matches are held in memory, a few KB each; live files are read line by line, twice.
    """

    matches: dict[str, dict[str, Any]]
    live: dict[str, LiveIndex]
    live_files: list[Path]

    @property
    def events(self) -> int:
        """Live events in all files."""
        return sum(index.events for index in self.live.values())


def open_recording(files: Sequence[Path]) -> Recording:
    """Reads the matches and indexes the live events; raises InvalidSchema naming file and line."""
    matches: list[tuple[int, dict[str, Any]]] = []
    live_files: list[Path] = []
    for path in files:
        if kind_of(path) == "live":
            live_files.append(path)
            continue
        for where, record in _records(path):
            matches.append((check_match(record, where), record))
    matches.sort(key=lambda pair: pair[0])
    index: dict[str, LiveIndex] = {}
    for at_ms, event in events_of(live_files):
        known = index.get(event["match_id"])
        if known is None:
            game = event.get("game", UNNAMED_GAME)
            known = index[event["match_id"]] = LiveIndex(at_ms, game)
        known.events += 1
        if event["type"] == "game_start":
            known.teams.update(dict.fromkeys(event["teams"]))
    by_id = {record["match_id"]: record for _, record in matches}
    for match_id, known in index.items():
        if match_id not in by_id and len(known.teams) < 2:
            raise InvalidSchema(f"match {match_id} has no game_start that names two teams")
    return Recording(by_id, index, live_files)


def kind_of(path: Path) -> Kind:
    """Which of the two a file is, by its first record: live events have a type, matches games."""
    for where, record in _records(path):
        if "type" in record and "at" in record:
            return "live"
        if "competitors" in record:
            return "matches"
        raise InvalidSchema(f"{where}: neither a match record nor a live event")
    raise InvalidSchema(f"{path}: the file is empty")


def events_of(paths: Sequence[Path]) -> Iterator[tuple[int, dict[str, Any]]]:
    """(at in ms, event) of all live files, merged by `at`; each file must be ordered by it."""
    return heapq.merge(*(_events(path) for path in paths), key=lambda pair: pair[0])


def check_match(record: dict[str, Any], where: str) -> int:
    """Checks a match record; its `played_at` in ms. Raises InvalidSchema."""
    try:
        typed = msgspec.convert(record, MatchRecord)
        check_id(typed.match_id, "match_id")
        if len(typed.competitors) < 2:
            raise InvalidSchema("competitors must be at least two", field="competitors")
        if typed.started_at is not None:
            parse_time(typed.started_at, "started_at")
        return parse_time(typed.played_at, "played_at")
    except (msgspec.ValidationError, InvalidSchema) as error:
        raise InvalidSchema(f"{where}: {error}") from None


def _events(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    before = 0
    for where, event in _records(path):
        try:
            at_ms = _check_event(event)
        except InvalidSchema as error:
            raise InvalidSchema(f"{where}: {error.message}", field=error.field) from None
        if at_ms < before:
            raise InvalidSchema(f"{where}: events must be ordered by `at`", field="at")
        before = at_ms
        yield at_ms, event


def _check_event(event: dict[str, Any]) -> int:
    for name in ("type", "at", "match_id", "game_id"):
        if not isinstance(event.get(name), str):
            raise InvalidSchema(f"{name} is missing", field=name)
    if _EVENT_TYPE.match(event["type"]) is None:
        raise InvalidSchema("type must be letters, digits and _", field="type")
    check_id(event["match_id"], "match_id")
    if event["type"] == "game_start":
        for name in ("teams", "players"):
            if not isinstance(event.get(name), list):
                raise InvalidSchema(f"a game_start needs {name}", field=name)
    return parse_time(event["at"], "at")


def _records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """("file:line", record) of every line that is not blank; plain or gzip, told by its content."""
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path) if packed else path.open("rb") as lines:
            number = 0
            while line := lines.readline(LINE_BYTES_MAX):
                number += 1
                where = f"{path}:{number}"
                if len(line) == LINE_BYTES_MAX:
                    raise InvalidSchema(f"{where}: longer than {LINE_BYTES_MAX} bytes")
                if line.strip():
                    yield where, _parse(line, where)
    except (EOFError, gzip.BadGzipFile, OSError) as error:
        raise InvalidSchema(f"{path}: cannot be read: {error}") from None


def _parse(line: bytes, where: str) -> dict[str, Any]:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InvalidSchema(f"{where}: not JSON: {error}") from None
    if not isinstance(record, dict):
        raise InvalidSchema(f"{where}: a line must be a JSON object")
    return record


# -- records as FACTs -----------------------------------------------------------------------------


def scheduled_data(record: dict[str, Any]) -> dict[str, Any]:
    """match.scheduled of a match record."""
    return _known(
        match_id=record["match_id"],
        game=record["game"],
        competitors=[
            {"id": side["id"], "name": side["name"], "type": side.get("type", "team")}
            for side in record["competitors"]
        ],
        tournament_id=record.get("tournament_id"),
        title=record.get("tournament_name"),
        round=record.get("round"),
        best_of=record.get("best_of"),
        starts_at=record.get("started_at"),
    )


def scheduled_without_record(match_id: str, index: LiveIndex) -> dict[str, Any]:
    """match.scheduled of a match that is only in a live file: its teams are all that is known."""
    sides = [{"id": team, "name": team, "type": "team"} for team in index.teams]
    return {"match_id": match_id, "game": index.game, "competitors": sides}


def started_data(scheduled: dict[str, Any], started_at: str) -> dict[str, Any]:
    """match.started of a match that was scheduled with `scheduled`."""
    same = {key: value for key, value in scheduled.items() if key != "starts_at"}
    return {**same, "started_at": started_at}


def completed_data(record: dict[str, Any]) -> dict[str, Any]:
    """match.completed of a match record; who won what is the record's word, never worked out here.

    A series marked incomplete says so (its outcome is none); a game without a winner has none.
    """
    return _known(
        match_id=record["match_id"],
        game=record["game"],
        tournament_id=record.get("tournament_id"),
        scores=record.get("scores"),
        winner_id=record.get("winner"),
        incomplete=record.get("incomplete") or None,
        started_at=record.get("started_at"),
        played_at=record["played_at"],
        duration_s=record.get("duration_s"),
        best_of=record.get("best_of"),
        games=[_game(game) for game in record.get("games", [])],
    )


def _game(game: dict[str, Any]) -> dict[str, Any]:
    return _known(
        game_id=game["game_id"],
        mode=game.get("mode"),
        map=game.get("map"),
        duration_s=game.get("duration_s"),
        ended_at=game.get("ended_at"),
        scores=game.get("scores"),
        winner_id=game.get("winner"),
        players=[_player(line) for line in game.get("players", [])],
    )


def _player(line: dict[str, Any]) -> dict[str, Any]:
    """Every number of the line is a stat."""
    stats = {
        name: value
        for name, value in line.items()
        if type(value) in (int, float) and _STAT.match(name)
    }
    return _known(
        player_id=line["player_id"],
        name=line.get("name"),
        team_id=line.get("team_id"),
        stats=stats,
    )


def _known(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
