"""Every URL of the HTTP API on one page."""

from __future__ import annotations

import time
from functools import partial

from aiohttp import web

from hub.api.health import Checks, health, healthz, metrics, readiness
from hub.api.history import read_history
from hub.api.matches import get_match, list_matches, schedule_match
from hub.api.overlays import create_overlay, delete_overlay, list_overlays
from hub.api.session import TOKENS_BURST, TOKENS_PER_S, Bucket, spectate


def routes() -> list[web.RouteDef]:
    """The routes of one hub; POST /api/v1/ingest stands with the sockets in hub/live/routes."""
    checks = Checks()
    bucket = Bucket(TOKENS_PER_S, TOKENS_BURST, time.monotonic())
    return [
        web.post("/api/v1/session/spectate", partial(spectate, bucket=bucket)),
        web.get("/api/v1/matches", list_matches),
        web.post("/api/v1/matches", schedule_match),
        web.get("/api/v1/matches/{id:.+}", get_match),
        web.get("/api/v1/history/{subject_type}/{subject_id:.+}", read_history),
        web.get("/api/v1/overlays", list_overlays),
        web.post("/api/v1/overlays", create_overlay),
        web.delete("/api/v1/overlays/{id:.+}", delete_overlay),
        web.get("/healthz", healthz),
        web.get("/readiness", partial(readiness, checks=checks)),
        web.get("/health", partial(health, checks=checks)),
        web.get("/metrics", partial(metrics, checks=checks)),
    ]
