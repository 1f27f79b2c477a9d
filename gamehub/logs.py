"""Logging of every process: structlog as JSON lines or for the console, and no token in either."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

# Second line of defence: code does not log tokens; what slips through a URL, a header or an
# exception's text is cut out here. Deeper than REDACTION_DEPTH values are replaced whole.
REDACTED = "[redacted]"
REDACTION_DEPTH = 6
_SECRETS = (
    # A JWT: base64url of '{"' begins with eyJ; the payload and signature may be cut off.
    (re.compile(r"eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){0,2}"), REDACTED),
    (re.compile(r"(?i)((?:access_)?token=)[^&\s\"']+"), rf"\1{REDACTED}"),
    (re.compile(r"(?i)(gamehub\.token\.)[^\s,\"']+"), rf"\1{REDACTED}"),
    (re.compile(r"(?i)(bearer\s+)[^\s,\"']+"), rf"\1{REDACTED}"),
    # Only where a word begins: tried at each letter of a long one it takes the square of the time.
    (re.compile(r"(?<![a-z+])([a-z+]+://[^/\s:@]*:)[^@\s/]+(@)"), rf"\1{REDACTED}\2"),
)
# Every one of them has one of these: most texts have none, and are looked through once.
_MARKS = re.compile(r"eyJ|://|token|bearer", re.IGNORECASE)
_SECRET_NAMES = frozenset({"token", "password", "authorization", "secret", "jwt", "cookie"})

Event = MutableMapping[str, Any]


def configure(
    service: str,
    *,
    level: str,
    log_format: str,
    process: int = 0,
    stream: TextIO | None = None,
) -> None:
    """Route structlog and the standard library's logging to `stream` (stderr).

    Lines carry timestamp, service, level, message and what is bound, such as trace_id (OBS-02), and
    with several processes of one hub the number of this one. `level` and `log_format` are the
    settings LOG_LEVEL and LOG_FORMAT.
    """

    def add_service(_logger: Any, _method: str, event: Event) -> Event:
        event.setdefault("service", service)
        if process:
            event.setdefault("process", process)
        return event

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_service,
    ]
    renderer: list[Any]
    if log_format == "json":
        renderer = [
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("message"),
            redact,
            structlog.processors.JSONRenderer(default=str),
        ]
    else:
        colors = stream is None and sys.stderr.isatty()
        renderer = [
            structlog.processors.format_exc_info,
            redact,
            structlog.dev.ConsoleRenderer(colors=colors),
        ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(True)


def redact(_logger: Any, _method: str, event: Event) -> Event:
    """A structlog processor: tokens and passwords are cut out of every value."""
    return {name: _clean(name, value, 0) for name, value in event.items()}


def redact_text(text: str) -> str:
    """The text without anything that looks like a token or a password in a URL."""
    if _MARKS.search(text) is None:
        return text
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def _clean(name: object, value: Any, depth: int) -> Any:
    if isinstance(name, str) and name.lower() in _SECRET_NAMES and isinstance(value, str):
        return REDACTED
    if isinstance(value, str):
        return redact_text(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth >= REDACTION_DEPTH:
        return REDACTED
    if isinstance(value, dict):
        return {_clean(None, k, depth + 1): _clean(k, v, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(None, item, depth + 1) for item in value]
    return redact_text(str(value))
