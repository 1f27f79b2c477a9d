"""Logs: one JSON object per line with the documented fields, and no token in any of them."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from gamehub import logs

TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    out = io.StringIO()
    yield out
    root.handlers[:], root.level = before
    logging.captureWarnings(False)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_the_documented_fields(stream: io.StringIO) -> None:
    logs.configure("hub", level="info", log_format="json", stream=stream)
    structlog.contextvars.bind_contextvars(trace_id="t-1")
    structlog.get_logger("hub.test").info("room_joined", room="match:m-1")
    (line,) = lines(stream)
    assert line["message"] == "room_joined"
    assert line["level"] == "info"
    assert line["service"] == "hub"
    assert line["trace_id"] == "t-1"
    assert line["room"] == "match:m-1"
    assert line["timestamp"].endswith("Z")


def test_the_standard_library_s_logging_comes_along(stream: io.StringIO) -> None:
    logs.configure("hub", level="info", log_format="json", stream=stream)
    logging.getLogger("aiohttp.access").warning("GET /ws?token=%s", TOKEN)
    (line,) = lines(stream)
    assert line["service"] == "hub"
    assert line["message"] == "GET /ws?token=[redacted]"


def test_the_level_is_kept(stream: io.StringIO) -> None:
    logs.configure("hub", level="warning", log_format="json", stream=stream)
    structlog.get_logger("hub.test").info("not_this")
    structlog.get_logger("hub.test").warning("but_this")
    assert [line["message"] for line in lines(stream)] == ["but_this"]


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_token_gets_through(stream: io.StringIO, log_format: str) -> None:
    logs.configure("hub", level="debug", log_format=log_format, stream=stream)
    log = structlog.get_logger("hub.test")
    log.info("a token in a sentence: %s", TOKEN)
    log.info(
        "nested",
        url=f"/ws?x=1&token={TOKEN}&y=2",
        headers={"Authorization": f"Bearer {TOKEN}", "list": [TOKEN, {"deep": TOKEN}]},
        token=TOKEN,
        raw=TOKEN.encode(),
        protocol=f"gamehub.v1+json, gamehub.token.{TOKEN}",
        dsn="postgresql://gamehub:hunter2@127.0.0.1/x",
    )
    try:
        raise ValueError(f"cannot use {TOKEN}")
    except ValueError:
        log.exception("failed")
    said = stream.getvalue()
    for secret in (*TOKEN.split("."), "hunter2"):
        assert secret not in said
    assert "y=2" in said


def test_what_is_too_deep_is_not_shown(stream: io.StringIO) -> None:
    logs.configure("hub", level="info", log_format="json", stream=stream)
    value: Any = "bottom"
    for _ in range(logs.REDACTION_DEPTH + 2):
        value = [value]
    structlog.get_logger("hub.test").info("deep", value=value)
    assert "bottom" not in stream.getvalue()


def test_a_long_word_does_not_hold_up_the_process() -> None:
    """Anyone can send a path of 8,000 letters; at the square of the time this would take hours."""
    word = "a" * 1_000_000
    assert logs.redact_text(word) == word
    assert logs.redact_text(f"{word} postgresql://ada:secret@db/x") == (
        f"{word} postgresql://ada:[redacted]@db/x"
    )
