"""Protocol buffers as text: graphs of TensorFlow, networks of Caffe, settings of Triton. Their loaders read no others.

`tf.saved_model.load` takes `saved_model.pbtxt` where there is no `saved_model.pb`, and what is in it runs the same.
Nothing is parsed into messages: operators are searched by how they stand in the text, and what cannot be followed in it
(paths through functions) makes a whole SavedModel UNKNOWN.
"""

from __future__ import annotations

from typing import Final

from vallum_validator.scan.context import Context, shown
from vallum_validator.scan.expressions import later
from vallum_validator.scan.formats.tensorflow import DENIED, known_operators

_SPACE: Final = rb"(?:\s|#[^\n]*+)*+"
_TEXT: Final = rb"(?:\"(?:[^\"\\\n]|\\.)*+\"|'(?:[^'\\\n]|\\.)*+')"
_MESSAGE: Final = later(
    rb"(?<![\w.])(?:(saved_model_schema_version|meta_graphs)|(graph_def|node|node_def|versions)|(op_type|ir_version)|"
    rb"(python_param)|(op_library_filename))%b[:{<]" % _SPACE
)
_MAY_BE: Final = (
    *map(later, (rb"meta_graphs", rb"op_type", rb"python_param", rb"op_library_filename")),
    later(rb"node(?:_def)?%b[:{<]" % _SPACE),
)
"""One by one they are found sooner than together."""
_OPERATOR: Final = later(rb"(?<![\w.])op%b:%b(%b(?:%b%b)*+)" % (_SPACE, _SPACE, _TEXT, _SPACE, _TEXT))


def inspect_textproto(data: memoryview, context: Context) -> None:
    """Report what a loader of such text would run or load; other text loses nothing."""
    if not any(sign.search(data) for sign in _MAY_BE):
        return
    kinds = _kinds(data)
    if "saved-model" in kinds or "graph" in kinds:
        _operators(data, context)
    if "saved-model" in kinds:
        context.report("file.unsupported", "a SavedModel in text cannot be judged here")
    if "onnx" in kinds:
        context.report("file.unsupported", "ONNX in text cannot be judged here")
    if "caffe" in kinds:
        context.report("config.remote-code", "a layer is of a Python class that the network names")
    if "triton" in kinds:
        context.report("config.remote-code", "the configuration loads a library of operators")


def _kinds(data: memoryview) -> set[str]:
    found = {match.lastindex for match in _MESSAGE.finditer(data)}
    names = {1: "saved-model", 2: "graph", 3: "onnx", 4: "caffe", 5: "triton"}
    return {names[index] for index in found if index}


def _operators(data: memoryview, context: Context) -> None:
    seen: set[bytes] = set()
    for found in _OPERATOR.finditer(data):
        if found[1] in seen:
            continue
        seen.add(found[1])
        # Pieces that follow each other are one text, and an escape may stand for a letter: then it is on no list.
        name = str(found[1][1:-1], "utf-8", "replace")
        if name in DENIED:
            context.report("tensorflow.operator-denied", f"the graph uses {shown(name)}", found.start())
        elif name not in known_operators():
            context.report("tensorflow.operator-unknown", f"the graph uses {shown(name)}", found.start())
