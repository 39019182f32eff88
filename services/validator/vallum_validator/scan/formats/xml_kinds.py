"""What an XML document is, by its root, and what its elements make those do who load it.

Only PMML, OpenVINO, OpenCV and drawings without scripts are known. Much else in XML builds objects of whatever class it
names (java.beans.XMLDecoder, XStream, Spring, XAML): such a document is a program.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from vallum_validator.scan.context import Context, shown
from vallum_validator.scan.expressions import later
from vallum_validator.scan.formats.pages import HANDLER, SCRIPT_ADDRESS

_PMML: Final = later(r"(?:https?://www\.dmg\.org/(?:PMML|v)[\w./-]{1,40})?\Z")
_SVG: Final = frozenset({"", "http://www.w3.org/2000/svg"})
_DECODED: Final = frozenset(
    {"java", "object", "void", "new", "array", "class", "string", "method", "property", "field", "var", "null", "char",
     "byte", "short", "int", "long", "float", "double", "boolean", "true", "false"}
)  # fmt: skip
"""What `java.beans.XMLDecoder` reads, each as root, too. Source: OpenJDK, com.sun.beans.decoder.DocumentHandler."""
_XSTREAM: Final = frozenset(
    {"dynamic-proxy", "sorted-set", "sorted-map", "tree-set", "tree-map", "linked-hash-map", "linked-hash-set",
     "concurrent-hash-map", "java-class", "root-cause", "no-comparator"}
)  # fmt: skip
"""Names that XStream has for classes of Java, and nothing else for anything."""
_SHAPES: Final = {
    "beans": "Spring's description of objects, which are built when it is loaded",
    "blueprint": "a description of objects, which are built when it is loaded",
    "stylesheet": "XSLT, which is a program",
    "transform": "XSLT, which is a program",
    "html": "a web page, not a model",
}
_HONEST: Final = frozenset({"PMML", "net", "svg", "opencv_storage"})
_PROGRAMS: Final = later(
    r"https?://xml\.apache\.org/(?:xalan|xslt)|xalan://|https?://(?:saxon\.sf\.net|icl\.com/saxon)|https?://php\.net/xsl|"
    r"https?://www\.oracle\.com/XSL/Transform/java|https?://exslt\.org/(?:functions|dynamic)|java:|"
    r"clr-namespace:System\.(?:Diagnostics|IO|Management|Reflection)"
)
"""Namespaces through which a stylesheet or XAML calls code."""
INCLUSION: Final = later(r"https?://www\.w3\.org/200[13]/XInclude\Z")
"""The namespace of what has other documents put in its place."""
_JAVA_CLASS: Final = later(r"[a-z][\w-]*(?:\.[\w$-]+){1,20}\Z")
_GADGET: Final = (
    r"java\.lang\.(?:ProcessBuilder|Runtime|Process|ClassLoader|Thread)|java\.beans\.EventHandler|java\.net\.URL\w*|"
    r"java\.util\.(?:ServiceLoader|PriorityQueue)|java\.rmi\.|java\.security\.|javax?\.(?:script|naming|management|imageio)"
    r"\.|javax\.crypto\.|javax\.xml\.|jdk\.nashorn|com\.sun\.|sun\.|org\.apache\.(?:commons\.(?:collections|beanutils|"
    r"configuration|jelly)|xalan|bcel|xbean|wicket)|org\.codehaus\.groovy\.|groovy\.|org\.springframework\.(?:aop|beans|"
    r"context|expression|jndi)|com\.mchange\.|com\.rometools\.|org\.hibernate\.|org\.mozilla\.javascript|bsh\.|"
    r"ObjectDataProvider|System\.Diagnostics\.Process|ExpandedWrapper|WindowsIdentity"
)
"""Classes that run what they are given. Source: XStream's own security page; mbechler/marshalsec; ysoserial(.net)."""
_RUNS: Final = later(rf"(?:[\w-]+:)?(?:{_GADGET})")
NAMES_GADGET: Final = later(
    rf"<(?:{_GADGET})|<dynamic-proxy[\s>]|[\"'](?:{_GADGET})|\bclass\s?=\s?[\"'][a-z]\w*\.\w".encode()
)
"""In text that is no whole XML: a loader that reads as it goes has run it before the text breaks off."""
_EXPRESSION: Final = later(r"#\{.*\bT\s*\(", re.DOTALL)
_OPERATORS: Final = later(r"(?:opset\d{1,2}|type_relaxed_opset|ie_internal_opset|experimental)\Z")
"""Of OpenVINO itself; any other set comes from a library that is loaded beside the model."""
_ACTIVE: Final = frozenset({"script", "handler", "iframe", "embed", "object", "applet"})
_EXTENSION_SCRIPT: Final = later(r"script|groovy|beanshell", re.IGNORECASE)
_LOOKED_AT_IN_PMML: Final = frozenset({"Apply", "DefineFunction", "Extension", "script", "Script", "SCRIPT"})
_MAX_NAMES: Final = 100_000


def is_known_root(name: str) -> bool:
    """Whether a document that begins so is meant as XML, even where it breaks off."""
    local = name.rpartition(":")[2]
    return local in _HONEST or local in _SHAPES or local == "java" or local in _XSTREAM or bool(_RUNS.match(name))


class Judge:
    """Holds elements against what a document of that root may have.

    Args:
        context: where findings go.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self.root = ""
        self._look: Callable[[str, dict[str, str], Callable[[], int]], None] = self._objects
        self._names: frozenset[str] | None = None
        self._defined: set[str] = set()
        self._applied: dict[str, int] = {}

    def element(self, name: str, attributes: list[str], depth: int, offset: Callable[[], int]) -> None:
        """Judge one element.

        Args:
            name: with its prefix.
            attributes: names and values in turn.
            depth: 1 for the root.
            offset: tells where it stands.
        """
        local = name.rpartition(":")[2] if ":" in name else name
        if depth == 1:
            self._begin(local, name, dict(zip(attributes[::2], attributes[1::2], strict=True)))
        for index in range(0, len(attributes), 2):
            if attributes[index].startswith("xmlns"):
                self._namespace(attributes[index + 1], offset)
        if self._names is None or local in self._names:
            self._look(local, dict(zip(attributes[::2], attributes[1::2], strict=True)), offset)

    def close(self) -> None:
        """Judge what could not be before the end."""
        for function, place in self._applied.items():
            if function not in self._defined:
                what = f"applies {shown(function)}, which evaluators take for a class of Java"
                self._context.report("config.remote-code", what, place)

    def _begin(self, local: str, name: str, named: dict[str, str]) -> None:
        self.root = local
        prefix = name.partition(":")[0] if ":" in name else ""
        space = named.get(f"xmlns:{prefix}" if prefix else "xmlns", "")
        if local == "PMML" and _PMML.match(space):
            self._look, self._names = self._pmml, _LOOKED_AT_IN_PMML
        elif local == "net" and not space and named.get("version", "").isdigit():
            self._look, self._names = self._openvino, frozenset({"layer"})
        elif local == "svg" and space in _SVG:
            self._look = self._drawing
        elif local == "opencv_storage" and not space:
            self._names = frozenset()  # numbers and text by names, and classifiers of its own
        else:
            self._unknown(local, space)

    def _unknown(self, local: str, space: str) -> None:
        if local == "html":
            self._look = self._drawing
            self._context.report("text.page", "the text is a web page, not a model", 0)
        elif local in _SHAPES:
            self._context.report("text.xml-unknown", f"the document is {_SHAPES[local]}", 0)
        else:
            of = f" of {shown(space)}" if space else ""
            what = f"the root element is {shown(local)}{of}: no format of models that is known here"
            self._context.report("text.xml-unknown", what, 0)

    def _namespace(self, space: str, offset: Callable[[], int]) -> None:
        if INCLUSION.match(space):
            self._context.report("text.xml-external", f"includes other documents, by {shown(space)}", offset())
        elif self.root not in _HONEST and _PROGRAMS.match(space):
            self._context.report("config.program", f"calls code through the namespace {shown(space)}", offset())

    def _pmml(self, local: str, named: dict[str, str], offset: Callable[[], int]) -> None:
        if local == "Apply":
            function = named.get("function", "")
            if _JAVA_CLASS.match(function) and len(self._applied) < _MAX_NAMES:
                self._applied.setdefault(function, offset())
        elif local == "DefineFunction" and len(self._defined) < _MAX_NAMES:
            self._defined.add(named.get("name", ""))
        elif local == "Extension" and _EXTENSION_SCRIPT.search(named.get("name", "")):
            self._context.report("text.xml-script", f"an extension is named {shown(named['name'])}", offset())
        elif local.lower() == "script":
            self._context.report("text.xml-script", f"holds the element {shown(local)}", offset())

    def _openvino(self, local: str, named: dict[str, str], offset: Callable[[], int]) -> None:
        version = named.get("version")
        if local == "layer" and version is not None and not _OPERATORS.match(version):
            what = f"the layer {shown(named.get('type'))} is of the operator set {shown(version)}"
            self._context.report("openvino.operator-unknown", what, offset())

    def _drawing(self, local: str, named: dict[str, str], offset: Callable[[], int]) -> None:
        if local.lower() in _ACTIVE:
            self._context.report("text.xml-script", f"holds the element {shown(local)}", offset())
        for key, value in named.items():
            if HANDLER.fullmatch(key):
                self._context.report("text.xml-script", f"the attribute {shown(key)} holds a script", offset())
            elif any(SCRIPT_ADDRESS.match(part) for part in value.split(";")):
                self._context.report("text.xml-script", f"{shown(key)} leads to {shown(value[:80])}", offset())

    def _objects(self, local: str, named: dict[str, str], offset: Callable[[], int]) -> None:
        """An element of a document of no known kind, which may be a description of objects."""
        if local == "script" and self.root in ("stylesheet", "transform"):
            self._context.report("config.program", "the stylesheet holds a script", offset())
        for what in self._built(local, named):
            self._context.report("text.xml-object", what, offset())

    def _built(self, local: str, named: dict[str, str]) -> Iterator[str]:
        kind = named.get("class", "")
        if local == "java" and kind.endswith("XMLDecoder"):
            yield f"{kind} runs the document"
        elif self.root in _DECODED and local in _DECODED and kind:
            yield f"java.beans.XMLDecoder makes a {shown(kind)}"
        elif local == "dynamic-proxy":
            yield "XStream makes a proxy whose calls go wherever the document says"
        elif _RUNS.match(local):
            yield f"XStream makes a {shown(local)}"
        for key, value in named.items():
            if _RUNS.match(value) and not key.startswith("xmlns"):
                yield f"{local} has {shown(key)} {shown(value)}"
            elif _EXPRESSION.search(value):
                yield f"{local} has the expression {shown(value)}"
