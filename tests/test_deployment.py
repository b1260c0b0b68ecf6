"""The files that deploy Syncline parse, and say the same thing as the Procfile."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from settings import VARIABLES
from tasks.supervisor import parse_procfile

ROOT = Path(__file__).resolve().parents[1]
PROCESS_TYPES = {"web", "worker", "scheduler"}  # those that stay, beside `release`
STOPS_WITHIN_SECONDS = 20  # what every process type promises
EITHER_SIDE = re.compile(r"\$\{(\w+)(:[-?])?([^}]*)\}")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def procfile() -> dict[str, str]:
    return parse_procfile(read("Procfile"))


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded = yaml.safe_load(read("docker-compose.yml"))
    assert isinstance(loaded, dict)
    return loaded


@pytest.fixture(scope="module")
def app_json() -> dict[str, Any]:
    loaded = json.loads(read("app.json"))
    assert isinstance(loaded, dict)
    return loaded


# -- the Procfile ----------------------------------------------------------------------------------


def test_procfile_has_the_process_types_and_the_release_step(procfile: dict[str, str]) -> None:
    assert set(procfile) == PROCESS_TYPES | {"release"}


def test_each_command_becomes_its_process_so_that_a_signal_reaches_it(procfile: dict[str, str]) -> None:
    for command in procfile.values():
        assert command.startswith("exec ")
        assert subprocess.run(["sh", "-n", "-c", command], check=False).returncode == 0


def test_web_listens_where_the_environment_says(procfile: dict[str, str]) -> None:
    bind = shlex.split(procfile["web"])[shlex.split(procfile["web"]).index("--bind") + 1]

    def bound(**env: str) -> str:
        return subprocess.run(["sh", "-c", f'echo "{bind}"'], env=env, capture_output=True, text=True).stdout

    assert bound(PORT="1234") == "0.0.0.0:1234\n"
    assert bound(PORT="1234", HOST="127.0.0.1") == "127.0.0.1:1234\n"


def test_web_has_as_many_processes_as_the_environment_says(procfile: dict[str, str]) -> None:
    workers = shlex.split(procfile["web"])[shlex.split(procfile["web"]).index("--workers") + 1]

    def many(**env: str) -> str:
        return subprocess.run(
            ["sh", "-c", f'echo "{workers}"'], env=env, capture_output=True, text=True
        ).stdout

    assert many() == "2\n"
    assert many(WEB_CONCURRENCY="5") == "5\n"


def test_web_and_worker_stop_within_their_promise(procfile: dict[str, str]) -> None:
    web, worker = (shlex.split(procfile[name]) for name in ("web", "worker"))

    assert int(web[web.index("--graceful-timeout") + 1]) < STOPS_WITHIN_SECONDS
    assert int(worker[worker.index("--worker-shutdown-timeout") + 1]) < STOPS_WITHIN_SECONDS * 1000


def test_a_worker_takes_no_more_messages_than_it_has_threads(procfile: dict[str, str]) -> None:
    worker = shlex.split(procfile["worker"])

    assert f"dramatiq_queue_prefetch={worker[worker.index('--threads') + 1]}" in worker


# -- docker-compose.yml and the image --------------------------------------------------------------


def ours(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The services that run our own image."""
    return {name: service for name, service in compose["services"].items() if "build" in service}


def test_compose_runs_every_process_type_by_its_name_in_the_procfile(
    compose: dict[str, Any], procfile: dict[str, str]
) -> None:
    assert {name: service["command"] for name, service in ours(compose).items()} == {
        name: [name] for name in procfile
    }


def test_compose_starts_nothing_before_the_release_step_is_done(compose: dict[str, Any]) -> None:
    services = ours(compose)

    assert services["release"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert services["release"]["restart"] == "no"
    for name in PROCESS_TYPES:
        assert services[name]["depends_on"] == {
            "release": {"condition": "service_completed_successfully"},
            "redis": {"condition": "service_healthy"},
        }


def test_compose_scales_web_and_worker_and_publishes_one_address(compose: dict[str, Any]) -> None:
    services = compose["services"]

    assert services["web"]["deploy"]["replicas"] > 1
    assert services["worker"]["deploy"]["replicas"] > 1
    assert [name for name, service in services.items() if "ports" in service] == ["proxy"]
    assert "http://web:8000" in read("deploy/proxy.conf")


def test_compose_checks_the_health_of_everything_that_stays(compose: dict[str, Any]) -> None:
    services = compose["services"]

    assert {name for name, service in services.items() if "healthcheck" not in service} == {"release"}
    for kind in ("worker", "scheduler"):
        assert services[kind]["healthcheck"]["test"] == ["CMD", "python", "-m", "tasks.alive", kind]


def test_compose_gives_a_stop_more_time_than_it_takes(compose: dict[str, Any]) -> None:
    for service in ours(compose).values():
        assert int(service["stop_grace_period"].removesuffix("s")) > STOPS_WITHIN_SECONDS


def test_compose_sets_only_settings_that_exist(compose: dict[str, Any]) -> None:
    for service in ours(compose).values():
        assert set(service["environment"]) <= set(VARIABLES)


def test_compose_refuses_to_start_without_secrets_and_says_what_to_do() -> None:
    found = {name: (sign, text) for name, sign, text in EITHER_SIDE.findall(read("docker-compose.yml"))}

    for name in ("SECRET_KEY", "ENCRYPTION_KEYS", "POSTGRES_PASSWORD"):
        sign, text = found.pop(name)
        assert sign == ":?"
        assert "docs/deployment.md" in text
    assert {sign for sign, _ in found.values()} == {":-"}  # all others have a default


def test_every_volume_is_declared(compose: dict[str, Any]) -> None:
    named = {
        volume.partition(":")[0]
        for service in compose["services"].values()
        for volume in service.get("volumes", ())
        if not volume.startswith(".")
    }

    assert named == set(compose["volumes"])


def test_the_image_installs_the_locked_packages_and_does_not_run_as_root() -> None:
    steps = [line.split() for line in read("Dockerfile").splitlines() if line and not line.startswith("#")]
    users = [step[1] for step in steps if step[0] == "USER"]

    assert users == ["syncline"]
    assert ["RUN", "pip", "install", "--require-hashes", "--requirement", "requirements.lock"] in steps
    assert steps[-2:] == [["ENTRYPOINT", '["sh",', '"scripts/run.sh"]'], ["CMD", '["web"]']]


def test_the_image_holds_everything_that_the_program_consists_of() -> None:
    packaged = tomllib.loads(read("pyproject.toml"))["tool"]["setuptools"]
    let_in = {line[1:] for line in read(".dockerignore").splitlines() if line.startswith("!")}

    assert {name.removesuffix("*") for name in packaged["packages"]["find"]["include"]} <= let_in
    assert {f"{name}.py" for name in packaged["py-modules"]} <= let_in
    assert {"Procfile", "scripts", "requirements.lock", "pyproject.toml"} <= let_in


def test_the_image_runs_a_process_type_as_the_procfile_has_it(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    script = shutil.copy(ROOT / "scripts" / "run.sh", tmp_path / "scripts")
    (tmp_path / "Procfile").write_text("webhook: echo no\nweb: exec echo \"$PORT\" 'a b'\n", encoding="utf-8")

    def run(*arguments: str) -> str:
        return subprocess.run(
            ["sh", script, *arguments],
            env={"PORT": "8000", "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    assert run("web") == "8000 a b\n"
    assert run() == "8000 a b\n"
    assert run("echo", "another  command") == "another  command\n"


# -- Heroku ----------------------------------------------------------------------------------------


def test_app_json_forms_every_process_type_that_stays(app_json: dict[str, Any]) -> None:
    assert set(app_json["formation"]) == PROCESS_TYPES


def test_app_json_sets_only_settings_that_exist_and_says_what_each_is(app_json: dict[str, Any]) -> None:
    assert set(app_json["env"]) <= set(VARIABLES)
    for variable in app_json["env"].values():
        assert variable["description"]


def test_app_json_asks_for_what_production_cannot_do_without(app_json: dict[str, Any]) -> None:
    env = app_json["env"]

    assert env["SECRET_KEY"]["generator"] == "secret"
    assert env["ENCRYPTION_KEYS"]["required"] is True
    assert {addon["plan"].partition(":")[0] for addon in app_json["addons"]} == {
        "heroku-postgresql",
        "heroku-redis",
    }


def test_heroku_installs_exactly_the_locked_packages() -> None:
    wanted = [line for line in read("requirements.txt").splitlines() if not line.startswith("#")]

    assert wanted == ["-r requirements.lock"]


# -- versions and locks ----------------------------------------------------------------------------


def test_every_place_that_names_a_python_names_one_that_is_supported() -> None:
    version = read(".python-version").strip()

    assert version in ("3.11", "3.12")
    assert f"FROM python:{version}-slim" in read("Dockerfile")


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_locks_pin_every_package_with_hashes_and_name_no_place(lock: str) -> None:
    requirements = read(lock).replace("\\\n", " ").splitlines()

    for requirement in requirements:
        assert re.match(r"[A-Za-z0-9._-]+(\[[a-z,]+\])?==\S+ ", requirement), requirement
        assert "--hash=sha256:" in requirement
    assert not re.search(r"://|--index|--find-links|file:|/", read(lock))


def test_the_locks_agree_on_what_both_of_them_pin() -> None:
    def pins(lock: str) -> set[str]:
        return {line.split()[0] for line in read(lock).splitlines() if "==" in line}

    def names(pinned: set[str]) -> set[str]:
        return {pin.partition("==")[0] for pin in pinned}

    product, tools = pins("requirements.lock"), pins("requirements-dev.lock")
    both = names(product) & names(tools)
    assert {pin for pin in product if pin.partition("==")[0] in both} == {
        pin for pin in tools if pin.partition("==")[0] in both
    }


def test_the_lock_holds_everything_that_the_program_asks_for() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    wanted = {
        re.split(r"[\[<>=;~ ]", requirement)[0].lower()
        for requirement in (*project["dependencies"], *project["optional-dependencies"]["local"])
    }

    assert wanted <= {
        line.partition("==")[0].split("[")[0] for line in read("requirements.lock").splitlines()
    }


# -- set-up ----------------------------------------------------------------------------------------


def make_python(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    file.chmod(0o755)


def set_up(path: str, checkout: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", str(checkout / "scripts" / "setup.sh")],
        env={"PATH": path, **env},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Another place with the set-up's own files, so that nothing here touches the .venv in use."""
    copy = tmp_path / "checkout"
    shutil.copytree(ROOT / "scripts", copy / "scripts")
    return copy


@pytest.fixture
def tools(tmp_path: Path) -> str:
    """A PATH with what a shell script needs, and no Python."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("dirname", "sort"):
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    return str(folder)


def test_set_up_says_what_it_needs_and_what_it_found(tmp_path: Path, checkout: Path, tools: str) -> None:
    make_python(tmp_path / "old", "python3", 'case "$3" in *exit*) exit 1;; *) echo 3.9.18;; esac')
    make_python(tmp_path / "shims", "python3.12", "echo 'pyenv: python3.12: command not found' >&2; exit 127")

    done = set_up(f"{tmp_path / 'shims'}:{tmp_path / 'old'}:{tools}", checkout)

    assert done.returncode == 1
    assert "Syncline needs Python 3.11 or 3.12" in done.stderr
    assert "old/python3: 3.9.18" in done.stderr
    assert "shims/python3.12: does not run" in done.stderr
    assert "make setup PYTHON=" in done.stderr


def test_set_up_passes_over_a_shim_that_leads_nowhere(tmp_path: Path, checkout: Path, tools: str) -> None:
    make_python(tmp_path / "shims", "python3.12", "exit 127")
    make_python(tmp_path / "good", "python3.11", 'echo "$@"')

    done = set_up(f"{tmp_path / 'shims'}:{tmp_path / 'good'}:{tools}", checkout)

    assert done.stdout == "-I scripts/install.py\n"


def test_set_up_finds_the_versions_of_pyenv_behind_its_shims(
    tmp_path: Path, checkout: Path, tools: str
) -> None:
    versions = tmp_path / "pyenv" / "versions"
    versions.mkdir(parents=True)
    (versions / "3.12.9").mkdir()
    make_python(versions / "3.12.9" / "bin", "python3.12", 'echo "$@"')

    done = set_up(tools, checkout, PYENV_ROOT=str(tmp_path / "pyenv"))

    assert done.stdout == "-I scripts/install.py\n"


def test_set_up_leaves_a_python_that_was_named_but_does_not_suit(
    tmp_path: Path, checkout: Path, tools: str
) -> None:
    done = set_up(tools, checkout, PYTHON=str(tmp_path / "nowhere"))

    assert done.returncode == 1
    assert "is not Python 3.11 or 3.12" in done.stderr


def test_set_up_leaves_the_installation_of_another_checkout_that_a_link_leads_to(tmp_path: Path) -> None:
    other, mine = tmp_path / "other" / ".venv", tmp_path / "mine"
    other.mkdir(parents=True)
    (other / "syncline-setup.json").write_text("{}", encoding="utf-8")
    (mine / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "install.py", mine / "scripts")
    for name in ("requirements.lock", "requirements-dev.lock", "pyproject.toml"):
        (mine / name).write_text("?", encoding="utf-8")  # nothing that pip could install
    (mine / ".venv").symlink_to(other)

    done = subprocess.run(
        [sys.executable, "-I", "scripts/install.py"], cwd=mine, capture_output=True, check=False
    )

    assert done.returncode != 0
    assert [path.name for path in other.iterdir()] == ["syncline-setup.json"]
    assert not (mine / ".venv").is_symlink()
