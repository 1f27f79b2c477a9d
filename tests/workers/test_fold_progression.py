"""The fold feeds careers: every achievement is within reach of results and tournaments alone."""

from __future__ import annotations

import uuid
from itertools import count
from typing import Any

import pytest

from domain.achievements import BY_CODE, CATALOGUE, COUNTERS, coins_of
from domain.battlepass import DEFAULT, tier_of
from domain.results import result_of
from domain.statistics import merge
from storage.log import LoggedEvent
from workers.fold.stages import fold
from workers.fold.telling import Telling, Told
from workers.fold.world import World

DAY_MS = 86_400_000


class Stage:
    """A world in memory, and all that was told of it."""

    def __init__(self) -> None:
        self.world = World()
        self.told: list[Told] = []
        self._numbers = count(1)

    def fold(self, event_type: str, **payload: Any) -> list[Told]:
        """Folds one fact; answers what follows from it."""
        number = next(self._numbers)
        event_id = uuid.UUID(int=number)
        event = LoggedEvent(
            seq=number,
            event_id=event_id,
            type=event_type,
            v=1,
            subject="match:m",
            root_id=event_id,
            cause_id=None,
            occurred_at_ms=number * DAY_MS,
            recorded_at_ms=number * DAY_MS,
            payload=payload,
        )
        telling = Telling()
        fold(self.world, event, result_of(event_type, payload), telling)
        self.told += telling.told
        return telling.told

    def match(self, winner: str, loser: str, **said: Any) -> list[Told]:
        """A match of two users."""
        number = next(self._numbers)
        sides = [{"id": each, "name": each.title(), "type": "user"} for each in (winner, loser)]
        return self.fold(
            "match.completed",
            match_id=f"m{number}",
            game="arena",
            played_at="2026-03-01T18:41:00.000Z",
            competitors=sides,
            outcome="win",
            winner_id=winner,
            **said,
        )

    def unlocked(self, user_id: str) -> list[str]:
        """The codes that were announced to a user, in order."""
        return [
            payload["achievement_code"]
            for kind, subject, _, payload in self.told
            if kind == "achievement.unlocked" and subject == f"user:{user_id}"
        ]


def kinds(told: list[Told], subject: str) -> list[str]:
    """What was told to whom, in order."""
    return [kind for kind, whom, *_ in told if whom == subject]


def game(winner: str, **stats: float) -> dict[str, Any]:
    """One game of a series with ana's line."""
    return {
        "game_id": f"g-{winner}",
        "winner_id": winner,
        "players": [{"player_id": "ana", "team_id": "reds", "stats": stats}],
    }


def test_every_achievement_can_be_earned_by_results_and_tournaments() -> None:
    stage = Stage()
    newcomers = (f"new{number}" for number in count())
    # Ana climbs with bob, who is rated higher at first; 40 kills a match, seven tournaments.
    for _ in range(60):
        stage.match("bob", next(newcomers))
    for number in range(700):
        cup = f"cup{number // 100}"
        stage.match("bob", next(newcomers))
        stage.match(
            "ana", "bob" if number % 2 else next(newcomers), tournament_id=cup, duration_s=900,
            players=[{"player_id": "ana", "stats": {"kills": 40}}],
        )  # fmt: skip
    for team in ("reds", "blues", "greens"):
        stage.fold(
            "match.completed",
            match_id=f"series-{team}",
            game="arena",
            played_at="2026-03-02T18:41:00.000Z",
            tournament_id=f"league-{team}",
            competitors=[
                {"id": team, "name": team.title(), "roster": [{"id": "ana"}]},
                {"id": "greys", "name": "Greys", "roster": [{"id": "eve"}]},
            ],
            outcome="win",
            winner_id=team,
            games=[{**game(team), "game_id": f"g{n}"} for n in range(40)],
        )
    for number in range(7):
        stage.fold(
            "tournament.completed",
            tournament_id=f"cup{number}",
            game="arena",
            placements=[{"place": 1, "id": "ana", "type": "user"}],
        )
    missing = {each.code for each in CATALOGUE} - set(stage.unlocked("ana"))
    assert not missing, stage.world.careers["ana"]
    assert len(stage.unlocked("ana")) == len(CATALOGUE)
    assert set(stage.world.careers["ana"]) == set(COUNTERS)

    # Coins are those of achievements and tiers, and nothing else.
    tier, _ = tier_of(stage.world.xp["ana"][DEFAULT.season_id])
    coins = sum(coins_of(each.reward) for each in CATALOGUE)
    coins += sum(coins_of(DEFAULT.rewards.get(each)) for each in range(1, tier + 1))
    assert stage.world.careers["ana"]["coins_earned"] == coins


def test_what_follows_from_a_first_win_in_its_order() -> None:
    stage = Stage()
    told = stage.match("ana", "bob", duration_s=600)
    assert kinds(told, "user:ana") == [
        "stats.updated",
        "rating.updated",
        "xp.gained",
        "achievement.unlocked",
        "achievement.unlocked",
    ]
    assert stage.unlocked("ana") == ["FIRST_MATCH", "FIRST_WIN"]
    assert stage.unlocked("bob") == ["FIRST_MATCH"]


def test_levels_tiers_and_rewards_are_told_as_they_are_reached() -> None:
    stage = Stage()
    stage.fold(
        "season.started",
        season_id="s1",
        number=1,
        starts_at="2026-03-01T00:00:00.000Z",
        xp_per_tier=100,
        rewards={"2": {"type": "item", "item": "cape"}, "3": {"type": "coins", "amount": 7}},
    )
    # 100 + 10 of the streak + 5 * 38 kills = 300 XP: levels from 4 on, and three tiers at once.
    line = {"player_id": "ana", "stats": {"kills": 38, "deaths": 1}}
    told = stage.match("ana", "bob", players=[line])
    whose = [each for each in told if each[1] == "user:ana" and "battlepass" in each[0]]
    assert [(kind, payload["tier"], payload.get("reward")) for kind, _, _, payload in whose] == [
        ("battlepass.tier_reached", 1, None),
        ("battlepass.tier_reached", 2, None),
        ("battlepass.reward_earned", 2, {"type": "item", "amount": 1, "item": "cape"}),
        ("battlepass.tier_reached", 3, None),
        ("battlepass.reward_earned", 3, {"type": "coins", "amount": 7, "item": None}),
    ]
    assert stage.world.careers["ana"]["coins_earned"] == 7
    assert "FIRST_COINS" in stage.unlocked("ana")
    again = stage.match("ana", "bob", players=[line])
    assert ("player.levelup", {"user_id": "ana", "old": 1, "new": 2}) in [
        (kind, payload) for kind, _, _, payload in again
    ]
    assert stage.world.xp["ana"] == {"s1": 600}


@pytest.mark.parametrize("declared", [False, True])
def test_a_series_is_counted_by_the_kinds_of_its_game(declared: bool) -> None:
    stage = Stage()
    if declared:
        stage.fold(
            "game.configured", game="arena", stats=[{"name": "longest_rally", "total": "max"}]
        )
    games = [
        game("reds", kills=3, fastest_answer_ms=900, longest_rally=12),
        game("reds", kills=5, fastest_answer_ms=700, longest_rally=9),
    ]
    for match_id in ("m1", "m2"):
        stage.fold(
            "match.completed",
            match_id=match_id,
            game="arena",
            played_at="2026-03-01T18:41:00.000Z",
            competitors=[{"id": "reds", "name": "Reds"}, {"id": "blues", "name": "Blues"}],
            outcome="win",
            winner_id="reds",
            games=games,
        )
    lifetime = stage.world.lifetime["user", "ana", "arena"]
    assert lifetime.stats == {
        "kills": 16,
        "fastest_answer_ms": 700,
        "longest_rally": 12 if declared else 42,
    }
    days = [day for key, day in stage.world.days.items() if key[:2] == ("user", "ana")]
    rules = stage.world.rules("arena")
    assert merge(days, rules.kinds).stats == lifetime.stats
    assert stage.unlocked("ana").count("PERFECT_SERIES") == 1
    assert BY_CODE["PERFECT_SERIES"].criteria == {"perfect_series": 1}


def test_the_best_of_several_places_counts() -> None:
    """A user stands there alone and with a team, a team twice, and the id of a user is a team's."""
    stage = Stage()
    stage.world.members["cup", "reds"] = ["ana", "eve"]
    stage.world.members["cup", "eve"] = ["ann"]
    told = stage.fold(
        "tournament.completed",
        tournament_id="cup",
        game="arena",
        placements=[
            {"place": 3, "id": "reds"},
            {"place": 1, "id": "eve", "type": "user"},
            {"place": 2, "id": "eve"},
            {"place": 4, "id": "reds"},
        ],
    )
    placed = {
        payload["user_id"]: (payload["placement"], payload["team_id"])
        for kind, _, _, payload in told
        if kind == "tournament.placement"
    }
    assert placed == {"eve": (1, None), "ann": (2, "eve"), "ana": (3, "reds")}
    assert kinds(told, "user:eve").count("tournament.placement") == 1
    assert stage.world.careers["eve"]["tournaments_won"] == 1
