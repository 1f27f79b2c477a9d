"""The fake hub as a fixture."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.protocol.fake_hub import FakeHub, running_hub


@pytest.fixture
async def fake_hub() -> AsyncIterator[FakeHub]:
    """A hub of our own on a real socket."""
    async with running_hub() as hub:
        yield hub
