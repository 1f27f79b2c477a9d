"""/healthz, /readiness, /health and /metrics: whether this process lives, serves, and how it is."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import structlog
from aiohttp import web
from msgspec import Struct

from domain.errors import GamehubError
from hub.api.bodies import answer
from hub.api.operations import Example, operation
from hub.context import CONTEXT, Context
from hub.metrics import CONTENT_TYPE, PipelineWork, version
from storage import database, deadletters, migrate, redis
from storage import log as facts

log = structlog.get_logger(__name__)

CHECK_TIMEOUT_S = 2.0  # a dependency that takes longer counts as down
CACHE_S = 1.0  # probes that come faster get the last answer: they cannot be used as load
# A pipeline behind by more than this makes /health say degraded; readiness does not ask.
LAG_DEGRADED_S = 30.0


@dataclass(frozen=True, slots=True)
class Check:
    """What one look at a dependency found; `detail` says what is wrong, in a few words."""

    ok: bool
    latency_ms: float
    detail: str | None = None
    more: dict[str, Any] = field(default_factory=dict)

    def shown(self) -> dict[str, Any]:
        """As JSON."""
        body: dict[str, Any] = {"ok": self.ok, "latency_ms": self.latency_ms, **self.more}
        if self.detail is not None:
            body["detail"] = self.detail
        return body


class Checks:
    """The checks of one process: made together, at most once per CACHE_S, by whoever asks first."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._looked_at_s = float("-inf")
        self._found: dict[str, Check] = {}

    async def look(self, context: Context) -> dict[str, Check]:
        """database, redis, migrations and pipelines, each with its own time-out."""
        async with self._lock:
            if time.monotonic() - self._looked_at_s >= CACHE_S:
                names = ("database", "redis", "migrations", "pipelines")
                looks = (_database, _redis, _migrations, _pipelines)
                found = await asyncio.gather(*(_check(look, context) for look in looks))
                self._found = dict(zip(names, found, strict=True))
                self._looked_at_s = time.monotonic()
                self._count(context)
        return self._found

    def _count(self, context: Context) -> None:
        metrics = context.metrics
        for name in ("database", "redis"):
            metrics.dependency_up.labels(name).set(self._found[name].ok)
        more = self._found["pipelines"].more
        for each in more.get("pipelines", ()):
            metrics.pipeline_lag_facts.labels(each["pipeline"]).set(each["lag_facts"])
            metrics.pipeline_lag_seconds.labels(each["pipeline"]).set(each["lag_s"])
        if "dead_letters" in more:
            metrics.dead_letters.set(more["dead_letters"])
            metrics.pipelines.found = [_work(each) for each in more["pipelines"]]


def _work(shown: dict[str, Any]) -> PipelineWork:
    return PipelineWork(
        pipeline=shown["pipeline"],
        batches=shown["batches"],
        facts=shown["facts"],
        busy_s=shown["busy_s"],
        last_batch_s=shown["last_batch_ms"] / 1000,
        failures=shown["failures"],
        dead_letters=shown["dead_letters"],
    )


class Alive(Struct, kw_only=True):
    """The process answers."""

    status: Literal["ok"]


class CheckShown(Struct, kw_only=True):
    """What one look at a dependency found."""

    ok: bool
    latency_ms: float | None = None
    detail: str | None = None
    pending: int | None = None


class Readiness(Struct, kw_only=True):
    """Whether new clients should come here, and why not."""

    status: Literal["ready", "unready"]
    checks: dict[Literal["database", "redis", "migrations", "draining"], CheckShown]


class PipelineLag(Struct, kw_only=True):
    """How far one pipeline is behind the log, and what it has done since it is there."""

    pipeline: str
    lag_facts: int
    lag_s: float
    batches: int
    facts: int
    busy_s: float
    last_batch_ms: float
    failures: int
    dead_letters: int


class Dependency(CheckShown, kw_only=True):
    """A dependency; `pipelines` also tells lag and dead letters."""

    dead_letters: int | None = None
    pipelines: list[PipelineLag] | None = None


class Health(Struct, kw_only=True):
    """The whole state of one hub."""

    status: Literal["ok", "degraded", "down"]
    version: str
    node: str
    pid: int
    uptime_s: float
    draining: bool
    dependencies: dict[Literal["database", "redis", "migrations", "pipelines"], Dependency]


@operation(
    tag="health", who="nobody", answers={200: Alive}, example=Example(answer={"status": "ok"})
)
async def healthz(_request: web.Request) -> web.Response:
    """200 as long as the process answers at all (HLTH-01)."""
    return answer({"status": "ok"})


@operation(tag="health", who="nobody", answers={200: Readiness, 503: Readiness})
async def readiness(request: web.Request, checks: Checks) -> web.Response:
    """200 when new clients should come here, else 503 with the reason per check (HLTH-02)."""
    context = request.app[CONTEXT]
    found = await checks.look(context)
    shown = {name: found[name].shown() for name in ("database", "redis", "migrations")}
    shown["draining"] = {"ok": not context.draining}
    ready = all(each["ok"] for each in shown.values())
    body = {"status": "ready" if ready else "unready", "checks": shown}
    return answer(body, status=200 if ready else 503)


@operation(tag="health", who="nobody", answers={200: Health, 503: Health})
async def health(request: web.Request, checks: Checks) -> web.Response:
    """The whole state: ok, degraded (still serving) or down (503) (HLTH-03)."""
    context = request.app[CONTEXT]
    found = await checks.look(context)
    if not (found["database"].ok and found["redis"].ok):
        status = "down"
    elif context.draining or not all(each.ok for each in found.values()):
        status = "degraded"
    else:
        status = "ok"
    body = {
        "status": status,
        "version": version(),
        "node": context.node,
        "pid": os.getpid(),
        "uptime_s": round(time.time() - context.started_at_s, 1),
        "draining": context.draining,
        "dependencies": {name: check.shown() for name, check in found.items()},
    }
    return answer(body, status=503 if status == "down" else 200)


@operation(tag="health", who="nobody", answers={200: None}, media=("text/plain",))
async def metrics(request: web.Request, checks: Checks) -> web.Response:
    """The page that Prometheus reads; lag and dead letters are looked up for it."""
    context = request.app[CONTEXT]
    await checks.look(context)
    headers = {"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"}
    return web.Response(body=context.metrics.render(), headers=headers)


# -- the looks ------------------------------------------------------------------------------------

# What a look found wrong (None: nothing) and what else it can tell.
Found = tuple[str | None, dict[str, Any]]


async def _check(look: Callable[[Context], Awaitable[Found]], context: Context) -> Check:
    started_s = time.monotonic()
    more: dict[str, Any] = {}
    detail: str | None
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            detail, more = await look(context)
    except TimeoutError:
        detail = f"no answer within {CHECK_TIMEOUT_S:g} s"
    except GamehubError as error:
        detail = error.message
    except Exception as error:  # noqa: BLE001 - whatever it is, the dependency cannot be used
        # The text may name hosts and users, and this page is for everyone: it goes to the log.
        detail = type(error).__name__
        log.warning("check_failed", check=look.__name__.strip("_"), error=str(error)[:200])
    latency_ms = round((time.monotonic() - started_s) * 1000, 2)
    return Check(detail is None, latency_ms, detail, more)


async def _database(context: Context) -> Found:
    async with context.pool.acquire() as connection:
        await database.ping(connection)
    return None, {}


async def _redis(context: Context) -> Found:
    await redis.ping(context.redis)
    return None, {}


@cache
def _shipped() -> list[migrate.Migration]:
    """The migrations of this release, read once: they do not change under a running process."""
    return migrate.load()


async def _migrations(context: Context) -> Found:
    async with context.pool.acquire() as connection:
        pending = await migrate.pending(connection, _shipped())
    if pending:
        return "the database is behind this release: gamehub migrate up", {"pending": len(pending)}
    return None, {}


async def _pipelines(context: Context) -> Found:
    async with context.pool.acquire() as connection:
        lags = await facts.lag(connection)
        dead = await deadletters.count_by_pipeline(connection)
    more = {
        "dead_letters": sum(dead.values()),
        "pipelines": [
            {
                "pipeline": each.pipeline,
                "lag_facts": each.lag_facts,
                "lag_s": round(each.lag_s, 3),
                "batches": each.batches,
                "facts": each.facts,
                "busy_s": round(each.busy_ms / 1000, 3),
                "last_batch_ms": round(each.last_ms, 2),
                "failures": each.failures,
                "dead_letters": dead.get(each.pipeline, 0),
            }
            for each in lags
        ],
    }
    slow = [each.pipeline for each in lags if each.lag_s > LAG_DEGRADED_S]
    return (f"behind: {', '.join(slow)}" if slow else None), more
