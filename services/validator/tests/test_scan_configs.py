"""Configurations that make a loader import, fetch, call or unpickle something, and their honest neighbours."""

from __future__ import annotations

import base64
import json
import os
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import yaml

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


def events(document: Any, **changes: str) -> bytes:
    """YAML with every text in it changed."""
    found = list(yaml.parse(yaml.safe_dump(document)))
    for number, event in enumerate(found):
        if isinstance(event, yaml.ScalarEvent) and (event.style or isinstance(yaml.safe_load(event.value), str)):
            event.implicit = (True, True)
            for name, value in changes.items():
                setattr(event, name, value.format(number))
    return str(yaml.emit(found)).encode()


FORMS: Mapping[str, Callable[[Any], bytes]] = {
    "JSON": lambda document: json.dumps(document).encode(),
    "JSON with a comment": lambda document: json.dumps(document).encode() + b"\n# x\n",
    "YAML": lambda document: yaml.safe_dump(document).encode(),
    "YAML in one line": lambda document: yaml.safe_dump(document, default_flow_style=True).encode(),
    "YAML with anchors": lambda document: events(document, anchor="a{}"),
    "YAML with folded text": lambda document: events(document, style=">"),
    "YAML with slashes that are escaped": lambda document: f"{json.dumps(document)}\n# x\n".replace(
        "/", r"\/"
    ).encode(),
}
"""All are the same document to whoever loads it."""
in_each_form = pytest.mark.parametrize("form", FORMS)


def reformed(content: bytes, form: str) -> bytes:
    document = yaml.safe_load(content)
    written = FORMS[form](document)
    assert yaml.safe_load(written) == document
    return written


@pytest.mark.parametrize(
    "content",
    [
        b'[{"idx": 0, "name": "0", "path": "", "type": "custom_st.Module"}]',
        b'{"_class_name": ["my_pipeline", "P"], "unet": ["diffusers", "UNet2DModel"]}',
        b'{"_class_name": "StableDiffusionPipeline", "unet": ["my_unet", "Net"]}',
        b'{"unet": ["my_unet", "Net"], "vae": ["diffusers", "AutoencoderKL"]}',
        b'{"unet": ["my_unet", "Net", {"repo": "a/b"}]}',
    ],
)
def test_configuration_that_is_read_as_json_and_loads_code_is_unknown(content: bytes) -> None:
    """Those of diffusers and sentence-transformers, which read no YAML."""
    assert (scan(content).verdict, rules(content)) == (UNKNOWN, {"config.remote-code"})


@in_each_form
@pytest.mark.parametrize(
    "content",
    [
        b'{"auto_mapping": {"base_model_class": "Net", "parent_library": "evil.module"}}',
        b'{"a": {"()": "mypackage.Handler"}}',
        b'{"model": {"target": "mypackage.Net", "params": {"x": 1}}}',
        b'{"class_path": "mypackage.Net", "init_args": {}}',
        b'{"flavors": {"python_function": {"loader_module": "my_loader"}}}',
        b'{"py/object": "mypackage.Net", "x": 1}',
        b'{"py/reduce": [{"py/id": 1}]}',
        b'{"__instance_type__": ["mypackage", "Net"], "attributes": {}}',
        b'{"model_type": "llama", "attn_implementation": "evil/kernel@main:f"}',
        b'{"custom_imports": {"imports": ["mypackage"]}}',
        b'{"version": 1, "handlers": {"h": {"class": "mypackage.H"}}}',
        b'{"version": 1, "formatters": {"f": {"class": "mypackage.F"}}}',
        b'{"version": 1, "filters": {"f": {"()": "mypackage.F"}}}',
        b'{"version": 1, "handlers": {"h": {"class": "logging.StreamHandler", "stream": "ext://mypackage.x"}}}',
        b'{"version": 1, "filters": {"f": {"()": "ext://mypackage.F", "names": ["ext://mypackage.x"]}}}',
    ],
)
def test_configuration_that_loads_code_is_unknown(content: bytes, form: str) -> None:
    content = reformed(content, form)
    assert (scan(content).verdict, rules(content)) == (UNKNOWN, {"config.remote-code"})


@in_each_form
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
        b'{"version": 1, "handlers": {"h": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout"}}}',
        b'{"version": 1, "formatters": {"f": {"class": "logging.Formatter"}}, "filters": {"f": {"name": "a"}}}',
        b'{"version": 1, "handlers": {"h": {"class": "logging.FileHandler", "filename": "logs/a.log"}}}',
        b'{"unet": ["diffusers", "UNet2DModel", {"repo": "a/b"}], "vae": [null, null, {"repo": "a/b"}]}',
        b'{"py/tuple": [1, 2]}',
        b'{"template_path": "prompts/a.txt"}',
        b'{"model": {"vocab": {"gA": 1, "()": 2}, "merges": ["gA Something", "g AS", "( )"]}}',
    ],
)
def test_configuration_that_loads_none_is_clean(content: bytes, form: str) -> None:
    content = reformed(content, form)
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


@in_each_form
@pytest.mark.parametrize("name", ["os.system", "ext://os.system", "logging.os.system"])
def test_function_that_a_configuration_of_logging_calls_is_judged(name: str, form: str) -> None:
    content = FORMS[form]({"formatters": {"f": {"()": name, "command": "true"}}})
    assert (scan(content).verdict, rules(content)) == (MALICIOUS, {"config.program"})


@in_each_form
@pytest.mark.parametrize(
    "content",
    [
        b'{"model": {"target": "subprocess.Popen", "params": {"args": ["true"]}}}',
        b"model:\n  target: subprocess.check_call\n",
        b"model: {'target': os.system}\n",
        b"model:\n  type: os.system\n  command: 'true'\n",
        b"class_path: subprocess.Popen\ninit_args:\n  args: ['true']\n",
        b'{"py/reduce": [{"py/function": "posix.system"}, {"py/tuple": ["true"]}]}',
        b'{"py/object": "subprocess.Popen", "py/newargs": {"py/tuple": [["true"]]}}',
        b'{"py/repr": "os/os.system(0)"}',
        b'{"model": {"type": "os.system", "command": "true"}}',
        b'{"handlers": {"h": {"class": "subprocess.Popen", "args": ["true"]}}}',
        b'{"version": 1, "handlers": {"h": {"class": "logging.os.system", "command": "true"}}}',
        b'{"version": 1, "formatters": {"f": {"class": "ext://os.system"}}}',
        b'{"a": ["ext://os.system"]}',
        b'{"class": "posix.system"}',
        b'{"class": "runpy.run_path"}',
        b'{"fn": "builtins.exec"}',
        b'{"func": "pty.spawn"}',
        b'{"factory": "importlib.import_module"}',
    ],
)
def test_configuration_that_runs_a_program_is_malicious(content: bytes, form: str) -> None:
    """As latent diffusion's `instantiate_from_config`, jsonargparse, jsonpickle, mmengine and `logging` call them."""
    content = reformed(content, form)
    assert (scan(content).verdict, "config.program" in rules(content)) == (MALICIOUS, True)


@in_each_form
@pytest.mark.parametrize("key", ["template_path", "prefix_path", "suffix_path", "prompt_path", "example_prompt_path"])
def test_template_that_is_read_from_elsewhere_is_malicious(key: str, form: str) -> None:
    content = FORMS[form]({"_type": "prompt", key: "/etc/passwd"})
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


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("blank", ["", " ", "\t", "\u2003"])
@pytest.mark.parametrize(
    "section",
    [
        "{0}[handler_h]{1}{0}args=(open('x', 'w'),){1}",
        "[handler_h]{1}{0}args=(open('x', 'w'),){1}",
        "[handler_h]{1}{0}class=os.system{1}",
        "[handler_h]{1}# x{1}{1}{0}{0}ARGS : ({1}{0}{0}{0}{0}open('x', 'w'),){1}",
        "[DEFAULT]{1}{0}args=(open('x', 'w'),){1}[handler_h]{1}",
        "no option{1}[formatter_h]{1}{0}class=os.system{1}",
    ],
    ids=range(6),
)
def test_python_in_a_configuration_of_logging_is_malicious_however_it_is_indented(
    section: str, blank: str, end: str
) -> None:
    """What `configparser` takes for an option of a section is one, wherever its line stands."""
    content = f"[loggers]{end}{section.format(blank, end)}".encode()
    assert (scan(content).verdict, rules(content)) == (MALICIOUS, {"config.program"})


def test_line_of_blanks_in_a_configuration_of_logging_costs_no_more_than_its_length() -> None:
    content = b"[handler_h]\nargs=()\na" + b" " * 900_000 + b"b\nclass=os.system\n"
    assert scan(content).verdict is MALICIOUS


@pytest.mark.parametrize(
    "line",
    ["args=(sys.stdout,)", "args=('a.log', 'w', 1024, 5)", "kwargs={'delay': True}", "args=()", "class=FileHandler"],
)
def test_plain_configuration_of_logging_is_clean(line: str) -> None:
    assert (scan(f"{_LOGGING}{line}\n[formatter_f]\nformat=%(asctime)s (%(name)s)\n".encode()).verdict) is CLEAN


@in_each_form
@pytest.mark.parametrize("kind", ["logging.FileHandler", "ext://logging.FileHandler"])
def test_log_that_is_written_elsewhere_is_not_clean(kind: str, form: str) -> None:
    content = FORMS[form]({"version": 1, "handlers": {"h": {"class": kind, "filename": "/etc/cron.d/x"}}})
    assert (scan(content).verdict, rules(content)) == (UNKNOWN, {"config.file"})
