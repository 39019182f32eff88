"""Bad input is an everyday event: one clear line and exit code 3, or a named INCONCLUSIVE; the platform goes on."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pandas as pd
import pytest
import yaml

from vallum.registry.v1 import model_pb2, registry_service_pb2, registry_service_pb2_grpc

from . import bundles
from .conftest import Answer, RunningPlatform

pytestmark = pytest.mark.platform


def edit(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = bundle / "vallum.yaml"
    document = yaml.safe_load(path.read_text())
    change(document)
    path.write_text(yaml.safe_dump(document))


def assert_one_line(answer: Answer, *said: str) -> None:
    assert answer.code == 3, answer.out + answer.error
    assert answer.out == ""
    assert len(answer.error.strip().splitlines()) == 1
    for part in said:
        assert part in answer.error


def test_no_bundle(platform: RunningPlatform, tmp_path: Path) -> None:
    assert_one_line(platform.vallum("submit", tmp_path / "nowhere"), "nowhere")
    assert_one_line(platform.vallum("submit", tmp_path), "vallum.yaml")
    (tmp_path / "bundle.tar.gz").write_bytes(b"\x1f\x8b broken")
    assert_one_line(platform.vallum("submit", tmp_path / "bundle.tar.gz"), "tar.gz")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["model"].update(teir="high"), "did you mean 'tier'"),
        (lambda d: d["model"].update(tier="higher"), "'higher'"),
        (lambda d: d["model"].update(id="Bad Name"), "Bad Name"),
        (lambda d: d["model"].update(version=1.2), "quotes"),
        (lambda d: d["model"].update(artifact="../../etc/passwd"), "etc/passwd"),
        (lambda d: d["model"].update(artifact="missing.onnx"), "missing.onnx"),
        (lambda d: d["data"]["evaluation"].update(file="gone.parquet"), "gone.parquet"),
        (lambda d: d["data"]["features"]["owner"].pop("values"), "values"),
        (lambda d: d.pop("model"), "model"),
    ],
)
def test_a_manifest_that_is_not_right(
    platform: RunningPlatform, tmp_path: Path, model_id: str, change: Callable[[Any], object], said: str
) -> None:
    bundle = bundles.loans(tmp_path / "b", model_id)
    edit(bundle, change)
    assert_one_line(platform.vallum("submit", bundle), said)


def test_an_empty_artefact(platform: RunningPlatform, tmp_path: Path, model_id: str) -> None:
    bundle = bundles.loans(tmp_path / "b", model_id)
    (bundle / "model.onnx").write_bytes(b"")
    assert_one_line(platform.vallum("submit", bundle), "model.onnx", "empty")


def checks_of(platform: RunningPlatform, bundle: Path, model_id: str) -> dict[str, Any]:
    answer = platform.vallum("submit", bundle)
    assert answer.document["verdict"] != "APPROVED", answer.error
    shown = platform.vallum("models", "show", f"{model_id}@1.0.0").document
    return {check["name"]: check for check in shown["checks"]}


def test_an_artefact_that_is_no_model(platform: RunningPlatform, tmp_path: Path, model_id: str) -> None:
    bundle = bundles.loans(tmp_path / "b", model_id)
    content = (bundle / "model.onnx").read_bytes()
    (bundle / "model.onnx").write_bytes(content[: len(content) // 2])
    checks = checks_of(platform, bundle, model_id)
    assert checks["adversarial_robustness"]["outcome"] == "INCONCLUSIVE"
    assert checks["adversarial_robustness"]["reason"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda frame: frame.assign(repaid=[None, *frame["repaid"][1:]]), "repaid"),
        (lambda frame: frame.assign(repaid="yes"), "one class"),
        (lambda frame: frame.drop(columns="income"), "income"),
        (lambda frame: frame.assign(owner="castle"), "castle"),
        (lambda frame: frame.assign(income="much"), "income"),
        (lambda frame: frame[:0], "row"),
    ],
)
def test_data_that_is_not_right_is_a_named_inconclusive(
    platform: RunningPlatform,
    tmp_path: Path,
    model_id: str,
    change: Callable[[pd.DataFrame], pd.DataFrame],
    said: str,
) -> None:
    bundle = bundles.loans(tmp_path / "b", model_id)
    path = bundle / "evaluation.parquet"
    change(pd.read_parquet(path)).to_parquet(path, index=False)
    check = checks_of(platform, bundle, model_id)["adversarial_robustness"]
    assert check["outcome"] == "INCONCLUSIVE"
    assert said in check["reason"]


def test_a_feature_count_that_does_not_match_is_named(platform: RunningPlatform, tmp_path: Path, model_id: str) -> None:
    bundle = bundles.iris(tmp_path / "b", model_id)
    edit(bundle, lambda document: document["data"]["features"].pop("petal_width"))
    check = checks_of(platform, bundle, model_id)["adversarial_robustness"]
    assert check["outcome"] == "INCONCLUSIVE"
    assert "4" in check["reason"]
    assert "3" in check["reason"]


# What follows speaks gRPC itself: the command would not send such things.


def header(manifest: bytes, content: bytes, **change: Any) -> registry_service_pb2.UploadHeader:
    file = {"role": model_pb2.FILE_ROLE_ARTIFACT, "path": "m.onnx", "size_bytes": len(content)}
    file |= {"sha256": hashlib.sha256(content).hexdigest(), **change}
    return registry_service_pb2.UploadHeader(
        upload_id=str(uuid.uuid4()), manifest=manifest, files=[model_pb2.BundleFile(**file)]
    )


def upload(
    platform: RunningPlatform, first: registry_service_pb2.UploadHeader, *chunks: tuple[int, bytes]
) -> grpc.StatusCode:
    """Send an upload as it stands; the status it ended with."""

    async def send() -> grpc.StatusCode:
        metadata = (("authorization", f"Bearer {platform.token('platform')}"),)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{platform.ports.service('registry')}") as channel:
            messages = [registry_service_pb2.SubmitModelRequest(header=first)]
            messages += [
                registry_service_pb2.SubmitModelRequest(
                    chunk=registry_service_pb2.UploadChunk(offset=offset, data=data)
                )
                for offset, data in chunks
            ]
            stub = registry_service_pb2_grpc.RegistryServiceStub(channel)
            call = stub.SubmitModel(iter(messages), metadata=metadata, timeout=30)
            return await call.code()

    return asyncio.run(send())


def small_manifest(model_id: str) -> bytes:
    return f"model: {{id: {model_id}, version: '1', artifact: m.onnx, owner: x}}".encode()


def test_uploads_that_are_not_right(platform: RunningPlatform, model_id: str) -> None:
    manifest, content = small_manifest(model_id), np.random.default_rng(1).bytes(1000)
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    assert upload(platform, header(manifest, content), (0, content[:500])) == invalid  # truncated
    assert upload(platform, header(manifest, content), (0, content), (1000, b"more")) == invalid  # oversized
    assert upload(platform, header(manifest, content, sha256="0" * 64), (0, content)) == invalid  # wrong digest
    assert upload(platform, header(manifest, content), (500, content)) == grpc.StatusCode.FAILED_PRECONDITION  # gap
    assert upload(platform, header(manifest, content, path="other.onnx"), (0, content)) == invalid
    assert upload(platform, header(manifest, b"", size_bytes=0)) == invalid
    huge = header(manifest, content, size_bytes=1 << 50)
    assert upload(platform, huge) == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert upload(platform, header(b"model: {", content), (0, content)) == invalid
    assert upload(platform, header(manifest, content), (0, content)) == grpc.StatusCode.OK


def test_an_upload_is_resumed_where_it_broke_off(platform: RunningPlatform, model_id: str) -> None:
    manifest, content = small_manifest(model_id), np.random.default_rng(2).bytes(3000)
    first = header(manifest, content)
    assert upload(platform, first, (0, content[:1000])) is not grpc.StatusCode.OK

    async def received() -> int:
        metadata = (("authorization", f"Bearer {platform.token('platform')}"),)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{platform.ports.service('registry')}") as channel:
            stub = registry_service_pb2_grpc.RegistryServiceStub(channel)
            request = registry_service_pb2.ResumeUploadRequest(upload_id=first.upload_id)
            return (await stub.ResumeUpload(request, metadata=metadata)).received_bytes

    assert asyncio.run(received()) == 1000
    assert upload(platform, first, (1000, content[1000:])) is grpc.StatusCode.OK
