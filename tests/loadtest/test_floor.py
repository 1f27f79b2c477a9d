"""The floor in C and the one without a compiler: both reach all members of a room, nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtest import floor
from loadtest.bed import Bed
from loadtest.pinning import Cores, cores
from loadtest.programs import compiled, compiler_found
from loadtest.publish import FloorPublisher
from loadtest.raw import RawViewer, open_viewers
from loadtest.sides import Shape, floor_side
from loadtest.target import used
from tests.hubs import eventually


@pytest.mark.parametrize("name", ["floor", "viewers"])
def test_it_compiles_where_a_compiler_is(name: str, tmp_path: Path) -> None:
    """Elsewhere the load test does without."""
    assert compiled(name, tmp_path) == (tmp_path / name if compiler_found() else None)


@pytest.mark.parametrize("c", [True, False], ids=["C", "asyncio"])
async def test_only_a_rooms_members_hear_it(
    c: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not c:
        monkeypatch.setattr(floor, "compiled", lambda name, folder: None)
    in_c = c and compiler_found() is not None
    with floor.running_floor(tmp_path, cores().server) as target:
        assert target.name == ("C floor" if in_c else "asyncio floor")
        viewers = await open_viewers(target, ["/room/1", "/room/1", "/room/2"])
        assert all(each.joined for each in viewers)
        heard: list[bytes] = []
        viewers[0].on_event = lambda viewer, text: heard.append(text)
        publisher = FloorPublisher(target, [1])
        await publisher.start()
        for size in (100, 300):  # of both lengths of a frame's head, in two messages of two
            publisher.prepare(2, size)
            publisher.publish()
        await eventually(lambda: viewers[0].events == viewers[1].events == 4)
        assert viewers[2].events == 0
        assert [len(text) for text in heard[2:]] == [300, 300]
        viewers[1].abort()
        await viewers[1].ended.wait()
        publisher.publish()
        await eventually(lambda: viewers[0].events == 6)
        refused = await open_viewers(target, ["/elsewhere"]) if c else []
        assert not any(each.joined for each in refused)
        assert (await used(target)).rss_kib > 0
        await publisher.finish()
        _leave(viewers)


async def test_the_load_counts_what_the_floor_sends(tmp_path: Path) -> None:
    with floor.running_floor(tmp_path, None, 2) as target:
        bed = Bed(
            hub=target,
            floor=target,
            viewers=compiled("viewers", tmp_path),
            processes=2,
            cores=Cores(None, ()),
            tell=lambda what, done: None,
        )
        shape = Shape(rooms=2, members=3, servers=2)
        async with floor_side(bed, shape, 250) as side:
            fast = await side.pressed(0.1, 2, lambda done: None)
            slow = await side.paced(0.1, 100, lambda done: None)
    assert fast.deliveries == 3 * fast.events > 0
    assert slow.deliveries == 30
    shares, ages = zip(*slow.ages, strict=True)
    assert list(shares) == sorted(shares)
    assert list(ages) == sorted(ages)


def _leave(viewers: list[RawViewer]) -> None:
    for each in viewers:
        each.abort()
