import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from launchers.server.process import Process, log_tail, run_to_end, start, stop_orphan

ENV = dict(os.environ)
IGNORES_TERM = """
    import signal, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("up", flush=True)
    time.sleep(60)
"""
# The child leaves session and group and ignores TERM; the parent goes away at once on TERM.
DETACHED_CHILD = """
    import os, signal, sys, time
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("child", os.getpid(), flush=True)
        time.sleep(60)
    time.sleep(60)
"""


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", textwrap.dedent(code)]


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "waited 20 s"
        time.sleep(0.01)


def wait_for_line(process: Process, word: str) -> str:
    until(lambda: any(word in line for line in log_tail(process.log)))
    return next(line for line in log_tail(process.log) if word in line)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_process_has_its_own_session_no_stdin_and_only_the_given_environment(
    tmp_path: Path,
) -> None:
    code = """
        import os, sys
        print(os.getsid(0) == os.getpid(), repr(sys.stdin.read()), sorted(os.environ), flush=True)
        print("to stderr", file=sys.stderr)
    """
    process = start(python(code), env={"PATH": ENV["PATH"], "ONLY": "1"}, log=tmp_path / "log")
    until(lambda: process.poll() is not None)
    stopped = process.stop(1)
    lines = log_tail(process.log)
    assert lines[0].startswith("True '' ['")
    assert "ONLY" in lines[0]
    assert "HOME" not in lines[0]
    assert lines[1] == "to stderr"
    assert (stopped.returncode, stopped.killed) == (0, False)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("raise SystemExit(7)", 7),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", -signal.SIGSEGV),
    ],
)
def test_poll_gives_exit_codes_and_signals_before_and_after_stop(
    tmp_path: Path, code: str, status: int
) -> None:
    process = start(python(code), env=ENV, log=tmp_path / "log")
    until(lambda: process.poll() is not None)
    assert process.poll() == status
    assert process.stop(1).returncode == status
    assert process.poll() == status


def test_term_is_enough_for_a_process_that_takes_it(tmp_path: Path) -> None:
    process = start(python("import time; time.sleep(60)"), env=ENV, log=tmp_path / "log")
    assert process.poll() is None
    stopped = process.stop(20)
    assert (stopped.returncode, stopped.killed) == (-signal.SIGTERM, False)
    assert process.stop(20) is stopped
    assert gone(process.pid)


def test_a_process_that_ignores_term_is_killed(tmp_path: Path) -> None:
    process = start(python(IGNORES_TERM), env=ENV, log=tmp_path / "log")
    wait_for_line(process, "up")
    stopped = process.stop(0.2)
    assert (stopped.returncode, stopped.killed) == (-signal.SIGKILL, True)


def test_a_child_that_left_the_session_is_stopped_too(tmp_path: Path) -> None:
    process = start(python(DETACHED_CHILD), env=ENV, log=tmp_path / "log")
    child = int(wait_for_line(process, "child").split()[1])
    assert os.getsid(child) != process.pid
    stopped = process.stop(0.5)
    assert stopped.killed
    assert gone(child)


def test_a_child_orphaned_by_a_crash_is_stopped_if_it_was_seen_or_shares_the_session(
    tmp_path: Path,
) -> None:
    process = start(python(DETACHED_CHILD), env=ENV, log=tmp_path / "left")
    left = int(wait_for_line(process, "child").split()[1])
    process.note_tree()
    stays = start(
        python(DETACHED_CHILD.replace("os.setsid()", "os.setpgid(0, 0)")),
        env=ENV,
        log=tmp_path / "stayed",
    )
    stayed = int(wait_for_line(stays, "child").split()[1])
    for parent in (process, stays):
        os.kill(parent.pid, signal.SIGKILL)
        until(lambda parent=parent: parent.poll() is not None)  # type: ignore[misc]
        assert parent.stop(0.2).returncode == -signal.SIGKILL
    assert gone(left)
    assert gone(stayed)


def test_a_log_is_never_overwritten(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("precious")
    with pytest.raises(FileExistsError, match="never overwritten"):
        start(python("print(1)"), env=ENV, log=log)
    assert log.read_text() == "precious"


def test_a_missing_program_is_named_before_a_log_is_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no-such-program: no such program on PATH=/bin"):
        start(["no-such-program", "x"], env={"PATH": "/bin"}, log=tmp_path / "log")
    assert not (tmp_path / "log").exists()


def test_started_from_a_thread_it_outlives_the_thread(tmp_path: Path) -> None:
    made: list[Process] = []

    def begin() -> None:
        made.append(start(python(IGNORES_TERM), env=ENV, log=tmp_path / "log"))

    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()
    wait_for_line(made[0], "up")
    assert made[0].poll() is None
    made[0].stop(0)


def test_sigpipe_is_not_ignored_in_the_program(tmp_path: Path) -> None:
    process = start(["cat", "/proc/self/status"], env=ENV, log=tmp_path / "log")
    until(lambda: process.poll() is not None)
    process.stop(1)
    ignored = int(wait_for_line(process, "SigIgn").split()[1], 16)
    assert not ignored & 1 << (signal.SIGPIPE - 1)


def test_a_job_gets_its_ticks_and_its_code(tmp_path: Path) -> None:
    ticks: list[int] = []
    finished = run_to_end(
        python("import time; time.sleep(0.6); raise SystemExit(3)"),
        env=ENV,
        log=tmp_path / "log",
        deadline_s=30,
        on_tick=lambda: ticks.append(1),
        tick_s=0.1,
    )
    assert (finished.returncode, finished.timed_out) == (3, False)
    assert finished.seconds >= 0.6
    assert 2 <= len(ticks) <= 8


def test_a_job_over_its_deadline_is_stopped_and_says_so(tmp_path: Path) -> None:
    finished = run_to_end(
        python("import time; time.sleep(60)"),
        env=ENV,
        log=tmp_path / "log",
        deadline_s=0.3,
        on_tick=lambda: None,
    )
    assert (finished.returncode, finished.timed_out) == (-signal.SIGTERM, True)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_a_tick_raises_stops_the_job_and_goes_up(
    tmp_path: Path, error: type[BaseException]
) -> None:
    def tick() -> None:
        wait = tmp_path / "pid"
        until(lambda: wait.exists() and bool(wait.read_text()))
        raise error

    code = f"""
        import os, time
        open({str(tmp_path / "pid")!r}, "w").write(str(os.getpid()))
        time.sleep(60)
    """
    with pytest.raises(error):
        run_to_end(
            python(code), env=ENV, log=tmp_path / "log", deadline_s=60, on_tick=tick, tick_s=0
        )
    assert gone(int((tmp_path / "pid").read_text()))


def driver(tmp_path: Path, body: str) -> subprocess.Popen[bytes]:
    """Another servegate, so to say, which starts one process that ignores TERM."""
    code = f"""
        import os, sys, time
        from pathlib import Path
        from launchers.server.process import run_to_end, start
        argv = {python(IGNORES_TERM)!r}
        here = Path({str(tmp_path)!r})
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code) + textwrap.dedent(body)],
        cwd=Path(__file__).parents[3],
        stderr=subprocess.DEVNULL,
    )


def test_ctrl_c_stops_the_job(tmp_path: Path) -> None:
    parent = driver(
        tmp_path,
        """
        def tick():
            print(*[p.pid for p in __import__("psutil").Process().children()],
                  file=open(here / "pid", "w"))
        run_to_end(argv, env=dict(os.environ), log=here / "log", deadline_s=60, on_tick=tick,
                   tick_s=0, stop_timeout_s=0.2)
        """,
    )
    pid_file = tmp_path / "pid"
    until(lambda: pid_file.exists() and bool(pid_file.read_text().strip()))
    until(lambda: "up" in log_tail(tmp_path / "log"))
    parent.send_signal(signal.SIGINT)
    assert parent.wait(20) == -signal.SIGINT  # KeyboardInterrupt came out
    assert gone(int(pid_file.read_text()))


def test_if_we_are_killed_the_process_dies_with_us(tmp_path: Path) -> None:
    parent = driver(
        tmp_path,
        """
        process = start(argv, env=dict(os.environ), log=here / "log")
        (here / "pid").write_text(str(process.pid))
        time.sleep(60)
        """,
    )
    until(lambda: "up" in log_tail(tmp_path / "log"))
    pid = int((tmp_path / "pid").read_text())
    assert not gone(pid)
    parent.kill()
    parent.wait(20)
    until(lambda: gone(pid))


def test_an_orphan_is_stopped_only_if_number_time_and_command_are_ours(tmp_path: Path) -> None:
    process = start(python(IGNORES_TERM), env=ENV, log=tmp_path / "log")
    wait_for_line(process, "up")
    pid, born, argv = process.pid, process.create_time, process.argv
    assert not stop_orphan(pid, born - 100, argv)
    assert not stop_orphan(pid, born, [*argv[:-1], "print(1)"])
    assert process.poll() is None
    assert stop_orphan(pid, born, argv, timeout_s=0.2)
    assert process.poll() == -signal.SIGKILL
    process.stop(0)
    assert not stop_orphan(pid, born, argv)
