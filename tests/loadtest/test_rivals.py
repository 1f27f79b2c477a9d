"""The rivals fan out what they are told, so that the comparison is one."""

from __future__ import annotations

import os

import pytest

from loadtest import rivals
from loadtest.bed import bed
from loadtest.sides import Shape


@pytest.mark.proof
@pytest.mark.timeout(180)
async def test_every_rival_delivers_all_there_is() -> None:
    options = rivals.Options(shape=Shape(rooms=3, members=4), seconds=0.3, rounds=1)
    with bed(None, with_floor=False, tell=_quiet, environ=dict(os.environ)) as made:
        for rival in rivals.here():
            result = await rivals.run(made, options, rival)  # raises when an event is lost
            assert result.beside
            for figure in result.figures:
                assert min(figure.hub + figure.floor) > 0


def _quiet(text: str, done: float) -> None:
    del text, done
