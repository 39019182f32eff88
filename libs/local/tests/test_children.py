"""Child processes end: when asked, when they do not listen, and when we are killed. Real processes throughout."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vallum_common.errors import Unavailable
from vallum_local.children import LEASH, Child, Command, clean_environment, run_to_end, stop_children, until_ready

MakeCommand = Callable[..., Command]
Eventually = Callable[..., None]
Run = Callable[..., object]

WAIT_FOR_EVER = "import signal\nprint('ready', flush=True)\nwhile True: signal.pause()"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{WAIT_FOR_EVER}"
WITH_GRANDCHILD = (
    "import subprocess, sys\n"
    f"child = subprocess.Popen([sys.executable, '-c', {WAIT_FOR_EVER!r}])\n"
    f"print(child.pid, flush=True)\n{WAIT_FOR_EVER}"
)
PARENT = f"""
import sys
from pathlib import Path
from vallum_local.children import Child, Command
launcher = tuple(sys.argv[2:])
child = Child(Command("child", (sys.executable, "-c", {WAIT_FOR_EVER!r}), {{}}, Path(sys.argv[1]), launcher=launcher))
print(child.pid, flush=True)
sys.stdin.read()
"""


def is_running(pid: int) -> bool:
    """Whether a process exists and is no zombie that only waits to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def started(command: Command, eventually: Eventually) -> Child:
    child = Child(command)
    eventually(lambda: "ready" in command.log.read_text())
    return child


def test_child_is_asked_to_stop_by_its_own_signal(command: MakeCommand, eventually: Eventually) -> None:
    child = started(command(WAIT_FOR_EVER, stop_signal=signal.SIGINT), eventually)

    stop_children([child])

    assert child.exit_code == -signal.SIGINT or "KeyboardInterrupt" in child.command.log.read_text()


def test_child_that_does_not_listen_is_killed(command: MakeCommand, eventually: Eventually) -> None:
    child = started(command(DEAF), eventually)

    stop_children([child], grace_s=0.2)

    assert child.exit_code == -signal.SIGKILL


def test_what_a_child_started_ends_with_it(command: MakeCommand, eventually: Eventually) -> None:
    child = started(command(WITH_GRANDCHILD), eventually)
    grandchild = int(child.command.log.read_text().split()[0])
    assert is_running(grandchild)

    stop_children([child])

    eventually(lambda: not is_running(grandchild))


def test_stopping_what_has_ended_is_harmless(command: MakeCommand, eventually: Eventually) -> None:
    child = Child(command("pass"))
    eventually(lambda: child.exit_code == 0)

    stop_children([child])
    stop_children([child])


@pytest.mark.parametrize(
    "launcher",
    [
        (),
        pytest.param(
            ("unshare", "--user", "--map-user=65534", "--map-group=65534"),
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root needs a user namespace"),
        ),
    ],
)
def test_killed_parent_leaves_no_child(tmp_path: Path, launcher: tuple[str, ...], eventually: Eventually) -> None:
    arguments = [sys.executable, "-c", PARENT, str(tmp_path / "log"), *launcher]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        child = int(parent.stdout.readline())
        eventually(lambda: "ready" in (tmp_path / "log").read_text())

        parent.kill()
        parent.wait()

        eventually(lambda: not is_running(child))


def test_child_whose_parent_is_gone_already_does_not_start() -> None:
    somebody_else = os.getppid()
    leash = [sys.executable, "-I", "-S", str(LEASH), str(somebody_else), "9", "-", "echo", "started"]

    done = subprocess.run(leash, capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (127, "")


def test_missing_program_is_named_in_the_log(tmp_path: Path, eventually: Eventually) -> None:
    child = Child(Command("child", ("/no/such/program",), {}, tmp_path / "child.log"))
    eventually(lambda: child.exit_code == 127)

    assert child.last_words().startswith("cannot start '/no/such/program'")


def test_log_is_closed_to_others_and_kept_over_restarts(command: MakeCommand, run: Run) -> None:
    run(run_to_end(command("print('first')"), 10))
    run(run_to_end(command("print('second')"), 10))
    log = command("").log

    assert log.read_text().split() == ["first", "second"]
    assert log.stat().st_mode & 0o777 == 0o600


def test_child_gets_the_given_environment_alone(command: MakeCommand, run: Run) -> None:
    one = command("import os; print(sorted(set(os.environ) - {'LC_CTYPE'}))")
    run(run_to_end(Command(one.name, one.argv, {"VALLUM_KAFKA": "x"}, one.log), 10))

    assert one.log.read_text() == "['VALLUM_KAFKA']\n"


def test_inherited_environment_holds_no_secrets() -> None:
    everything = {"PATH": "/bin", "HOME": "/h", "TZ": "UTC", "PYTHONUTF8": "1", "AWS_SECRET_ACCESS_KEY": "s", "X": "y"}

    assert clean_environment(everything) == {"PATH": "/bin", "HOME": "/h", "TZ": "UTC", "PYTHONUTF8": "1"}


def test_child_that_ends_while_starting_is_reported_with_its_last_words(command: MakeCommand, run: Run) -> None:
    async def never() -> bool:
        return False

    child = Child(command("print('no more memory'); raise SystemExit(7)", name="kafka"))

    with pytest.raises(Unavailable, match=r"kafka ended with exit code 7 .*kafka\.log ends with: no more memory"):
        run(until_ready(child, never, timeout_s=10))


def test_child_that_never_answers_is_given_up(command: MakeCommand, run: Run) -> None:
    async def never() -> bool:
        return False

    child = Child(command(WAIT_FOR_EVER))
    try:
        with pytest.raises(Unavailable, match=r"did not answer within 0\.1 s"):
            run(until_ready(child, never, timeout_s=0.1))
    finally:
        stop_children([child])


def test_failed_preparation_is_reported_with_its_last_words(command: MakeCommand, run: Run) -> None:
    with pytest.raises(Unavailable, match=r"initdb failed with exit code 1.*disk full"):
        run(run_to_end(command("raise SystemExit('disk full')", name="initdb"), 10))


def test_preparation_that_hangs_is_ended(command: MakeCommand, run: Run) -> None:
    with pytest.raises(Unavailable, match="did not end within"):
        run(run_to_end(command(DEAF, name="initdb"), 0.3))
