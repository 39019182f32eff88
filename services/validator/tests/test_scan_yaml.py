"""YAML is judged by what its loaders would build, however it is written, and text that is for people stays CLEAN."""

from __future__ import annotations

import base64
import codecs
import json
import os
import pickle
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from vallum_validator.domain.findings import ScanVerdict
from vallum_validator.scan import dispatch, scan_file
from vallum_validator.scan.context import Budget, Context, Ledger, Limits

from .corpus import Payload
from .corpus.generate import Entry, write_index
from .corpus.spellings import keyed, tagged
from .test_scan_formats import zipped
from .test_scan_hostile_formats import README

ROOT = Path(__file__).resolve().parents[3]
MALICIOUS, UNKNOWN, CLEAN = ScanVerdict.MALICIOUS, ScanVerdict.UNKNOWN, ScanVerdict.CLEAN
SPELLINGS = 250
SEED = 20_261_125
CALL = b"python/object/apply:os.system ['touch M']"


def scan(content: bytes) -> Ledger:
    """As part of a file, in this process."""
    ledger = Ledger(100)
    dispatch.inspect(memoryview(content), Context("", 0, ledger, Budget.of(Limits(), len(content)), dispatch.inspect))
    return ledger


def rules(content: bytes) -> set[str]:
    return {finding.rule for finding in scan(content).findings}


def test_no_way_to_write_a_call_that_runs_is_less_than_malicious(tmp_path: Path) -> None:
    entries, verdicts = [], {}
    for number in range(SPELLINGS):
        marker = str(tmp_path / f"marker{number}")
        content = tagged(marker, SEED + number)
        (tmp_path / f"{number}.yaml").write_bytes(content)
        verdicts[marker] = scan(content).verdict
        entries.append(Entry(f"{number}.yaml", content.decode("latin-1"), "yaml", "MALICIOUS", "yaml", marker))
    write_index(tmp_path, entries)
    assert not [entry.marker for entry in entries if os.path.lexists(entry.marker)], "scanning ran a payload"
    command = [sys.executable, "-W", "ignore", "-m", "services.validator.tests.corpus.run", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=280, check=True, cwd=ROOT)
    ran = set(result.stdout.splitlines())
    assert len(ran) > 0.95 * SPELLINGS
    assert [(entry.name, verdicts[entry.marker]) for entry in entries if entry.marker in ran
            and verdicts[entry.marker] is not MALICIOUS] == []  # fmt: skip


def targets(content: bytes) -> Iterator[bool]:
    """For PyYAML's parsers in Python and in C: whether any mapping has `_target_: os.system`, as they read it."""
    for loader in (yaml.SafeLoader, yaml.CSafeLoader):
        pending: list[Any] = []
        try:
            pending += yaml.compose_all(content, loader)
        except yaml.YAMLError:
            yield False
            continue
        found, seen = False, set()
        while pending:
            node = pending.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            if isinstance(node, yaml.SequenceNode):
                pending += node.value
            elif isinstance(node, yaml.MappingNode):
                pending += [part for pair in node.value for part in pair]
                found |= any((key.value, value.value) == ("_target_", "os.system") for key, value in node.value)
        yield found


def test_no_way_to_write_a_target_that_loaders_read_is_less_than_malicious() -> None:
    read, passed = 0, []
    for number in range(SPELLINGS):
        content = keyed("_target_", "os.system", SEED + number)
        if any(targets(content)):
            read += 1
            if scan(content).verdict is not MALICIOUS:
                passed.append(content)
    assert passed == []
    assert read > SPELLINGS / 2


TAGS: Mapping[str, tuple[bytes, ScanVerdict, str, int]] = {
    "escaped": (b"a: !!p%79thon/object/apply:os.system [M]", MALICIOUS, "text.yaml-object", 3),
    "escaped, verbatim": (
        b"a: !<tag:yaml.org,2002:p%79thon/object/apply:os.system> [M]", MALICIOUS, "text.yaml-object", 3),
    "verbatim, escaped to the last letter": (
        b"- x\n- !<%s> [M]" % b"".join(b"%%%02x" % byte for byte in b"tag:yaml.org,2002:" + CALL[:29]),
        MALICIOUS, "text.yaml-object", 6),
    "handle": (b"%TAG !p! tag%3Ayaml.org,2002:pytho\n---\na: !p!n/name:os.system", MALICIOUS, "text.yaml-object", 42),
    "handle, escaped": (
        b"%TAG !p! ta%67:yaml.org,2002:p\n---\na: !p!ython/name:x.y", MALICIOUS, "text.yaml-object", 38),
    "handle behind a document that nothing ends": (
        b"a b !c: d\n%TAG ! tag:yaml.org,2002:p\n---\na: !ython/name:x.y", MALICIOUS, "text.yaml-object", 44),
    "handle of the second document": (
        b"a: 1\n...\n# x\n%TAG ! tag:yaml.org,2002:python/\n---\n!name:x.y\n", MALICIOUS, "text.yaml-object", 50),
    "behind what looks like XML": (b"<a : 1\nb: !!" + CALL, MALICIOUS, "text.yaml-object", 10),
    "behind what looks like LightGBM": (b"tree\nversion=v4\n---\nb: !!" + CALL, MALICIOUS, "text.yaml-object", 23),
    "behind what looks like JSON": (b"{a: 1,\n b: !!" + CALL + b"}", MALICIOUS, "text.yaml-object", 11),
    "in a model card": (b"---\na: !!p%79thon/name:x.y\n---\n# Card\n\nA: b: c\n", MALICIOUS, "text.yaml-object", 7),
    "behind a document that is none": (b"a: b: c\n---\n!!" + CALL, MALICIOUS, "text.yaml-object", 12),
    "before text that is none": (b"!!%70ython/name:x.y ''\nfoo", MALICIOUS, "text.yaml-object", 0),
    "in a document that breaks off": (b"a: !!%70ython/name:x.y\nb: [", MALICIOUS, "text.yaml-object", 3),
    "behind letters of two bytes": ("é: ü\nb: !!p%79thon/name:x.y".encode(), MALICIOUS, "text.yaml-object", 10),
    "behind a comment that ends with a line of Unicode": (
        b"# x\xe2\x80\xa8a: !!p%79thon/name:x.y\nb: []", MALICIOUS, "text.yaml-object", 9),
    "in a key that ends with a line of Unicode": (
        b"a:\xc2\x85  !!p%79thon/name:x.y", MALICIOUS, "text.yaml-object", 6),
    "behind an anchor": (b"a: &x !!p%79thon/name:x.y", MALICIOUS, "text.yaml-object", 6),
    "of a key": (b"? !!p%79thon/name:x.y\n: 1", MALICIOUS, "text.yaml-object", 2),
    "behind a tab, for libyaml": (
        b"%TAG !\ttag:yaml.org,2002:pyth\n---\na:\t!on/name:x.y", MALICIOUS, "text.yaml-object", 37),
    "behind a mark, for libyaml": (
        b"%TAG ! tag:yaml.org,2002:pyth\n---\na:\n\xef\xbb\xbf!on/name:x.y", MALICIOUS, "text.yaml-object", 40),
    "Java": (b"a: !!com.sun.rowset.JdbcRowSetImpl {b: 1}", MALICIOUS, "text.yaml-object", 3),
    "Java, a script engine": (b"!!javax.script.ScriptEngineManager []", MALICIOUS, "text.yaml-object", 0),
    "Ruby": (b"--- !ruby/object:Gem::Installer\ni: x\n", MALICIOUS, "text.yaml-object", 4),
    "JavaScript": (b"a: !!js/function 'x'", MALICIOUS, "text.yaml-object", 3),
    "PHP": (b"a: !php/object 'x'", MALICIOUS, "text.yaml-object", 3),
    "HyperPyYAML": (b"a: !apply:os.system [M]", MALICIOUS, "config.program", 3),
    "HyperPyYAML, a class of its own": (b"a: !new:speechbrain.nnet.Linear\n  n: 1\n", UNKNOWN, "config.remote-code", 3),
    "application's own": (b"a: 1\nb: !Ref x\n", UNKNOWN, "text.yaml-tag", 8),
    "class of an application": (b"!!com.example.Model {a: 1}", UNKNOWN, "text.yaml-tag", 0),
    "tuple of Python": (b"a: !!python/tuple [1, 2]", UNKNOWN, "text.yaml-tag", 3),
    "directive that nothing reads": (b"%TAG !a! tag:x\n---\na: [\n", UNKNOWN, "text.yaml-tag", 0),
}  # fmt: skip


@pytest.mark.parametrize("name", TAGS)
def test_tag_is_judged_however_it_is_written(name: str) -> None:
    content, verdict, rule, offset = TAGS[name]
    ledger = scan(content)
    assert (ledger.verdict, (rule, offset) in {(found.rule, found.offset) for found in ledger.findings}) == (
        verdict, True), ledger.findings  # fmt: skip


@pytest.mark.parametrize("name", [name for name, tag in TAGS.items() if tag[1] is MALICIOUS])
def test_tag_is_found_inside_a_zip_and_behind_a_mark(name: str) -> None:
    content = TAGS[name][0]
    assert scan(zipped({"a/conf": content})).verdict is MALICIOUS
    assert scan(codecs.BOM_UTF8 + content).verdict is MALICIOUS
    assert scan(str(content, "utf-8").encode("utf-16")).verdict is MALICIOUS


KEYS = {
    "flow": b"a: {x: 1, _target_: os.system}",
    "escaped": b'"\\x5ftarget_": os.system',
    "complex": b"? _target_\n: os.system",
    "folded": b"_target_: >-\n  os.system",
    "anchored": b"_target_: &x os.system",
    "tagged": b"_target_: !!str os.system",
    "joined": b'? "_tar\\\n  get_"\n: os.system',
    "alias": b"- &k _target_\n- *k : os.system",
    "behind a line of Unicode": b'# x\xc2\x85"\\x5ftarget_":\xe2\x80\xa8  os.system',
    "merged": b"- &m {_target_: os.system}\n- <<: *m",
    "hidden by a second one": b"a:\n  _target_: os.system\n  _target_: x\n",
    "hidden by a key that is named like its place": b'{? {_target_: os.system} : 1, "": 2, "? 0": 3, b: 1, b: 2}',
    "in a later document": b"a: 1\n---\nb: 2\n---\n- _target_: os.system\n",
    "indented with a tab, for libyaml": b'{\t"\\x5ftarget_": os.system}',
    "behind a mark, for libyaml": b'\xef\xbb\xbf\n\xef\xbb\xbf"\\x5ftarget_": os.system',
    "in front of text that is none": b'"\\x5ftarget_": os.system\n...\n}}}\n',
    "behind a version, for libyaml": b'%YAML 1.1#\n---\n"\\x5ftarget_": os.system',
    "in a mapping in text that no parser reads": b"a: b: c\nd: {e: 1, _target_: os.system}\n",
    "in text that no parser reads": b"a: b: c\n  _target_: os.system\n",
    "logging": b"handlers:\n  h: {(): os.system, command: x}\n",
    "logging, quoted": b'"()": os.system',
}


@pytest.mark.parametrize("name", KEYS)
def test_target_is_judged_however_it_is_written(name: str) -> None:
    assert (scan(KEYS[name]).verdict, "config.program" in rules(KEYS[name])) == (MALICIOUS, True)


@pytest.mark.parametrize(
    "content",
    [
        b'"auto\\u005fmap": {A: x.y}',
        b"{trust_remote_code: 1}",
        b"a: {custom_pipeline: x/y}",
        b"parent_library: evil",
    ],
)
def test_configuration_that_loads_code_is_unknown(content: bytes) -> None:
    assert (scan(content).verdict, rules(content)) == (UNKNOWN, {"config.remote-code"})


def test_configuration_that_loads_none_is_clean() -> None:
    content = b"trust_remote_code: false\nauto_map: null\ncustom_pipeline: ~\n"
    assert (scan(content).verdict, rules(content)) == (CLEAN, set())


@pytest.mark.parametrize("protocol", range(6))
def test_pickle_among_tagged_bytes_is_inspected(protocol: int) -> None:
    for value, verdict in ((os.system, MALICIOUS), ({"a": [1.5]}, CLEAN)):
        text = str(base64.b64encode(pickle.dumps(value, protocol)), "ascii")
        assert scan(f"a: !!binary {text}".encode()).verdict is verdict


def test_bytes_that_are_known_by_nothing_are_told() -> None:
    assert rules(b"a: !!binary AAECyMnKy8zNzs/Q") == {"file.unrecognised"}


def test_what_is_another_format_and_text_at_once_is_read_as_both() -> None:
    sentencepiece = b'\n"\n ": !!' + CALL[:29] + b" ['x'], "
    ledger = scan(b"{U!" + b"a: !!python/name:os.system , bcde" + b"SU!" + b"x" * 33 + b"}")
    assert ledger.verdict is not CLEAN
    assert scan(sentencepiece).verdict is MALICIOUS


def test_text_in_utf_32_is_no_text() -> None:
    assert scan('{"auto_map": {"a": "b"}}'.encode("utf-32")).verdict is UNKNOWN


MERGES = "#version: 0.2\n" + "\n".join(
    f"{a} {b}" for a in ("!", "!!", "Ġ!", "!\"", "$", "Ġt", "gA", "()") for b in ("!", "=", "!!!!", "S", "()", "x%79")
)  # fmt: skip
HONEST: Mapping[str, Callable[[], bytes]] = {
    "README.md": lambda: README + b"""
![image](x.png)
[![badge](https://example.org/x.svg)](https://example.org) !important

```css
a { color: red !important }
```
```yaml
resources: !Ref x
```
`if a != b: print("\\x1b[0m")` calls `main()`. Wow!!! `\\u0061`
```python
pipe = pipeline("x", trust_remote_code=True, model_kwargs={"trust_remote_code": True})
```
""",
    "image.md": lambda: b"![image](python/x.png)\n\n!!! note\n    Words.\n",
    "title.md": lambda: b"# Title\n\n![a](b)\nSome words: and more\n- x\n\n---\n\nImportant: yes, !it is: so\n",
    "model_card.md": lambda: b"---\nlicense: mit\ntags: [a]\n---\n\n![x](y) `_target_` is what hydra calls: a class.\n",
    "merges.txt": MERGES.encode,
    "vocab.txt": lambda: b"!\n!!\n!=\n\"\n#\n()\n[PAD]\n",
    "bert.txt": lambda: b"[PAD]\n[UNK]\n!\n!a\n##!\n()\n\\x\n",
    "vocab.json": lambda: json.dumps({"!": 0, "!!": 1, "Ġ!": 2, "!!python/x": 3, "()": 4, "gASV": 5}).encode(),
    "words.tsv": lambda: b"word\tcount\n!a\t3\n!!b\t4\n",
    "tweets.csv": lambda: b'id,text,label\n1,wow !!so !good,1\n2,"a\n !b: c",0\n3,\\x61 () _target_,1\n',
    "train.log": lambda: b"INFO: begin ()\nINFO: a \\x1b !x\nWARN: !!! slow\nINFO: class_name\n",
    "dated.log": lambda: b"2026-01-01 10:00:00 INFO: begin !x\n2026-01-01 10:00:01 INFO: end ()\n",
    "bracket.log": lambda: b"[INFO] begin !x\n[INFO] end ()\n",
    "LICENSE": lambda: b"MIT License\n\nCopyright (c) 2026 X !y\n\n---\n\nPermission is hereby granted !z\n",
    "env.yaml": lambda: b"channels:\n- conda-forge\ndependencies:\n- python=3.11\n- pip:\n  - mlflow==2.9\nname: env\n",
    "MLmodel": lambda: b"flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n    python_version: 3.11.1\n",
    "dvc.yaml": lambda: b"stages:\n  a:\n    cmd: python a.py ${x}\n    deps: [a.csv]\n    outs: [m: {cache: no}]\n",
    "k8s.yaml": lambda: b"apiVersion: v1\nkind: Pod\n---\nkind: Pod\nspec:\n  ports: [{port: 80, name: \"\\x41\"}]\n",
    "hydra.yaml": lambda: b"defaults:\n- override hydra/launcher: x\nlr: ${oc.env:LR,1}\nname: '${now:%Y}!x'\nf: ()\n",
    "core.yaml": lambda: b"a: !!str 1\nb: !!float 1\nc: !!set {x, y}\nd: ! x\ne: !!omap [a: 1]\nf: !!binary ''\n",
    "names.yaml": lambda: b"a: '!x'\nb: \"!!python\"\nc: x!y\nd: [a!b, '!c']\ne: |\n  !x\n  !!y\n# !z\n",
    "paper.tex": lambda: b"\\documentclass{article}\n% \\TAG x: y !z\n\\begin{a}\\x1 $a != b$ \\\n\\end{a}\n",
    "settings.ini": lambda: b"[a]\n!x = 1\nb = \\x20 ()\n",
    "config.toml": lambda: b"[model]\nclass_name = 'Net'\nx = '!y'\n",
    "notes.txt": lambda: b"!\nsome words\n",
}  # fmt: skip


@pytest.mark.parametrize("name", HONEST)
def test_honest_text_is_clean(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(HONEST[name]())
    report = scan_file(tmp_path / name)
    assert report.verdict is CLEAN, report.findings


@pytest.mark.parametrize(
    "line",
    [
        b"a, b !c () \\x61\n",
        b"! !! !a () \\x61\n",
        b"[INFO] !a ()\n",
        b"a \xe2\x80\xa8 !b\n",
        b'{"a": "() \\u0061 !b"}\n',
        b"target params os.system logging. filename version handlers ext://\n",
        b"INFO target: a.b params: os.system logging.x: filename: version: handlers:\n",
    ],
)
def test_long_text_is_clean_however_suspicious(line: bytes) -> None:
    assert scan(b"words\n" + line * (1024**2 // len(line))).verdict is CLEAN
    assert scan(b"# v: 1\n" + line * (1024**2 // len(line))).verdict is CLEAN


BOMBS: Mapping[str, Callable[[], bytes]] = {
    "aliases": lambda: b"".join(
        b"a%d: &a%d [%s, !!str x]\n" % (level, level, b", ".join([b"*a%d" % (level - 1)] * 9) if level else b"x")
        for level in range(9)
    ),
    "aliases in merges": lambda: (
        b"a0: &a0 {x: !!str 1}\n"
        + b"".join(b"a%d: &a%d {<<: [%s]}\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 99)) for n in range(1, 99))
    ),
    "depth in flow": lambda: b"- !!str x\n- " + b"[" * 1_000_000,
    "depth in blocks": lambda: b"!!seq\n" + b"- " * 500_000,
    "depth of mappings": lambda: b"!!map\n" + b"? " * 500_000,
    "items": lambda: b"!!seq [" + b"a," * 500_000 + b"]",
    "items and tabs": lambda: b"!!seq [\t" + b"a," * 500_000 + b"]",
    "words and tabs": lambda: b"- !!str x\n- \t" + b"a b " * 250_000,
    "keys": lambda: b"!!map {" + b"a:," * 330_000 + b"}",
    "pairs": lambda: b"!!seq [" + b"a:," * 330_000 + b"]",
    "tags": lambda: b"[" + b"!!s ," * 200_000 + b"]",
    "anchors": lambda: b"- !!str x\n" + b"- &a\n" * 200_000,
    "quoted": lambda: b'- !!str "' + b"\\x61" * 250_000 + b'"',
    "comments": lambda: b"a: !!str 1\n" + b"#\n" * 500_000,
    "documents": lambda: b"--- !!str\n" * 110_000,
    "empty documents": lambda: b"!!str\n" + b"---\n" * 250_000,
    "directives": lambda: b"%A\n" * 330_000 + b"--- !!str x",
    "handles": lambda: b"".join(b"%%TAG !a%d! x\n" % n for n in range(60_000)) + b"--- !!str x",
    "tags in the bytes": lambda: b"a: b: c\n" + b"!a-" * 330_000,
    "verbatim tags in the bytes": lambda: b"a: b: c\n" + b"!<" * 500_000,
    "comments that might be directives": lambda: b"!!str x\n" + b"---\n#" + b"\xe2\x80\x80" * 340_000 + b"\n",
}
"""A megabyte of each, whatever it costs a loader."""
READ = {"tags in the bytes", "verbatim tags in the bytes", "comments that might be directives"}
"""Of these, those that are harmless and may be read to their end."""
SECONDS, MEBIBYTES = 5, 300


@pytest.mark.parametrize("name", BOMBS)
def test_bomb_costs_little_and_is_not_clean(name: str, tmp_path: Path) -> None:
    (tmp_path / "bomb").write_bytes(BOMBS[name]())
    program = (
        "import sys, pathlib, resource; from vallum_validator.scan import scan_file\n"
        "print(scan_file(pathlib.Path(sys.argv[1])).verdict.value)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)"
    )

    def bounded() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (4 * SECONDS, 4 * SECONDS))

    command = [sys.executable, "-c", program, tmp_path / "bomb"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, preexec_fn=bounded, check=True)
    verdict, mebibytes = result.stdout.split()
    assert verdict == "UNKNOWN" or name in READ
    assert int(mebibytes) < MEBIBYTES


def test_scanning_makes_nothing(tmp_path: Path) -> None:
    marker = Payload(str(tmp_path / "marker")).marker
    for seed in range(50):
        scan(tagged(marker, seed))
    assert list(tmp_path.iterdir()) == []
