"""Each setting is read, a mistake is told by its name and remedy, and nothing weak is started with."""

from __future__ import annotations

import base64
import re
import stat
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import fields
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from settings import VARIABLES, Settings, SettingsError, new_data_key, new_secret_key, read_data_keys
from tasks.key_file import KeyFile
from tests.pages import settings_page

ROOT = Path(__file__).parents[1]
KEY = "k3Y-of-a-test_9f8e7d6c5b4a3210-ZyX"
RAW = bytes(range(32))
RING = f"one:{base64.b64encode(RAW).decode()}"
PRODUCTION = {"DATABASE_URL": "postgresql://u:p@db/app", "SECRET_KEY": KEY, "ENCRYPTION_KEYS": RING}


def read(folder: Path, env: Mapping[str, str] | None = None, /, **more: str) -> Settings:
    return Settings.from_env({**(env or {}), **more}, folder=folder)


def mistakes(folder: Path, env: Mapping[str, str] | None = None, /, **more: str) -> list[str]:
    with pytest.raises(SettingsError) as refusal:
        read(folder, env, **more)
    return str(refusal.value).splitlines()


# -- nothing set -----------------------------------------------------------------------------------


def test_nothing_set_means_local_defaults(tmp_path: Path) -> None:
    found = read(tmp_path)
    assert found.home == tmp_path / ".syncline"
    assert found.database_url == f"sqlite:///{tmp_path}/.syncline/syncline.db"
    assert found.own_database == tmp_path / ".syncline" / "syncline.db"
    assert found.is_local
    assert (found.redis_url, found.public_url, found.port, found.proxy_hops) == (None, None, 8000, 0)
    assert found.sources_folders == (tmp_path,)
    assert found.allowed_networks == (ip_network("127.0.0.0/8"), ip_network("::1/128"))
    assert found.allow_http
    assert (found.log_level, found.log_format) == ("INFO", "auto")
    assert (found.log_retention_days, found.copy_retention_days) == (30, 90)
    assert (found.lease_seconds, found.renew_seconds, found.ring_again_seconds) == (60, 15, 30)
    assert (found.connection_limit, found.workspace_limit, found.alert_failure_threshold) == (4, 16, 3)
    assert found.uploads_path == tmp_path / ".syncline" / "uploads"
    assert (found.cron_secrets, found.admin_emails, found.alert_webhook_url) == ((), (), None)


def test_production_opens_nothing_by_itself(tmp_path: Path) -> None:
    found = read(tmp_path, PRODUCTION)
    assert not found.is_local
    assert found.own_database is None
    assert (found.sources_folders, found.allowed_networks, found.allow_http) == ((), (), False)
    assert not (tmp_path / ".syncline").exists()


# -- each variable ---------------------------------------------------------------------------------

NETWORKS = (ip_network("10.1.0.0/16"), ip_network("fd00::/8"))
# name -> value, attribute, what it becomes; {folder} is where `.syncline/` lies
EXAMPLES: Mapping[str, tuple[str, str, Any]] = {
    "DATABASE_URL": ("postgresql://u:p@h/d", "database_url", "postgresql+psycopg://u:p@h/d"),
    "REDIS_URL": ("redis://:p@h:6379/1", "redis_url", "redis://:p@h:6379/1"),
    "PORT": ("8080", "port", 8080),
    "PUBLIC_URL": ("https://sync.example.com/", "public_url", "https://sync.example.com"),
    "SECRET_KEY": (KEY, "secret_key", KEY),
    "ENCRYPTION_KEYS": (RING, "encryption_keys", None),
    "INTEGRATIONS_CRON_SECRET": (f"{KEY}1,{KEY}2", "cron_secrets", (f"{KEY}1", f"{KEY}2")),
    "ADMIN_EMAILS": ("Ann@Example.com, bob@x.org", "admin_emails", ("ann@example.com", "bob@x.org")),
    "SCHEDULER_ALERT_WEBHOOK_URL": ("https://h.example/x", "alert_webhook_url", "https://h.example/x"),
    "SCHEDULER_ALERT_FAILURE_THRESHOLD": ("5", "alert_failure_threshold", 5),
    "UPLOADS_PATH": ("up", "uploads_path", "{folder}/up"),
    "LOG_LEVEL": ("debug", "log_level", "DEBUG"),
    "LOG_FORMAT": ("JSON", "log_format", "json"),
    "LOG_RETENTION_DAYS": ("7", "log_retention_days", 7),
    "COPY_RETENTION_DAYS": ("365", "copy_retention_days", 365),
    "ALLOWED_NETWORKS": ("10.1.0.0/16, fd00::/8", "allowed_networks", NETWORKS),
    "ALLOW_HTTP": ("yes", "allow_http", True),
    "SOURCES_FOLDERS": ("a:/srv/b", "sources_folders", ("{folder}/a", "/srv/b")),
    "PROXY_HOPS": ("2", "proxy_hops", 2),
    "LEASE_SECONDS": ("30", "lease_seconds", 30.0),
    "LEASE_RENEW_SECONDS": ("1.5", "renew_seconds", 1.5),
    "RING_AGAIN_SECONDS": ("0", "ring_again_seconds", 0.0),
    "CONNECTION_LIMIT": ("1", "connection_limit", 1),
    "WORKSPACE_LIMIT": ("100", "workspace_limit", 100),
    "GOOGLE_CLIENT_ID": ("12-ab.apps", "google_client_id", "12-ab.apps"),
    "GOOGLE_CLIENT_SECRET": ("GOCSPX-1", "google_client_secret", "GOCSPX-1"),
    "AIRTABLE_CLIENT_ID": ("4b-c5", "airtable_client_id", "4b-c5"),
    "AIRTABLE_CLIENT_SECRET": ("9f-e8", "airtable_client_secret", "9f-e8"),
}  # fmt: skip


def test_every_variable_has_an_example_and_every_setting_a_variable() -> None:
    assert set(EXAMPLES) == set(VARIABLES)
    attributes = {attribute for _, attribute, _ in EXAMPLES.values()} | {
        "home",
        "encryption_keys_file",
        "named",
    }
    assert attributes == {field.name for field in fields(Settings)}


@pytest.mark.parametrize("by_file", [False, True], ids=["NAME", "NAME_FILE"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_variable_is_read(tmp_path: Path, name: str, by_file: bool) -> None:
    text, attribute, expected = EXAMPLES[name]
    env = {**PRODUCTION}
    if by_file:
        env.pop(name, None)
        file = tmp_path / "value"
        file.write_text(f"{text}\n", encoding="utf-8")
        env[f"{name}_FILE"] = str(file)
    else:
        env[name] = text
    found = getattr(read(tmp_path, env), attribute)
    if name == "ENCRYPTION_KEYS":
        assert [(key.id, key.secret) for key in found] == [("one", RAW)]
        return
    if isinstance(expected, tuple) and isinstance(found[0], Path):
        found, expected = list(map(str, found)), [item.format(folder=tmp_path) for item in expected]
    elif isinstance(found, Path):
        found, expected = str(found), expected.format(folder=tmp_path)
    assert found == expected


def test_newest_encryption_key_comes_first(tmp_path: Path) -> None:
    ring = f"{new_data_key('b')}, {new_data_key('a')} ,"
    assert [key.id for key in read(tmp_path, PRODUCTION, ENCRYPTION_KEYS=ring).encryption_keys] == ["b", "a"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("PORT", "eighty", "PORT must be a whole number, not 'eighty'."),
        ("PORT", "80.5", "PORT must be a whole number, not '80.5'."),
        ("PORT", "0", "PORT must be at least 1, not 0."),
        ("PORT", "70000", "PORT must be at most 65535, not 70000."),
        ("LOG_RETENTION_DAYS", "-1", "LOG_RETENTION_DAYS must be at least 1, not -1."),
        ("COPY_RETENTION_DAYS", "99999999", "COPY_RETENTION_DAYS must be at most 36500, not 99999999."),
        ("LEASE_SECONDS", "nan", "LEASE_SECONDS must be a number, not 'nan'."),
        ("LEASE_SECONDS", "inf", "LEASE_SECONDS must be a number, not 'inf'."),
        ("LEASE_SECONDS", "0.5", "LEASE_SECONDS must be at least 1, not 0.5."),
        ("ALLOW_HTTP", "maybe", "ALLOW_HTTP must be true or false, not 'maybe'."),
        ("LOG_LEVEL", "LOUD", "LOG_LEVEL must be one of DEBUG, INFO, WARNING, ERROR, not 'LOUD'."),
        ("LOG_FORMAT", "xml", "LOG_FORMAT must be one of auto, json, console, not 'xml'."),
        ("ALLOWED_NETWORKS", "10.1.2.3/16", "ALLOWED_NETWORKS: 10.1.2.3/16 has host bits set."),
        ("ADMIN_EMAILS", "ann", "ADMIN_EMAILS: 'ann' is not an e-mail address."),
        ("REDIS_URL", "localhost:6379", "REDIS_URL must begin with redis:// or rediss:// or unix://."),
        ("REDIS_URL", "redis://", "REDIS_URL names no host."),
        ("REDIS_URL", "redis://h:port", "REDIS_URL is not an address: its host or port cannot be read."),
        ("PUBLIC_URL", "sync.example.com", "PUBLIC_URL must begin with https:// or http://."),
        ("PUBLIC_URL", "https://a/?b", "PUBLIC_URL must be an address only: no '?', no '#', no user name."),
        ("SCHEDULER_ALERT_WEBHOOK_URL", "x", "SCHEDULER_ALERT_WEBHOOK_URL must begin with https:// or http://."),
    ],
)  # fmt: skip
def test_wrong_value_is_told_by_name_and_remedy(tmp_path: Path, name: str, text: str, said: str) -> None:
    assert mistakes(tmp_path, {name: text}) == [said]
    assert not (tmp_path / ".syncline").exists()


def test_lease_that_is_renewed_too_late_is_refused(tmp_path: Path) -> None:
    (said,) = mistakes(tmp_path, LEASE_SECONDS="10", LEASE_RENEW_SECONDS="10")
    assert said.startswith("LEASE_RENEW_SECONDS must be less than LEASE_SECONDS, which is 10")


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    assert len(mistakes(tmp_path, PORT="x", LOG_LEVEL="x", ALLOW_HTTP="x")) == 3


# -- NAME_FILE -------------------------------------------------------------------------------------


def test_value_and_file_together_are_refused(tmp_path: Path) -> None:
    (tmp_path / "port").write_text("80")
    said = mistakes(tmp_path, PORT="80", PORT_FILE=str(tmp_path / "port"))
    assert said == ["PORT and PORT_FILE are both set: keep one of them."]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file or directory"),
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xff\xfe", "not a text file"),
    ],
)
def test_file_that_gives_no_value_is_one_mistake(tmp_path: Path, content: bytes | None, said: str) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    env = {**PRODUCTION, "SECRET_KEY": "", "SECRET_KEY_FILE": str(file)}
    (line,) = mistakes(tmp_path, env)
    assert line.startswith("SECRET_KEY_FILE: ")
    assert said in line


# -- typos -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typo", "right"),
    [
        ("DATABASE_URI", "DATABASE_URL"),
        ("DATABSE_URL", "DATABASE_URL"),
        ("REDIS_URI", "REDIS_URL"),
        ("ENCRYPTION_KEY", "ENCRYPTION_KEYS"),
        ("SECRETKEY", "SECRET_KEY"),
        ("ADMIN_EMAIL", "ADMIN_EMAILS"),
        ("ALLOWED_NETWORK", "ALLOWED_NETWORKS"),
        ("SOURCE_FOLDERS", "SOURCES_FOLDERS"),
        ("INTEGRATION_CRON_SECRET", "INTEGRATIONS_CRON_SECRET"),
        ("SECRETKEY_FILE", "SECRET_KEY_FILE"),
    ],
)
def test_typo_is_answered_with_the_right_word(tmp_path: Path, typo: str, right: str) -> None:
    assert mistakes(tmp_path, {typo: "x"}) == [f"{typo} is not a setting. Did you mean {right}?"]


def test_variables_of_others_are_left_alone(tmp_path: Path) -> None:
    others = {
        "PATH": "/bin", "HOME": "/", "HOST": "h", "DYNO": "web.1", "REDIS_TLS_URL": "rediss://h",
        "HEROKU_POSTGRESQL_RED_URL": "postgres://h", "PYTHONPATH": "", "SMTP_PORT": "25", "database_uri": "x",
        "PG_URL": "x",
    }  # fmt: skip
    read(tmp_path, others)


def test_similar_name_of_another_program_is_left_alone_where_the_setting_stands_too(tmp_path: Path) -> None:
    assert read(tmp_path, DATABASE_URI="x", DATABASE_URL="sqlite:///own.db").is_local


# -- the database ----------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_works_in_each_form(tmp_path: Path, scheme: str) -> None:
    url = f"{scheme}://u:p%40ss@ec2-1.compute.amazonaws.com:5432/d1?sslmode=require"
    found = read(tmp_path, PRODUCTION, DATABASE_URL=url)
    assert found.database_url == f"postgresql+psycopg://{url.partition('://')[2]}"


def test_redis_with_tls_works_as_heroku_gives_it(tmp_path: Path) -> None:
    url = "rediss://:p4ss@ec2-1.compute.amazonaws.com:6380"
    assert read(tmp_path, PRODUCTION, REDIS_URL=url).redis_url == url


def test_sqlite_path_starts_at_the_folder(tmp_path: Path) -> None:
    assert read(tmp_path, DATABASE_URL="sqlite:///state/a.db").own_database == tmp_path / "state" / "a.db"
    assert read(tmp_path, DATABASE_URL="sqlite:////srv/a.db").own_database == Path("/srv/a.db")


@pytest.mark.parametrize("path", ["", "folder/", ":memory:", "a.db?mode=ro", "file:a.db"])
def test_sqlite_url_that_names_no_plain_file_is_refused(tmp_path: Path, path: str) -> None:
    (said,) = mistakes(tmp_path, DATABASE_URL=f"sqlite:///{path}")
    assert said.startswith("DATABASE_URL must name a file, without options")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://u:hidden@h/d", "not 'mysql://'"),
        ("app.db", "must begin with postgresql://"),
        ("postgresql://u:hidden@h:port/d", "its host or port cannot be read"),
        ("postgresql:///d", "names no host"),
    ],
)
def test_wrong_database_url_is_refused_without_its_password(tmp_path: Path, url: str, said: str) -> None:
    (line,) = mistakes(tmp_path, PRODUCTION, DATABASE_URL=url)
    assert said in line
    assert "hidden" not in line


# -- secrets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("SECRET_KEY", "", "is not set"),
        ("SECRET_KEY", "sh0rt", "too short or too simple"),
        ("SECRET_KEY", "abababababababababababababababababab", "too short or too simple"),
        ("SECRET_KEY", "changeme-changeme-0123456789-abcdef", "looks like an example"),
        ("SECRET_KEY", "your-random-key-goes-here-abcdefghijk", "looks like an example"),
        ("ENCRYPTION_KEYS", "", "is not set"),
        ("ENCRYPTION_KEYS", "a passphrase of some length", "must be id:base64"),
        ("ENCRYPTION_KEYS", f"one:{base64.b64encode(bytes(32)).decode()}", "must be id:base64"),
        ("ENCRYPTION_KEYS", f"one:{base64.b64encode(RAW[:16]).decode()}", "must be id:base64"),
        ("ENCRYPTION_KEYS", f"o.n:{base64.b64encode(RAW).decode()}", "must be id:base64"),
        ("ENCRYPTION_KEYS", f"é:{base64.b64encode(RAW).decode()}", "must be id:base64"),
        ("ENCRYPTION_KEYS", f"{RING},{RING}", "two keys have the same id"),
        ("INTEGRATIONS_CRON_SECRET", "sh0rt", "too short or too simple"),
        ("INTEGRATIONS_CRON_SECRET", f"{KEY}1,{KEY}2,{KEY}3", "at most two"),
    ],
)
def test_missing_or_weak_secret_stops_production_in_one_line(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    (line,) = mistakes(tmp_path, {**PRODUCTION, name: text})
    assert line.startswith(name)
    assert said in line
    assert text not in line or not text


def test_what_the_command_makes_is_strong_enough(tmp_path: Path) -> None:
    for _ in range(50):
        made = {"SECRET_KEY": new_secret_key(), "ENCRYPTION_KEYS": new_data_key("k1")}
        read(tmp_path, PRODUCTION | made, INTEGRATIONS_CRON_SECRET=new_secret_key())


def test_settings_show_no_secret(tmp_path: Path) -> None:
    env = PRODUCTION | {"REDIS_URL": "redis://:hidden@h", "SCHEDULER_ALERT_WEBHOOK_URL": "https://h/hidden"}
    shown = repr(read(tmp_path, env, INTEGRATIONS_CRON_SECRET=KEY))
    for secret in (KEY, "hidden", "u:p@", repr(RAW), RING):
        assert secret not in shown


# -- keys of a local installation ------------------------------------------------------------------


def test_local_keys_are_made_once_and_readable_by_their_owner_only(tmp_path: Path) -> None:
    first, second = read(tmp_path), read(tmp_path)
    assert first.secret_key == second.secret_key
    assert first.encryption_keys == second.encryption_keys
    assert len(first.secret_key) >= 32
    assert len(first.encryption_keys[0].secret) == 32
    assert stat.S_IMODE((tmp_path / ".syncline").stat().st_mode) == 0o700, "records lie there in clear"
    for name in ("secret_key", "encryption_keys"):
        assert stat.S_IMODE((tmp_path / ".syncline" / name).stat().st_mode) == 0o600
    assert sorted(path.name for path in (tmp_path / ".syncline").iterdir()) == [
        "encryption_keys",
        "secret_key",
    ]


def test_processes_that_start_at_once_get_the_same_keys(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys; from settings import Settings; sys.stdin.readline();"
        f"s = Settings.from_env({{}}, folder=pathlib.Path({str(tmp_path)!r}));"
        "print(s.secret_key, s.encryption_keys[0].secret.hex())"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = {process.communicate(timeout=60)[0] for process in processes}
    assert len(said) == 1
    assert len(said.pop().split()) == 2


def test_key_file_that_was_emptied_is_never_replaced(tmp_path: Path) -> None:
    read(tmp_path)
    file = tmp_path / ".syncline" / "encryption_keys"
    file.write_text("")
    (said,) = mistakes(tmp_path)
    assert str(file) in said
    assert "Put its key back" in said
    assert file.read_text() == ""


def test_folder_that_cannot_be_written_is_one_mistake(tmp_path: Path) -> None:
    (tmp_path / ".syncline").write_text("a file is in the way")
    (said,) = mistakes(tmp_path)
    assert said.startswith(f"Cannot keep a key in {tmp_path}/.syncline/secret_key: ")


# -- the documentation -----------------------------------------------------------------------------


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert page == settings_page(), "Write it anew with: python -m tests.pages"


def test_settings_in_other_documents_exist() -> None:
    words = set(VARIABLES) | {f"{name}_FILE" for name in VARIABLES}
    for page in (*ROOT.glob("docs/*.md"), ROOT / "README.md"):
        text = page.read_text(encoding="utf-8")
        for name in re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", text):
            assert name in words or name in NOT_OURS, f"{page.name} speaks of {name}"


NOT_OURS = {"PG_URL", "POSTGRES_PASSWORD", "NAME_FILE", "WEB_CONCURRENCY"}


def test_a_keys_file_is_read_again_when_it_changed_and_never_when_it_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    old, new = new_data_key("old"), new_data_key("new")
    path.write_text(old)

    def read(text: str) -> tuple[dict[str, bytes], list[str]]:
        ring, mistakes = read_data_keys(text)
        return {key.id: key.secret for key in ring}, mistakes

    file = KeyFile(path, read)
    assert list(file.newer() or {}) == ["old"]
    assert file.newer() is None
    for broken in (f"{new},", f"{new},{old}"[:-20], "", "\x00", f"{new},{new}"):
        path.write_text(broken)
        found = file.newer()
        assert found is None or list(found) == ["new"], broken
    path.unlink()
    assert file.newer() is None
    path.write_text(f"{new},{old}")
    assert list(file.newer() or {}) == ["new", "old"]


def test_the_keys_file_is_known_and_no_connector_opens_it(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(new_data_key("old"))
    settings = Settings.from_env({"ENCRYPTION_KEYS_FILE": str(path)}, folder=tmp_path)
    assert settings.encryption_keys_file == path and path in settings.own_files
    assert (
        Settings.from_env({"ENCRYPTION_KEYS": new_data_key()}, folder=tmp_path).encryption_keys_file is None
    )
