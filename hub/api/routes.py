"""Every URL of the HTTP API on one page."""

from __future__ import annotations

import time
from functools import partial

from aiohttp import web

from hub.api.achievements import list_achievements, player_achievements
from hub.api.battlepass import own_battlepass
from hub.api.games import configure_game, list_games
from hub.api.health import Checks, health, healthz, metrics, readiness
from hub.api.history import own_matches, read_history
from hub.api.leaderboards import read_global, read_own, read_regional
from hub.api.matches import get_match, list_matches, schedule_match
from hub.api.notifications import (
    list_notifications,
    read_all_notifications,
    read_notification,
)
from hub.api.ops import list_entries, list_facts
from hub.api.overlays import create_overlay, delete_overlay, list_overlays
from hub.api.players import rating_curve, read_player
from hub.api.profiles import get_profile, update_profile
from hub.api.seasons import list_seasons, start_season
from hub.api.session import Visitors, spectate
from hub.api.stats.own import own_day, own_lifetime, own_season, own_trends, own_weeks
from hub.api.stats.players import read_matchup, read_stats
from hub.api.tokens import revoke
from hub.api.tournaments import get_role, grant_role, list_roles, revoke_role


def routes() -> list[web.RouteDef]:
    """The routes of one hub; POST /api/v1/ingest stands with the sockets in hub/live/routes."""
    checks = Checks()
    visitors = Visitors(time.monotonic())
    return [
        web.post("/api/v1/session/spectate", partial(spectate, visitors=visitors)),
        web.get("/api/v1/matches", list_matches),
        web.post("/api/v1/matches", schedule_match),
        web.get("/api/v1/matches/{id:.+}", get_match),
        web.get("/api/v1/history/{subject_type}/{subject_id:.+}", read_history),
        web.get("/api/v1/stats/me/lifetime", own_lifetime),
        web.get("/api/v1/stats/me/seasonal", own_season),
        web.get("/api/v1/stats/me/weekly", own_weeks),
        web.get("/api/v1/stats/me/daily", own_day),
        web.get("/api/v1/stats/me/matches", own_matches),
        web.get("/api/v1/stats/me/trends", own_trends),
        web.get("/api/v1/stats/{user_id}/matchups/{other:.+}", read_matchup),
        web.get("/api/v1/stats/{user_id:.+}", read_stats),
        web.get("/api/v1/players/{id}/ratings", rating_curve),
        web.get("/api/v1/players/{id}/achievements", player_achievements),
        web.get("/api/v1/players/{id:.+}", read_player),
        web.get("/api/v1/achievements", list_achievements),
        web.get("/api/v1/me/battlepass", own_battlepass),
        web.get("/api/v1/leaderboards/global", read_global),
        web.get("/api/v1/leaderboards/regional/{region}", read_regional),
        web.get("/api/v1/leaderboards/me", read_own),
        web.get("/api/v1/me/notifications", list_notifications),
        web.post("/api/v1/me/notifications/read-all", read_all_notifications),
        web.post("/api/v1/me/notifications/{id}/read", read_notification),
        web.get("/api/v1/games", list_games),
        web.put("/api/v1/games/{game:.+}", configure_game),
        web.get("/api/v1/seasons", list_seasons),
        web.post("/api/v1/seasons", start_season),
        web.get("/api/v1/me/profile", get_profile),
        web.patch("/api/v1/me/profile", update_profile),
        web.post("/api/v1/tokens/revoke", revoke),
        web.get("/api/v1/tournaments/{id}/roles", list_roles),
        web.get("/api/v1/tournaments/{id}/roles/{user:.+}", get_role),
        web.put("/api/v1/tournaments/{id}/roles/{user:.+}", grant_role),
        web.delete("/api/v1/tournaments/{id}/roles/{user:.+}", revoke_role),
        web.get("/api/v1/overlays", list_overlays),
        web.post("/api/v1/overlays", create_overlay),
        web.delete("/api/v1/overlays/{id:.+}", delete_overlay),
        web.get("/api/v1/ops/facts", list_facts),
        web.get("/api/v1/ops/audit", list_entries),
        web.get("/healthz", healthz),
        web.get("/readiness", partial(readiness, checks=checks)),
        web.get("/health", partial(health, checks=checks)),
        web.get("/metrics", partial(metrics, checks=checks)),
    ]
