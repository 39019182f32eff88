"""RPCs in: parse, call, answer."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from vallum.validator.v1 import validator_service_pb2, validator_service_pb2_grpc
from vallum_common.errors import Exhausted, Invalid
from vallum_validator import wire
from vallum_validator.service import Validation

MAX_SCAN_BYTES: Final = 4 * 1024**3
MEASURES: Final = {
    "adversarial_robustness": "share of rows that a feasible small change flips, with its interval",
    "data_privacy": "how well membership in the training data can be inferred",
    "bias_fairness": "ratios of selection and error rates between groups and their intersections",
    "transparency": "documentation present, reported figures reproduced, decisions explained",
}


class ValidatorServicer(validator_service_pb2_grpc.ValidatorServiceServicer):
    """`vallum.validator.v1.ValidatorService`.

    Args:
        validation: the use cases.
    """

    def __init__(self, validation: Validation) -> None:
        self._validation = validation

    async def Scan(
        self, requests: AsyncIterator[validator_service_pb2.ScanRequest], context: Any
    ) -> validator_service_pb2.ScanResponse:
        """Scan one file that is not submitted."""
        name, size = "", 0
        with tempfile.TemporaryDirectory(prefix="vallum-scan-") as folder:
            path = Path(folder) / "file"
            with path.open("wb") as target:
                async for request in requests:
                    if request.WhichOneof("part") == "name":
                        name = request.name
                        continue
                    size += target.write(request.data)
                    if size > MAX_SCAN_BYTES:
                        raise Exhausted(f"a file of more than {MAX_SCAN_BYTES} bytes is not scanned here")
            if not name:
                raise Invalid("the first message of a scan must carry the file's name")
            report, rules_digest = await self._validation.measurer.scan(path, name)
        return validator_service_pb2.ScanResponse(file=wire.file_message(report), rules_digest=rules_digest)

    async def GetReport(
        self, request: validator_service_pb2.GetReportRequest, context: Any
    ) -> validator_service_pb2.GetReportResponse:
        """The report of a submission as far as it has come."""
        return wire.report_message(await self._validation.report(request.submission_id))

    async def ListChecks(
        self, request: validator_service_pb2.ListChecksRequest, context: Any
    ) -> validator_service_pb2.ListChecksResponse:
        """The checks this validator runs, in order."""
        return validator_service_pb2.ListChecksResponse(
            checks=[validator_service_pb2.Check(name=name, measures=measures) for name, measures in MEASURES.items()],
            thresholds_digest=self._validation.thresholds_digest,
            rules_digest=self._validation.rules_digest,
        )
