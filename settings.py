"""The only reader of the environment. Everything else is handed a frozen `Settings`.

Nothing set means local defaults under `./.syncline/`: a SQLite database, keys made there with mode
0600. Every variable may also be given as NAME_FILE, the path of a file that holds the value. In
production (a DATABASE_URL that is not SQLite) missing or weak secrets are a SettingsError.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import difflib
import math
import os
import secrets
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from urllib.parse import urlsplit

RELEASE = "0.1.0"
LOCAL_FOLDER = ".syncline"
DATABASE_NAME = "syncline.db"
KEY_BYTES = 32
LONGEST_DAYS = 36_500  # a hundred years: what dates can be reckoned with

Network = IPv4Network | IPv6Network


class SettingsError(Exception):
    """The environment does not allow a start. The message names the variable and the remedy."""


@dataclass(frozen=True, slots=True)
class DataKey:
    """One key of the ring: its id, which is stored with what it encrypts, and its 32 bytes."""

    id: str
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Settings:
    home: Path  # the folder `.syncline/`: local database, keys, pid files
    database_url: str = field(repr=False)
    redis_url: str | None = field(repr=False)  # None: none was named
    port: int
    public_url: str | None
    secret_key: str = field(repr=False)
    encryption_keys: tuple[DataKey, ...] = field(repr=False)  # newest first
    encryption_keys_file: Path | None  # where they stand, if in a file: looked at again when it changes
    cron_secrets: tuple[str, ...] = field(repr=False)
    admin_emails: tuple[str, ...]
    alert_webhook_url: str | None = field(repr=False)
    alert_failure_threshold: int
    uploads_path: Path
    log_level: str
    log_format: str  # json | console | auto (console on a terminal)
    log_retention_days: int
    copy_retention_days: int
    allowed_networks: tuple[Network, ...]
    allow_http: bool
    sources_folders: tuple[Path, ...]
    proxy_hops: int  # how many reverse proxies in front of web may set X-Forwarded-*
    lease_seconds: float
    renew_seconds: float
    ring_again_seconds: float
    connection_limit: int  # runs at once per connection
    workspace_limit: int  # runs at once per workspace
    google_client_id: str
    google_client_secret: str = field(repr=False)
    airtable_client_id: str
    airtable_client_secret: str = field(repr=False)
    named: tuple[str, ...] = ()  # the variables that the environment sets, as they are named there

    @property
    def release(self) -> str:
        """The version of this program."""
        return RELEASE

    @property
    def variables(self) -> Mapping[str, str]:
        """Every variable that is read, and what it is for."""
        return VARIABLES

    @property
    def sign_in_clients(self) -> Mapping[str, tuple[str, str]]:
        """Provider -> id and secret of this installation there, where it is registered."""
        found = {
            "google": (self.google_client_id, self.google_client_secret),
            "airtable": (self.airtable_client_id, self.airtable_client_secret),
        }
        return {name: client for name, client in found.items() if client[0]}

    @property
    def is_local(self) -> bool:
        """The local default kind of installation: a SQLite database on this machine."""
        return self.database_url.startswith("sqlite")

    @property
    def is_default_database(self) -> bool:
        """The one that nobody named: it is made and migrated by the first command that needs it."""
        return self.own_database == (self.home / DATABASE_NAME).resolve()

    @property
    def own_database(self) -> Path | None:
        """The file of our own SQLite database: no connector may ever open it."""
        return Path(self.database_url.removeprefix("sqlite:///")).resolve() if self.is_local else None

    @property
    def own_files(self) -> tuple[Path, ...]:
        """Database, keys and the like: what no connector may ever open."""
        names = ("secret_key", "encryption_keys", "supervisor.json", "redis/redis.conf", "redis/redis.log")
        found = [self.home / name for name in names]
        if own := self.own_database:
            found += [own.with_name(own.name + ending) for ending in ("", "-wal", "-shm", "-journal")]
        if self.encryption_keys_file is not None:
            found.append(self.encryption_keys_file)
        return tuple(found)

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ, *, folder: Path | None = None) -> Settings:
        """Read the environment once. `folder` is where `.syncline/` lies: the current one by default.

        Raises SettingsError with every mistake that was found, a line each.
        """
        return _Reader(env, (folder or Path.cwd()).resolve()).settings()


# name -> what it is for; docs/settings.md is generated from this table and from_env reads no other name.
VARIABLES: Mapping[str, str] = {
    "DATABASE_URL": "Syncline's own state: postgresql://… or sqlite:///… (default .syncline/syncline.db)",
    "REDIS_URL": "The queue: redis://… or rediss://…; `syncline up` and `make demo` start one if not set",
    "PORT": "The port of the panel (default 8000)",
    "PUBLIC_URL": "The address under which people reach the panel; used in links and for cookies",
    "SECRET_KEY": "Signs browser sessions; at least 32 characters",
    "ENCRYPTION_KEYS": "Encrypts stored secrets: id:base64 of 32 bytes, newest first, separated by commas",
    "INTEGRATIONS_CRON_SECRET": "What an outside cron must send; two, separated by a comma, while rotating",
    "ADMIN_EMAILS": "Addresses of administrators, whoever they were before; separated by commas",
    "SCHEDULER_ALERT_WEBHOOK_URL": "Where alerts are posted",
    "SCHEDULER_ALERT_FAILURE_THRESHOLD": "Failures in a row before an alert (default 3)",
    "UPLOADS_PATH": "Where uploaded files are kept (default .syncline/uploads)",
    "LOG_LEVEL": "DEBUG, INFO, WARNING or ERROR (default INFO)",
    "LOG_FORMAT": "json, console or auto: readable lines on a terminal, JSON elsewhere (default auto)",
    "LOG_RETENTION_DAYS": "Days that runs and their logs are kept (default 30)",
    "COPY_RETENTION_DAYS": "Days that copies of overwritten and deleted values are kept (default 90)",
    "ALLOWED_NETWORKS": "Private ranges that connections may reach, such as 10.1.0.0/16, separated by commas",
    "ALLOW_HTTP": "true allows http:// beside https:// (default only with the local database)",
    "SOURCES_FOLDERS": "Folders in which SQLite and CSV files may lie, separated by colons",
    "PROXY_HOPS": "How many reverse proxies stand before the panel (Heroku: 1; default 0)",
    "LEASE_SECONDS": "How long a run belongs to a silent worker (default 60)",
    "LEASE_RENEW_SECONDS": "How often a worker renews its leases (default 15)",
    "RING_AGAIN_SECONDS": "How long a queued run waits before its worker is woken again (default 30)",
    "CONNECTION_LIMIT": "Runs at once for one connection (default 4)",
    "WORKSPACE_LIMIT": "Runs at once for one workspace (default 16)",
    "GOOGLE_CLIENT_ID": "The OAuth client of this installation at Google, for `Connect Google` in the panel",
    "GOOGLE_CLIENT_SECRET": "Its secret",
    "AIRTABLE_CLIENT_ID": "The OAuth integration of this installation at Airtable, for `Connect Airtable`",
    "AIRTABLE_CLIENT_SECRET": "Its secret, if it has one",
}

# What examples and documentation show; nobody may run with it.
_GUESSABLE = ("secret", "changeme", "change-me", "password", "example", "your-", "0000000000", "1234567890")


class _Reader:
    def __init__(self, env: Mapping[str, str], folder: Path) -> None:
        self.env = env
        self.folder = folder
        self.home = folder / LOCAL_FOLDER
        self.mistakes: list[str] = []
        self.unreadable: set[str] = set()  # names whose mistake was told: no second line about them

    def settings(self) -> Settings:
        self._look_for_typos()
        database_url = self._database_url()
        local = database_url.startswith("sqlite")
        loopback: tuple[Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128")) if local else ()
        lease = self._number("LEASE_SECONDS", 60.0, minimum=1)
        settings = Settings(
            home=self.home,
            database_url=database_url,
            redis_url=self._url("REDIS_URL", ("redis", "rediss", "unix")),
            port=self._whole("PORT", 8000, minimum=1, maximum=65535),
            public_url=self._public_url(),
            cron_secrets=self._cron_secrets(),
            admin_emails=self._emails(),
            alert_webhook_url=self._url("SCHEDULER_ALERT_WEBHOOK_URL", ("https", "http")),
            alert_failure_threshold=self._whole("SCHEDULER_ALERT_FAILURE_THRESHOLD", 3, minimum=1),
            uploads_path=self._path(self._text("UPLOADS_PATH") or str(self.home / "uploads")),
            log_level=self._word("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR")),
            log_format=self._word("LOG_FORMAT", "auto", ("auto", "json", "console")),
            log_retention_days=self._whole("LOG_RETENTION_DAYS", 30, minimum=1, maximum=LONGEST_DAYS),
            copy_retention_days=self._whole("COPY_RETENTION_DAYS", 90, minimum=1, maximum=LONGEST_DAYS),
            allowed_networks=loopback + self._networks(),
            allow_http=self._flag("ALLOW_HTTP", local),
            sources_folders=tuple(map(self._path, self._list("SOURCES_FOLDERS", separator=":")))
            or ((self.folder,) if local else ()),
            proxy_hops=self._whole("PROXY_HOPS", 0, minimum=0, maximum=20),
            lease_seconds=lease,
            renew_seconds=self._number("LEASE_RENEW_SECONDS", min(15.0, lease / 4), minimum=0.05),
            ring_again_seconds=self._number("RING_AGAIN_SECONDS", 30.0, minimum=0),
            connection_limit=self._whole("CONNECTION_LIMIT", 4, minimum=1),
            workspace_limit=self._whole("WORKSPACE_LIMIT", 16, minimum=1),
            google_client_id=self._text("GOOGLE_CLIENT_ID"),
            google_client_secret=self._text("GOOGLE_CLIENT_SECRET"),
            airtable_client_id=self._text("AIRTABLE_CLIENT_ID"),
            airtable_client_secret=self._text("AIRTABLE_CLIENT_SECRET"),
            named=self._named(),
            # Last: the local ones are made only where nothing else is wrong.
            secret_key=self._secret_key(local),
            encryption_keys=self._encryption_keys(local),
            encryption_keys_file=self._encryption_keys_file(local),
        )
        if settings.renew_seconds >= lease:
            self.mistakes.append(
                f"LEASE_RENEW_SECONDS must be less than LEASE_SECONDS, which is {lease:g}:"
                " a lease that is not renewed in time is lost."
            )
        if self.mistakes:
            raise SettingsError("\n".join(self.mistakes))
        return settings

    def _named(self) -> tuple[str, ...]:
        both = (given for name in VARIABLES for given in (name, f"{name}_FILE"))
        return tuple(given for given in both if self.env.get(given, "").strip())

    # -- one value ----------------------------------------------------------------------------

    def _text(self, name: str) -> str:
        value = self.env.get(name, "").strip()
        path = self.env.get(f"{name}_FILE", "").strip()
        if value and path:
            self.mistakes.append(f"{name} and {name}_FILE are both set: keep one of them.")
        if value or not path:
            return value
        try:
            value = Path(path).read_text(encoding="utf-8").strip()
        except OSError as problem:
            self._unreadable(name, f"{name}_FILE: cannot read {path}: {problem.strerror or problem}.")
        except UnicodeDecodeError:
            self._unreadable(name, f"{name}_FILE: {path} is not a text file.")
        else:
            if not value:
                self._unreadable(name, f"{name}_FILE: {path} is empty.")
        return value

    def _unreadable(self, name: str, mistake: str) -> None:
        self.unreadable.add(name)
        self.mistakes.append(mistake)

    def _list(self, name: str, separator: str = ",") -> tuple[str, ...]:
        return tuple(part.strip() for part in self._text(name).split(separator) if part.strip())

    def _path(self, text: str) -> Path:
        """A path of the environment; a relative one starts at the folder that holds `.syncline/`."""
        return (self.folder / Path(text).expanduser()).resolve()

    def _number(self, name: str, default: float, *, minimum: float) -> float:
        text = self._text(name)
        try:
            number = float(text) if text else float(default)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            self.mistakes.append(f"{name} must be a number, not '{text}'.")
            return float(default)
        if number < minimum:
            self.mistakes.append(f"{name} must be at least {minimum:g}, not {text}.")
        return number

    def _whole(self, name: str, default: int, *, minimum: int, maximum: int | None = None) -> int:
        text = self._text(name)
        if not text:
            return default
        if not (text.isascii() and text.removeprefix("-").isdigit() and len(text) < 12):
            self.mistakes.append(f"{name} must be a whole number, not '{text}'.")
            return default
        number = int(text)
        if number < minimum:
            self.mistakes.append(f"{name} must be at least {minimum}, not {text}.")
        if maximum is not None and number > maximum:
            self.mistakes.append(f"{name} must be at most {maximum}, not {text}.")
        return number

    def _url(self, name: str, schemes: tuple[str, ...]) -> str | None:
        """An address, which may hold a secret: a mistake never shows it."""
        text = self._text(name)
        if not text:
            return None
        beginnings = " or ".join(f"{scheme}://" for scheme in schemes)
        try:
            parts = urlsplit(text)
            _ = parts.port  # raises ValueError for one that is no number
        except ValueError:
            self.mistakes.append(f"{name} is not an address: its host or port cannot be read.")
            return None
        if parts.scheme not in schemes:
            self.mistakes.append(f"{name} must begin with {beginnings}.")
        elif not parts.hostname and parts.scheme != "unix":
            self.mistakes.append(f"{name} names no host.")
        return text

    def _public_url(self) -> str | None:
        text = self._url("PUBLIC_URL", ("https", "http"))
        if text and ("?" in text or "#" in text or "@" in text):
            self.mistakes.append("PUBLIC_URL must be an address only: no '?', no '#', no user name.")
        return text.rstrip("/") if text else None

    def _emails(self) -> tuple[str, ...]:
        found = self._list("ADMIN_EMAILS")
        for item in found:
            name, at, host = item.partition("@")
            if not (name and at and host) or "@" in host or " " in item:
                self.mistakes.append(f"ADMIN_EMAILS: '{item}' is not an e-mail address.")
        return tuple(dict.fromkeys(item.lower() for item in found))

    def _flag(self, name: str, default: bool) -> bool:
        text = self._text(name).lower()
        if text not in ("", "true", "false", "1", "0", "yes", "no"):
            self.mistakes.append(f"{name} must be true or false, not '{text}'.")
        return default if not text else text in ("true", "1", "yes")

    def _word(self, name: str, default: str, words: tuple[str, ...]) -> str:
        text = self._text(name)
        found = next((word for word in words if word.lower() == text.lower()), None)
        if text and found is None:
            self.mistakes.append(f"{name} must be one of {', '.join(words)}, not '{text}'.")
        return found or default

    def _networks(self) -> tuple[Network, ...]:
        found: list[Network] = []
        for text in self._list("ALLOWED_NETWORKS"):
            try:
                found.append(ip_network(text))
            except ValueError as problem:
                self.mistakes.append(f"ALLOWED_NETWORKS: {problem}.")
        return tuple(found)

    # -- the database and the secrets ---------------------------------------------------------

    def _database_url(self) -> str:
        url = self._text("DATABASE_URL")
        if not url:
            return f"sqlite:///{self.home / DATABASE_NAME}"
        scheme, colon, rest = url.partition("://")
        if scheme in ("postgres", "postgresql", "postgresql+psycopg"):
            self._url("DATABASE_URL", (scheme,))
            return f"postgresql+psycopg://{rest}"
        if scheme == "sqlite" and rest.startswith("/"):
            return self._sqlite_url(rest[1:])
        self.mistakes.append(
            "DATABASE_URL must begin with postgresql:// (or postgres://) or sqlite:///"
            + (f", not '{scheme}://'." if colon else ".")
        )
        return "sqlite://"

    def _sqlite_url(self, path: str) -> str:
        if not path or path.endswith("/") or path.startswith((":memory:", "file:")) or "?" in path:
            self.mistakes.append(
                "DATABASE_URL must name a file, without options, such as sqlite:///folder/syncline.db."
            )
        return f"sqlite:///{(self.folder / path).resolve()}"

    def _secret_key(self, local: bool) -> str:
        key = self._text("SECRET_KEY")
        if not key and local:
            return self._kept("secret_key", new_secret_key)
        self._must_be_strong("SECRET_KEY", key)
        return key

    def _must_be_strong(self, name: str, secret: str) -> None:
        if name in self.unreadable:
            return
        if not secret:
            self.mistakes.append(f"{name} is not set. Make one with: syncline keys generate")
        elif len(secret) < 32 or len(set(secret)) < 12:
            self.mistakes.append(f"{name} is too short or too simple: 32 random characters at least.")
        elif any(word in secret.lower() for word in _GUESSABLE):
            self.mistakes.append(f"{name} looks like an example. Make one with: syncline keys generate")

    def _encryption_keys(self, local: bool) -> tuple[DataKey, ...]:
        text = self._text("ENCRYPTION_KEYS")
        if not text and local:
            text = self._kept("encryption_keys", lambda: new_data_key("local"))
        if not text and not local and "ENCRYPTION_KEYS" not in self.unreadable:
            self.mistakes.append("ENCRYPTION_KEYS is not set. Make one with: syncline keys generate")
        ring, mistakes = read_data_keys(text)
        self.mistakes += mistakes
        return ring

    def _encryption_keys_file(self, local: bool) -> Path | None:
        if named := self.env.get("ENCRYPTION_KEYS_FILE", "").strip():
            return Path(named).resolve()
        is_kept = local and not self.env.get("ENCRYPTION_KEYS", "").strip()
        return self.home / "encryption_keys" if is_kept else None

    def _cron_secrets(self) -> tuple[str, ...]:
        found = self._list("INTEGRATIONS_CRON_SECRET")
        for secret in found:
            self._must_be_strong("INTEGRATIONS_CRON_SECRET", secret)
        if len(found) > 2:
            self.mistakes.append("INTEGRATIONS_CRON_SECRET: at most two secrets, while rotating.")
        return found

    def _kept(self, name: str, make: Callable[[], str]) -> str:
        """A secret of the local installation: made once, in a file that only its owner can read.

        The file appears whole: of two processes that start at once, one makes it and both read it.
        """
        path = self.home / name
        if self.mistakes:
            return ""  # nothing will start: leave nothing behind
        try:
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not path.exists():
                _make_once(path, make())
            kept = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as problem:
            self.mistakes.append(f"Cannot keep a key in {path}: {problem}.")
            return ""
        if not kept:
            self.mistakes.append(
                f"{path} is empty. Put its key back; or, if nothing was stored under it yet, remove the file."
            )
        return kept

    def _look_for_typos(self) -> None:
        known = set(VARIABLES) | {f"{name}_FILE" for name in VARIABLES}
        for name in sorted(self.env):
            if name in known or not name.isupper():
                continue
            near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.86)
            if near and not {near[0], near[0].removesuffix("_FILE"), f"{near[0]}_FILE"} & self.env.keys():
                self.mistakes.append(f"{name} is not a setting. Did you mean {near[0]}?")


def read_data_keys(text: str) -> tuple[tuple[DataKey, ...], list[str]]:
    """The ring that ENCRYPTION_KEYS holds, newest first, and what is wrong with it."""
    ring: list[DataKey] = []
    mistakes: list[str] = []
    for number, item in enumerate((part.strip() for part in text.split(",") if part.strip()), 1):
        key_id, _, encoded = item.partition(":")
        try:
            secret = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            secret = b""
        if not (key_id.isascii() and key_id.isalnum()) or len(secret) != KEY_BYTES or len(set(secret)) < 12:
            mistakes.append(
                f"ENCRYPTION_KEYS, key {number}: must be id:base64 of {KEY_BYTES} random bytes."
                " Make one with: syncline keys generate"
            )
        else:
            ring.append(DataKey(key_id, secret))
    if len({key.id for key in ring}) != len(ring):
        mistakes.append("ENCRYPTION_KEYS: two keys have the same id.")
    return tuple(ring), mistakes


def _make_once(path: Path, content: str) -> None:
    """Put a file with this content there, unless there is one."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # with mode 0600
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        os.unlink(temporary)


def new_data_key(key_id: str = "") -> str:
    """One entry for ENCRYPTION_KEYS, under this id or one of its own."""
    secret = base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode("ascii")
    return f"{key_id or 'k' + secrets.token_hex(4)}:{secret}"


def new_secret_key() -> str:
    """A SECRET_KEY, or another secret that people only copy."""
    return secrets.token_urlsafe(48)
