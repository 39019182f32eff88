"""`make demo`: real models through the whole life, each step with the command a user would type.

Starts a platform of its own in `.vallum-demo`, submits bundles, deploys, sends traffic that drifts, shows what the
platform did by itself, and stops everything. It ends with 1 as soon as a step does not end as it should.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = Path("examples")
DATA = Path(".vallum-demo")
VALLUM = Path(sys.executable).with_name("vallum")
MARKER = Path(os.environ.get("TMPDIR", tempfile.gettempdir())) / "vallum-hostile-pickle-ran"
WIDTH = 80
READY_S = 240.0
CORRECTION_S = 90.0


class StoryEnds(Exception):
    """A step did not end as it should; the text says which."""


class Platform:
    """A platform of the demo's own, as `vallum up` starts it."""

    def __init__(self) -> None:
        self.log = ROOT / f"{DATA}.log"

    def __enter__(self) -> Platform:
        shutil.rmtree(ROOT / DATA, ignore_errors=True)
        command = [VALLUM, "up", "--data", str(DATA), "--port-base", str(free_base())]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        begun = time.monotonic()
        while "Vallum is ready" not in self.log.read_text():
            if self.process.poll() is not None or time.monotonic() - begun > READY_S:
                self.stop()
                raise StoryEnds(f"the platform did not start; its last lines:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.1)
        os.environ["VALLUM_PROFILE"] = str(DATA / "client.toml")
        say(f"Kafka, PostgreSQL and five services are ready after {time.monotonic() - begun:.1f} s.")
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it and all it started."""
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise StoryEnds("the platform did not stop within 60 s") from None


def free_base() -> int:
    """A port base on which nobody listens, beginning with the default one."""
    for base in range(7400, 12000, 100):
        ports = (*range(base + 1, base + 6), base + 80, base + 92, base + 93, base + 94)
        sockets = [socket.socket() for _ in ports]
        try:
            for port, probe in zip(ports, sockets, strict=True):
                probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        else:
            return base
        finally:
            for probe in sockets:
                probe.close()
    raise StoryEnds("no free ports between 7400 and 12000")


def say(text: str) -> None:
    """Tell the story."""
    print(text, flush=True)


def chapter(title: str) -> None:
    """Begin a part of it."""
    say(f"\n{title}\n{'─' * len(title)}")


def vallum(*arguments: str, ends: int = 0, show: bool = True) -> str:
    """Run a command as a user would, and hold it to its exit code.

    Returns:
        What it printed.
    """
    if show:
        command = f"$ vallum {shlex.join(arguments)}"
        folded = textwrap.wrap(
            command, WIDTH - 2, subsequent_indent="    ", break_on_hyphens=False, break_long_words=False
        )
        say(" \\\n".join(folded))
    environment = {**os.environ, "COLUMNS": str(WIDTH)}
    done = subprocess.run([VALLUM, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if show:
        say((done.stdout + done.stderr).rstrip())
    if done.returncode != ends:
        detail = "" if show else done.stdout + done.stderr
        raise StoryEnds(f"`vallum {shlex.join(arguments)}` ended with {done.returncode} instead of {ends} {detail}")
    return done.stdout


def ask(*arguments: str) -> Any:
    """The JSON answer of a command."""
    return json.loads(vallum(*arguments, "--json", show=False))


def wait_for_correction(version: str) -> None:
    """Wait until the platform has taken a version out by itself."""
    deadline = time.monotonic() + CORRECTION_S
    while ask("models", "show", version)["state"] != "QUARANTINED":
        if time.monotonic() > deadline:
            raise StoryEnds(f"{version} was not quarantined within {CORRECTION_S:g} s")
        time.sleep(0.5)


def gate() -> None:
    """Before deployment."""
    chapter("1. An honest model: measured, approved, signed, deployed")
    vallum("submit", str(EXAMPLES / "adult-income-1.1.0"))
    vallum("deploy", "adult-income@1.1.0", "--environment", "production", "--reason", "first release")
    say("Its successor, on the same data:")
    vallum("submit", str(EXAMPLES / "adult-income"))
    vallum("deploy", "adult-income@1.2.0", "--environment", "production", "--reason", "better calibrated")
    say("A serving layer checks the signed verdict offline, against the bytes it loads:")
    attestation = str(DATA / "attestations" / "adult-income@1.2.0.dsse.json")
    keys = ["--key", str(DATA / "keys" / "attestation.jwks.json")]
    vallum("admission", "verify", str(EXAMPLES / "adult-income" / "model.onnx"), attestation, *keys)
    vallum("admission", "verify", str(EXAMPLES / "digits" / "model.onnx"), attestation, *keys, ends=1)

    chapter("2. An overfitted model: refused by what was measured")
    vallum("submit", str(EXAMPLES / "adult-overfit"), ends=1)
    vallum("deploy", "adult-overfit@1.0.0", "--environment", "production", ends=1)

    chapter("3. A hostile pickle: refused by the scan, and never loaded")
    MARKER.unlink(missing_ok=True)
    vallum("submit", str(EXAMPLES / "hostile-pickle"), ends=1)
    if MARKER.exists():
        raise StoryEnds(f"the hostile pickle ran: {MARKER} exists")
    say(f"The command inside would have made {MARKER}; it does not exist.")


def watch() -> None:
    """After deployment."""
    chapter("4. In production: traffic as it was, then traffic that drifts")
    to = ["--environment", "production"]
    vallum("observe", "adult-income@1.2.0", str(EXAMPLES / "traffic" / "normal.parquet"), *to)
    vallum("alerts", "watch", "--past-only")
    vallum("observe", "adult-income@1.2.0", str(EXAMPLES / "traffic" / "drifted.parquet"), *to)
    wait_for_correction("adult-income@1.2.0")
    vallum("alerts", "watch", "--past-only")
    say("The confirmed alert took the version out and brought its predecessor back, without a person:")
    vallum("models", "history", "adult-income")
    vallum("models", "list")

    chapter("5. What the risk officer and the auditor see")
    vallum("risk", "show", "adult-income@1.2.0")
    vallum("metrics")
    vallum("audit", "replay")
    entries = vallum("audit", "replay", "--json", show=False).splitlines()
    ids = [json.loads(line)["id"] for line in entries]
    if len(ids) != len(set(ids)):
        raise StoryEnds("an event is in the audit log twice")
    say(f"{len(ids)} events, each exactly once.")


def main() -> int:
    """Tell the whole story."""
    begun = time.monotonic()
    os.chdir(ROOT)
    try:
        with Platform():
            gate()
            watch()
    except StoryEnds as end:
        print(f"\nThe demo ended early: {end}", file=sys.stderr)
        return 1
    say(f"\nDone in {time.monotonic() - begun:.0f} s; nothing is left running. Data, keys and logs lie in {DATA}/.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
