"""What a bill of materials is made of, asked from the services that know it."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import re
from typing import Any, Final

import yaml

from vallum.compliance.v1 import compliance_service_pb2
from vallum.registry.v1 import model_pb2, registry_service_pb2
from vallum.validator.v1 import validator_service_pb2
from vallum_client.bom import Document, Materials
from vallum_client.cli.context import as_dict
from vallum_client.cli.documents import check_dict, scan_dict, signature_dict
from vallum_client.client import Client
from vallum_common.errors import Denied, NotFound

_MAX_CARD_BYTES: Final = 1024 * 1024
_FRONT_MATTER: Final = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)^(?:---|\.\.\.)[ \t]*$", re.DOTALL | re.MULTILINE)


class _Loader(yaml.SafeLoader):
    """Refuses aliases: they multiply, and no honest card needs them."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed")
        return super().compose_node(parent, index)


async def gather(client: Client, name: str, version: str) -> Materials:
    """Everything known of a version; what is not measured or decided yet, or may not be read, is left empty.

    Raises:
        NotFound: the registry does not know the version.
    """
    with client.errors("registry"):
        model = await client.registry.GetModel(registry_service_pb2.GetModelRequest(model=name, version=version))
        asked = registry_service_pb2.GetLineageRequest(model=name, version=version)
        lineage = await client.registry.GetLineage(asked)
    return Materials(
        model={**as_dict(model), **as_dict(model.model)},
        lineage=as_dict(lineage),
        report=await _report(client, model.submission_id),
        decision=await _decision(client, model.submission_id),
        card=await _card(client, model.files),
        tool_version=importlib.metadata.version("vallum-client"),
    )


async def _report(client: Client, submission_id: str) -> Document:
    request = validator_service_pb2.GetReportRequest(submission_id=submission_id)
    with contextlib.suppress(NotFound), client.errors("validator"):
        report = await client.validator.GetReport(request)
        document: dict[str, Any] = {"checks": [check_dict(check) for check in report.checks]}
        document["thresholds_digest"] = report.thresholds_digest
        if report.HasField("scan"):
            document["scan"] = scan_dict(report.scan) | {"rules_digest": report.scan.rules_digest}
        if report.HasField("signature"):
            document["signature"] = signature_dict(report.signature)
        if report.HasField("completed_at"):
            document["completed_at"] = report.completed_at.ToJsonString()
        return document
    return {}


async def _decision(client: Client, submission_id: str) -> Document:
    request = compliance_service_pb2.GetDecisionRequest(submission_id=submission_id)
    with contextlib.suppress(NotFound), client.errors("compliance"):
        return as_dict((await client.compliance.GetDecision(request)).decision)
    return {}


async def _card(client: Client, files: Any) -> Document:
    """The front matter of the card: licence, base model, library. An auditor may not read files, and gets none."""
    for file in files:
        if file.role == model_pb2.FILE_ROLE_CARD and file.size_bytes <= _MAX_CARD_BYTES:
            request = registry_service_pb2.DownloadArtifactRequest(sha256=file.sha256)
            content = b""
            with contextlib.suppress(NotFound, Denied), client.errors("registry"):
                async for piece in client.registry.DownloadArtifact(request):
                    content += piece.data
            return front_matter(content) if hashlib.sha256(content).hexdigest() == file.sha256 else {}
    return {}


def front_matter(content: bytes) -> Document:
    """The metadata a card begins with; empty where there is none that can be read."""
    match = _FRONT_MATTER.match(content.decode(errors="replace"))
    if match is None:
        return {}
    try:
        metadata = yaml.load(match.group(1), Loader=_Loader)  # noqa: S506 (a SafeLoader, only stricter)
    except (yaml.YAMLError, RecursionError, ValueError):
        return {}
    return metadata if isinstance(metadata, dict) else {}
