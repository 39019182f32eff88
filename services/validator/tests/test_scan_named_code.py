"""What configurations name: functions that act under whatever key, keys of single frameworks, and other notations.

The attacks on MONAI, monty, hydra, HyperPyYAML, MLflow, hickle, TensorFlow, torch's lite interpreter, jinja2 and
`logging.config` were each loaded by the real loader, and ran.
"""

from __future__ import annotations

import pytest

from vallum_validator.domain.findings import ScanVerdict
from vallum_validator.scan.formats.harmful_names import evaluates, is_harmful

from .test_scan_configs import FORMS, in_each_form, reformed, rules, scan

MALICIOUS, UNKNOWN, CLEAN = ScanVerdict.MALICIOUS, ScanVerdict.UNKNOWN, ScanVerdict.CLEAN


@in_each_form
@pytest.mark.parametrize(
    "content",
    [
        b'{"model": {"_component_": "os.system", "command": "true"}}',
        b'{"__kind__": "instance", "class": "pathlib.Path.touch", "args": ["x"]}',
        b'{"__kind__": "instance", "class": "builtins.getattr", "args": []}',
        b'{"@module": "os", "@callable": "system", "@bound": null}',
        b'{"@module": "os", "@class": "system"}',
        b'{"chainer": {"pipe": [{"class_name": "subprocess:getoutput", "cmd": "true"}]}}',
        b'{"nodes": {"a": {"uses": "subprocess.Popen", "fn": "x"}}}',
        b'{"network_arch_class_name": "os.system"}',
        b'{"custom_objects": {"a": "shutil.rmtree"}}',
        b'{"model": {"type": "torch.hub.load", "repo": "a/b"}}',
        b'{"model_class": "os.abort"}',
        b'{"m": {"_target_": "joblib.load", "filename": "x"}}',
        b'{"anything": "transformers.utils.os.system"}',
        b'{"anything": "ctypes.cdll.LoadLibrary"}',
        b'{"anything": "os.system.__call__"}',
        b'{"anything": "pandas.io.pickle.pickle.loads"}',
        b'{"anything": "importlib.util.spec_from_file_location"}',
    ],
)
def test_function_that_acts_is_malicious_under_whatever_key(content: bytes, form: str) -> None:
    content = reformed(content, form)
    assert (scan(content).verdict, "config.program" in rules(content)) == (MALICIOUS, True)


@pytest.mark.parametrize(
    "name",
    ["os.path", "os.name", "model.load", "torch.nn.ReLU", "my.os.systems", "system", "numpy.float32", "a.open", "os"],
)
def test_name_of_anything_else_is_no_harmful_function(name: str) -> None:
    assert not is_harmful(name)


def test_word_of_a_vocabulary_is_no_call() -> None:
    assert (
        scan(b'{"id2label": {"0": "os.system"}, "vocab": {"os.system": 1}, "merges": ["os.system"]}').verdict is CLEAN
    )


EXPRESSIONS = (
    "$__import__('os').system('true')",
    "$open('x', 'w').write('y')",
    "$getattr(@a, 'sys' + 'tem')('true')",
    "$[c for c in ().__class__.__base__.__subclasses__()]",
    "$(\n__import__('os')\n.system\n('true')\n)",
    "$(" + " " * 30_000 + "__import__('os').system('true'))",
    "__import__('os').system('true')",
    "lambda: exec('1')",
    "subprocess.run(['true'])",
    "getattr(torch.x, 'sys' + 'tem')('true')",
    "().__class__.__base__.__subclasses__()",
    "globals()['x']",
    "$from shutil import copyfile as c",
    "$from os import path, system",
    "list(map(eval, ['1']))",
    "(lambda f: f('true'))(os.system)",
    "print.__self__.eval('1')",
    "(x for x in []).gi_frame.f_builtins['eval']('1')",
    "[open][0]('x', 'w')",
    "list(map(open, ['x'], ['w']))",
    "map(getattr, [print], ['eval'])",
)


@pytest.mark.parametrize("form", ["JSON", "YAML", "YAML in one line"])
@pytest.mark.parametrize("text", EXPRESSIONS, ids=range(len(EXPRESSIONS)))
def test_expression_that_acts_is_malicious(text: str, form: str) -> None:
    """MONAI evaluates what follows `$`; YOLOv5 evaluates what it finds in the place of a layer."""
    for document in ({"device": text}, {"backbone": [[-1, 1, text, [64]]]}):
        content = FORMS[form](document)
        assert (scan(content).verdict, rules(content) >= {"config.program"}) == (MALICIOUS, True)


def test_blanks_hide_no_expression() -> None:
    for text in ("__import__('os').system('true')" + " " * 400_000, "\n" * 400_000 + "__import__('os').system('true')"):
        assert scan(FORMS["JSON"]({"names": text})).verdict is MALICIOUS


def test_expression_that_is_too_long_to_read_is_unknown_and_prose_is_not() -> None:
    long = "[" + "0.5," * 100_000 + "__import__('os').system('true')]"
    content = FORMS["JSON"]({"names": long})
    assert (scan(content).verdict, rules(content)) == (UNKNOWN, {"limit.reached"})
    assert scan(FORMS["JSON"]({"description": "The model (v1.5) predicts. " * 20_000})).verdict is CLEAN


@pytest.mark.parametrize("text", ["$import os", "$from glob import glob as c", "$c('a', 'b')", "$@net.to(1)"])
def test_import_and_call_that_monai_evaluates_are_unknown(text: str) -> None:
    for content in (FORMS["JSON"]({"imports": [text]}), FORMS["YAML"]({"imports": [text]})):
        assert (scan(content).verdict, rules(content)) == (UNKNOWN, {"config.remote-code"})


@pytest.mark.parametrize(
    "text",
    [
        "Call eval(x), or open(file).",
        "costs $5 (five)",
        "$x(t)$ is a signal",
        "f(x) = os.system",
        "import os",
        "os.system",
        "mean(open) / mean(close)",
        "torch.__version__ (built)",
    ],
)
def test_text_that_is_no_expression_evaluates_nothing(text: str) -> None:
    assert not evaluates(text)


@pytest.mark.parametrize("form", ["JSON", "YAML", "YAML with anchors"])
@pytest.mark.parametrize(
    "content",
    [
        b'{"nemo_version": "1.2", "target": "evil.module.Model"}',
        b'{"characters": {"characters_class": "evil.module.Characters"}}',
        b'{"components": {"a": {"type": "evil.module.Component", "init_parameters": {}}}}',
        b'{"common": {"user_dir": "./evil"}, "task": {"_name": "x"}}',
        b'{"flavors": {"tensorflow": {"keras_module": "evil"}}}',
        b'{"flavors": {"python_function": {"loader_module": "mlflow.sklearn", "code": "code"}}}',
        b'{"flavors": {"python_function": {"loader_module": "mlflow.pyfunc.model", "model_code_path": "agent"}}}',
        b'{"flavors": {"xgboost": {"model_class": "evil.f", "model_format": "xgb"}}}',
    ],
)
def test_framework_that_imports_what_its_configuration_names_is_unknown(content: bytes, form: str) -> None:
    content = reformed(content, form)
    assert (scan(content).verdict, rules(content)) == (UNKNOWN, {"config.remote-code"})


@pytest.mark.parametrize(
    "content",
    [
        b'{"peft_type": "LORA", "megatron_config": {"a": 1}, "megatron_core": "evil"}',
        b'{"in_features": 1, "activation_function": "torch.hub.set_dir"}',
        b'{"sentence_transformers": {"activation_fn": "evil.f"}}',
        b'{"chainer": {}, "metadata": {"imports": ["evil"]}}',
        b'{"class": "joblib.numpy_pickle", "sparkVersion": "3.5.0", "paramMap": {}}',
        b'{"decoder": {"session_options": {"custom_ops_library": "evil.so"}}}',
        b'{"types": {"query_0": "evil.Module"}, "structure": {"query": ["query_0"]}}',
        b'{"zarr_format": 2, "dtype": "|O", "filters": [{"id": "pickle", "protocol": 5}]}',
        b'{"name": "m", "module": "evil", "signatures": {}, "context": {}}',
        b'{"text_cfg": {"hf_trust_remote_code": true}}',
        b'{"name": "m", "implementation": "evil.module.Runtime", "parameters": {"uri": "./m"}}',
        b'{"provider": "autogen_core.tools.FunctionTool", "config": {"source_code": "x", "global_imports": []}}',
        b'{"irVersion": "8", "graph": {"node": [{"opType": "Evil", "domain": "x"}]}}',
    ],
)
def test_configuration_that_is_only_read_as_json_and_loads_code_is_unknown(content: bytes) -> None:
    assert (scan(content).verdict, rules(content)) == (UNKNOWN, {"config.remote-code"})


@in_each_form
@pytest.mark.parametrize(
    "content",
    [
        b'{"peft_type": "LORA", "megatron_config": null, "megatron_core": "megatron.core"}',
        b'{"in_features": 1, "activation_function": "torch.nn.modules.activation.Tanh"}',
        b'{"activation_function": "gelu_new", "activation_fn": "silu"}',
        b'{"types": {"q": "sentence_transformers.models.Transformer"}, "structure": {"query": ["q"]}}',
        b'{"nemo_version": "1.2", "target": "nemo.collections.asr.models.EncDecCTCModel"}',
        b'{"optimizer": {"type": "torch.optim.AdamW"}, "class": "sklearn.svm.SVC", "file_type": "img.JPG"}',
        b'{"flavors": {"xgboost": {"model_class": "xgboost.sklearn.XGBClassifier", "code": null}}}',
        b'{"class": "org.apache.spark.ml.PipelineModel", "sparkVersion": "3.5.0", "paramMap": {}}',
        b'{"name": "m", "implementation": "mlserver_sklearn.SKLearnModel", "parameters": {"uri": "./m"}}',
        b'{"weight_map": {"a": "model-00001-of-00002.safetensors"}}',
    ],
)
def test_framework_that_imports_nothing_of_the_author_is_clean(content: bytes, form: str) -> None:
    content = reformed(content, form)
    assert (scan(content).verdict, rules(content)) == (CLEAN, set())


@pytest.mark.parametrize("shard", ["../../x/pytorch_model.bin", "/tmp/model.bin"])
def test_shard_outside_the_folder_is_malicious(shard: str) -> None:
    content = FORMS["JSON"]({"metadata": {}, "weight_map": {"a": shard}})
    assert (scan(content).verdict, rules(content)) == (MALICIOUS, {"config.outside-file"})


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ('[m]\n_target_ = "os.system"\ncommand = "true"\n', MALICIOUS),
        ('[m]\n"\\u005ftarget_" = "os.system"\n', MALICIOUS),
        ('_target_ = "os.system"\n', MALICIOUS),
        ("[m]\nclass_path = os.system\n", MALICIOUS),
        ("[m]\nname: resnet\nactivation = $__import__('os').system('true')\n", MALICIOUS),
        ("[components.a.model.transformer_config]\ntrust_remote_code = true\n\n[a b]\nx = [1,\n  2]\n", UNKNOWN),
        ('[m]\ntype = "evil.module.Model"\n', UNKNOWN),
        ('[tool]\nname = "x"\n[model]\ntype = "torch.nn.Linear"\nurl = "https://x.org/?a=b"\n', CLEAN),
        ("[DEFAULT]\nlr = 0.1\n[model]\nclass = torch.nn.ReLU\n", CLEAN),
    ],
)
def test_configuration_in_toml_or_ini_is_walked(text: str, verdict: ScanVerdict) -> None:
    assert scan(text.encode()).verdict is verdict


@pytest.mark.parametrize("padding", ["# pad\n" * 200_000, 'a = "b"\n' * 150_000])
def test_long_toml_is_unknown_behind_its_padding(padding: str) -> None:
    content = f'{padding}[x]\nfn = "os.system"\n'.encode()
    assert (scan(content).verdict, "limit.reached" in rules(content)) == (UNKNOWN, True)


def test_number_that_python_refuses_hides_nothing() -> None:
    content = f'n = {"1" * 5_000}\nimport os; os.system("true")\nfn = "os.system"\n'.encode()
    assert (scan(content).verdict, "scan.failed" in rules(content)) == (UNKNOWN, False)


def test_package_that_is_named_like_a_known_one_is_somebody_elses() -> None:
    assert scan(FORMS["JSON"]({"implementation": "mlserver_mine.Runtime"})).verdict is UNKNOWN
    assert scan(FORMS["JSON"]({"implementation": "mlserver_sklearn.SKLearnModel"})).verdict is CLEAN


@pytest.mark.parametrize("line", ["import os; os.system('true')", "__import__('os').system('true')", "exec('1')"])
def test_program_of_one_line_is_unknown(line: str) -> None:
    content = f"{line}\n".encode()
    assert (scan(content).verdict, rules(content)) == (UNKNOWN, {"file.program"})


@pytest.mark.parametrize("tag", ["apply", "applyref"])
def test_every_tag_of_hyperpyyaml_that_calls_is_malicious(tag: str) -> None:
    content = f"a: !{tag}:os.system\n  - 'true'\n".encode()
    assert (scan(content).verdict, "config.program" in rules(content)) == (MALICIOUS, True)


def test_name_of_very_many_parts_costs_no_more_than_its_length() -> None:
    """Reading it in TOML took the memory of the machine."""
    content = b"_target_ = 'x'\n" + b"a." * 300_000 + b"a = 1\n"
    assert (scan(content).verdict, rules(content)) == (UNKNOWN, {"limit.reached"})


def test_brackets_in_text_that_is_no_yaml_cost_no_more_than_their_number() -> None:
    """Each of them was the beginning of a search through all that follow: half a minute for 300,000."""
    content = b"a = " + b"[" * 300_000 + b"_target_: os.system\n"
    assert scan(content).verdict is MALICIOUS
