"""What a hub answers about a player of the examples' story, for the published documents."""

from __future__ import annotations

from typing import Any

from domain import examples
from domain.achievements import BY_CODE, coins_of

_DERIVED = {
    "win_rate": 1.0,
    "kd_ratio": 1.722,
    "kda": None,
    "accuracy_pct": None,
    "answer_rate": None,
    "avg_answer_time_ms": None,
}
FIGURES: dict[str, Any] = {
    "game": examples.GAME,
    "played": 1,
    "won": 1,
    "lost": 0,
    "drawn": 0,
    "games": 2,
    "seconds": 2330,
    "stats": examples.COMPLETED["players"][0]["stats"],
    "derived": _DERIVED,
}
LIFETIME: dict[str, Any] = {
    **FIGURES,
    "streak": 1,
    "best_streak": 1,
    "tournaments": 1,
    "first_played_at": examples.COMPLETED["played_at"],
    "last_played_at": examples.COMPLETED["played_at"],
}
TOTALS: dict[str, Any] = {
    "tournaments_played": 1,
    "matches_played": 1,
    "matches_won": 1,
    "matches_lost": 0,
    "avg_kda": None,
}
SUMMARY: dict[str, Any] = {
    **LIFETIME,
    "rating": 1232,
    "trend": "stable",
    "bests": {"fastest_answer_ms": None, "best_win_streak": 1, "peak_elo": 1232},
}
TREND: dict[str, Any] = {
    "game": examples.GAME,
    "trend": "stable",
    "rating": 1232,
    "rating_before": 1232,
    "delta": 0,
    "peak": 1232,
}
HISTORY: dict[str, Any] = {
    "match_id": examples.MATCH,
    "game": examples.GAME,
    "tournament_id": examples.TOURNAMENT,
    "played_at": examples.COMPLETED["played_at"],
    "name": "Ana",
    "team_id": examples.FOXES,
    "opponents": [{"id": examples.HERONS, "type": "team", "name": "Blue Herons"}],
    "outcome": "win",
    "place": None,
    "decided_by": "play",
    "rating_before": 1200,
    "rating_after": 1232,
    "scores": examples.COMPLETED["scores"],
    "best_of": 3,
    "duration_s": 2330,
    "map": None,
    "mode": None,
    "games_played": 2,
    "stats": examples.COMPLETED["players"][0]["stats"],
}
CARD: dict[str, Any] = {
    "id": "ana",
    "name": "Ana",
    "country": None,
    "level": 1,
    "xp": 300,
    "ratings": [
        {
            "game": examples.GAME,
            "rating": 1232,
            "peak": 1232,
            "tier": "Gold",
            "rank": 1,
            "rated": 1,
            "won": 1,
            "trend": "stable",
        }
    ],
    "lifetime": [LIFETIME],
    "form": [
        {
            "match_id": examples.MATCH,
            "game": examples.GAME,
            "outcome": "win",
            "played_at": examples.COMPLETED["played_at"],
        }
    ],
    "best_streak": 1,
    "achievements": {"earned": 6, "of": len(BY_CODE)},
    "snapshots": [],
}
CURVE: dict[str, Any] = {
    "id": "ana",
    "game": examples.GAME,
    "points": [{"at": examples.COMPLETED["played_at"], "rating": 1232, "match_id": examples.MATCH}],
}
BATTLEPASS: dict[str, Any] = {
    "user_id": "ana",
    "season": {
        name: examples.SEASON_STARTED[name]
        for name in ("season_id", "number", "name", "starts_at", "ends_at")
    },
    "level": 1,
    "total_xp": 300,
    "xp_to_next_level": 100,
    "tier": 1,
    "xp": 300,
    "tier_xp": 0,
    "xp_per_tier": 300,
    "xp_to_next": 300,
    "rewards": [{"tier": 1, "reward": examples.REWARD["reward"], "reached": True}],
}


# What the final earned Ana, the last first, and her counters after it.
EARNED = (
    "FIRST_COINS",
    "FIRST_TEAM",
    "FIRST_TOURNAMENT",
    "PERFECT_SERIES",
    "FIRST_WIN",
    "FIRST_MATCH",
)
CAREER: dict[str, float] = {
    "matches_played": 1,
    "matches_won": 1,
    "best_streak": 1,
    "games_played": 2,
    "tournaments_played": 1,
    "best_rating": 1232,
    "kills": 31,
    "teams_played_for": 1,
    "coins_earned": sum(coins_of(BY_CODE[each].reward) for each in EARNED)
    + examples.REWARD["reward"]["amount"],
    "perfect_series": 1,
}


def _earned(code: str) -> dict[str, Any]:
    each = BY_CODE[code]
    coins = None if each.reward is None else {"type": "coins", "amount": each.reward.amount}
    return {
        "achievement_code": code,
        "title": each.title,
        "description": each.description,
        "icon": each.icon,
        "rarity": each.rarity,
        "reward": None if coins is None else {**coins, "item": None},
    }


NOTICE: dict[str, Any] = {
    "id": examples.NOTIFICATION["id"],
    "position": examples.NOTIFICATION["position"],
    "type": "achievement.unlocked",
    "title": "6 achievements unlocked",
    "body": "First coins, Team player, Contender and 3 more",
    "count": 6,
    "data": {"items": [_earned(each) for each in EARNED]},
    "created_at": "2026-03-01T18:41:01.000Z",
    "updated_at": "2026-03-01T18:41:01.000Z",
    "read_at": None,
}
REWARD_NOTICE: dict[str, Any] = {
    **NOTICE,
    "id": "01953a5c-7d10-7c3a-9a4f-5b1f0e8d2c13",
    "position": "WzQ3MDksIjAxOTUzYTVjLTdkMTAtN2MzYS05YTRmLTViMWYwZThkMmMxMyJd",
    "type": "battlepass.reward_earned",
    "title": "Battle pass reward earned",
    "body": "Tier 1: 50 coins",
    "count": 1,
    "data": {
        "items": [{key: examples.REWARD[key] for key in ("season_id", "tier", "reward")}],
    },
}
