"""Protocol buffers as text. TensorFlow loaded the first of these from `saved_model.pbtxt`, and it wrote a file."""

from __future__ import annotations

import pytest

from vallum_validator.domain.findings import ScanVerdict

from .test_scan_configs import scan

MALICIOUS, UNKNOWN, CLEAN = ScanVerdict.MALICIOUS, ScanVerdict.UNKNOWN, ScanVerdict.CLEAN


_GRAPH = 'node {\n  name: "a"\n  op: "Placeholder"\n}\nnode {\n  name: "b"\n  op%s"%s"\n}\nversions { producer: 1 }\n'


@pytest.mark.parametrize("between", [": ", ":", " : ", ":\n  # x\n  "])
def test_operator_of_a_graph_in_text_is_judged(between: str) -> None:
    """TensorFlow loads `saved_model.pbtxt` like `saved_model.pb`."""
    for operator, verdict in (("WriteFile", MALICIOUS), ("Evil", UNKNOWN), ("Relu", CLEAN)):
        assert scan((_GRAPH % (between, operator)).encode()).verdict is verdict
    assert scan((_GRAPH % (between, 'Write" "File')).encode()).verdict is UNKNOWN
    assert scan((_GRAPH % (between, "\\127riteFile")).encode()).verdict is UNKNOWN
    whole = f"saved_model_schema_version: 1\nmeta_graphs {{ graph_def {{ {_GRAPH % (between, 'WriteFile')} }} }}\n"
    assert scan(whole.encode()).verdict is MALICIOUS


@pytest.mark.parametrize(
    "text",
    [
        "saved_model_schema_version: 1\nmeta_graphs { }\n",
        'ir_version: 8\ngraph { node { op_type: "Evil" domain: "x" } }\n',
        'layer {\n name: "l"\n type: "Python"\n python_param {\n module: "evil"\n layer: "L"\n }\n}\n',
        'name: "m"\nmodel_operations { op_library_filename: ["/tmp/evil.so"] }\n',
    ],
)
def test_text_of_protocol_buffers_that_cannot_be_judged_is_unknown(text: str) -> None:
    assert scan(text.encode()).verdict is UNKNOWN


def test_fields_need_no_space_between_them() -> None:
    assert scan(b'library{}node{name:"a"op:"WriteFile"}versions{producer:1}').verdict is MALICIOUS
    assert scan(b'layer{type:"Python"python_param{module:"evil"}}').verdict is UNKNOWN
    assert scan(b'model_operations<op_library_filename:"evil.so">').verdict is UNKNOWN


@pytest.mark.parametrize(
    "text",
    [
        'name: "m"\nbackend: "onnxruntime"\ninput [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]\n',
        'item {\n  id: 1\n  name: "cat"\n}\n',
        'layer {\n name: "conv1"\n type: "Convolution"\n convolution_param { num_output: 20 }\n}\n',
    ],
)
def test_plain_text_of_protocol_buffers_is_clean(text: str) -> None:
    assert scan(text.encode()).verdict is CLEAN
