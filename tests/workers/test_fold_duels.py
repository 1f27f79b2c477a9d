"""Duels of a rebuild: rated at once and counted later, they come to what every result comes to."""

from __future__ import annotations

import io
from datetime import datetime
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.results import is_plain_duel, read_result, read_said
from domain.times import time_text
from storage import history
from storage.rebuild import Root
from tests.domain.told_results import team, user
from workers.fold import lines
from workers.fold.beside import COUNT, pack
from workers.fold.counter import Counter
from workers.fold.lines import count_all
from workers.fold.stages import fold, fold_again, rate_again
from workers.fold.telling import SILENT
from workers.fold.world import World

USERS = ["ana", "ben", "cleo", "dan"]
BEGIN_MS = 1_772_390_460_000
NUMBERS = st.one_of(st.integers(0, 300), st.floats(0, 50).map(lambda each: round(each, 2)))
STATS = st.dictionaries(
    st.sampled_from(["kills", "deaths", "best_lap", "fastest_answer_ms", "streak"]), NUMBERS
)


def line(user_id: str, stats: dict[str, float] | None, name: str | None) -> dict[str, Any]:
    return {"player_id": user_id, "stats": stats, "name": name}


@st.composite
def matches(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A fact of the log: mostly a plain duel, sometimes nearly one, sometimes something else."""
    one, two = draw(st.permutations(USERS))[:2]
    outcome = draw(st.sampled_from(["win", "win", "win", "draw", "none"]))
    payload: dict[str, Any] = {
        "game": draw(st.sampled_from(["arena", "chess"])),
        "played_at": time_text(BEGIN_MS + draw(st.integers(0, 60)) * 3_600_000),
        "competitors": [user(one), user(two)],
        "outcome": outcome,
        "duration_s": draw(st.sampled_from([None, 30, 900])),
        "players": [
            line(each, draw(st.none() | STATS), draw(st.sampled_from([None, "", "Nick"])))
            for each in draw(st.permutations([one, two]))[: draw(st.integers(0, 2))]
        ],
    }
    if outcome == "win":
        payload["winner_id"] = draw(st.sampled_from([one, two]))
    odd = draw(st.integers(0, 11))
    if odd == 0:
        payload["competitors"] = [team("red", one), team("blue", two)]
        if outcome == "win":
            payload["winner_id"] = "red"
    elif odd == 1:
        payload["tournament_id"] = "cup"
    elif odd == 2:
        payload["kind"] = draw(st.sampled_from(["challenge", "friendly"]))
    elif odd == 3:
        payload["retired"] = [two]
    elif odd == 4:
        payload["players"].append(line("eve", {"kills": 3}, None))
    elif odd == 5:
        payload["games"] = [{"winner_id": one, "players": [line(one, {"kills": 2}, None)]}] * 2
    elif odd == 6:
        payload["competitors"].append(user("eve"))
    elif odd == 7 and outcome == "win":
        loser = two if payload["winner_id"] == one else one
        return "match.forfeited", {**payload, "loser_id": loser, "walkover": draw(st.booleans())}
    return "match.completed", payload


POLICIES = st.builds(
    lambda game, rating, stats: (
        "game.configured",
        {"game": game, "title": None, "rating": rating, "stats": stats},
    ),
    st.sampled_from(["arena", "chess"]),
    st.sampled_from([{"system": "elo", "preset": "combined"}, {"system": "glicko2"}]),
    st.sampled_from([[], [{"name": "kills", "total": "max"}]]),
)
PLACES = st.just(
    (
        "tournament.completed",
        {
            "tournament_id": "cup",
            "placements": [
                {"type": "user", "id": each, "place": place} for place, each in enumerate(USERS, 1)
            ],
        },
    )
)
SEASONS = st.builds(
    lambda number, xp_per_tier: (
        "season.started",
        {
            "season_id": f"s{number}",
            "number": number,
            "starts_at": time_text(BEGIN_MS),
            "xp_per_tier": xp_per_tier,
            "rewards": {"1": {"type": "coins", "amount": 500}},
        },
    ),
    st.integers(1, 3),
    st.sampled_from([100, 1000]),
)
FACTS = st.integers(0, 9).flatmap(
    lambda kind: (POLICIES, PLACES, SEASONS)[kind] if kind < 3 else matches()
)


def entries(world: World) -> list[list[Any]]:
    """Columns of what goes into the history; a time is one however it is written."""
    texts = "".join([*world.texts, *history.texts(world.entries)])
    rows = [each.split("\t") for each in texts.splitlines()]
    for row in rows:
        row[8] = datetime.fromisoformat(row[8]).isoformat()
    return sorted(rows)


COUNTED = ("lifetime", "days", "careers", "xp", "earned", "entered", "played_for", "ended")


@given(st.lists(FACTS, min_size=5, max_size=40), st.sets(st.integers(0, 40)))
def test_short_way_and_long_way_make_the_same_world(
    facts: list[tuple[str, dict[str, Any]]], counted: set[int]
) -> None:
    """Also where one half rates and another counts."""
    short, long, rating = World(), World(), World()
    counter, told, answers = Counter(), 0, io.BytesIO()
    for seq, (fact_type, payload) in enumerate(facts):
        packed = msgpack.packb({"match_id": f"m{seq}", **payload})
        fact = Root(seq, fact_type, datetime.fromisoformat(time_text(BEGIN_MS)), packed)
        fold(long, fact, read_result(fact_type, packed), SILENT)
        if fact_type == "match.completed":
            fold_again(short, packed, seq)
        else:
            fold(short, fact, read_result(fact_type, packed), SILENT)
        rated = rate_again(rating, fact)
        shapes = [(each.game, each.names) for each in rating.shapes[told:]]
        told = len(rating.shapes)
        counter.hear(pack((shapes, [rated])), answers)
        if seq in counted:
            count_all(short)
            counter.hear(COUNT, answers)
    count_all(short)
    counter.hear(COUNT, answers)
    halves = counter.counting.world
    assert short.ratings == rating.ratings == long.ratings
    for name in COUNTED:
        assert getattr(short, name) == getattr(halves, name) == getattr(long, name), name
    assert set(short.new_earned) == set(halves.new_earned) == set(long.new_earned)
    assert entries(short) == entries(rating) == entries(long)


def test_most_of_them_are_plain() -> None:
    """Else the test above would compare the long way with itself."""
    plain = {
        "match_id": "m1",
        "game": "arena",
        "played_at": time_text(BEGIN_MS),
        "competitors": [user("ana"), user("ben")],
        "outcome": "win",
        "winner_id": "ana",
    }
    assert is_plain_duel(read_said(msgpack.packb(plain)))
    for change in (
        {"competitors": [user("ana"), user("ana")]},
        {"competitors": [user("ana"), user("ben"), user("cleo")]},
        {"competitors": [user("ana"), team("ben")]},
        {"winner_id": None},
        {"winner_id": "cleo"},
        {"outcome": "none"},
        {"kind": "friendly"},
        {"tournament_id": "cup"},
        {"retired": ["ben"]},
        {"placements": [{"id": "ana", "place": 2}, {"id": "ben", "place": 1}]},
        {"games": [{"winner_id": "ana"}]},
        {"players": [line("ana", {}, None), line("ana", {}, None)]},
        {"players": [line("cleo", {}, None)]},
    ):
        assert not is_plain_duel(read_said(msgpack.packb({**plain, **change}))), change


def test_too_many_sets_of_counters(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are counted all the same."""
    monkeypatch.setattr(lines, "SHAPES_MAX", 2)
    worlds = World(), World()
    for seq in range(5):
        payload = {
            "match_id": f"m{seq}",
            "game": "arena",
            "played_at": time_text(BEGIN_MS),
            "competitors": [user("ana"), user("ben")],
            "outcome": "draw",
            "players": [line("ana", {f"counter{seq}": 1}, None)],
        }
        packed = msgpack.packb(payload)
        fold_again(worlds[0], packed, seq)
        fact = Root(seq, "match.completed", None, packed)
        fold(worlds[1], fact, read_result("match.completed", packed), SILENT)
    count_all(worlds[0])
    assert len(worlds[0].shapes) == 2
    assert worlds[0].lifetime == worlds[1].lifetime
    assert worlds[0].careers == worlds[1].careers
