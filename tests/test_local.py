"""What `syncline up` and the demo promise of this machine, shown with programs that do next to nothing."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tasks import local, redis_server
from tasks.local import CannotStart, Machine, Running, stop_running
from tasks.supervisor import PidFile

PROCFILE = """
web: exec python -m http.server "$PORT" --bind "$HOST"
worker: echo "queue $REDIS_URL"; exec sleep 600
release: exec sh -c 'echo migrated >> released'
"""


@pytest.fixture
def procfile(tmp_path: Path) -> Path:
    file = tmp_path / "Procfile"
    file.write_text(PROCFILE, encoding="utf-8")
    return file


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(
        home=tmp_path / ".syncline",
        env={"PATH": os.environ["PATH"]},
        port=redis_server.free_port(),
        redis_url=None,
    )


def until_panel(seen: dict[str, object]) -> local.Story:
    """A story that ends once the panel answers, and keeps what it was told."""

    def story(running: Running) -> Iterator[object]:
        yield from local.show_panel(running)
        seen.update(running=running, queue=redis_server.answers(running.env["REDIS_URL"]))
        running.stop()

    return story


def test_everything_comes_up_after_the_release_step_and_goes_down_again(
    machine: Machine, procfile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: dict[str, object] = {}

    local.run(machine, until_panel(seen), procfile=procfile)

    said = capsys.readouterr().out
    assert (machine.folder / "released").read_text() == "migrated\n"
    assert seen["queue"] is True
    assert f"The panel: http://127.0.0.1:{machine.port}" in said
    running = seen["running"]
    assert isinstance(running, Running)
    assert not redis_server.answers(running.env["REDIS_URL"])
    assert redis_server.free_port(machine.port) == machine.port


def test_a_busy_port_is_no_obstacle(
    machine: Machine, procfile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", machine.port)):
        local.run(machine, until_panel({}), procfile=procfile)

    said = capsys.readouterr().out
    assert f"Port {machine.port} is taken; the panel uses " in said
    assert f"The panel: http://127.0.0.1:{machine.port}\n" not in said


def test_a_named_redis_is_used_and_no_other_is_started(
    machine: Machine, procfile: Path, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    local.run(replace(machine, redis_url=redis_url), until_panel({}), procfile=procfile)

    assert f"worker | queue {redis_url}" in capsys.readouterr().out
    assert not (machine.home / "redis").exists()


def test_a_named_redis_that_is_silent_stops_the_start_with_a_remedy(machine: Machine, procfile: Path) -> None:
    nobody = f"redis://127.0.0.1:{redis_server.free_port()}/0"

    with pytest.raises(CannotStart, match="unset REDIS_URL"):
        local.run(replace(machine, redis_url=nobody), until_panel({}), procfile=procfile)


def test_a_release_step_that_fails_stops_the_start_and_shows_what_it_said(
    machine: Machine, procfile: Path
) -> None:
    procfile.write_text("web: exec sleep 600\nrelease: echo 'no such table'; exit 3\n", encoding="utf-8")

    with pytest.raises(CannotStart, match=r"(?s)no such table.*release step failed \(code 3\)"):
        local.run(machine, until_panel({}), procfile=procfile)
    assert PidFile(machine.home / "supervisor.json").holder() is None


def test_preparation_has_the_environment_of_the_programs(machine: Machine, procfile: Path) -> None:
    given: list[str] = []

    local.run(
        machine,
        until_panel({}),
        procfile=procfile,
        prepare=lambda env: given.extend((env["PORT"], env["HOST"], env["PATH"].split(os.pathsep)[0])),
    )

    assert given == [str(machine.port), "127.0.0.1", str(Path(sys.executable).parent)]


def test_a_redis_that_dies_comes_back_at_the_same_address(machine: Machine, procfile: Path) -> None:
    def story(running: Running) -> Iterator[object]:
        import redis

        url = running.env["REDIS_URL"]
        with redis.Redis.from_url(url) as client:
            pid = client.info("server")["process_id"]
        os.kill(pid, 9)
        while redis_server.answers(url):
            yield None
        while not redis_server.answers(url):
            yield None
        running.stop()

    local.run(machine, story, procfile=procfile)


# -- two at once -----------------------------------------------------------------------------------

ANOTHER = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from tasks import local
machine = local.Machine(Path({home!r}), dict({env!r}), {port}, None)
local.run(machine, local.show_panel, procfile=Path({procfile!r}))
"""


@pytest.fixture
def another(machine: Machine, procfile: Path) -> Iterator[subprocess.Popen[str]]:
    """The same machine, already running in a process of its own."""
    source = textwrap.dedent(ANOTHER).format(
        root=str(Path(__file__).resolve().parents[1]),
        home=str(machine.home),
        env=dict(machine.env),
        port=machine.port,
        procfile=str(procfile),
    )
    process = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        while "The panel" not in (line := process.stdout.readline()):
            assert line, "it ended before the panel was up"
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=20)


def test_a_second_start_in_a_folder_says_which_process_runs_there(
    machine: Machine, procfile: Path, another: subprocess.Popen[str]
) -> None:
    with pytest.raises(
        CannotStart, match=rf"already running here \(process {another.pid}\).*kill {another.pid}"
    ):
        local.run(machine, until_panel({}), procfile=procfile)


def test_what_runs_in_a_folder_can_be_stopped_from_outside(
    machine: Machine, another: subprocess.Popen[str]
) -> None:
    assert stop_running(machine.home) is True

    assert another.wait(timeout=5) == 0
    assert stop_running(machine.home) is False


def test_a_killed_start_is_no_obstacle_for_the_next(
    machine: Machine, procfile: Path, another: subprocess.Popen[str]
) -> None:
    another.kill()
    another.wait()

    local.run(machine, until_panel({}), procfile=procfile)


# -- Redis -----------------------------------------------------------------------------------------


def test_the_file_with_the_password_is_for_its_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / 'a "folder" with spaces'

    ours = redis_server.prepare(folder, 1234, server="/bin/redis-server")

    conf = folder / "redis.conf"
    assert stat.S_IMODE(conf.stat().st_mode) == 0o600
    password = ours.url.removeprefix("redis://:").partition("@")[0]
    assert f"requirepass {password}\n" in conf.read_text()
    assert ours.url.endswith("@127.0.0.1:1234/0")


def test_commands_beside_a_running_one_find_its_queue(tmp_path: Path) -> None:
    assert redis_server.prepared(tmp_path) is None

    ours = redis_server.prepare(tmp_path, 1234, server="/bin/redis-server")

    assert redis_server.prepared(tmp_path) == ours.url


def test_a_folder_with_quotes_and_spaces_serves_as_well(tmp_path: Path) -> None:
    folder = tmp_path / 'a "folder" with spaces'
    ours = redis_server.prepare(folder, redis_server.free_port(), server=redis_server.executable())
    process = subprocess.Popen(["sh", "-c", ours.command])
    try:
        deadline = time.monotonic() + 10
        while not redis_server.answers(ours.url):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        process.terminate()
        process.wait()


def test_a_server_on_the_path_that_does_not_run_is_passed_over(tmp_path: Path) -> None:
    shim = tmp_path / "redis-server"
    shim.write_text("#!/bin/sh\nexit 127\n", encoding="utf-8")
    shim.chmod(0o755)

    assert redis_server.executable(str(tmp_path)) != str(shim)


def test_a_server_that_is_too_old_is_passed_over(tmp_path: Path) -> None:
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\necho 'Redis server v=5.0.14 sha=0'\n", encoding="utf-8")
    old.chmod(0o755)

    assert redis_server.executable(str(tmp_path)) != str(old)


def test_the_next_free_port_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as one:
        taken = one.getsockname()[1]

        assert redis_server.free_port(taken) != taken
        with socket.create_server(("127.0.0.1", redis_server.free_port(taken))) as two:
            assert redis_server.free_port(taken) not in (taken, two.getsockname()[1])
