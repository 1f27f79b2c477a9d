"""Group commits of FACTs: idempotent, in order, each frame with its own answer."""

from __future__ import annotations

import asyncio
import gc
import weakref
from itertools import cycle, islice
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace

from domain.errors import SequenceGap, Unavailable
from domain.ids import root_event_id
from domain.matches import Status
from services import ingest
from services.ingest import BATCH_MAX, FactOutcome, commit_facts
from storage import ingest as streams
from storage import log, matches
from storage.database import COPY_MIN
from tests.facts import completed, frame, scheduled, sender, started

OTHER = sender(server="srv-2", stream="b" * 32)


def codes(outcomes: list[FactOutcome]) -> list[str]:
    return [each.error.code if each.error else each.status for each in outcomes]


async def logged(pool: asyncpg.Pool) -> list[log.LoggedEvent]:
    async with pool.acquire() as conn:
        return await log.read(conn, 0, 100_000)


async def test_frames_of_one_batch_see_each_other(pool: asyncpg.Pool) -> None:
    outcomes = await commit_facts(pool, [scheduled(1), started(2), completed(3)])
    assert codes(outcomes) == ["accepted"] * 3
    assert [each.fact_seq for each in outcomes] == [1, 2, 3]
    assert outcomes[2].match is not None
    assert outcomes[2].match.status is Status.COMPLETED
    facts = await logged(pool)
    assert [each.type for each in facts] == ["match.scheduled", "match.started", "match.completed"]
    assert facts[2].event_id == root_event_id("srv-1", "a" * 32, "fact", 3)
    assert facts[2].payload["loser_id"] == "blue"
    async with pool.acquire() as conn:
        assert await matches.get(conn, "m1") == outcomes[2].match


async def test_a_resend_is_acked_and_changes_nothing(pool: asyncpg.Pool) -> None:
    frames = [scheduled(1), started(2), completed(3)]
    first = await commit_facts(pool, frames)
    again = await commit_facts(pool, [replace(each, ts_ms=1) for each in frames])
    assert codes(again) == ["duplicate"] * 3
    assert [each.fact_seq for each in again] == [3, 3, 3]
    assert [each.event and each.event.event_id for each in again] == [
        each.event and each.event.event_id for each in first
    ]
    assert len(await logged(pool)) == 3


async def test_a_resend_within_the_batch(pool: asyncpg.Pool) -> None:
    outcomes = await commit_facts(pool, [scheduled(1), scheduled(1), started(2)])
    assert codes(outcomes) == ["accepted", "duplicate", "accepted"]
    assert outcomes[1].event == outcomes[0].event


async def test_another_content_under_a_used_number(pool: asyncpg.Pool) -> None:
    await commit_facts(pool, [scheduled(1)])
    outcomes = await commit_facts(pool, [scheduled(1, title="Another"), started(2)])
    assert codes(outcomes) == ["sequence_reused", "accepted"]
    async with pool.acquire() as conn:
        (refused,) = await streams.refused_page(conn)
    assert (refused.code, refused.seq, refused.data["title"]) == ("sequence_reused", 1, "Another")


async def test_a_gap_is_not_final_and_not_remembered(pool: asyncpg.Pool) -> None:
    (gap,) = await commit_facts(pool, [started(2)])
    assert isinstance(gap.error, SequenceGap)
    assert gap.fact_seq == 0
    outcomes = await commit_facts(pool, [scheduled(1), started(2), completed(5)])
    assert codes(outcomes) == ["accepted", "accepted", "sequence_gap"]
    async with pool.acquire() as conn:
        assert len(await streams.refused_page(conn)) == 0


async def test_a_nack_is_final(pool: asyncpg.Pool) -> None:
    """The number stays refused, with the same words, even when the reason is gone."""
    stranger = sender(scope=frozenset({"ingest"}))
    (first,) = await commit_facts(pool, [started(1, by=stranger)])
    assert codes([first]) == ["unknown_match"]
    assert first.fact_seq == 1
    await commit_facts(pool, [scheduled(1, by=OTHER)])
    outcomes = await commit_facts(pool, [started(1, by=stranger), started(2, by=stranger)])
    assert codes(outcomes) == ["unknown_match", "accepted"]
    assert outcomes[0].error is not None
    assert first.error is not None
    assert outcomes[0].error.as_dict() == first.error.as_dict()
    async with pool.acquire() as conn:
        (refused,) = await streams.refused_page(conn)
    assert (refused.match_id, refused.type, refused.code) == (
        "m1",
        "match.started",
        first.error.code,
    )
    assert refused.scope == {"ingest"}


REFUSED: list[tuple[str, Any]] = [
    ("invalid_schema", frame(1, "match.paused")),
    ("invalid_schema", frame(1, "match.scheduled", game="chess")),
    ("invalid_schema", frame(1, "match.scheduled", match="no spaces", game="chess")),
    ("invalid_schema", frame(1, "match.\x00started", match="nul\x00")),
    ("invalid_schema", scheduled(1, delay_s=901)),
    ("impossible_value", scheduled(1, competitors=[{"id": "a", "name": "A"}] * 2)),
    ("invalid_schema", started(1, started_at="0001-01-01T00:00:00+05:00")),
    ("forbidden_action", scheduled(1, by=sender(scope=frozenset({"match:create"})))),
    ("forbidden_action", scheduled(1, by=sender(games=frozenset({"go"})))),
    ("unknown_match", scheduled(1, by=sender(scope=frozenset({"ingest"})))),
    ("unknown_match", completed(1)),
]


async def test_a_refusal_goes_when_nobody_holds_it(pool: asyncpg.Pool) -> None:
    async def refused() -> weakref.ref[BaseException]:
        (outcome,) = await commit_facts(pool, [completed(1)])  # of a match that nobody knows
        assert outcome.error is not None
        return weakref.ref(outcome.error)

    left = await refused()
    gc.collect()
    assert left() is None


@pytest.mark.parametrize(("code", "bad"), REFUSED)
async def test_one_refused_frame_leaves_the_others_alone(
    pool: asyncpg.Pool, code: str, bad: ingest.FactFrame
) -> None:
    good = [scheduled(1, match="other", by=OTHER), started(2, match="other", by=OTHER)]
    outcomes = await commit_facts(pool, [good[0], bad, good[1]])
    assert codes(outcomes) == ["accepted", code, "accepted"]
    assert outcomes[1].fact_seq == 1
    again = await commit_facts(pool, [bad])
    assert codes(again) == [code]
    async with pool.acquire() as conn:
        assert len(await streams.refused_page(conn)) == 1


async def test_what_the_database_cannot_hold_is_refused_alone(pool: asyncpg.Pool) -> None:
    """The check constraint stands for anything that only Postgres notices."""
    async with pool.acquire() as conn:
        await conn.execute("ALTER TABLE matches.matches ADD CHECK (title <> 'poison')")
    frames = [
        scheduled(n, match=f"m{n}", title="poison" if n == 5 else "fine") for n in range(1, 9)
    ]
    outcomes = await commit_facts(pool, frames)
    assert codes(outcomes) == ["accepted"] * 4 + ["impossible_value"] + ["accepted"] * 3
    assert codes(await commit_facts(pool, frames[4:5])) == ["impossible_value"]
    assert len(await logged(pool)) == 7


async def test_a_database_that_is_not_ready_refuses_no_frame(pool: asyncpg.Pool) -> None:
    """A nack is final, so it must never be given for what is wrong with the database."""
    await pool.execute("ALTER TABLE matches.matches RENAME TO gone")
    with pytest.raises(Unavailable):
        await commit_facts(pool, [scheduled(1)])
    await pool.execute("ALTER TABLE matches.gone RENAME TO matches")
    assert codes(await commit_facts(pool, [scheduled(1)])) == ["accepted"]


async def test_a_tournament_ends_without_a_match(pool: asyncpg.Pool) -> None:
    data: dict[str, Any] = {
        "tournament_id": "cup",
        "game": "chess",
        "placements": [{"place": 1, "id": "red"}],
    }
    outcomes = await commit_facts(pool, [frame(1, "tournament.completed", match=None, **data)])
    assert codes(outcomes) == ["accepted"]
    (fact,) = await logged(pool)
    assert (fact.subject, fact.payload["placements"][0]["id"]) == ("tournament:cup", "red")
    other_game = frame(2, "tournament.completed", None, sender(games=frozenset({"go"})), **data)
    assert codes(await commit_facts(pool, [other_game])) == ["forbidden_action"]


@pytest.mark.parametrize(
    ("standing", "code"),
    [
        (
            {"placements": [{"place": 1, "id": "red"}, {"place": 2, "id": "red"}]},
            "impossible_value",
        ),
        ({"placements": [{"place": 1, "id": "no id"}]}, "invalid_schema"),
        ({"placements": [{"place": 1, "id": "ann\x00", "type": "user"}]}, "invalid_schema"),
        ({"disqualified": ["no:id"]}, "invalid_schema"),
    ],
)
async def test_a_standing_names_everyone_once(
    pool: asyncpg.Pool, standing: dict[str, Any], code: str
) -> None:
    data = {"tournament_id": "cup", "game": "chess", **standing}
    assert codes(await commit_facts(pool, [frame(1, "tournament.completed", None, **data)])) == [
        code
    ]
    assert await logged(pool) == []


async def test_a_result_that_is_known_is_acked_whoever_sends_it(pool: asyncpg.Pool) -> None:
    result = completed(3)
    await commit_facts(pool, [scheduled(1), started(2), result])
    outcomes = await commit_facts(
        pool,
        [
            replace(result, sender=OTHER, seq=1),
            completed(2, by=OTHER, scores={"red": 3, "blue": 2}),
        ],
    )
    assert codes(outcomes) == ["duplicate", "match_completed"]
    assert outcomes[0].event is None
    assert len(await logged(pool)) == 3


async def test_the_same_stream_on_two_connections(pool: asyncpg.Pool) -> None:
    frames = [each for n in range(20) for each in _whole_match(n)]

    async def send_all() -> list[FactOutcome]:
        outcomes = []
        for start in range(0, len(frames), 7):
            outcomes += await commit_facts(pool, frames[start : start + 7])
        return outcomes

    both = await asyncio.gather(send_all(), send_all(), send_all())
    facts = await logged(pool)
    assert [each.seq for each in facts] == list(range(1, len(frames) + 1))
    for outcomes in both:
        assert set(codes(outcomes)) <= {"accepted", "duplicate"}
    assert sum(codes(each).count("accepted") for each in both) == len(frames)


def _whole_match(n: int) -> list[ingest.FactFrame]:
    name = f"match-{n}"
    return [scheduled(3 * n + 1, name), started(3 * n + 2, name), completed(3 * n + 3, name)]


async def test_two_servers_race_for_the_same_matches(pool: asyncpg.Pool) -> None:
    names = [f"match-{n}" for n in range(40)]
    servers = [sender(server=f"srv-{n}", stream=f"{n:032x}") for n in range(4)]

    async def run(number: int) -> dict[str, str]:
        by = servers[number]
        # Each in another order: nobody may wait in a circle.
        order = names if number % 2 else names[::-1]
        won = {}
        for start in range(0, len(order), 8):
            part = [started(start + n + 1, each, by) for n, each in enumerate(order[start:][:8])]
            for name, outcome in zip(order[start:], await commit_facts(pool, part), strict=False):
                won[name] = codes([outcome])[0]
        return won

    answers = await asyncio.gather(*(run(n) for n in range(4)))
    for name in names:
        assert sorted(each[name] for each in answers) == ["accepted"] + ["not_holder"] * 3
    facts = await logged(pool)
    assert sorted(each.payload["match_id"] for each in facts) == sorted(names)


async def test_a_full_batch(pool: asyncpg.Pool) -> None:
    frames = [scheduled(n + 1, match=f"m{n}") for n in range(BATCH_MAX)]
    outcomes = await commit_facts(pool, frames)
    assert set(codes(outcomes)) == {"accepted"}
    assert len(await logged(pool)) == BATCH_MAX


async def test_the_number_of_statements_does_not_grow_with_the_batch(
    database_url: str,
) -> None:
    queries: list[str] = []

    async def listen(conn: Any) -> None:
        conn.add_query_logger(lambda record: queries.append(record.query))

    # Each a small one, and one as large as such a batch gets: from COPY_MIN rows on a table is
    # filled by COPY, which no logger sees; in the last two every table is.
    sizes = [6, COPY_MIN - 1, 3 * COPY_MIN, BATCH_MAX]
    counts = []
    async with asyncpg.create_pool(database_url, min_size=1, max_size=1, init=listen) as one:
        # A fresh connection first asks for the types of the parameters.
        await commit_facts(one, [scheduled(1), started(2)])
        for number, size in enumerate(sizes):
            by = sender(stream=f"{number:032x}")
            await commit_facts(one, [scheduled(1, f"first-{number}", by)])
            makers = islice(cycle([scheduled, started, completed]), size)
            frames = [make(n + 2, f"m{number}-{n // 3}", by) for n, make in enumerate(makers)]
            queries.clear()
            assert set(codes(await commit_facts(one, frames))) == {"accepted"}
            counts.append(len(queries))
    assert counts[0] == counts[1]
    assert counts[2] == counts[3] < counts[0]
    assert 0 < counts[0] <= 10, queries


async def test_nothing_is_acked_while_postgres_is_away(database_url: str) -> None:
    async with asyncpg.create_pool(database_url, min_size=1, max_size=1) as pool:
        async with asyncpg.create_pool(database_url, min_size=1, max_size=1) as other:
            await commit_facts(pool, [scheduled(1)])
            await other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid() "
                "AND backend_type = 'client backend'"
            )
        # The pool may notice the broken connection by itself and open a new one.
        try:
            outcomes = await commit_facts(pool, [started(2)])
        except Unavailable:
            outcomes = await commit_facts(pool, [started(2)])
        assert codes(outcomes) == ["accepted"]


async def test_a_frame_that_cannot_even_be_refused_is_not_acked(pool: asyncpg.Pool) -> None:
    """Anything but Unavailable would end the hub's committer, for all servers."""
    await pool.execute("ALTER TABLE matches.matches ADD CHECK (title <> 'poison')")
    await pool.execute("ALTER TABLE ingest.quarantine ADD CHECK (seq < 0)")
    with pytest.raises(Unavailable):
        await commit_facts(pool, [scheduled(1, title="poison")])
    await pool.execute("ALTER TABLE ingest.quarantine DROP CONSTRAINT quarantine_seq_check")
    assert codes(await commit_facts(pool, [scheduled(1, title="poison")])) == ["impossible_value"]
