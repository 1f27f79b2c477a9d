"""Several hub processes on one port: their sockets, and what makes a new one fit to take over."""

from __future__ import annotations

import socket

import pytest

from domain.errors import SettingsError, StartError
from domain.settings import Settings
from gamehub import hub_processes
from gamehub.supervisor_process import connections_needed


def test_each_process_has_a_share_of_the_port_and_a_port_of_its_own() -> None:
    slots = hub_processes.claim(Settings(port=0, processes=3))
    try:
        port = slots[0].shared.getsockname()[1]
        assert {each.shared.getsockname()[1] for each in slots} == {port}
        assert [each.own.getsockname()[1] for each in slots] == [port + 1, port + 2, port + 3]
        assert [each.number for each in slots] == [1, 2, 3]
    finally:
        for each in slots:
            each.shared.close()
            each.own.close()


def test_nobody_is_dealt_a_connection_before_a_process_listens() -> None:
    slots = hub_processes.claim(Settings(port=0, processes=2))
    first, second = slots
    try:
        address = first.shared.getsockname()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=1)
        second.shared.listen()
        # However the kernel deals them out: there is only one that they can go to.
        for _ in range(20):
            socket.create_connection(address, timeout=1).close()
            second.shared.accept()[0].close()
    finally:
        for each in slots:
            each.shared.close()
            each.own.close()


@pytest.mark.parametrize("offset", [0, 2])
def test_a_taken_port_stops_the_start_also_when_its_owner_would_share_it(offset: int) -> None:
    # Three in a row that are free, of which one is taken by somebody who would share it.
    port = hub_processes.free_ports(Settings(port=0, processes=2))
    with hub_processes.bound(Settings(), port + offset) as taken:
        taken.listen()
        with pytest.raises(StartError, match=f"127.0.0.1:{port + offset}.*--port"):
            hub_processes.claim(Settings(port=port, processes=2))


def test_pools_count_every_process_and_one_that_is_being_replaced() -> None:
    one, four = Settings(database_pool_max=10), Settings(database_pool_max=10, processes=4)
    assert connections_needed(one) == 2 * 10 + 20
    assert connections_needed(four) == (4 + 1 + 1) * 10 + 20


def test_a_hub_without_its_servers_or_migrations_does_not_take_over() -> None:
    well = {"database": {"ok": True}, "redis": {"ok": True}, "migrations": {"ok": True}}
    behind = {**well, "pipelines": {"ok": False, "detail": "behind: relay"}}
    assert hub_processes.what_is_wrong({"dependencies": behind}) == ""
    old = {**well, "migrations": {"ok": False, "detail": "the database is behind this release"}}
    assert "the database is behind" in hub_processes.what_is_wrong({"dependencies": old})


def test_processes_is_a_setting_with_bounds() -> None:
    assert Settings.parse({"GAMEHUB_PROCESSES": "4"}).processes == 4
    assert Settings.parse({}).processes == 1
    for wrong in ("0", "65", "many"):
        with pytest.raises(SettingsError, match="GAMEHUB_PROCESSES"):
            Settings.parse({"GAMEHUB_PROCESSES": wrong})
