"""What can go wrong with an external system, named by the reaction it wants.

ConnectorError
├── FatalError            stop the run, tell a person
│   ├── OptionsError      the options are wrong: a person must change the connection or the config
│   ├── AuthError         the credentials are refused
│   └── StreamGone        the table, tab, class or file is not there (any more)
├── RetryableError        the run ends and is tried again later
│   ├── RateLimited       wait `retry_after` seconds
│   ├── Unavailable       no connection, a time-out before anything was sent, a 5xx
│   └── BadAnswer         an answer that makes no sense (cut, not JSON, a repeated page)
├── RecordError           set this record aside, the rest goes on
│   ├── RecordRejected    the system refuses this record or, in a batch, one of its records
│   └── RecordMissing     the record to change is not there
├── RecordChanged         the record moved since it was read: read again, decide again
└── OutcomeUnknown        a write may have happened: look before any second try
"""

from __future__ import annotations


class ConnectorError(Exception):
    """An external system or its answer. Carries ids, never secrets or whole records.

    The message is a sentence for a person: what, where, what to do. `code` is stable and groups.
    """

    code = "connector"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        stream: str | None = None,
        key: str | None = None,
        field: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.stream = stream
        self.key = key
        self.field = field


class FatalError(ConnectorError):
    code = "fatal"


class OptionsError(FatalError):
    code = "options"


class AuthError(FatalError):
    code = "auth"


class StreamGone(FatalError):
    code = "stream_gone"


class StreamBlank(StreamGone):
    """It is there and holds nothing at all, not even the names of its fields: a run writes them."""


class RetryableError(ConnectorError):
    code = "retryable"


class RateLimited(RetryableError):
    """The system asked for a pause of `retry_after` seconds.

    `is_held`: the limiter knows, and holds the next call back by itself.
    """

    code = "rate_limited"

    def __init__(self, message: str, *, retry_after: float, stream: str | None = None) -> None:
        super().__init__(message, stream=stream)
        self.retry_after = retry_after
        self.is_held = False


class Unavailable(RetryableError):
    code = "unavailable"


class BadAnswer(RetryableError):
    code = "bad_answer"


class RecordError(ConnectorError):
    code = "record"


class RecordRejected(RecordError):
    code = "rejected"


class RecordMissing(RecordError):
    code = "missing"


class RecordChanged(ConnectorError):
    code = "changed"


class OutcomeUnknown(ConnectorError):
    code = "unknown_outcome"
