"""The bill of materials of a version: a CycloneDX 1.6 document with model card and the scan's findings as VEX entries.

Built of plain values, because `cyclonedx-python-lib` cannot express a model card (its issue #912), and held against the
strict schema it ships. The same evidence gives the same bytes. It tells what was declared, found and measured, and
leaves out what nobody knows.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from cyclonedx.schema import SchemaVersion
from cyclonedx.spdx import fixup_id
from cyclonedx.validation.json import JsonStrictValidator

from vallum_client.model_card import model_card

Document = Mapping[str, Any]

_VALIDATOR: Final = "https://vallum.dev/validator"
_MOST_CHARACTERS: Final = 4000
_DATA_ROLES: Final = ("EVALUATION", "MEMBERS", "POPULATION")


@dataclass(frozen=True, slots=True)
class Materials:
    """What the services know of a version, as the command shows it with `--json`.

    Args:
        model: of the registry; `files` with their roles and digests.
        lineage: of the registry: ancestors, data sets, code, vendor.
        report: of the validator: `scan`, `checks`, `signature`, `completed_at`, `thresholds_digest`; empty where
            nothing was measured.
        decision: of compliance: `policy_digest`, `input_digest`; empty where nothing was decided.
        card: front matter of the model card; empty where there is none, or it may not be read.
        tool_version: of this command.
    """

    model: Document
    lineage: Document
    report: Document = field(default_factory=dict)
    decision: Document = field(default_factory=dict)
    card: Document = field(default_factory=dict)
    tool_version: str = ""

    @property
    def name(self) -> str:
        """`adult-income@1.2.0`."""
        return f"{self.model['model']}@{self.model['version']}"

    @property
    def ref(self) -> str:
        """How the document refers to the model."""
        return f"vallum:{self.name}"

    @property
    def findings(self) -> Iterator[tuple[Document, Document]]:
        """Every finding of the scan with its file."""
        for file in self.report.get("scan", {}).get("files", ()):
            yield from ((file, finding) for finding in file["findings"])


def bill_of_materials(materials: Materials) -> Document:
    """The document; equal for equal materials."""
    data = [*_datasets(materials), *_files(materials)]
    document: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, materials.ref + '#' + materials.model['digest'])}",
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": "vallum", "version": materials.tool_version}]},
            "component": _model(materials),
        },
        "components": data,
        "dependencies": [
            {"ref": materials.ref, "dependsOn": sorted(entry["bom-ref"] for entry in data)},
            *({"ref": entry["bom-ref"]} for entry in data),
        ],
        "vulnerabilities": [
            _vulnerability(materials, number, *found) for number, found in enumerate(materials.findings, 1)
        ],
    }
    if materials.report.get("completed_at"):
        document["metadata"]["timestamp"] = materials.report["completed_at"]
    return document


def checked(document: Document) -> str:
    """The document as JSON text, after it was found to be what the strict schema asks for.

    Raises:
        ValueError: it is not; nothing that is no CycloneDX is handed out as such.
    """
    text = json.dumps(document, ensure_ascii=False, indent=2) + "\n"
    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if problem is not None:
        raise ValueError(f"the bill of materials is no CycloneDX 1.6: {str(problem.data)[:300]}")
    return text


def _model(materials: Materials) -> Document:
    model, lineage = materials.model, materials.lineage
    component: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": materials.ref,
        "supplier": {"name": lineage["vendor"] or model["owner"]},
        "name": model["model"],
        "version": model["version"],
        "hashes": _hashes(model["digest"]),
        "purl": f"pkg:generic/{model['model']}@{quote(model['version'], safe='')}?checksum=sha256:{model['digest']}",
        "modelCard": model_card(model, materials.report.get("checks", ()), materials.card, _data_refs(materials)),
        "properties": list(_properties(materials)),
    }
    if model["intended_use"]:
        component["description"] = model["intended_use"][:_MOST_CHARACTERS]
    signature = materials.report.get("signature") or {}
    if signature.get("outcome") == "VERIFIED":
        component["publisher"] = signature["publisher"]
    if licences := list(_licences(materials.card)):
        component["licenses"] = licences
    if ancestors := list(_ancestors(materials)):
        component["pedigree"] = {"ancestors": ancestors}
    return component


def _hashes(sha256: str) -> list[Document]:
    return [{"alg": "SHA-256", "content": sha256}] if sha256 else []


def _licences(card: Document) -> Iterator[Document]:
    """As the card names them; an SPDX id, whatever its case, or else a name."""
    named = card.get("license")
    for name in named if isinstance(named, list) else [named]:
        if isinstance(name, str) and name.strip():
            known = fixup_id(name.strip())
            yield {"license": {"id": known} if known else {"name": name.strip()[:_MOST_CHARACTERS]}}


def _ancestors(materials: Materials) -> Iterator[Document]:
    """From the direct parent to the oldest, then what the card calls its base model."""
    for entry in materials.lineage["ancestors"]:
        parent = {"type": "machine-learning-model", "name": entry["model"], "version": entry["version"]}
        yield {**parent, **({"hashes": _hashes(entry["digest"])} if entry["digest"] else {})}
    base = materials.card.get("base_model")
    for name in base if isinstance(base, list) else [base]:
        if isinstance(name, str) and name.strip():
            yield {"type": "machine-learning-model", "name": name.strip()[:_MOST_CHARACTERS]}


def _datasets(materials: Materials) -> Iterator[Document]:
    for number, entry in enumerate(materials.lineage["datasets"], 1):
        component = {"type": "data", "bom-ref": f"dataset:{number}:{entry['name']}", "name": entry["name"]}
        yield {**component, **({"hashes": _hashes(entry["sha256"])} if entry["sha256"] else {})}


def _data_refs(materials: Materials) -> list[str]:
    """The data sets the model was made from, and those it was measured with."""
    return [entry["bom-ref"] for entry in (*_datasets(materials), *_files(materials))]


def _files(materials: Materials) -> Iterator[Document]:
    """The data files of the bundle, with what they are for."""
    for entry in materials.model["files"]:
        role = entry["role"].removeprefix("FILE_ROLE_")
        if role in _DATA_ROLES:
            yield {
                "type": "data",
                "bom-ref": f"file:{role.lower()}:{entry['path']}",
                "name": entry["path"],
                "hashes": _hashes(entry["sha256"]),
                "properties": [{"name": "vallum:role", "value": role.lower()}],
            }


def _properties(materials: Materials) -> Iterator[Document]:
    report, signature = materials.report, materials.report.get("signature") or {}
    scan = report.get("scan", {})
    formats = [file["format"] for file in scan.get("files", ()) if file["sha256"] == materials.model["digest"]]
    told = {
        "format": formats[0] if formats else "",
        "tier": materials.model["tier"],
        "verdict": materials.model["verdict"],
        "policy-digest": materials.decision.get("policy_digest", ""),
        "policy-input-digest": materials.decision.get("input_digest", ""),
        "scan-verdict": scan.get("verdict", "UNKNOWN"),
        "scan-rules-digest": scan.get("rules_digest", ""),
        "thresholds-digest": report.get("thresholds_digest", ""),
        "signature": signature.get("outcome", "UNKNOWN"),
        "signature-key": signature.get("key_id", ""),
        "publishers-digest": signature.get("publishers_digest", ""),
        "code": materials.lineage["code"],
    }
    for name, value in told.items():
        if value:
            yield {"name": f"vallum:{name}", "value": value}


def _vulnerability(materials: Materials, number: int, file: Document, finding: Document) -> Document:
    place = {"file": file["path"], "format": file["format"], "member": finding["member"], "offset": finding["offset"]}
    return {
        "bom-ref": f"finding:{number}",
        "id": finding["rule"],
        "source": {"name": "Vallum", "url": _VALIDATOR},
        "ratings": [{"source": {"name": "Vallum"}, "severity": finding["severity"].lower(), "method": "other"}],
        "description": finding["message"][:_MOST_CHARACTERS],
        "analysis": _analysis(file["verdict"], finding["severity"]),
        "affects": [{"ref": materials.ref if file["sha256"] == materials.model["digest"] else _ref(materials, file)}],
        "properties": _told(place),
    }


def _analysis(verdict: str, severity: str) -> Document:
    """What a finding means, as far as the verdict on its file allows to say."""
    if verdict == "MALICIOUS" and severity == "CRITICAL":
        return {"state": "exploitable", "detail": "the scan calls the file MALICIOUS"}
    if verdict == "CLEAN":
        return {"state": "not_affected", "detail": "the scan accounts for every byte of the file and calls it CLEAN"}
    return {"state": "in_triage", "detail": f"the scan calls the file {verdict}; a person must look"}


def _ref(materials: Materials, file: Document) -> str:
    """A data file of its own, or the model, for what is none."""
    refs = (entry["bom-ref"] for entry in _files(materials) if entry["name"] == file["path"])
    return next(refs, materials.ref)


def _told(place: Mapping[str, Any]) -> Sequence[Document]:
    return [
        {"name": f"vallum:{name}", "value": str(value)[:_MOST_CHARACTERS]}
        for name, value in place.items()
        if value not in ("", None)
    ]
