"""What comes out as an error: only what a person must act on."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import logging
from vallum_common.logs import configure_logging
configure_logging("test")
logging.getLogger("aiokafka.consumer.group_coordinator").error("Group Coordinator Request failed")
logging.getLogger("aiokafka.cluster").error("another of the same library")
"""


def test_coordinator_that_kafka_still_elects_is_no_error() -> None:
    """In a process of its own: logging belongs to the process."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    (line,) = done.stderr.splitlines()
    assert "another of the same library" in line
