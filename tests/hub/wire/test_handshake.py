"""Which heads are upgrades beyond doubt, what they ask for, and what opens the socket."""

from __future__ import annotations

import pytest

from hub.wire.frames import close_frame
from hub.wire.handshake import LINES_MAX, accept, switching, upgrade

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
FIELDS = {
    "Host": "hub",
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}


def head(target: str = "/ws", first: str = "GET {} HTTP/1.1", **changes: str | None) -> bytes:
    """A request's head with some fields changed (None: left out), without its last empty line."""
    fields = {**FIELDS, **{name.replace("_", "-"): value for name, value in changes.items()}}
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join([first.format(target), *lines]).encode("latin-1")


def test_a_head_in_order() -> None:
    asked = head("/ws/match/a%2Fb?token=x&y=1", Sec_WebSocket_Protocol="chat, b , a")
    found = upgrade(asked + b"\r\nOrigin: one\r\norigin: two")
    assert found is not None
    assert (found.path, found.query, found.key) == ("/ws/match/a%2Fb", "token=x&y=1", KEY)
    assert found.all("origin") == ["one", "two"]
    assert found.first("user-agent") is None
    assert found.subprotocol(("a", "b")) == "b"  # the client's order counts
    assert found.subprotocol(("c",)) is None


def test_the_answer_of_the_rfc() -> None:
    assert accept(KEY) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    answer = switching(KEY, "a", "id-1").decode()
    assert answer.startswith("HTTP/1.1 101 Switching Protocols\r\n")
    assert "\r\nSec-WebSocket-Protocol: a\r\n" in answer
    assert answer.endswith("\r\nX-Request-ID: id-1\r\n\r\n")
    assert "Protocol:" not in switching(KEY, None, "id-1").decode()


@pytest.mark.parametrize("target", ["http://hub/ws", "https://hub:8000/ws"])
def test_an_absolute_target_counts_by_its_path(target: str) -> None:
    found = upgrade(head(target))
    assert found is not None
    assert found.path == "/ws"


@pytest.mark.parametrize(
    "odd",
    [
        head(first="POST {} HTTP/1.1"),
        head(first="GET {} HTTP/1.0"),
        head(first="GET {} HTTP/1.1 more"),
        head(first="GET  {} HTTP/1.1"),
        head("ws"),
        head("/ws/../ingest"),
        head("/ws/match/.."),
        head("/ws/\u00e9"),
        head("/ws?a=\u00e9"),
        head("/ws#part"),
        head(Host=None),
        head(Upgrade=None),
        head(Upgrade="h2c"),
        head(Connection="keep-alive"),
        head(Sec_WebSocket_Version="8"),
        head(Sec_WebSocket_Version="13, 8"),
        head(Sec_WebSocket_Key=None),
        head(Sec_WebSocket_Key="short"),
        head(Sec_WebSocket_Key="A" * 24),
        head(Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25j****"),
        head(Content_Length="0"),
        head(Transfer_Encoding="chunked"),
        head() + b"\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        head() + b"\r\nHost: other",
        head() + b"\r\nno colon",
        head() + b"\r\nName : space",
        head() + b"\r\n folded: line",
        head() + b"\r\nX: a\x00b",
        head() + b"\r\nX: a\nY: b",
        head() + b"\r\nX: y" * LINES_MAX,
        b"",
        b"\x16\x03\x01",
    ],
)
def test_whatever_else_is_left_to_aiohttp(odd: bytes) -> None:
    assert upgrade(odd) is None


def test_names_and_words_count_in_any_case() -> None:
    shouted = head().upper().replace(KEY.upper().encode(), KEY.encode())
    assert upgrade(shouted) is not None


def test_reason_of_a_close_is_whole_text() -> None:
    assert close_frame(4003, "x" + "\u00e9" * 100)[4:].decode() == "x" + "\u00e9" * 61
    assert close_frame(1005) == b"\x88\x00"
