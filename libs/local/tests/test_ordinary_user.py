"""`vallum up` needs no rights: it runs for `nobody`, with nothing but a folder of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from vallum_local.jars import KAFKA_LOCK, cache_folder, kafka_classpath
from vallum_local.ports import Ports

pytestmark = [pytest.mark.platform, pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")]

RUN_UP = """
import sys
from pathlib import Path
from vallum_local.kafka import Topic
from vallum_local.platform import PlatformOptions
from vallum_local.ports import Ports
from vallum_local.up import run_up

folder, base, stand_in = sys.argv[1:]
options = PlatformOptions(folder=Path(folder) / "data", policies=Path(folder), ports=Ports(int(base)))
sys.exit(run_up(options, [Topic("model-submitted")], service_command=lambda name: (sys.executable, stand_in, name)))
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """A home folder of nobody's, with Kafka's jars in its cache."""
    nobody = pwd.getpwnam("nobody")
    folder = Path(tempfile.mkdtemp(prefix="vallum-user-"))
    kafka_classpath(os.environ, lambda _: None)
    shutil.copytree(cache_folder(os.environ) / KAFKA_LOCK.stem, folder / ".cache" / "vallum" / KAFKA_LOCK.stem)
    shutil.copy(Path(__file__).with_name("stand_in_service.py"), folder)
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    yield folder
    shutil.rmtree(folder)


def as_nobody(home: Path, *command: str) -> subprocess.Popen[str]:
    """Start a command without any right, with our packages and nothing else of our environment."""
    nobody = pwd.getpwnam("nobody")
    return subprocess.Popen(
        command,
        user=nobody.pw_uid,
        group=nobody.pw_gid,
        extra_groups=[],
        cwd="/",
        env={"PATH": "/usr/bin:/bin", "HOME": str(home), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_ordinary_user_can_run_a_platform(home: Path, ports: Ports) -> None:
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        probe = as_nobody(home, "env", python, "-c", "import vallum_local.up")
        if probe.wait(timeout=60) == 0:
            break
    else:
        pytest.skip(f"user nobody can run no Python that has our packages: {probe.stderr.read()}")

    up = as_nobody(home, python, "-c", RUN_UP, str(home), str(ports.base), str(home / "stand_in_service.py"))
    shown = []
    for line in up.stdout:
        shown.append(line)
        if "Ctrl-C" in line:
            break
    up.send_signal(signal.SIGTERM)
    _, errors = up.communicate(timeout=60)

    assert (up.returncode, errors) == (0, ""), shown
    assert "Vallum is ready" in "".join(shown)
    assert {path.stat().st_uid for path in (home / "data").rglob("*")} == {pwd.getpwnam("nobody").pw_uid}
