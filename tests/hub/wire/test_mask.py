"""Unmasking: as websockets does it in C, or, where that moves, a test that says so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets import speedups

from hub.wire import mask


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_every_byte_is_unmasked(data: bytes, key: bytes) -> None:
    plain = bytes(each ^ key[index % 4] for index, each in enumerate(data))
    assert mask.unmask(data, key) == plain
    assert mask.unmask(bytearray(data), bytearray(key)) == plain
    assert mask.unmask_slowly(data, key) == plain


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 7, 8, 15, 16, 17, 63, 64, 65, 100_003])
def test_all_lengths(size: int) -> None:
    assert mask.unmask(b"\x01" * size, b"\x01\x01\x01\x01") == bytes(size)


def test_it_is_the_compiled_one_where_there_is_one() -> None:
    assert mask.unmask is speedups.apply_mask
