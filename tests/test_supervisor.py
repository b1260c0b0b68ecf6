"""What the local supervisor promises of the processes that it keeps."""

from __future__ import annotations

import io
import os
import shlex
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.supervisor import (
    AlreadyRunning,
    PidFile,
    ProcfileError,
    Program,
    Supervisor,
    end_leftovers,
    parse_procfile,
    started_at,
)

LINUX = Path("/proc/self/stat").exists()
SPEED = 20  # the supervisor's clock runs this much faster than ours


def fast_clock() -> float:
    return time.monotonic() * SPEED


def python(tmp_path: Path, name: str, source: str) -> str:
    """A command that runs this Python source, as a Procfile would."""
    script = tmp_path / f"{name}.py"
    script.write_text(textwrap.dedent(source), encoding="utf-8")
    return f"exec {shlex.quote(sys.executable)} -I {shlex.quote(str(script))}"


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def wait_for(what: Callable[[], object], seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def supervise(tmp_path: Path, out: io.StringIO) -> Callable[..., Supervisor]:
    """Makes a supervisor in a hurry over these commands, its pid file taken."""

    def make(*programs: Program, clock: Callable[[], float] = fast_clock, **env: str) -> Supervisor:
        pid_file = PidFile(tmp_path / "supervisor.json")
        pid_file.take()
        path = {"PATH": os.environ["PATH"], **env}
        return Supervisor(programs, env=path, folder=tmp_path, pid_file=pid_file, out=out, clock=clock)

    return make


def until(condition: Callable[[], object], supervisor: Supervisor) -> Iterator[None]:
    """A story that ends the supervisor once something holds."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        yield
    supervisor.stop()


# -- the Procfile ----------------------------------------------------------------------------------


def test_procfile_gives_names_and_commands_in_order() -> None:
    text = "# local\n\nweb: exec gunicorn 'web:create_app()' --bind 0.0.0.0:$PORT\nworker:exec dramatiq\n"

    assert list(parse_procfile(text).items()) == [
        ("web", "exec gunicorn 'web:create_app()' --bind 0.0.0.0:$PORT"),
        ("worker", "exec dramatiq"),
    ]


@pytest.mark.parametrize("text", ["web", "web:", ": exec x", "we b: exec x", "a: x\na: y"])
def test_procfile_mistake_is_named_with_its_line(text: str) -> None:
    with pytest.raises(ProcfileError, match=r"Procfile, line \d"):
        parse_procfile(text)


# -- keeping programs running ----------------------------------------------------------------------


def test_a_program_that_dies_is_started_again_after_a_growing_pause(
    supervise: Callable[..., Supervisor], tmp_path: Path, out: io.StringIO
) -> None:
    starts = tmp_path / "starts"
    supervisor = supervise(Program("web", f"echo start >> {starts}; exit 3"))

    supervisor.run(until(lambda: len(lines(starts)) == 4, supervisor))

    said = [line for line in out.getvalue().splitlines() if "ended" in line]
    assert said[:3] == [
        "web | ended with code 3; starting again in 1 s",
        "web | ended with code 3; starting again in 2 s",
        "web | ended with code 3; starting again in 4 s",
    ]


def test_a_killed_main_process_is_replaced_and_its_orphans_are_ended(
    supervise: Callable[..., Supervisor], tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    command = python(
        tmp_path,
        "parent",
        f"""
        import os, subprocess, sys, time
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        print(os.getpid(), child.pid, file=open({str(pids)!r}, "a"))
        time.sleep(600)
        """,
    )
    supervisor = supervise(Program("worker", command))

    def story() -> Iterator[None]:
        while len(lines(pids)) < 1:
            yield
        os.kill(int(lines(pids)[0].split()[0]), signal.SIGKILL)
        yield from until(lambda: len(lines(pids)) == 2, supervisor)

    supervisor.run(story())

    everyone = [int(pid) for line in lines(pids) for pid in line.split()]
    assert len(everyone) == 4
    assert [started_at(pid) for pid in everyone] == [None] * 4


def test_output_comes_line_by_line_with_the_name_of_its_program(
    supervise: Callable[..., Supervisor], tmp_path: Path, out: io.StringIO
) -> None:
    done = tmp_path / "done"
    supervisor = supervise(
        Program(
            "web", f"printf 'one\\n\\ntw'; sleep 0.2; printf 'o\\nlast words'; touch {done}; exec sleep 600"
        ),
        Program("worker", "echo naïve >&2; exec sleep 600"),
    )

    supervisor.run(until(done.exists, supervisor))

    assert [line for line in out.getvalue().splitlines() if line.startswith("web")] == [
        "web    | one",
        "web    | two",
        "web    | last words",
    ]
    assert "worker | naïve" in out.getvalue().splitlines()


# -- stopping --------------------------------------------------------------------------------------

COUNTS_SIGTERM = """
import os, signal, subprocess, sys, time
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
log = open(sys.argv[1] if len(sys.argv) > 1 else {log!r}, "a", buffering=1)
if {child}:
    subprocess.Popen([sys.executable, __file__.replace("parent", "child")])
print("{name} up", file=log)
while not told:
    time.sleep(0.01)
time.sleep(0.3)
print("{name}", len(told), file=log)
"""


def test_a_stop_sends_one_sigterm_and_only_to_the_main_process(
    supervise: Callable[..., Supervisor], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    python(tmp_path, "child", COUNTS_SIGTERM.format(log=str(log), child=False, name="child"))
    parent = python(tmp_path, "parent", COUNTS_SIGTERM.format(log=str(log), child=True, name="parent"))
    supervisor = supervise(Program("worker", parent))

    supervisor.run(until(lambda: len(lines(log)) == 2, supervisor))

    assert sorted(lines(log)) == ["child up", "parent 1", "parent up"]


def test_what_does_not_end_in_time_is_killed_with_its_whole_group(
    supervise: Callable[..., Supervisor], tmp_path: Path, out: io.StringIO
) -> None:
    pids = tmp_path / "pids"
    supervisor = supervise(
        Program("deaf", f"trap '' TERM; (echo $$ >> {pids}; sleep 600) & echo $! >> {pids}; wait")
    )
    began = time.monotonic()

    supervisor.run(until(lambda: len(lines(pids)) == 2, supervisor))

    wait_for(lambda: [started_at(int(pid)) for pid in lines(pids)] == [None, None])
    assert "deaf | did not end in time and is killed" in out.getvalue()
    assert time.monotonic() - began < 15


def test_what_the_others_need_is_stopped_after_them(
    supervise: Callable[..., Supervisor], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    says = (
        "trap 'sleep {pause}; echo {name} >> {log}; exit' TERM; echo up >> {log};"
        " while :; do sleep 0.05; done"
    )
    supervisor = supervise(
        Program("redis", says.format(pause=0, name="redis", log=log), is_provider=True),
        Program("worker", says.format(pause=0.2, name="worker", log=log)),
    )

    supervisor.run(until(lambda: len(lines(log)) == 2, supervisor))

    assert lines(log) == ["up", "up", "worker", "redis"]


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def heeded(request: pytest.FixtureRequest) -> Iterator[signal.Signals]:
    """A signal that this process does not ignore, as it ignores SIGHUP if `nohup` has started it."""
    number: signal.Signals = request.param
    before = signal.signal(number, signal.SIG_DFL)
    yield number
    signal.signal(number, before)


def test_a_signal_ends_every_child_and_puts_the_handlers_back(
    supervise: Callable[..., Supervisor], tmp_path: Path, heeded: signal.Signals
) -> None:
    pid = tmp_path / "pid"
    supervisor = supervise(Program("web", f"echo $$ > {pid}; exec sleep 600"))

    def story() -> Iterator[None]:
        while not lines(pid):
            yield
        os.kill(os.getpid(), heeded)

    supervisor.run(story())

    assert started_at(int(lines(pid)[0])) is None
    assert signal.getsignal(heeded) == signal.SIG_DFL


def test_a_story_that_fails_stops_everything_and_comes_out(
    supervise: Callable[..., Supervisor], tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    supervisor = supervise(Program("web", f"echo $$ > {pid}; exec sleep 600"))

    def story() -> Iterator[None]:
        while not lines(pid):
            yield
        raise LookupError("the first run failed")

    with pytest.raises(LookupError, match="first run"):
        supervisor.run(story())

    assert started_at(int(lines(pid)[0])) is None


# -- one supervisor per folder, also after a kill --------------------------------------------------

STANDS_ALONE = """
import os, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tasks.supervisor import PidFile, Program, Supervisor
folder = Path({folder!r})
pid_file = PidFile(folder / "supervisor.json")
pid_file.take()
Supervisor([Program("web", {command!r})], env=dict(os.environ), folder=folder, pid_file=pid_file).run()
"""


@pytest.fixture
def killed(tmp_path: Path) -> Iterator[Callable[[str], int]]:
    """Runs a supervisor of tmp_path in a process of its own, kills it, and gives its child's id."""
    started: list[int] = []

    def run_and_kill(command: str) -> int:
        pid = tmp_path / "pid"
        root = str(Path(__file__).resolve().parents[1])
        source = STANDS_ALONE.format(
            root=root, folder=str(tmp_path), command=command.replace("<pid>", str(pid))
        )
        supervisor = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.DEVNULL)
        try:
            wait_for(lambda: lines(pid))
        finally:
            supervisor.kill()
            supervisor.wait()
        started.append(int(lines(pid)[0]))
        return started[-1]

    yield run_and_kill
    for pid in started:
        if started_at(pid) is not None:
            os.kill(pid, signal.SIGKILL)


@pytest.mark.skipif(not LINUX, reason="only Linux tells children of their parent's death")
def test_a_killed_supervisor_takes_its_children_with_it(killed: Callable[[str], int]) -> None:
    pid = killed("echo $$ > <pid>; exec sleep 600")

    wait_for(lambda: started_at(pid) is None)


def test_the_next_start_ends_what_a_killed_supervisor_left_behind(
    killed: Callable[[str], int], tmp_path: Path
) -> None:
    pid = killed("trap '' TERM; echo $$ > <pid>; while :; do sleep 0.1; done")
    assert started_at(pid) is not None

    pid_file = PidFile(tmp_path / "supervisor.json")
    left = pid_file.take()
    end_leftovers(left, clock=fast_clock)
    pid_file.give_back()

    assert [birth.pid for birth in left] == [pid]
    wait_for(lambda: started_at(pid) is None)


@pytest.mark.skipif(not LINUX, reason="elsewhere only main processes are known for ours")
def test_orphans_whose_main_process_died_too_are_found_as_well(
    killed: Callable[[str], int], tmp_path: Path
) -> None:
    # The main process dies with its supervisor; its child is deaf and stays.
    pid = killed(
        "(trap '' TERM; echo $(exec sh -c 'echo $PPID') > <pid>; while :; do sleep 0.1; done) & wait"
    )
    pid_file = PidFile(tmp_path / "supervisor.json")
    wait_for(lambda: pid_file.holder() is None)
    time.sleep(0.3)
    assert started_at(pid) is not None

    end_leftovers(pid_file.take(), clock=fast_clock)
    pid_file.give_back()

    wait_for(lambda: started_at(pid) is None)


def test_a_process_that_only_has_an_old_id_is_left_alone(tmp_path: Path) -> None:
    stranger = subprocess.Popen(["sleep", "600"], start_new_session=True)
    pid_file = PidFile(tmp_path / "supervisor.json")
    try:
        pid_file.take()
        pid_file.add("web", stranger.pid)
        pid_file.give_back()
        started = started_at(stranger.pid)
        assert started is not None
        pid_file.path.write_text(
            pid_file.path.read_text().replace(started, "another start"), encoding="utf-8"
        )

        assert pid_file.take() == []
    finally:
        pid_file.give_back()
        stranger.kill()
        stranger.wait()


def test_a_second_supervisor_of_a_folder_is_told_which_one_is_alive(tmp_path: Path) -> None:
    first, second = PidFile(tmp_path / "supervisor.json"), PidFile(tmp_path / "supervisor.json")
    first.take()

    with pytest.raises(AlreadyRunning, match=f"process {os.getpid()}"):
        second.take()
    assert second.holder() == os.getpid()

    first.give_back()
    assert second.holder() is None
    assert second.take() == []
    second.give_back()


@pytest.mark.parametrize("torn", ["", "[{", '[{"pid": 1}]', "null", '{"pid": 1}'])
def test_a_torn_pid_file_is_no_obstacle(tmp_path: Path, torn: str) -> None:
    pid_file = PidFile(tmp_path / "supervisor.json")
    pid_file.path.write_text(torn, encoding="utf-8")

    assert pid_file.take() == []
    pid_file.give_back()
