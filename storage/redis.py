"""Redis or Valkey, one server or a cluster: how this house connects to it."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from hashlib import sha1
from importlib import resources
from typing import Any, Protocol, cast
from urllib.parse import SplitResult, urlsplit, urlunsplit

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.cluster import ClusterNode, ClusterPipeline, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisClusterException, RedisError

from domain.errors import Unavailable

log = structlog.get_logger(__name__)

# Where hubs are told that tokens were revoked or roles changed, after the commit. What it was is
# read from Postgres; a lost message costs the time until the next poll (hub/standing).
STANDING_CHANNEL = "gamehub:standing"
TELL_TIMEOUT_S = 1.0

# What a client raises when Redis, or the way to it, is gone. uvloop raises RuntimeError for a write
# to a connection that was closed a moment ago, and redis-py passes it on.
# RedisClusterException (no node answers, a slot without an owner) is no RedisError.
AWAY = (RedisError, RedisClusterException, OSError, RuntimeError)

# A command that is not answered in time fails as Unavailable. redis-py has 5 s by default, also
# for blocking reads: whoever listens passes None.
SOCKET_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 5.0
CONNECTIONS_MAX = 64
PORT = 6379

# REDIS_URL of a cluster names some of its nodes, as Centrifugo writes it:
# redis+cluster://user:password@host:port,host:port. The others are asked of these.
CLUSTER_MARK = "+cluster"


class _Pipeline(ClusterPipeline):
    """A pipeline over the nodes that takes scripts; each goes to the node that has its keys.

    redis-py refuses them here, because it would not load them where they are unknown: ours are
    loaded by whoever gets NoScriptError.
    """

    def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Any:
        """Queues a script."""
        return self.execute_command("EVALSHA", sha, numkeys, *keys_and_args)


class Cluster(RedisCluster):
    """A client of a Redis Cluster that remembers how its nodes are reached."""

    parts: SplitResult

    def pipeline(self, transaction: Any = None, shard_hint: Any = None) -> ClusterPipeline:
        """Commands that go out together, those of a slot in their order."""
        return _Pipeline(self, transaction)  # type: ignore[abstract]  # redis-py's own typing

    def node_url(self, node: str) -> str:
        """The address with password of a node, "host:port"; keep it out of logs."""
        user, at, _ = self.parts.netloc.rpartition("@")
        scheme = self.parts.scheme.removesuffix(CLUSTER_MARK)
        return urlunsplit(self.parts._replace(scheme=scheme, netloc=f"{user}{at}{node}"))


class Client(Redis):
    """A client of one server; `beside` is closed with it: a connection that is fed by hand."""

    beside: Closing | None = None

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Closes all connections."""
        if self.beside is not None:
            self.beside.close()
            await asyncio.sleep(0)  # the loop closes the socket then
        await super().aclose(close_connection_pool)


class Closing(Protocol):
    """Something that has to be closed."""

    def close(self) -> None:
        """Closes it."""


def connect(url: str, *, socket_timeout_s: float | None = SOCKET_TIMEOUT_S) -> Redis:
    """A client for redis://, rediss:// or unix:// that connects when first used; bytes, not text.

    A command on a connection that turns out to be closed is sent once more on a fresh one; every
    script of this house may be run twice. A listener's is not: it must know that it was away.
    redis+cluster:// and rediss+cluster:// give a client of the cluster: each command and script
    goes to the node that has its keys, and once more after the slots were looked up anew.
    """
    retry = Retry(NoBackoff(), 0 if socket_timeout_s is None else 1)
    if is_cluster_url(url):
        # It speaks the same commands, but for what is said apart below.
        return cast("Redis", _connect_cluster(url, socket_timeout_s, retry))
    # A socket file has no peer that goes without a word, and redis-py refuses to be told so.
    of_tcp = {} if urlsplit(url).scheme == "unix" else {"socket_keepalive": True}
    client: Redis = Client.from_url(
        url,
        decode_responses=False,
        socket_timeout=socket_timeout_s,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        **of_tcp,
        max_connections=CONNECTIONS_MAX,
        retry=retry,
    )
    return client


def cluster_nodes(url: str) -> tuple[str, list[tuple[str, int]]]:
    """The URL of the first node that REDIS_URL of a cluster names, and the others' addresses."""
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    first, *others = [each for each in hosts.split(",") if each] or [""]
    scheme = parts.scheme.removesuffix(CLUSTER_MARK)
    one = urlunsplit(parts._replace(scheme=scheme, netloc=f"{user}{at}{first}"))
    return one, [_host_port(each) for each in others]


def _connect_cluster(url: str, socket_timeout_s: float | None, retry: Retry) -> Cluster:
    first, others = cluster_nodes(url)
    client = cast(
        "Cluster",
        Cluster.from_url(
            first,
            startup_nodes=[ClusterNode(*each) for each in others] or None,
            decode_responses=False,
            socket_timeout=socket_timeout_s,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            socket_keepalive=True,
            max_connections=CONNECTIONS_MAX,
            retry=retry,
        ),
    )
    client.parts = urlsplit(url)
    return client


def _host_port(node: str) -> tuple[str, int]:
    parts = urlsplit(f"//{node}")
    return parts.hostname or "", parts.port or PORT


# -- one server or a cluster ----------------------------------------------------------------------


def is_cluster_url(url: str) -> bool:
    """Whether REDIS_URL names a cluster."""
    return urlsplit(url).scheme.endswith(CLUSTER_MARK)


def is_cluster(client: Redis) -> bool:
    """Whether `connect` gave a client of a cluster."""
    return isinstance(client, RedisCluster)


async def ping(client: Redis) -> None:
    """Returns when Redis answers, a cluster when it serves all slots; raises what AWAY names."""
    if not is_cluster(client):
        await client.ping()
        return
    info = await cast("Any", client).cluster_info()
    if info["cluster_state"] != "ok":
        raise RedisClusterException(f"the cluster's state is {info['cluster_state']}")


@dataclass(frozen=True, slots=True)
class ClusterSeen:
    """What a cluster says of itself: its state, INFO of each master, and how many replicas."""

    state: str
    masters: dict[str, dict[str, Any]]
    replicas: int


async def look_at_cluster(client: Redis) -> ClusterSeen:
    """Asks every master; raises what AWAY names."""
    cluster = cast("Any", client)
    state = (await cluster.cluster_info())["cluster_state"]
    masters = {each.name: await cluster.info(target_nodes=each) for each in cluster.get_primaries()}
    return ClusterSeen(state, masters, len(cluster.get_replicas()))


async def refresh(client: Redis) -> None:
    """Looks up anew which node has which slots; raises what AWAY names. One server has none."""
    if is_cluster(client):
        cluster = cast("Cluster", client)
        await cluster.initialize()
        await cluster.nodes_manager.initialize()


def owner_of(client: Redis, key: str) -> str:
    """ "host:port" of the node that has this key or sharded channel, as of the last `refresh`.

    "" on one server. Raises RedisClusterException where no node has it.
    """
    if not is_cluster(client):
        return ""
    cluster = cast("Cluster", client)
    try:
        return cluster.nodes_manager.get_node_from_slot(cluster.keyslot(key)).name
    except LookupError:
        raise RedisClusterException(f"no node has the slot of {key!r}") from None


def node_client(client: Redis, owner: str) -> Redis:
    """A listener's client of the node that `owner_of` told; the caller closes it."""
    if not is_cluster(client):
        raise ValueError("one server has no owners")
    return connect(cast("Cluster", client).node_url(owner), socket_timeout_s=None)


@contextlib.asynccontextmanager
async def listening(client: Redis, *channels: str) -> AsyncIterator[PubSub]:
    """Plain pub/sub, which every node of a cluster carries: subscribed to any that answers.

    The first messages confirm the channels. Raises what AWAY names, also while it is open.
    """
    async with contextlib.AsyncExitStack() as stack:
        if is_cluster(client):
            await refresh(client)
            client = await _node_that_answers(client, stack)
        pubsub = client.pubsub()
        stack.push_async_callback(pubsub.aclose)
        await pubsub.subscribe(*channels)
        yield pubsub


async def _node_that_answers(cluster: Redis, stack: contextlib.AsyncExitStack) -> Redis:
    nodes = [each.name for each in cast("Cluster", cluster).get_nodes()]
    for node in random.sample(nodes, len(nodes)):
        client = node_client(cluster, node)
        try:
            # A node that was cut off from the others still answers, but hears nothing of them.
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                info = await cast("Any", client).execute_command("CLUSTER INFO")
            if info["cluster_state"] == "ok":
                stack.push_async_callback(client.aclose)
                return client
        except AWAY:
            pass
        await client.aclose()
    raise RedisClusterException("no node of the cluster answers")


# -- scripts --------------------------------------------------------------------------------------


class Script:
    """A Lua file of storage/lua, called by its hash, sent whole where Redis does not know it."""

    def __init__(self, name: str) -> None:
        self.text = (resources.files("storage") / "lua" / name).read_text("utf-8")
        self.sha = sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, redis: Redis, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """What the script answers; raises Unavailable when Redis does not."""
        try:
            try:
                return await redis.evalsha(self.sha, len(keys), *keys, *args)
            except NoScriptError:
                return await redis.eval(self.text, len(keys), *keys, *args)
        except AWAY as error:
            raise Unavailable(f"Redis does not answer: {type(error).__name__}") from error


async def tell_standing(redis: Redis) -> None:
    """Tells every hub to look at revocations and roles now; a failure is only logged."""
    try:
        async with asyncio.timeout(TELL_TIMEOUT_S):
            await redis.publish(STANDING_CHANNEL, b"")
    except AWAY as error:
        log.warning("standing_not_told", error=type(error).__name__)
