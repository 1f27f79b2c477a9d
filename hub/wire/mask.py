"""Unmasking of what clients send; the one place that knows where websockets keeps its C code."""

from __future__ import annotations

from collections.abc import Callable

Bytes = bytes | bytearray


def unmask_slowly(data: Bytes, key: Bytes, /) -> bytes:
    """The data XOR the key's four bytes, again and again (RFC 6455, section 5.3).

    As one big number: slower than C, much faster than a loop.
    """
    length = len(data)
    repeated = (bytes(key) * (length // 4 + 1))[:length]
    number = int.from_bytes(data, "little") ^ int.from_bytes(repeated, "little")
    return number.to_bytes(length, "little")


unmask: Callable[[Bytes, Bytes], bytes]
try:
    from websockets.speedups import apply_mask as unmask
except ImportError:  # a platform without a compiled wheel
    unmask = unmask_slowly
