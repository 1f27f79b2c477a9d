"""A real Redis Cluster for tests: embedded Valkeys that were told of one another, and its moods."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import redis
from redis.crc import key_slot

from gamehub.embedded import Valkey, start_valkey
from gamehub.embedded_home import Home, Secrets
from tests.hubs import free_port
from tests.servers import VALKEY_TEST_OPTIONS, embedded_home

SLOTS = 16384
# A node that is silent for so long is given up by the others; the suite is not to wait for seconds.
NODE_TIMEOUT_MS = 1000
START_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Node:
    """One Valkey of the cluster."""

    valkey: Valkey
    password: str
    bus_port: int

    @property
    def name(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self.valkey.port}"

    def ask(self, *words: Any) -> Any:
        """One command to this very node."""
        with redis.Redis.from_url(self.valkey.url()) as client:
            return client.execute_command(*words)

    @property
    def id(self) -> str:
        """Its name among the nodes."""
        return str(self.ask("CLUSTER MYID").decode())

    def kill(self) -> None:
        """kill -9."""
        os.kill(self.valkey.pid, signal.SIGKILL)
        self.valkey.stop()


Moved = tuple[Node, Node]  # from where to where


@dataclass(frozen=True, slots=True)
class RedisCluster:
    """The nodes: masters first, then their replicas in the same order."""

    nodes: list[Node]
    masters: int

    @property
    def url(self) -> str:
        """What REDIS_URL says of it: two of its nodes, as an operator would."""
        names = ",".join(each.name for each in self.nodes[:2])
        return f"redis+cluster://:{self.nodes[0].password}@{names}"

    def empty(self) -> None:
        """No key, and no script, on any master."""
        for node in self.nodes[: self.masters]:
            node.ask("FLUSHALL")
            node.ask("SCRIPT FLUSH")

    def owner(self, key: str) -> Node:
        """The node that serves this key, as the first one that answers sees it."""
        slot = key_slot(key.encode())
        for asked in self.nodes:
            if not asked.valkey.running():
                continue
            for start, end, (_, port, *_), *_ in asked.ask("CLUSTER SLOTS"):
                if start <= slot <= end:
                    return next(each for each in self.nodes if each.valkey.port == port)
        raise LookupError(f"nobody serves {key}")

    def move(self, key: str, *first: str, halfway: Callable[[], None] | None = None) -> Moved:
        """Moves the slot of this key to another master, key by key as resharding does it.

        `halfway` is called when the keys `first` have gone and the others are still there.
        """
        slot, source = key_slot(key.encode()), self.owner(key)
        target = next(each for each in self.nodes[: self.masters] if each is not source)
        target.ask("CLUSTER SETSLOT", slot, "IMPORTING", source.id)
        source.ask("CLUSTER SETSLOT", slot, "MIGRATING", target.id)
        words = ["127.0.0.1", target.valkey.port, "", 0, 5000, "AUTH", target.password]
        if halfway is not None:
            source.ask("MIGRATE", *words, "KEYS", *first)
            halfway()
        while keys := source.ask("CLUSTER GETKEYSINSLOT", slot, 100):
            source.ask("MIGRATE", *words, "KEYS", *keys)
        for each in (target, source, *self.nodes[: self.masters]):
            each.ask("CLUSTER SETSLOT", slot, "NODE", target.id)
        return source, target


@contextmanager
def redis_cluster(*, masters: int = 3, replicas: int = 0) -> Iterator[RedisCluster]:
    """A cluster with all slots dealt out; `replicas` of the first masters have one each."""
    with ExitStack() as stack:
        home = stack.enter_context(embedded_home())
        nodes = [stack.enter_context(_node(home, n)) for n in range(masters + replicas)]
        first = nodes[0]
        for node in nodes[1:]:
            first.ask("CLUSTER MEET", "127.0.0.1", node.valkey.port, node.bus_port)
        for index, node in enumerate(nodes[:masters]):
            low, high = SLOTS * index // masters, SLOTS * (index + 1) // masters - 1
            node.ask("CLUSTER ADDSLOTSRANGE", low, high)
        _await(lambda: all(_says(each, "cluster_known_nodes") == str(len(nodes)) for each in nodes))
        for master, replica in zip(nodes, nodes[masters:], strict=False):
            replica.ask("CLUSTER REPLICATE", master.id)
        _await(lambda: all(_says(each, "cluster_state") == "ok" for each in nodes))
        yield RedisCluster(nodes, masters)


@contextmanager
def _node(home: Home, number: int) -> Iterator[Node]:
    home = replace(home, servers=home.own(home.servers / f"node-{number}", 0o711))
    # One password for all: what a client knows of one node it must know of each.
    secrets = Secrets("", "", "one-for-all")
    bus_port = free_port()
    options = {
        **VALKEY_TEST_OPTIONS,
        "appendonly": "no",
        "cluster-enabled": "yes",
        "cluster-config-file": "nodes.conf",
        "cluster-port": str(bus_port),
        "cluster-node-timeout": str(NODE_TIMEOUT_MS),
        "cluster-announce-ip": "127.0.0.1",
        "masterauth": secrets.valkey,
        "repl-diskless-sync-delay": "0",
    }
    log = home.data / "logs" / f"valkey-{number}.log"
    server = start_valkey(home, secrets, log, options=options)
    try:
        yield Node(server, secrets.valkey, bus_port)
    finally:
        server.stop()


def _says(node: Node, name: str) -> str:
    return str(node.ask("CLUSTER INFO")[name])


def _await(check: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while not check():
        assert time.monotonic() < deadline_s, "the cluster does not come together"
        time.sleep(0.02)
