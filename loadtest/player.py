"""One simulated match, as a game server would tell it: pure, from dice that are handed in.

`play` gives the whole match at once, as acts with the second at which each happens. A match is a
best of five; odd games are Siege (rounds, last side standing), even ones Overload (hold the core,
first to 120). Skill decides in the long run, momentum in the short one.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import Any

from loadtest.script import BEST_OF, Act, Plan, document, time_text

SIEGE_ROUNDS = 6
OVERLOAD_POINTS = 120
BREAK_S = (6.0, 9.0)
MOMENTUM_MAX = 0.3


def play(plan: Plan, dice: random.Random) -> list[Act]:
    """The acts of a whole match, in order; the last one is match.completed."""
    series = _Series(plan, dice)
    series.run()
    return series.acts


@dataclass(slots=True)
class _Tally:
    """What a player did in one game."""

    kills: int = 0
    deaths: int = 0
    assists: int = 0
    headshots: int = 0


@dataclass(slots=True)
class _Game:
    """One game of the series while it is played."""

    number: int
    game_id: str
    mode: str
    map: str
    started_s: float
    scores: dict[str, int]
    round: int = 1
    tallies: dict[str, _Tally] = field(default_factory=dict)

    def leader(self) -> str | None:
        """The side that is ahead."""
        (first, a), (second, b) = self.scores.items()
        return None if a == b else first if a > b else second


class _Series:
    """A match that is played from start to end; `acts` is what it said."""

    def __init__(self, plan: Plan, dice: random.Random) -> None:
        self.plan = plan
        self.dice = dice
        self.sides = {plan.home.id: plan.home, plan.away.id: plan.away}
        self.team_of = {p: side.id for side in self.sides.values() for p in side.players}
        self.wins = dict.fromkeys(self.sides, 0)
        self.momentum = dict.fromkeys(self.sides, 0.0)
        self.form = {player: dice.uniform(0.6, 1.6) for player in self.team_of}
        self.totals = {player: _Tally() for player in self.team_of}
        self.games: list[dict[str, Any]] = []
        self.maps = dice.sample(plan.title.maps, BEST_OF)
        self.acts: list[Act] = []
        self.now_s = 0.0

    # -- the story --------------------------------------------------------------------------------

    def run(self) -> None:
        started_at = time_text(self.plan.starts_at_ms)
        self._fact("match.started", {**self.plan.scheduled(), "started_at": started_at})
        self._live("live.state", document(self.plan))
        self.now_s += 1.0
        while max(self.wins.values()) <= BEST_OF // 2:
            self._game()
            if max(self.wins.values()) <= BEST_OF // 2:
                self._break()
        self._end()

    def _game(self) -> None:
        number = len(self.games) + 1
        game = _Game(
            number,
            f"{self.plan.match_id}.{number}",
            "Siege" if number % 2 else "Overload",
            self.maps[number - 1],
            self.now_s,
            dict.fromkeys(self.sides, 0),
            tallies={player: _Tally() for player in self.team_of},
        )
        about = {"game_id": game.game_id, "number": number, "mode": game.mode, "map": game.map}
        started_ms = self._now_ms()
        self._live(
            "live.game_start",
            {**about, "teams": list(self.sides)},
            {
                "phase": "live",
                "current": {
                    **about,
                    "round": 1,
                    "started_at_ms": started_ms,
                    "scores": dict(game.scores),
                },
                "clock": {"running": True, "started_at_ms": started_ms, "elapsed_ms": 0},
            },
        )
        self.now_s += 1.0
        if game.mode == "Siege":
            self._siege(game)
        else:
            self._overload(game)
        self._game_over(game)

    def _siege(self, game: _Game) -> None:
        """Rounds until one side has SIEGE_ROUNDS: the last side standing takes a round."""
        while max(game.scores.values()) < SIEGE_ROUNDS:
            self._live(
                "live.round_start",
                {"game_id": game.game_id, "round": game.round},
                {"current": {"round": game.round}},
            )
            alive = {side.id: list(side.players) for side in self.sides.values()}
            self.now_s += self.dice.uniform(0.6, 1.2)
            while all(alive.values()):
                killer_side = self._stronger(game, {k: len(v) for k, v in alive.items()})
                killer = self._pick(alive[killer_side])
                other = next(side for side in self.sides if side != killer_side)
                victim = self.dice.choice(alive[other])
                alive[other].remove(victim)
                self._kill(game, killer, victim)
                self.now_s += self.dice.uniform(0.45, 1.3)
            winner = next(side for side, left in alive.items() if left)
            self._point(game, winner, 1)
            self._round_end(game, winner)
            game.round += 1
            self.now_s += self.dice.uniform(0.9, 1.4)

    def _overload(self, game: _Game) -> None:
        """The core gives points every second to whoever holds it; kills change hands."""
        holder = self.dice.choice(list(self.sides))
        while max(game.scores.values()) < OVERLOAD_POINTS:
            for _ in range(self.dice.choice((0, 1, 1, 2))):
                side = self._stronger(game, dict.fromkeys(self.sides, 3))
                other = next(each for each in self.sides if each != side)
                killer = self._pick(list(self.sides[side].players))
                self._kill(game, killer, self.dice.choice(self.sides[other].players))
                self.now_s += self.dice.uniform(0.05, 0.2)
                if side != holder and self.dice.random() < 0.35:
                    holder = side
                    self._live("live.capture", {"game_id": game.game_id, "team": side})
            self.now_s += self.dice.uniform(0.8, 0.95)
            self._point(game, holder, self.dice.choice((1, 2, 2, 3)))
        self._round_end(game, game.leader() or holder)

    def _stronger(self, game: _Game, numbers: dict[str, int]) -> str:
        """Which side wins the next duel: skill, numbers, momentum, and luck."""
        home, away = self.sides
        skill = self.sides[home].skill - self.sides[away].skill
        edge = 0.3 * skill + 0.22 * (numbers[home] - numbers[away])
        edge += self.momentum[home] - self.momentum[away]
        # Whoever is far behind plays with nothing to lose: leads change.
        behind = (game.scores[away] - game.scores[home]) / (max(game.scores.values()) + 1)
        chance = 1 / (1 + math.exp(-(edge + 0.3 * behind)))
        return home if self.dice.random() < chance else away

    def _pick(self, players: list[str]) -> str:
        return self.dice.choices(players, [self.form[player] for player in players])[0]

    # -- what is said -----------------------------------------------------------------------------

    def _kill(self, game: _Game, killer: str, victim: str) -> None:
        means = "headshot" if self.dice.random() < 0.25 else "body"
        game.tallies[killer].kills += 1
        game.tallies[killer].headshots += means == "headshot"
        game.tallies[victim].deaths += 1
        self.totals[killer].kills += 1
        self.totals[victim].deaths += 1
        mates = [p for p in self.sides[self.team_of[killer]].players if p != killer]
        if self.dice.random() < 0.4:
            game.tallies[self.dice.choice(mates)].assists += 1
        self._live(
            "live.kill",
            {
                "killer": killer,
                "victim": victim,
                "weapon": self.dice.choice(self.plan.title.weapons),
                "means": means,
                "pos": [self.dice.randrange(1000), self.dice.randrange(1000)],
                "game_id": game.game_id,
                "round": game.round,
                "t_ms": round((self.now_s - game.started_s) * 1000),
            },
            {
                "players": {
                    killer: {"kills": self.totals[killer].kills},
                    victim: {"deaths": self.totals[victim].deaths},
                }
            },
        )

    def _point(self, game: _Game, side: str, points: int) -> None:
        game.scores[side] += points
        if game.mode == "Overload":
            game.scores[side] = min(game.scores[side], OVERLOAD_POINTS)
        for each in self.momentum:
            push = 0.12 if each == side else -0.08
            limit = MOMENTUM_MAX
            self.momentum[each] = max(-limit, min(limit, 0.9 * self.momentum[each] + push))
        self._score(game, {"current": {"scores": dict(game.scores)}})

    def _round_end(self, game: _Game, winner: str) -> None:
        self._live(
            "live.round_end",
            {
                "game_id": game.game_id,
                "round": game.round,
                "scores": dict(game.scores),
                "winner": winner,
            },
        )

    def _score(self, game: _Game, patch: dict[str, Any]) -> None:
        shown = "–".join(str(points) for points in game.scores.values())
        data = {
            "match_id": self.plan.match_id,
            "scores": dict(self.wins),
            "detail": f"{game.map} {shown}",
        }
        self._live("match.score_updated", data, patch)

    def _game_over(self, game: _Game) -> None:
        winner = game.leader()
        assert winner is not None
        self.wins[winner] += 1
        self.momentum = {side: value / 2 for side, value in self.momentum.items()}
        line = {
            "game_id": game.game_id,
            "mode": game.mode,
            "map": game.map,
            "scores": dict(game.scores),
        }
        elapsed_ms = round((self.now_s - game.started_s) * 1000)
        over = max(self.wins.values()) > BEST_OF // 2
        self._live(
            "live.game_end",
            {"game_id": game.game_id, "scores": dict(game.scores), "winner": winner},
            {
                "phase": "over" if over else "break",
                "series": dict(self.wins),
                "games": {str(game.number): {**line, "winner": winner}},
                "current": None,
                "clock": {"running": False, "elapsed_ms": elapsed_ms},
            },
        )
        self._score(game, {})
        self.games.append(
            {
                **line,
                "winner_id": winner,
                "duration_s": elapsed_ms // 1000,
                "ended_at": time_text(self._now_ms()),
                "players": [self._line(p, tally) for p, tally in game.tallies.items()],
            }
        )
        for player, tally in game.tallies.items():
            self.totals[player].assists += tally.assists
            self.totals[player].headshots += tally.headshots

    def _break(self) -> None:
        """Players get ready for the next map, one after the other."""
        end_s = self.now_s + self.dice.uniform(*BREAK_S)
        players = self.dice.sample(list(self.team_of), len(self.team_of))
        step_s = (end_s - self.now_s) / len(players)
        for player in players:
            self._live("live.ready", {"player": player, "team": self.team_of[player]})
            self.now_s += step_s

    def _end(self) -> None:
        self.now_s += 1.0
        winner = max(self.wins, key=lambda side: self.wins[side])
        self._fact(
            "match.completed",
            {
                "match_id": self.plan.match_id,
                "scores": dict(self.wins),
                "winner_id": winner,
                "started_at": time_text(self.plan.starts_at_ms),
                "played_at": time_text(self._now_ms()),
                "duration_s": round(self.now_s),
                "best_of": BEST_OF,
                "games": self.games,
                "players": [self._line(p, tally) for p, tally in self.totals.items()],
            },
        )

    def _line(self, player: str, tally: _Tally) -> dict[str, Any]:
        stats = {
            "kills": tally.kills,
            "deaths": tally.deaths,
            "assists": tally.assists,
            "headshots": tally.headshots,
        }
        return {
            "player_id": player,
            "name": player,
            "team_id": self.team_of[player],
            "stats": stats,
        }

    def _now_ms(self) -> int:
        return self.plan.starts_at_ms + round(self.now_s * 1000)

    def _fact(self, name: str, data: dict[str, Any]) -> None:
        self.acts.append(Act(self.now_s, "fact", name, data))

    def _live(self, name: str, data: dict[str, Any], patch: dict[str, Any] | None = None) -> None:
        self.acts.append(Act(self.now_s, "live", name, data, patch))
