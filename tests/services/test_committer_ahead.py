"""A hub decides the next commit while one is stored: rows and answers are as if it had waited."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from msgspec.structs import replace

from services import ingest
from services.ingest import FactFrame, FactOutcome, commit_facts, committer
from services.ingest.committer import Committer
from tests.facts import completed, sender, started
from tests.services.test_committer import (
    STEPS,
    STREAMS,
    check_log,
    empty,
    hubs,
    made,
    rows,
    told,
    two_pools,
)

__all__ = ["two_pools"]


async def commit(
    hub: Committer, frames: Sequence[FactFrame], then: Sequence[FactFrame]
) -> tuple[list[FactOutcome], int]:
    """Commits, and how many of the next frames were decided meanwhile."""
    storing = asyncio.create_task(hub.commit(frames))
    taken = 0
    while not storing.done():
        # One at a time, as they come.
        taken += hub.decide(then[taken : taken + 1])
        await asyncio.sleep(0)
    return storing.result(), taken


def _batches(steps: list[Any]) -> list[tuple[list[FactFrame], str, Any]]:
    sent = dict.fromkeys(range(len(STREAMS)), 0)
    batches, waiting = [], []
    for whose, kind, match, moved, then in [*steps, (0, "started", 0, 0, "commit")]:
        by, seq = STREAMS[whose], max(1, sent[whose] + 1 + moved)
        by = replace(by, scope=by.scope | {"import"}) if kind == "completed" else by
        sent[whose] = max(sent[whose], seq if moved <= 0 else 0)
        waiting.append(replace(made(kind, seq, f"m{match}", by), received_ms=1_767_225_600_000))
        if then != "go on":
            batches.append((waiting, then, by))
            waiting = []
    return batches


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
async def test_it_leaves_what_the_general_path_leaves(
    two_pools: tuple[asyncpg.Pool, asyncpg.Pool],
    steps: list[Any],
) -> None:
    quick, general = two_pools
    await empty(quick)
    await empty(general)
    batches = _batches(steps)
    async with hubs(quick) as (hub,):
        for pool in two_pools:
            for by in STREAMS:
                await ingest.open_stream(pool, by.server, by.stream, "conn")
        for (frames, then, by), following in zip(
            batches, [*batches[1:], ([], "", None)], strict=True
        ):
            expected = await commit_facts(general, frames)
            if then == "other hub":
                # What was decided of these comes to nothing: they are answered by another.
                hub._draft = None
                found = await commit_facts(quick, frames)
            else:
                ahead = [] if following[1] == "other hub" else following[0]
                found, _ = await commit(hub, frames, ahead)
            assert told(found) == told(expected)
            for pool in two_pools:
                if then == "close":
                    await ingest.close_stream(pool, by.server, by.stream, "conn")
                elif then == "open":
                    await ingest.open_stream(pool, by.server, by.stream, "conn")
                elif then == "beat":
                    await ingest.keep_alive(pool, [(by.server, by.stream, "conn", 0.0)])
    assert await rows(quick) == await rows(general)


async def test_a_match_goes_on_before_it_is_stored(pool: asyncpg.Pool) -> None:
    """Its version is not known yet when its end is decided, and is when that is stored."""
    by = sender()
    await ingest.open_stream(pool, by.server, by.stream, "conn")
    batches = [[started(n, f"m{n}"), completed(n + 1, f"m{n - 2}")] for n in range(3, 40, 2)]
    async with hubs(pool) as (hub,):
        await hub.commit([started(1, "m1"), started(2, "x")])
        for frames, following in zip(batches, [*batches[1:], []], strict=True):
            outcomes, taken = await commit(hub, frames, following)
            assert [each.status for each in outcomes] == ["accepted"] * 2
            assert taken == len(following)
    assert len(await check_log(pool)) == 2 + 2 * len(batches)


async def test_what_was_decided_on_a_commit_that_failed_is_decided_anew(
    pool: asyncpg.Pool,
) -> None:
    """Another hub ended the match: neither its end here nor what follows holds."""
    by, other = STREAMS[:2]
    for each in (by, other):
        await ingest.open_stream(pool, each.server, each.stream, "conn")
    await ingest.close_stream(pool, by.server, by.stream, "conn")
    async with hubs(pool) as (hub,):
        await hub.commit([started(1, "m1"), started(2, "m2")])
        await commit_facts(pool, [started(1, "m1", other)])
        following = [completed(4, "m2"), started(5, "m1")]
        outcomes, taken = await commit(hub, [completed(3, "m1")], following)
        assert taken == 2
        assert [each.error and each.error.code for each in outcomes] == ["not_holder"]
        assert hub._draft is None
        found = await hub.commit(following)
    assert [each.error and each.error.code for each in found] == [None, "not_holder"]
    await check_log(pool)


async def test_what_cannot_be_decided_ahead_ends_no_road(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it is, the general path meets it, and says which frame is to blame."""
    by = sender()
    await ingest.open_stream(pool, by.server, by.stream, "conn")
    async with hubs(pool) as (hub,):
        await hub.commit([started(1, "m1")])
        with monkeypatch.context() as patched:
            patched.setattr(committer, "is_id", lambda _: 1 / 0)
            assert hub.decide([started(2, "m2")]) == 1
        (outcome,) = await hub.commit([started(2, "m2")])
    assert outcome.status == "accepted"
