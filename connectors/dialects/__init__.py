"""The databases that the `sql` connector reaches, by the scheme of their URL."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from connectors.base import Access
from connectors.dialects.base import Database
from connectors.dialects.mysql import MySql
from connectors.dialects.postgresql import Postgres
from connectors.dialects.sqlite import Sqlite
from connectors.errors import OptionsError

DATABASES: Mapping[str, type[Database]] = {
    "sqlite": Sqlite,
    "postgresql": Postgres,
    "postgres": Postgres,  # as Heroku writes it
    "mysql": MySql,
    "mariadb": MySql,
}
_MAX_URL = 8192


def checked_url(text: str) -> URL:
    """The URL of a database, its parts checked. Raises ValueError with a sentence without secrets."""
    if len(text) > _MAX_URL or any(not sign.isprintable() or sign in " \\" for sign in text):
        raise ValueError("the URL is too long, or holds a space, a backslash or a control character")
    scheme = text.partition("://")[0] if "://" in text else ""
    if scheme not in DATABASES:
        known = ", ".join(DATABASES)
        raise ValueError(f"the URL begins with none of the databases that can be reached: {known}")
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ValueError(
            f"the URL cannot be read; it looks like {scheme}://user@host:port/database"
        ) from None
    DATABASES[scheme].check_url(url)
    return url


def database(url: str, password: str, access: Access) -> Database:
    """The database at this URL. Opens nothing. Raises OptionsError."""
    try:
        checked = checked_url(url)
    except ValueError as error:
        raise OptionsError(f"url: {error}.") from None
    return DATABASES[checked.drivername](checked, password, access)
