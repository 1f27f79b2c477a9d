"""The node's ears on Redis: what its rooms are told, in batches, one for each read."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import structlog
from redis.asyncio import Redis

from domain.errors import Unavailable
from storage.ending import end
from storage.redis import AWAY, is_cluster, node_client, owner_of, refresh
from storage.rooms.wire import Wire, open_wire

log = structlog.get_logger(__name__)

SUBSCRIBE_TIMEOUT_S = 5.0
BACKOFF_FIRST_S = 0.05
BACKOFF_MAX_S = 1.0
# Always subscribed: its confirmation, the last of all, says that the ear hears again.
IDLE_CHANNEL = "gamehub:hubs"
# A cluster's slots are looked up anew when a node sends a channel away, at most so often.
REFRESH_EVERY_S = 0.2

Message = tuple[bytes, bytes]


class Bus:
    """Subscriptions that survive Redis: after a break all are made again and `on_resume` is called.

    Messages in between are lost, which is why `on_resume` must check the rooms' positions. It is
    told the channels that are heard again. on_messages gets (channel, payload) of one whole read.
    In a cluster a channel is heard at the node that has its slot (SSUBSCRIBE), over one connection
    for each node that has any; when its slot moves, it is heard where the slot went.
    """

    def __init__(
        self,
        redis: Redis,
        on_messages: Callable[[list[Message]], None],
        on_resume: Callable[[list[str]], None],
    ) -> None:
        self._redis = redis
        self.on_messages = on_messages
        self.on_resume = on_resume
        self._sharded = is_cluster(redis)
        self._wanted: set[str] = set()
        self._confirmed: dict[str, asyncio.Future[None]] = {}
        self._ears: dict[str, Ear] = {}
        self._lost: set[str] = set()
        self._finding: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts to listen in the background."""
        if not self._sharded:
            self._ear("").start()

    async def stop(self) -> None:
        """Stops listening."""
        if self._finding is not None:
            self._finding.cancel()
            await asyncio.gather(self._finding, return_exceptions=True)
        await asyncio.gather(*(each.stop() for each in self._ears.values()))

    def hears(self, channel: str) -> bool:
        """Whether what is published there is heard at this moment."""
        future = self._confirmed.get(channel)
        return future is not None and future.done() and not future.cancelled()

    async def subscribe(self, channel: str) -> None:
        """Returns when Redis has confirmed the channel; raises Unavailable after 5 s."""
        self._wanted.add(channel)
        future = self._confirmed.get(channel)
        if future is None:
            future = self._confirmed[channel] = asyncio.get_running_loop().create_future()
            self._begin(channel)
        elif future.done():
            return
        try:
            await asyncio.wait_for(asyncio.shield(future), SUBSCRIBE_TIMEOUT_S)
        except TimeoutError:
            raise Unavailable("Redis does not confirm the room", retry_after_ms=1000) from None

    async def unsubscribe(self, channel: str) -> None:
        """Stops listening to a channel."""
        self._wanted.discard(channel)
        self._confirmed.pop(channel, None)
        self._lost.discard(channel)
        for ear in list(self._ears.values()):
            ear.drop(channel)

    # -- which ear --------------------------------------------------------------------------------

    def _ear(self, owner: str) -> Ear:
        ear = self._ears.get(owner)
        if ear is None:
            ear = self._ears[owner] = Ear(self, self._redis, owner, sharded=self._sharded)
        return ear

    def _begin(self, channel: str) -> None:
        if not self._sharded:
            self._ear("").add(channel)
            return
        self._lost.add(channel)
        self._find_lost()

    def _find_lost(self, *, anew: bool = False) -> None:
        """Channels without an ear get that of the node which has their slot."""
        if self._finding is None or self._finding.done():
            self._finding = asyncio.create_task(self._find(anew), name="bus")

    async def _find(self, anew: bool) -> None:
        """anew: what is known of the slots is wrong; otherwise it may not be known yet."""
        while self._lost:
            try:
                if anew:
                    await asyncio.sleep(REFRESH_EVERY_S)
                if anew or not self._ears:
                    await refresh(self._redis)
                while self._lost:
                    channel = next(iter(self._lost))
                    ear = self._ear(owner_of(self._redis, channel))
                    self._lost.discard(channel)
                    ear.start()
                    ear.add(channel)
            except AWAY as error:
                log.warning("bus_finds_no_node", error=f"{type(error).__name__}: {error}")
                anew = True
            else:
                anew = False

    # -- what the ears tell -----------------------------------------------------------------------

    def confirmed(self, channel: str) -> None:
        """Redis has confirmed it."""
        future = self._confirmed.get(channel)
        if future is not None and not future.done():
            future.set_result(None)

    def deaf(self, channels: set[str]) -> None:
        """These are not heard for now: whoever subscribes waits until they are."""
        loop = asyncio.get_running_loop()
        for channel in channels:
            future = self._confirmed.get(channel)
            if future is not None and future.done():
                self._confirmed[channel] = loop.create_future()

    def moved(self, ear: Ear, channels: set[str]) -> None:
        """The node has these no more, or is gone: another has them."""
        channels = channels & self._wanted
        self.deaf(channels)
        for channel in channels:
            ear.channels.discard(channel)
        self._lost |= channels
        self._find_lost(anew=True)


class Ear:
    """One connection that listens at one node."""

    def __init__(self, bus: Bus, redis: Redis, owner: str, *, sharded: bool) -> None:
        self._bus = bus
        self._redis = redis
        self._owner = owner
        self._sharded = sharded
        self._prefix = "S" if sharded else ""
        self.channels: set[str] = set()
        self._moved_in: set[str] = set()
        self._wire: Wire | None = None
        self._task: asyncio.Task[None] | None = None
        self._gone = asyncio.Event()

    def start(self) -> None:
        """Listens in the background, until `stop`."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="bus")

    async def stop(self) -> None:
        """Stops listening."""
        if self._task is not None:
            await end([self._task])

    def add(self, channel: str) -> None:
        """Listens to a channel; while there is no connection, the next one begins with it."""
        self.channels.add(channel)
        if self._wire is not None:
            # What was published since another node had it is missing.
            self._moved_in.add(channel)
            self._wire.tell((f"{self._prefix}SUBSCRIBE", channel))

    def drop(self, channel: str) -> None:
        """Stops listening to it."""
        if channel in self.channels:
            self.channels.discard(channel)
            if self._wire is not None:
                self._wire.tell((f"{self._prefix}UNSUBSCRIBE", channel))

    async def _run(self) -> None:
        backoff_s = BACKOFF_FIRST_S
        while True:
            redis = node_client(self._redis, self._owner) if self._sharded else self._redis
            try:
                await self._listen(redis)
                backoff_s = BACKOFF_FIRST_S
                log.warning("bus_lost", node=self._owner)
            except AWAY as error:
                log.warning("bus_away", node=self._owner, error=f"{type(error).__name__}: {error}")
            finally:
                if self._wire is not None:
                    self._wire.close()
                self._wire = None
                if redis is not self._redis:
                    with contextlib.suppress(*AWAY):
                        await redis.aclose()
            self._bus.deaf(self.channels)
            if self._sharded:
                # The node may be gone for good, and its slots be another's by now.
                self._bus.moved(self, set(self.channels))
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)
            if self._sharded and not self.channels:
                self._task = None
                return

    async def _listen(self, redis: Redis) -> None:
        """Opens the connection, says what is wanted, and returns when it is lost."""
        self._gone.clear()
        wire = await open_wire(redis, self._heard, self._refused, self._gone.set)
        self._moved_in.clear()
        # From here to the end of the loop nothing waits: what is added later is told by `add`.
        self._wire = wire
        for channel in self.channels:
            wire.tell((f"{self._prefix}SUBSCRIBE", channel))
        wire.tell(("SUBSCRIBE", IDLE_CHANNEL))
        await self._gone.wait()

    def _heard(self, pushes: list[list[Any]]) -> None:
        """All that one read brought."""
        messages: list[Message] = []
        for push in pushes:
            kind = push[0]
            if kind == b"message" or kind == b"smessage":
                messages.append((push[1], push[2]))
            else:
                self._told(kind, push[1])
        if messages:
            self._bus.on_messages(messages)

    def _told(self, kind: bytes, name: bytes | None) -> None:
        channel = (name or b"").decode()
        if kind in (b"subscribe", b"ssubscribe"):
            if channel == IDLE_CHANNEL:
                self._bus.on_resume(list(self.channels))
                return
            self._bus.confirmed(channel)
            if channel in self._moved_in:
                self._moved_in.discard(channel)
                if self._sharded:
                    self._bus.on_resume([channel])
        elif kind == b"sunsubscribe" and channel in self.channels:
            # Nobody asked for it: the slot went to another node.
            self._bus.moved(self, {channel})

    def _refused(self, error: Exception) -> None:
        log.warning("bus_refused", node=self._owner, error=str(error)[:200])
        if self._sharded and str(error).startswith(("MOVED", "CLUSTERDOWN", "ASK")):
            future_of = self._bus.hears
            self._bus.moved(self, {each for each in self.channels if not future_of(each)})
