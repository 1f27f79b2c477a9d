"""The client's address: the socket's peer, or what trusted hops say, and never what anyone says."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import SettingsError
from domain.settings import Settings
from hub.peer import HOPS_MAX, UNKNOWN, forwarded, is_in, networks, parse_address
from tests.hub.api.serving import serving

TRUSTED = networks("10.0.0.0/8,fd00::/8,192.0.2.1")


@pytest.mark.parametrize(
    ("peer", "headers", "client"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        # Anyone can write the header; only a trusted hop's last word counts.
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("10.1.2.3", ["198.51.100.1"], "198.51.100.1"),
        ("10.1.2.3", ["6.6.6.6, 198.51.100.1"], "198.51.100.1"),
        ("10.1.2.3", ["6.6.6.6, 198.51.100.1, 10.9.9.9"], "198.51.100.1"),
        ("10.1.2.3", ["6.6.6.6, 10.4.4.4, 198.51.100.1, 10.9.9.9"], "198.51.100.1"),
        # Lines are one list, in their order.
        ("10.1.2.3", ["6.6.6.6", "198.51.100.1", "10.9.9.9"], "198.51.100.1"),
        ("10.1.2.3", [], "10.1.2.3"),
        ("10.1.2.3", ["10.7.7.7, 10.9.9.9"], "10.7.7.7"),
        # Garbage ends the walk at the last hop that is known.
        ("10.1.2.3", ["6.6.6.6, nonsense, 10.9.9.9"], "10.9.9.9"),
        ("10.1.2.3", [""], "10.1.2.3"),
        ("10.1.2.3", ["unknown"], "10.1.2.3"),
        ("10.1.2.3", ["198.51.100.1,"], "10.1.2.3"),
        # Ports, brackets, zones and IPv4 inside IPv6.
        ("::ffff:10.1.2.3", ["198.51.100.1:4711"], "198.51.100.1"),
        ("fd00::1%eth0", ["[2001:db8::7]:443"], "2001:db8::7"),
        ("192.0.2.1", ["2001:DB8:0::7"], "2001:db8::7"),
        ("192.0.2.2", ["2001:db8::7"], "192.0.2.2"),
        ("", ["198.51.100.1"], UNKNOWN),
        ("/run/hub.sock", ["198.51.100.1"], UNKNOWN),
    ],
)
def test_only_trusted_hops_have_a_say(peer: str, headers: list[str], client: str) -> None:
    assert forwarded(peer, headers, TRUSTED) == client


def test_nobody_is_trusted_by_default() -> None:
    trusted = networks(Settings().trusted_proxies)
    assert forwarded("127.0.0.1", ["198.51.100.1"], trusted) == "127.0.0.1"


def test_an_endless_chain_is_left_somewhere() -> None:
    chain = ", ".join(["198.51.100.1"] + ["10.0.0.1"] * (HOPS_MAX + 5))
    assert forwarded("10.1.2.3", [chain], TRUSTED) == "10.0.0.1"


@given(st.text(max_size=60), st.lists(st.text(max_size=200), max_size=4))
def test_garbage_never_raises_and_never_wins(peer: str, headers: list[str]) -> None:
    found = forwarded(peer, headers, TRUSTED)
    assert found == UNKNOWN or str(ip_address(found)) == found
    if not is_in(peer, TRUSTED):
        here = parse_address(peer)
        assert found == (UNKNOWN if here is None else str(here))


@given(st.lists(st.text(max_size=40), max_size=4), st.ip_addresses().map(str))
def test_the_left_of_a_trusted_word_is_never_looked_at(left: list[str], client: str) -> None:
    header = ",".join([*left, client])
    address = parse_address(client)
    assert address is not None
    if not is_in(client, TRUSTED):
        assert forwarded("10.1.2.3", [header], TRUSTED) == str(address)


@pytest.mark.parametrize("value", ["10.0.0.0/33", "proxy.example", "10.0.0.1;10.0.0.2"])
def test_what_is_no_network_is_refused_at_start(value: str) -> None:
    with pytest.raises(SettingsError, match="TRUSTED_PROXIES"):
        Settings.parse({"TRUSTED_PROXIES": value})


def test_networks_are_normalised() -> None:
    settings = Settings.parse({"TRUSTED_PROXIES": " 10.1.2.3/8 , ::1,,192.0.2.1 "})
    assert settings.trusted_proxies == "10.0.0.0/8,::1/128,192.0.2.1/32"
    assert Settings.parse(settings.environ()) == settings


@pytest.mark.parametrize(("trusted", "ip"), [("", "127.0.0.1"), ("127.0.0.0/8", "198.51.100.1")])
async def test_the_access_log_names_the_client(trusted: str, ip: str) -> None:
    async with serving(trusted_proxies=trusted) as client:
        header = {"X-Forwarded-For": "6.6.6.6, 198.51.100.1"}
        with structlog.testing.capture_logs() as lines:
            assert (await client.get("/healthz", headers=header)).status == 200
    assert [each["ip"] for each in lines if each.get("path") == "/healthz"] == [ip]
