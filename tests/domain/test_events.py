"""What can happen, where it shows, and who may see it."""

from __future__ import annotations

from typing import Any

import pytest

from domain.errors import Forbidden, GamehubError, InvalidSchema, UnknownRoom
from domain.events import (
    EVENT_TYPES,
    ROOM_KINDS,
    Principal,
    Role,
    check_may_join,
    check_may_publish,
    event_type,
    room_kind,
    rooms_of,
    sample_key,
    thinning_key,
)

RESULT = {"match_id": "m1", "game": "chess", "tournament_id": "cup", "games": [1], "players": [2]}


def person(role: Role, subject: str = "ann") -> Principal:
    return Principal(subject=subject, kind="user", role=role)


def test_a_result_shows_in_four_rooms_and_in_full_in_one() -> None:
    deliveries = dict(rooms_of("match.completed", RESULT))
    assert list(deliveries) == ["match:m1", "matches:all", "matches:chess", "tournament:cup"]
    assert deliveries["match:m1"] == RESULT
    brief = {key: RESULT[key] for key in ("match_id", "game", "tournament_id")}
    assert all(deliveries[room] == brief for room in list(deliveries)[1:])


@pytest.mark.parametrize(
    ("name", "data", "rooms"),
    [
        ("match.started", {"match_id": "m1"}, ["match:m1", "matches:all"]),
        ("match.score_updated", {"match_id": "m1", "game": "go"},
         ["match:m1", "matches:all", "matches:go"]),
        ("tournament.completed", {"tournament_id": "cup"}, ["tournament:cup"]),
        ("announcement.posted", {"room": "announce:all"}, ["announce:all"]),
        ("stats.updated", {"user": {"username": "ann"}}, ["user:ann", "overlay:ann"]),
        ("nothing.known", {"match_id": "m1"}, []),
    ],
)  # fmt: skip
def test_where_an_event_shows(name: str, data: dict[str, Any], rooms: list[str]) -> None:
    assert [room for room, _ in rooms_of(name, data)] == rooms


def test_every_type_is_declared_whole() -> None:
    for name, declared in EVENT_TYPES.items():
        assert (declared.name, declared.v) == (name, 1)
        assert declared.payload is not None
        assert len(name) <= 50


@pytest.mark.parametrize(
    ("name", "frame_class"),
    [
        ("match.completed", "fact"),
        ("match.score_updated", "live"),
        ("live.kill", "live"),
        ("live." + "a" * 40, "live"),
        ("live." + "a" * 41, None),
        ("live.", None),
        ("live.Kill", None),
        ("live.a\n", None),
        ("match.paused", None),
    ],
)
def test_the_class_of_a_type(name: str, frame_class: str | None) -> None:
    declared = event_type(name)
    assert (declared.frame_class if declared else None) == frame_class


JOINS = [
    ("match:m1", Role.SPECTATOR, None),
    ("matches:all", Role.SPECTATOR, None),
    ("tournament:cup", Role.SPECTATOR, None),
    ("announce:all", Role.SPECTATOR, None),
    ("user:ann", Role.SPECTATOR, None),
    ("user:bob", Role.ORGANIZER, Forbidden),
    ("user:bob", Role.ADMIN, None),
    ("overlay:ann", Role.PLAYER, None),
    ("overlay:bob", Role.ORGANIZER, Forbidden),
    ("overlay:bob", Role.ADMIN, None),
    ("team:red", Role.PLAYER, Forbidden),
    ("team:red", Role.ORGANIZER, None),
    ("staff:all", Role.PLAYER, Forbidden),
    ("ops:all", Role.ORGANIZER, Forbidden),
    ("ops:all", Role.ADMIN, None),
    ("cellar:all", Role.ADMIN, UnknownRoom),
    ("match", Role.ADMIN, InvalidSchema),
]


@pytest.mark.parametrize(("room", "role", "error"), JOINS)
def test_who_may_join(room: str, role: Role, error: type[GamehubError] | None) -> None:
    if error is None:
        check_may_join(person(role), room)
        return
    with pytest.raises(error):
        check_may_join(person(role), room)


def test_servers_do_not_watch_and_overlays_see_one_room() -> None:
    server = Principal(subject="srv", kind="server", role=Role.ADMIN)
    with pytest.raises(Forbidden):
        check_may_join(server, "match:m1")
    overlay = Principal(subject="o", kind="overlay", role=Role.SPECTATOR, overlay_room="match:m1")
    check_may_join(overlay, "match:m1")
    with pytest.raises(Forbidden):
        check_may_join(overlay, "match:m2")
    feed = Principal(subject="o", kind="overlay", role=Role.SPECTATOR, overlay_room="overlay:ann")
    check_may_join(feed, "overlay:ann")
    for room in ("overlay:bob", "user:ann"):
        with pytest.raises(Forbidden):
            check_may_join(feed, room)


@pytest.mark.parametrize("room", ["announce:all", "tournament:cup"])
def test_organisers_announce(room: str) -> None:
    check_may_publish(person(Role.ORGANIZER), room, "announcement.posted")
    for who, where, what in [
        (person(Role.PLAYER), room, "announcement.posted"),
        (person(Role.ADMIN), "match:m1", "announcement.posted"),
        (person(Role.ADMIN), room, "match.completed"),
        (Principal(subject="s", kind="server", role=Role.ADMIN), room, "announcement.posted"),
    ]:
        with pytest.raises(Forbidden):
            check_may_publish(who, where, what)


def test_games_of_a_server() -> None:
    assert person(Role.ADMIN).may_play("chess")
    one = Principal(subject="s", kind="server", role=Role.PLAYER, games=frozenset({"chess"}))
    assert one.may_play("chess")
    assert not one.may_play("go")


def test_rooms_remember_more_than_a_batch_of_the_relay() -> None:
    assert room_kind("match:m1").document
    assert all(kind.history_max >= 100 for kind in ROOM_KINDS.values())
    assert thinning_key("match.score_updated", {"match_id": "a"}) != thinning_key(
        "match.score_updated", {"match_id": "b"}
    )


def test_sampled_events_replace_those_of_the_same_thing() -> None:
    ann, bob = {"player": "ann", "x": 1}, {"player": "bob", "x": 1}
    assert sample_key("live.position", "player", ann) != sample_key("live.position", "player", bob)
    assert sample_key("live.aim", "player", ann) != sample_key("live.position", "player", ann)
    assert sample_key("live.position", "", ann) == sample_key("live.position", "", bob)
    assert sample_key("live.position", "player", {}) == sample_key("live.position", "player", {})
