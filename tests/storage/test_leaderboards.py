"""Sets of boards in Redis: equal to a plain sort, complete or not used, made beside the live."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from domain.errors import Unavailable
from domain.leaderboards import Regions, score
from storage import leaderboards
from storage.leaderboards import Member, Moved, making
from storage.redis import connect, is_cluster
from tests.hubs import eventually

BOARD = "chess/global"
REGIONS = Regions()
Standings = dict[str, tuple[int, int, int]]


@pytest.fixture
async def redis(any_redis_url: str) -> AsyncIterator[Redis]:
    client = connect(any_redis_url)
    yield client
    await client.aclose()


async def make(
    redis: Redis, standings: Standings, board: str = BOARD, *, anew: bool = False
) -> None:
    assert await making.begin(redis, board, REGIONS, "k1", anew=anew) == "begun"
    members = [(each, score(*place)) for each, place in standings.items()]
    assert await making.add(redis, board, "k1", members)
    assert await making.finish(redis, board, REGIONS, "k1") == len(standings)


async def write(redis: Redis, seq: int, *members: Member, board: str = BOARD) -> Any:
    answer = await leaderboards.write(
        redis, {board: members}, REGIONS, first_seq=seq, last_seq=seq, ts_ms=1000 + seq
    )
    return answer.get(board)


def plain(standings: Standings) -> list[str]:
    """The ids, best first, by a plain sort (contract: Rating arithmetic)."""
    return sorted(
        standings, key=lambda s: (-standings[s][0], -standings[s][1], standings[s][2], s.encode())
    )


async def shown(redis: Redis, limit: int = 1000) -> list[str]:
    stretch = await leaderboards.top(redis, BOARD, limit, REGIONS)
    assert stretch is not None
    return [subject_id for subject_id, _ in stretch.rows]


def someone(dice: random.Random) -> tuple[int, int, int]:
    """Close to all others, so that every tie-break is needed."""
    return dice.randint(1195, 1205), dice.randint(0, 3), dice.randint(6_000_000, 6_000_003)


async def test_a_board_equals_a_plain_sort_after_every_write(redis: Redis) -> None:
    dice = random.Random(5)
    standings = {f"p{n:03}": someone(dice) for n in range(150)}
    await make(redis, standings)
    assert await shown(redis) == plain(standings)
    for seq in range(1, 30):
        changed = {f"p{dice.randrange(170):03}": someone(dice) for _ in range(10)}
        before = {each: rank for rank, each in enumerate(plain(standings), 1)}
        standings |= changed
        after = {each: rank for rank, each in enumerate(plain(standings), 1)}
        moved = await write(redis, seq, *(Member(s, score(*p), "p") for s, p in changed.items()))
        assert moved == [Moved(each, before.get(each), after[each]) for each in changed]
        assert await shown(redis) == plain(standings)


async def test_news_are_what_changed_of_the_first_hundred(redis: Redis) -> None:
    """Whoever applies all news to the board as it was has the board as it is."""
    dice = random.Random(6)
    standings = {f"p{n:03}": someone(dice) for n in range(130)}
    await make(redis, standings)
    [first] = await leaderboards.news(redis, [BOARD])
    rows = {rank: subject_id for rank, _, subject_id in first.rows}
    assert [rows[rank] for rank in range(1, 101)] == plain(standings)[:100]
    version = first.version
    await leaderboards.told(redis, [first])
    for seq in range(1, 40):
        changed = {f"p{dice.randrange(135):03}": someone(dice) for _ in range(2)}
        standings |= changed
        await write(redis, seq, *(Member(s, score(*p)) for s, p in changed.items()))
        news = await leaderboards.news(redis, [BOARD])
        for each in news:
            assert (each.version, each.size, each.ts_ms) == (
                version + 1,
                len(standings),
                1000 + seq,
            )
            version = each.version
            rows |= {rank: subject_id for rank, _, subject_id in each.rows}
        await leaderboards.told(redis, news)
        assert [rows[rank] for rank in range(1, 101)] == plain(standings)[:100]


async def test_nothing_changed_is_no_news(redis: Redis) -> None:
    await make(redis, {"a": (1200, 0, 1), "b": (1300, 0, 1)})
    await leaderboards.told(redis, await leaderboards.news(redis, [BOARD]))
    await write(redis, 1, Member("a", score(1200, 0, 1)))
    assert await leaderboards.news(redis, [BOARD]) == []
    # But a new name is told with the same place.
    await write(redis, 2, Member("a", score(1200, 0, 1), "t"))
    [news] = await leaderboards.news(redis, [BOARD])
    assert news.rows == [(2, score(1200, 0, 1), "a")]


async def test_an_incomplete_set_is_neither_written_nor_read(redis: Redis) -> None:
    assert await write(redis, 1, Member("a", score(1200, 0, 1), "p")) is None
    assert await leaderboards.size(redis, BOARD) == 0
    assert await leaderboards.top(redis, BOARD, 10, REGIONS) is None
    assert await leaderboards.around(redis, BOARD, "a", 5, REGIONS) is None
    assert await making.missing(redis, [BOARD], REGIONS) == [BOARD]
    assert await leaderboards.news(redis, [BOARD]) == []
    await make(redis, {})
    assert await making.missing(redis, [BOARD], REGIONS) == []
    assert await shown(redis) == []
    assert await write(redis, 1, Member("a", score(1200, 0, 1), "p")) == [Moved("a", None, 1)]


@pytest.mark.parametrize("part", ["set", "complete", "version"])
async def test_a_part_that_is_lost_makes_the_set_incomplete(redis: Redis, part: str) -> None:
    await make(redis, {"a": (1200, 0, 1)})
    await redis.delete(f"leaderboards:{part}:{{{BOARD}}}")
    assert await making.missing(redis, [BOARD], REGIONS) == [BOARD]
    assert await write(redis, 1, Member("b", score(1200, 0, 1))) is None
    assert await leaderboards.top(redis, BOARD, 10, REGIONS) is None
    assert await leaderboards.places(redis, [("chess", 1200, 0, 1)]) == [None]
    await make(redis, {"a": (1200, 0, 1)})
    assert await shown(redis) == ["a"]


async def test_another_redis_than_the_one_that_made_it_is_not_trusted(redis: Redis) -> None:
    """A marker from before a restart: the last writes may be lost."""
    await make(redis, {"a": (1200, 0, 1)})
    await redis.set(f"leaderboards:complete:{{{BOARD}}}", b"all|" + b"0" * 40)
    assert await leaderboards.top(redis, BOARD, 10, REGIONS) is None


async def test_a_region_of_other_countries_is_another_board(redis: Redis) -> None:
    board, small, large = "chess/region-EU", Regions({"EU": ["DE"]}), Regions({"EU": ["DE", "FR"]})
    assert await making.begin(redis, board, small, "k1") == "begun"
    assert await making.finish(redis, board, small, "k1") == 0
    assert await making.missing(redis, [board], small) == []
    assert await making.missing(redis, [board], large) == [board]


async def test_versions_only_grow_also_when_redis_forgot_them(redis: Redis) -> None:
    await make(redis, {"a": (1200, 0, 1)})
    await write(redis, 1, Member("a", score(1300, 0, 1)))
    before = await leaderboards.top(redis, BOARD, 10, REGIONS)
    keys = [f"leaderboards:{part}:{{{BOARD}}}" for part in ("set", "complete", "version", "news")]
    await redis.delete(*keys)
    await asyncio.sleep(0.002)  # versions begin at the clock's milliseconds
    await make(redis, {"a": (1300, 0, 1)})
    after = await leaderboards.top(redis, BOARD, 10, REGIONS)
    assert before is not None
    assert after is not None
    assert after.version > before.version


async def test_a_batch_that_is_applied_again_has_the_same_ranks(redis: Redis) -> None:
    await make(redis, {"a": (1200, 0, 1), "b": (1300, 0, 1)})
    wins = Member("a", score(1400, 1, 2), "p")
    assert await write(redis, 7, wins) == [Moved("a", 2, 1)]
    assert await write(redis, 7, wins) == [Moved("a", 2, 1)]
    # With more facts than the first time.
    answer = await leaderboards.write(
        redis,
        {BOARD: [wins, Member("b", score(1500, 1, 3), "p")]},
        REGIONS,
        first_seq=7,
        last_seq=9,
        ts_ms=1,
    )
    assert answer == {BOARD: [Moved("a", 2, 2), Moved("b", 2, 1)]}
    # The next batch begins from where this one ended.
    assert await write(redis, 10, Member("a", score(1600, 2, 4), "p")) == [Moved("a", 2, 1)]


# -- made beside the live one ----------------------------------------------------------------------


async def test_what_is_written_while_a_set_is_made_wins(redis: Redis) -> None:
    assert await making.begin(redis, BOARD, REGIONS, "k1") == "begun"
    await making.add(redis, BOARD, "k1", [("a", score(1200, 0, 1)), ("b", score(1210, 0, 1))])
    assert await write(redis, 1, Member("a", score(1250, 1, 2)), Member("c", None)) is None
    # Pages that were read before that write.
    await making.add(redis, BOARD, "k1", [("a", score(1200, 0, 1)), ("c", score(1300, 0, 1))])
    assert await making.finish(redis, BOARD, REGIONS, "k1") == 2
    assert await shown(redis) == ["a", "b"]


async def test_a_complete_set_is_made_anew_while_it_is_read_and_written(redis: Redis) -> None:
    await make(redis, {"a": (1200, 0, 1), "gone": (1300, 0, 1)})
    assert await making.begin(redis, BOARD, REGIONS, "k1") == "complete"
    assert await making.begin(redis, BOARD, REGIONS, "k2", anew=True) == "begun"
    assert await making.begin(redis, BOARD, REGIONS, "k1", anew=True) == "busy"
    assert not await making.add(redis, BOARD, "k1", [("x", 0)])
    assert await making.finish(redis, BOARD, REGIONS, "k1") is None
    await write(redis, 1, Member("b", score(1250, 0, 1)))
    assert await shown(redis) == ["gone", "b", "a"]
    await making.add(redis, BOARD, "k2", [("a", score(1200, 0, 1))])
    await making.finish(redis, BOARD, REGIONS, "k2")
    assert await shown(redis) == ["b", "a"]


async def test_a_maker_that_died_is_followed_by_another(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "MAKING_MS", 50)
    assert await making.begin(redis, BOARD, REGIONS, "dead") == "begun"
    await making.add(redis, BOARD, "dead", [("half", score(1200, 0, 1))])

    async def taken_over() -> bool:
        return await making.begin(redis, BOARD, REGIONS, "k1") == "begun"

    await eventually(taken_over)
    assert await making.finish(redis, BOARD, REGIONS, "k1") == 0


async def test_the_same_set_made_anew_is_no_news(redis: Redis) -> None:
    await make(redis, {"a": (1200, 0, 1)})
    await leaderboards.told(redis, await leaderboards.news(redis, [BOARD]))
    await make(redis, {"a": (1200, 0, 1)}, anew=True)
    assert await leaderboards.news(redis, [BOARD]) == []


# -- reads -----------------------------------------------------------------------------------------


async def test_pages_follow_one_another(redis: Redis) -> None:
    dice = random.Random(7)
    standings = {f"p{n:03}": someone(dice) for n in range(95)}
    await make(redis, standings)
    seen: list[str] = []
    stretch = await leaderboards.top(redis, BOARD, 10, REGIONS)
    while stretch is not None and stretch.rows:
        assert stretch.first == len(seen) + 1
        seen += [subject_id for subject_id, _ in stretch.rows]
        stretch = await leaderboards.after(redis, BOARD, 10, *stretch.rows[-1], REGIONS)
    assert seen == plain(standings)


async def test_a_page_behind_somebody_who_moved_leaves_nobody_out(redis: Redis) -> None:
    await make(redis, dict.fromkeys("abcd", (1200, 0, 1)))
    await write(redis, 1, Member("b", score(1300, 1, 2)))
    stretch = await leaderboards.after(redis, BOARD, 10, "b", score(1200, 0, 1), REGIONS)
    assert stretch is not None
    assert [each for each, _ in stretch.rows] == ["a", "c", "d"]
    assert stretch.first == 2


@pytest.mark.parametrize(
    ("who", "first", "ids"),
    [("a", 1, "abc"), ("b", 1, "abcd"), ("d", 2, "bcdef"), ("f", 4, "def"), ("x", 0, "")],
)
async def test_around_a_subject(redis: Redis, who: str, first: int, ids: str) -> None:
    await make(redis, dict.fromkeys("abcdef", (1200, 0, 1)))
    stretch = await leaderboards.around(redis, BOARD, who, 2, REGIONS)
    assert stretch is not None
    assert ("".join(each for each, _ in stretch.rows), stretch.first) == (ids, first)
    assert stretch.size == 6


async def test_places_of_several_games_at_once(redis: Redis) -> None:
    await make(redis, {"a": (1300, 0, 1), "b": (1300, 0, 1), "c": (1200, 0, 1)})
    await make(redis, {"a": (1500, 0, 1)}, "go/global")
    wanted = [
        ("chess", 1200, 0, 1), ("go", 1500, 0, 1), ("poker", 1200, 0, 1), ("chess", 1300, 0, 1),
        ("chess", 1300, 1, 1), ("go", 1400, 9, 1),
    ]  # fmt: skip
    assert await leaderboards.places(redis, wanted) == [3, 1, None, 1, 1, 2]


async def test_a_rendered_page_is_of_its_version(redis: Redis) -> None:
    await make(redis, {"a": (1200, 0, 1)})
    stretch = await leaderboards.top(redis, BOARD, 10, REGIONS)
    assert stretch is not None
    await leaderboards.keep_page(redis, BOARD, 10, stretch.version, b"rendered")
    found = await leaderboards.top(redis, BOARD, 10, REGIONS)
    assert found is not None
    assert (found.page, found.version) == (b"rendered", stretch.version)
    other = await leaderboards.top(redis, BOARD, 11, REGIONS)
    assert other is not None
    assert other.page == b""
    await write(redis, 1, Member("a", score(1300, 0, 1)))
    found = await leaderboards.top(redis, BOARD, 10, REGIONS)
    assert found is not None
    assert found.page == b""


async def test_many_members_of_many_boards_in_one_write(redis: Redis) -> None:
    """More than one call takes, on a cluster over all of its nodes."""
    boards = {f"g{n}/global": [Member(f"p{m}", score(1200 + m, 0, n)) for m in range(60)]
              for n in range(12)}  # fmt: skip
    boards["g0/global"] = [Member(f"p{m}", score(100 + m, 0, 0), "p") for m in range(1100)]
    for board in boards:
        await make(redis, {}, board)
    if is_cluster(redis):
        await redis.script_flush()
    moved = await leaderboards.write(redis, boards, REGIONS, first_seq=1, last_seq=1, ts_ms=1)
    assert [each.id for each in moved["g0/global"]] == [f"p{m}" for m in range(1100)]
    assert [await leaderboards.size(redis, each) for each in boards] == [1100] + [60] * 11


async def test_redis_away_is_unavailable() -> None:
    nowhere = connect("redis://127.0.0.1:1")
    one = {BOARD: [Member("a", 0)]}
    for attempt in (
        leaderboards.write(nowhere, one, REGIONS, first_seq=1, last_seq=1, ts_ms=1),
        leaderboards.news(nowhere, [BOARD]),
        leaderboards.top(nowhere, BOARD, 10, REGIONS),
        leaderboards.places(nowhere, [("chess", 1200, 0, 1)]),
        making.begin(nowhere, BOARD, REGIONS, "k1"),
        making.wanted(nowhere),
        making.missing(nowhere, [BOARD], REGIONS),
    ):
        with pytest.raises(Unavailable):
            await attempt
    await nowhere.aclose()
