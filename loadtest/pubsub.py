"""What one PUBLISH costs a Redis, by how many connections hear it: `python -m loadtest.pubsub`."""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import time
from urllib.parse import unquote, urlsplit

PAYLOAD_BYTES = 300  # an event of about 200 bytes as hubs hear it
BATCH = 100  # commands of one pipeline
READ_BYTES = 1 << 18


class Wire:
    """A connection that speaks RESP (the protocol of Redis) no further than is needed here."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, url: str) -> Wire:
        """Connected, and past the password."""
        parts = urlsplit(url)
        if parts.scheme == "unix":
            reader, writer = await asyncio.open_unix_connection(unquote(parts.path))
        else:
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 6379)
        wire = cls(reader, writer)
        if parts.password:
            wire.say(b"AUTH", unquote(parts.password).encode())
            await reader.readline()
        return wire

    def say(self, *words: bytes) -> None:
        """One command."""
        self.writer.write(command(*words))

    async def info(self) -> dict[str, float]:
        """The numbers of INFO cpu and commandstats that are looked at here, in seconds."""
        self.say(b"INFO", b"cpu")
        size = int((await self.reader.readline())[1:])
        text = (await self.reader.readexactly(size + 2)).decode()
        names = ("used_cpu_user_main_thread", "used_cpu_sys_main_thread")
        return {name: float(re.findall(rf"{name}:(\S+)", text)[0]) for name in names}


def command(*words: bytes) -> bytes:
    """As it goes over the wire."""
    head = b"*%d\r\n" % len(words)
    return head + b"".join(b"$%d\r\n%s\r\n" % (len(each), each) for each in words)


async def cost(url: str, listeners: int, seconds: float) -> tuple[float, float]:
    """(CPU microseconds of the server's main thread per PUBLISH, PUBLISH per second)."""
    publisher = await Wire.open(url)
    ears = [await Wire.open(url) for _ in range(listeners)]
    for ear in ears:
        ear.say(b"SUBSCRIBE", b"bench")
        await ear.reader.readline()
    reading = [asyncio.create_task(_swallow(each)) for each in ears]
    batch = command(b"PUBLISH", b"bench", b"x" * PAYLOAD_BYTES) * BATCH
    before = await publisher.info()
    begun_s, published = time.monotonic(), 0
    while time.monotonic() - begun_s < seconds:
        publisher.writer.write(batch)
        for _ in range(BATCH):
            await publisher.reader.readline()
        published += BATCH
    took_s = time.monotonic() - begun_s
    after = await publisher.info()
    for task in reading:
        task.cancel()
    await asyncio.gather(*reading, return_exceptions=True)
    for wire in (publisher, *ears):
        wire.writer.close()
    cpu_s = sum(after.values()) - sum(before.values())
    return cpu_s / published * 1e6, published / took_s


async def _swallow(wire: Wire) -> None:
    while await wire.reader.read(READ_BYTES):
        pass


async def measured(url: str, counts: list[int], seconds: float) -> None:
    """A line for each number of listeners."""
    sys.stdout.write("| listeners | CPU us per PUBLISH | PUBLISH/s |\n| --- | --- | --- |\n")
    for listeners in counts:
        cpu_us, rate = await cost(url, listeners, seconds)
        sys.stdout.write(f"| {listeners} | {cpu_us:.1f} | {rate:,.0f} |\n")


def main() -> int:
    """Measures the Redis that --url or REDIS_URL names; it needs no key and leaves none."""
    parser = argparse.ArgumentParser(prog="loadtest.pubsub", description=__doc__)
    parser.add_argument("--url", required=True, help="redis://:password@host:port")
    parser.add_argument("--listeners", default="0,1,2,4,8,16,32")
    parser.add_argument("--seconds", type=float, default=2.0)
    chosen = parser.parse_args()
    counts = [int(each) for each in chosen.listeners.split(",")]
    asyncio.run(measured(chosen.url, counts, chosen.seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
