"""Log set-up: one event is one line, JSON in production, readable on a terminal. Goes to stderr.

Called by the entry points of processes only. Secrets do not belong in any log call; the last processor
takes out what looks like one all the same, and a log line that cannot be written never stops a sync.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog
from structlog.typing import Processor

from tasks import redaction

REMOVED = "[removed]"

_SECRET_NAMES = re.compile(
    r"passw|secret|authorization|cookie|api[-_]?key|private[-_]?key|access[-_]?key|credential"
    r"|(^|[-_])token$|session[-_]?id",
    re.IGNORECASE,
)
_SECRET_VALUES = re.compile(
    "|".join(
        (
            r"(?<=://)[^/\s:@]*:[^/\s@]+(?=@)",  # user:password of an address
            r"\b(?:sk|rk|pk)_(?:live|test)_\w{8,}|\bwhsec_\w{8,}",  # Stripe
            r"\bpat\w{14}\.[0-9a-f]{32,}",  # Airtable
            r"\bya29\.[\w-]{10,}|\b1//0[\w-]{10,}|\bAIza[\w-]{20,}",  # Google
            r"\bsln_[\w-]{20,}",  # our own API tokens
            r"\bxox[abprs]-[\w-]{10,}",  # Slack
            r"\bEAA[A-Za-z0-9]{20,}",  # Meta
            r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*",  # a JSON web token
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
            r"(?<=/sign-in/)[\w-]{20,}|(?<=/invitations/)[\w-]{20,}",
            r"(?i:(?<=bearer )[\w.~+/-]{8,}=*)",
        )
    )
)


def set_up(level: str, style: str, *, process: str) -> None:
    """Send all logs of this process, those of libraries too, to stderr. `style`: json, console or auto.

    `auto` is readable lines on a terminal and JSON elsewhere. `process`, the kind of process, stands on
    each JSON line.
    """

    def name_process(
        _logger: object, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        event["process"] = process
        return event

    on_terminal = bool(getattr(sys.stderr, "isatty", lambda: False)())
    readable = style == "console" or (style == "auto" and on_terminal)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if readable else "iso", utc=not readable),
    ]
    ending: list[Processor] = (
        [
            structlog.processors.format_exc_info,
            redact,
            structlog.dev.ConsoleRenderer(
                colors=on_terminal, exception_formatter=structlog.dev.plain_traceback
            ),
        ]
        if readable
        else [
            name_process,
            structlog.processors.format_exc_info,
            redact,
            structlog.processors.JSONRenderer(default=str, ensure_ascii=False),
        ]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending]
            if readable
            else [_keep_record_name, *ending],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.raiseExceptions = False  # a full disk under the log is no reason to stop a sync
    logging.captureWarnings(True)
    for noisy in ("httpx", "httpcore", "dramatiq.worker.WorkerThread", "alembic"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Take out what has the name or the shape of a secret, at any depth."""
    for name, value in event.items():
        event[name] = _clean(name, value)
    return event


def _clean(name: str, value: Any) -> Any:
    if isinstance(value, str):
        if value and _SECRET_NAMES.search(name):
            return REMOVED
        return _SECRET_VALUES.sub(REMOVED, redaction.clean(value))
    if isinstance(value, Mapping):
        return {key: _clean(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(name, item) for item in value]
    return value


def _keep_record_name(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Drop what only the formatter needs, and keep the name of the logger."""
    record = event.pop("_record", None)
    event.pop("_from_structlog", None)
    if record is not None:
        event["logger"] = record.name
    return event
