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
        b'{"model": {"target": "mypackage.Net", "params": {"x": 1}}}',
        b'{"class_path": "mypackage.Net", "init_args": {}}',
        b'{"flavors": {"python_function": {"loader_module": "my_loader"}}}',
        b"flavors:\n  python_function:\n    loader_module: my_loader\n",
        b'{"py/object": "mypackage.Net", "x": 1}',
        b'{"py/reduce": [{"py/id": 1}]}',
        b'{"__instance_type__": ["mypackage", "Net"], "attributes": {}}',
        b'{"model_type": "llama", "attn_implementation": "evil/kernel@main:f"}',
        b'{"unet": ["my_unet", "Net", {"repo": "a/b"}]}',
        b'{"custom_imports": {"imports": ["mypackage"]}}',
        b'{"version": 1, "handlers": {"h": {"class": "mypackage.H"}}}',
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
        b'{"target": "prod.europe", "type": "a.b", "class": "x.y", "params_count": 1}',
        b'{"target": "classification", "params": {"a": 1}}',
        b'{"attn_implementation": "flash_attention_2", "_attn_implementation": null}',
        b'{"flavors": {"python_function": {"loader_module": "mlflow.sklearn"}}}',
        b'{"version": 1, "handlers": {"h": {"class": "logging.StreamHandler"}}}',
        b'{"unet": ["diffusers", "UNet2DModel", {"repo": "a/b"}], "vae": [null, null, {"repo": "a/b"}]}',
        b'{"py/tuple": [1, 2]}',
        b'{"template_path": "prompts/a.txt"}',
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


@pytest.mark.parametrize(
    "content",
    [
        b'{"model": {"target": "subprocess.Popen", "params": {"args": ["true"]}}}',
        b"model:\n  target: subprocess.check_call\n  params:\n    args: ['true']\n",
        b"model: {'target': os.system}\n",
        b"model:\n  type: os.system\n  command: 'true'\n",
        b"class_path: subprocess.Popen\ninit_args:\n  args: ['true']\n",
        b'{"py/reduce": [{"py/function": "posix.system"}, {"py/tuple": ["true"]}]}',
        b'{"py/object": "subprocess.Popen", "py/newargs": {"py/tuple": [["true"]]}}',
        b'{"py/repr": "os/os.system(0)"}',
        b'{"model": {"type": "os.system", "command": "true"}}',
        b'{"handlers": {"h": {"class": "subprocess.Popen", "args": ["true"]}}}',
    ],
)
def test_configuration_that_runs_a_program_is_malicious(content: bytes) -> None:
    """As latent diffusion's `instantiate_from_config`, jsonargparse, jsonpickle, mmengine and `logging` call them."""
    assert (scan(content).verdict, "config.program" in rules(content)) == (MALICIOUS, True)


def test_template_that_is_read_from_elsewhere_is_malicious() -> None:
    content = b'{"_type": "prompt", "template_path": "/etc/passwd"}'
    assert (scan(content).verdict, rules(content)) == (MALICIOUS, {"config.outside-file"})


_LOGGING = "[loggers]\nkeys=root\n[handlers]\nkeys=h\n[formatters]\nkeys=f\n[logger_root]\nhandlers=h\n[handler_h]\n"


@pytest.mark.parametrize(
    "line",
    [
        "args=(__import__('os').system('true'),)",
        "args = (\n  open('x', 'w'),)",
        "kwargs: {'stream': os._exit}",
        "class=eval('1')",
        "args=%(here)s",
        "class=os.system",
        "class = exec",
    ],
)
def test_python_in_a_configuration_of_logging_is_malicious(line: str) -> None:
    """`logging.config.fileConfig` ran each of them."""
    content = f"{_LOGGING}class=StreamHandler\n{line}\n".encode()
    assert (scan(content).verdict, rules(content)) == (MALICIOUS, {"config.program"})


@pytest.mark.parametrize(
    "line",
    ["args=(sys.stdout,)", "args=('a.log', 'w', 1024, 5)", "kwargs={'delay': True}", "args=()", "class=FileHandler"],
)
def test_plain_configuration_of_logging_is_clean(line: str) -> None:
    assert (scan(f"{_LOGGING}{line}\n[formatter_f]\nformat=%(asctime)s (%(name)s)\n".encode()).verdict) is CLEAN


def test_log_that_is_written_elsewhere_is_not_clean() -> None:
    content = b'{"version": 1, "handlers": {"h": {"class": "logging.FileHandler", "filename": "/etc/cron.d/x"}}}'
    assert (scan(content).verdict, rules(content)) == (UNKNOWN, {"config.file"})
