"""Liveness, readiness, the whole state and the metrics page, with dependencies gone one by one."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from hub.api import health
from hub.context import CONTEXT
from tests.hub.api.serving import Client, serving


async def get(client: Client, path: str) -> tuple[int, Any]:
    response = await client.get(path)
    return response.status, await response.json()


async def test_all_is_well(pool: asyncpg.Pool, redis_url: str) -> None:
    async with serving(pool, redis_url) as client:
        assert await get(client, "/healthz") == (200, {"status": "ok"})
        status, body = await get(client, "/readiness")
        assert (status, body["status"]) == (200, "ready")
        assert {name: each["ok"] for name, each in body["checks"].items()} == {
            "database": True,
            "redis": True,
            "migrations": True,
            "draining": True,
        }
        status, body = await get(client, "/health")
        assert (status, body["status"]) == (200, "ok")
        assert body["version"]
        assert body["node"]
        assert body["uptime_s"] >= 0
        assert body["dependencies"]["database"]["latency_ms"] > 0
        assert body["dependencies"]["pipelines"]["dead_letters"] == 0


async def test_without_redis_it_is_not_ready_but_alive(pool: asyncpg.Pool) -> None:
    async with serving(pool) as client:
        assert (await get(client, "/healthz"))[0] == 200
        status, body = await get(client, "/readiness")
        assert (status, body["status"]) == (503, "unready")
        assert body["checks"]["redis"]["ok"] is False
        assert body["checks"]["redis"]["detail"]
        assert body["checks"]["database"]["ok"] is True
        status, body = await get(client, "/health")
        assert (status, body["status"]) == (503, "down")


async def test_without_postgres_it_is_not_ready(pool: asyncpg.Pool, redis_url: str) -> None:
    async with serving(pool, redis_url) as client:
        await pool.close()
        status, body = await get(client, "/readiness")
        assert status == 503
        assert body["checks"]["database"]["ok"] is False
        assert body["checks"]["redis"]["ok"] is True


async def test_a_pool_without_a_free_connection_counts_as_away(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "CHECK_TIMEOUT_S", 0.1)
    async with (
        asyncpg.create_pool(database_url, min_size=1, max_size=1) as pool,
        serving(pool, redis_url) as client,
        pool.acquire(),
    ):
        status, body = await get(client, "/readiness")
        assert status == 503
        assert body["checks"]["database"]["detail"] == "no answer within 0.1 s"


async def test_pending_migrations_make_it_unready(empty_database_url: str, redis_url: str) -> None:
    async with (
        asyncpg.create_pool(empty_database_url, min_size=1, max_size=4) as pool,
        serving(pool, redis_url) as client,
    ):
        status, body = await get(client, "/readiness")
        assert status == 503
        assert body["checks"]["database"]["ok"] is True
        assert body["checks"]["migrations"]["ok"] is False
        assert body["checks"]["migrations"]["pending"] > 0
        assert "gamehub migrate up" in body["checks"]["migrations"]["detail"]


async def test_a_draining_hub_is_not_ready(pool: asyncpg.Pool, redis_url: str) -> None:
    async with serving(pool, redis_url) as client:
        assert client.app is not None
        client.app[CONTEXT].draining = True
        status, body = await get(client, "/readiness")
        assert (status, body["checks"]["draining"]) == (503, {"ok": False})
        assert (await get(client, "/health"))[1]["status"] == "degraded"
        assert (await get(client, "/healthz"))[0] == 200


async def test_probes_cannot_be_used_as_load(
    pool: asyncpg.Pool, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    look = health._redis

    async def counted(context: Any) -> Any:
        nonlocal looks
        looks += 1
        return await look(context)

    monkeypatch.setattr(health, "_redis", counted)
    monkeypatch.setattr(health, "CACHE_S", 3600.0)
    async with serving(pool, redis_url) as client:
        await asyncio.gather(*(client.get("/readiness") for _ in range(20)))
        await client.get("/health")
        await client.get("/metrics")
    assert looks == 1


async def test_metrics_are_in_prometheus_form(pool: asyncpg.Pool, redis_url: str) -> None:
    async with serving(pool, redis_url) as client:
        response = await client.get("/metrics")
        text = await response.text()
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert 'gamehub_dependency_up{dependency="database"} 1.0' in text
        assert "gamehub_build_info{" in text
        assert "gamehub_dead_letters 0.0" in text
        assert "process_resident_memory_bytes" in text
