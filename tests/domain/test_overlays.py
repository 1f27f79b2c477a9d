"""Who may have which overlay, and what an overlay may be asked to look like."""

from __future__ import annotations

from typing import Any

import pytest

from domain.errors import Forbidden, InvalidSchema
from domain.events import Principal, Role, TokenKind
from domain.overlays import Kind, Options, planned

NOW_S = 1_800_000_000


def person(role: Role = Role.PLAYER, kind: TokenKind = "user") -> Principal:
    return Principal(subject="ann", kind=kind, role=role)


def test_an_overlay_of_a_match() -> None:
    body = {"kind": "scoreboard", "match": "cup/final", "options": {"theme": "glass", "delay": 2.5}}
    made = planned(person(), body, "o-1", NOW_S)
    assert (made.overlay_id, made.owner, made.kind) == ("o-1", "ann", Kind.SCOREBOARD)
    assert (made.subject, made.shown_id) == ("match:cup/final", "cup/final")
    assert made.options == Options(theme="glass", delay=2.5)
    assert made.expires_at_s - made.created_at_s == 365 * 86_400


def test_a_players_totals_are_the_players_own() -> None:
    assert planned(person(), {"kind": "player"}, "o", NOW_S).subject == "user:ann"
    assert planned(person(), {"kind": "player", "user": "ann"}, "o", 1).subject == "user:ann"
    with pytest.raises(Forbidden):
        planned(person(Role.ORGANIZER), {"kind": "player", "user": "bob"}, "o", NOW_S)
    others = planned(person(Role.ADMIN), {"kind": "player", "user": "bob"}, "o", NOW_S)
    assert (others.owner, others.subject) == ("ann", "user:bob")


def test_alerts_are_the_players_own_too() -> None:
    assert planned(person(), {"kind": "alerts"}, "o", NOW_S).subject == "user:ann"
    with pytest.raises(Forbidden):
        planned(person(), {"kind": "alerts", "user": "bob"}, "o", NOW_S)


def test_a_board_is_named_by_its_game_and_its_scope() -> None:
    made = planned(person(), {"kind": "leaderboard", "game": "cod/ww2"}, "o", NOW_S)
    assert (made.subject, made.shown_id, made.scope) == (
        "leaderboard:cod/ww2/global",
        "cod/ww2",
        None,
    )
    body = {"kind": "leaderboard", "game": "arena", "scope": "region-PT"}
    made = planned(person(), body, "o", NOW_S)
    assert (made.subject, made.shown_id, made.scope) == (
        "leaderboard:arena/region-PT",
        "arena",
        "region-PT",
    )


@pytest.mark.parametrize(
    "who",
    [person(Role.SPECTATOR), person(Role.ADMIN, "server"), person(Role.ADMIN, "overlay")],
    ids=["spectator", "server", "overlay"],
)
def test_who_has_no_overlays(who: Principal) -> None:
    with pytest.raises(Forbidden):
        planned(who, {"kind": "feed", "match": "m1"}, "o", NOW_S)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "feed"}, "match"),
        ({"kind": "feed", "match": "a:b"}, "match"),
        ({"kind": "feed", "match": "m1", "user": "ann"}, "user"),
        ({"kind": "player", "match": "m1"}, "match"),
        ({"kind": "poster", "match": "m1"}, "kind"),
        ({"kind": "leaderboard"}, "game"),
        ({"kind": "leaderboard", "game": "arena", "user": "ann"}, "user"),
        ({"kind": "leaderboard", "game": "arena", "scope": "moon"}, "scope"),
        ({"kind": "alerts", "game": "arena"}, "game"),
        ({"kind": "feed", "match": "m1", "scope": "teams"}, "scope"),
        ({"match": "m1"}, None),
        ({"kind": "feed", "match": "m1", "life_s": 10**9}, "life_s"),
        ({"kind": "feed", "match": "m1", "title": "a\nb"}, "title"),
        ({"kind": "feed", "match": "m1", "options": {"theme": "pink"}}, "options.theme"),
        ({"kind": "feed", "match": "m1", "options": {"scale": 9}}, "options.scale"),
        ({"kind": "feed", "match": "m1", "options": {"delay": -1}}, "options.delay"),
        ({"kind": "feed", "match": "m1", "options": {"a": "red"}}, "options.a"),
    ],
)
def test_what_cannot_be_asked_for(body: dict[str, Any], field: str | None) -> None:
    with pytest.raises(InvalidSchema) as caught:
        planned(person(), body, "o", NOW_S)
    assert caught.value.field == field
