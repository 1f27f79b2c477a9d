"""The load over several hub processes, tiny, on real installations; and what a PUBLISH costs."""

from __future__ import annotations

import pytest
from rich.console import Console

from loadtest import nodes, pubsub
from loadtest.sides import Shape


async def test_what_publishing_costs_is_asked_of_redis_itself(
    redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await pubsub.measured(redis_url, [0, 3], 0.2)
    *_, none, three = capsys.readouterr().out.splitlines()
    for line, listeners in ((none, 0), (three, 3)):
        count, cost_us, rate = (each.strip() for each in line.strip("|").split("|"))
        assert int(count) == listeners
        assert float(cost_us) > 0
        assert int(rate.replace(",", "")) > 0


def test_a_load_too_small_for_the_clock_is_shown_without_its_ratio() -> None:
    figures = {"cpu_per_million": 0.0, "deliveries_per_s": 20.0, "pressed_cpu_per_million": 40.0}
    found = [nodes.Measured(processes=each, hub_cores=0.1, **figures) for each in (1, 2)]
    console = Console(record=True, width=120)
    nodes.show(found, nodes.Options(counts=(1, 2)), console)
    assert "1.00" in console.export_text()


@pytest.mark.proof
@pytest.mark.timeout(240)
async def test_two_processes_against_one() -> None:
    options = nodes.Options(
        counts=(1, 2), shape=Shape(rooms=2, members=4), rate=10, seconds=0.5, rounds=1, depth=1
    )
    found = await nodes.run(options, lambda _what, _done: None)
    assert [each.processes for each in found] == [1, 2]
    assert all(each.deliveries_per_s > 0 for each in found)
    console = Console(record=True, width=120)
    nodes.show(found, options, console)
    assert "1.00" in console.export_text()
