"""Configurations that make a loader import, fetch, call or unpickle something, and their honest neighbours."""

from __future__ import annotations

import base64
import json
import os
import pickle
from typing import Any

import pytest

from vallum_validator.domain.findings import ScanVerdict
from vallum_validator.scan import dispatch
from vallum_validator.scan.context import Budget, Context, Ledger, Limits

MALICIOUS, UNKNOWN, CLEAN = ScanVerdict.MALICIOUS, ScanVerdict.UNKNOWN, ScanVerdict.CLEAN


def scan(content: bytes) -> Ledger:
    """As part of a file, in this process."""
    ledger = Ledger(100)
    dispatch.inspect(memoryview(content), Context("", 0, ledger, Budget.of(Limits(), len(content)), dispatch.inspect))
    return ledger


def rules(content: bytes) -> set[str]:
    return {finding.rule for finding in scan(content).findings}


@pytest.mark.parametrize(
    "content",
    [
        b'{"auto_mapping": {"base_model_class": "Net", "parent_library": "evil.module"}}',
        b'[{"idx": 0, "name": "0", "path": "", "type": "custom_st.Module"}]',
        b'{"_class_name": ["my_pipeline", "P"], "unet": ["diffusers", "UNet2DModel"]}',
        b'{"_class_name": "StableDiffusionPipeline", "unet": ["my_unet", "Net"]}',
        b'{"unet": ["my_unet", "Net"], "vae": ["diffusers", "AutoencoderKL"]}',
        b'{"a": {"()": "mypackage.Handler"}}',
    ],
)
def test_configuration_that_loads_code_is_unknown(content: bytes) -> None:
    assert (scan(content).verdict, rules(content)) == (UNKNOWN, {"config.remote-code"})


@pytest.mark.parametrize(
    "content",
    [
        b'{"auto_mapping": {"base_model_class": "BertModel", "parent_library": "transformers.models.bert"}}',
        b'[{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]',
        b'{"_class_name": "P", "_diffusers_version": "1", "vae": ["diffusers", "V"], "e": ["transformers", "C"]}',
        b'{"optimizer": {"betas": [0.9, 0.99]}, "labels": ["cat", "dog"], "pair": ["a", "b"]}',
        b'{"model": {"vocab": {"gA": 1, "()": 2}, "merges": ["gA Something", "g AS", "( )"]}}',
    ],
)
def test_configuration_that_loads_none_is_clean(content: bytes) -> None:
    assert (scan(content).verdict, rules(content)) == (CLEAN, set())


@pytest.mark.parametrize("protocol", range(6))
def test_pickle_in_base64_is_inspected(protocol: int) -> None:
    class Attack:
        def __reduce__(self) -> Any:
            return os.system, ("touch M",)

    hostile = str(base64.b64encode(pickle.dumps(Attack(), protocol)), "ascii")
    harmless = str(base64.b64encode(pickle.dumps({"a": [1.5]}, protocol)), "ascii")
    for text, verdict in ((hostile, MALICIOUS), (harmless, CLEAN)):
        assert scan(json.dumps({"policy": {":serialized:": text}}).encode()).verdict is verdict
        if protocol > 1:
            assert scan(json.dumps({"state": text}).encode()).verdict is verdict
    # What decoders pass over, and the alphabet for addresses.
    junk = f"..{hostile[:5]}\n{hostile[5:]}"
    assert scan(json.dumps({":serialized:": junk}).encode()).verdict is MALICIOUS
    for_addresses = hostile.translate(str.maketrans("+/", "-_"))
    assert scan(json.dumps({":serialized:": for_addresses}).encode()).verdict is MALICIOUS


def test_function_that_a_configuration_of_logging_calls_is_judged() -> None:
    content = json.dumps({"formatters": {"f": {"()": "os.system", "command": "true"}}}).encode()
    assert (scan(content).verdict, rules(content)) == (MALICIOUS, {"config.program"})
