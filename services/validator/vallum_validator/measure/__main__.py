"""The child's half: `assess BUNDLE THRESHOLDS PUBLISHERS` or `scan FILE NAME`, answers as JSON lines on stdout."""

from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path
from typing import IO, Any

from google.protobuf import json_format

from vallum_common.bundle import MANIFEST_NAME, open_bundle
from vallum_common.clock import SystemClock
from vallum_common.logs import configure_logging
from vallum_validator import wire
from vallum_validator.assess import Progress, assess, seed_of
from vallum_validator.checks.thresholds import load_thresholds
from vallum_validator.provenance import load_publishers, verify_signature
from vallum_validator.scan import scan_file


def main(arguments: list[str]) -> int:
    """Answer one request; the exit code is 0 whatever was found."""
    configure_logging("validator-measure")
    # Answers get a descriptor of their own: what a library prints must not be taken for one.
    with os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1) as answers:
        os.dup2(2, 1)
        command, *rest = arguments
        if command == "assess":
            _assess(Path(rest[0]), Path(rest[1]), Path(rest[2]), answers)
        else:
            report = scan_file(Path(rest[0]), name=rest[1])
            _say(answers, file=base64.b64encode(wire.file_message(report).SerializeToString()).decode())
    return 0


def _assess(bundle: Path, thresholds: Path, publishers: Path, answers: IO[str]) -> None:
    def show(progress: Progress) -> None:
        check = json_format.MessageToDict(wire.check_message(progress.check)) if progress.check else None
        scan = json_format.MessageToDict(wire.scan_message(progress.scan)) if progress.scan else None
        _say(answers, stage=progress.stage, check=check, scan=scan)

    with open_bundle(bundle) as opened:
        artifact = opened.files[0]
        signature = verify_signature(opened, load_publishers(publishers), now=SystemClock().now())
        told = json_format.MessageToDict(wire.signature_message(signature))
        _say(answers, stage="signature", check=None, scan=None, signature=told)
        assessment = assess(
            opened.root,
            opened.manifest,
            thresholds=load_thresholds(thresholds),
            seed=seed_of(artifact.sha256, (opened.root / MANIFEST_NAME).read_bytes()),
            on_progress=show,
            signature=signature,
        )
    content = wire.assessment_message(assessment).SerializeToString()
    _say(answers, assessment=base64.b64encode(content).decode())


def _say(answers: IO[str], **answer: Any) -> None:
    answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
