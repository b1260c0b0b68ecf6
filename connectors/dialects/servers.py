"""What the URLs of database servers have in common: one host, a port, a database, and TLS."""

from __future__ import annotations

from sqlalchemy.engine import URL

from connectors.addresses import clean_host
from connectors.dialects.values import whole_number
from connectors.errors import OptionsError

TLS_MODES = ("require", "verify-ca", "verify-full")
CONNECT_SECONDS = 10
MAX_CONNECT_SECONDS = 60


def check_server(url: URL, title: str) -> None:
    """Raises ValueError, with a sentence without secrets, unless the URL names one server and database."""
    if not url.host or not url.database:
        raise ValueError(f"a {title} URL names host and database: {url.drivername}://user@host:port/database")
    try:
        clean_host(url.host)
    except OptionsError as error:
        raise ValueError(error.message.rstrip(".")) from None
    if any(sign in url.database for sign in "=/:"):
        raise ValueError("the name of the database holds a sign that it cannot have")
    if url.port is not None and not 0 < url.port < 65536:
        raise ValueError(f"{url.port} is not a port")
    seconds = str(url.query.get("connect_timeout", CONNECT_SECONDS))
    if whole_number(seconds) is None or not 0 < int(seconds) <= MAX_CONNECT_SECONDS:
        raise ValueError(f"connect_timeout is a number of seconds up to {MAX_CONNECT_SECONDS}")


def connect_seconds(url: URL) -> int:
    return int(str(url.query.get("connect_timeout", CONNECT_SECONDS)))
