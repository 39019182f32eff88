"""XML is read to its last byte: what builds objects is MALICIOUS, what is of no known kind UNKNOWN, text stays text."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from xml.etree import ElementTree

import pytest

from vallum_validator.domain.findings import FileReport, ScanVerdict
from vallum_validator.scan import Limits, scan_file
from vallum_validator.scan.context import Budget, Context, Ledger
from vallum_validator.scan.dispatch import inspect
from vallum_validator.scan.formats.pages import FRAGMENTS

from .corpus import Payload
from .corpus.markup import HONEST, NOT_CLEAN, OBJECTS, attacks

MEGABYTE = 1_000_000
BUILT = {attack.name: attack.build for attack in attacks()}
PMML = '<PMML xmlns="http://www.dmg.org/PMML-4_4" version="4.4">'


def scan(folder: Path, data: bytes, name: str = "file") -> FileReport:
    (folder / name).write_bytes(data)
    return scan_file(folder / name)


def rules(report: FileReport) -> set[str]:
    return {finding.rule for finding in report.findings}


@pytest.mark.parametrize("name", OBJECTS)
def test_what_builds_objects_is_malicious(name: str, tmp_path: Path) -> None:
    report = scan(tmp_path, BUILT[f"XML: {name}"](Payload(str(tmp_path / "marker"))))
    assert report.verdict is ScanVerdict.MALICIOUS, report
    assert rules(report) & {"text.xml-object", "text.xml-external", "config.program"}
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("name", NOT_CLEAN)
def test_what_is_broken_or_of_no_known_kind_is_unknown(name: str, tmp_path: Path) -> None:
    report = scan(tmp_path, BUILT[f"XML: {name}"](Payload("")))
    assert report.verdict is ScanVerdict.UNKNOWN, report
    assert NOT_CLEAN[name][1] in rules(report) | {""}


@pytest.mark.parametrize("name", HONEST)
def test_honest_xml_and_text_that_looks_like_it_is_clean(name: str, tmp_path: Path) -> None:
    expected, text = HONEST[name]
    report = scan(tmp_path, text.encode(), name)
    assert (report.verdict, report.format) == (ScanVerdict.CLEAN, expected), report


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1", "windows-1252", "iso-8859-15"])
def test_honest_encodings_are_read(encoding: str, tmp_path: Path) -> None:
    declared = encoding.removesuffix("-sig")
    text = f'<?xml version="1.0" encoding="{declared}"?>{PMML}<Header copyright="Prüfstand é"/></PMML>'
    assert scan(tmp_path, text.encode(encoding)).verdict is ScanVerdict.CLEAN
    hostile = text.replace("<Header", "<script/><Header")
    assert rules(scan(tmp_path, hostile.encode(encoding))) == {"text.xml-script"}


@pytest.mark.parametrize("encoding", ["utf-7", "cp037", "utf-16-le", "utf-16-be", "utf-32", "shift_jis", "iso2022_jp"])
def test_encodings_that_are_not_read_are_unknown(encoding: str, tmp_path: Path) -> None:
    text = f'<?xml version="1.0" encoding="{encoding}"?><java class="java.beans.XMLDecoder"/>'
    assert scan(tmp_path, text.encode(encoding)).verdict is not ScanVerdict.CLEAN


@pytest.mark.parametrize("length", range(1, 190, 7))
def test_cut_anywhere_it_is_not_clean(length: int, tmp_path: Path) -> None:
    text = f'<?xml version="1.0"?>{PMML}<Header/><TreeModel functionName="regression"><Node/></TreeModel></PMML>'
    assert scan(tmp_path, text.encode()).verdict is ScanVerdict.CLEAN
    assert (
        scan(tmp_path, text.encode()[: -length if length < len(text) - 1 else 1], "m.pmml").verdict
        is not ScanVerdict.CLEAN
    )


def test_a_function_that_the_document_defines_is_no_class(tmp_path: Path) -> None:
    uses = f'{PMML}<LocalTransformations><Apply function="a.b"/></LocalTransformations>'
    assert rules(scan(tmp_path, f"{uses}</PMML>".encode())) == {"config.remote-code"}
    assert rules(scan(tmp_path, f'{uses}<DefineFunction name="a.b"/></PMML>'.encode())) == set()


def test_place_of_what_is_found_is_told(tmp_path: Path) -> None:
    data = f"{PMML}{'<Header/>' * 20_000}<Extension><script/></Extension></PMML>".encode()
    (finding,) = scan(tmp_path, data).findings
    assert finding.offset == data.index(b"<script")


def _declared(count: int) -> str:
    entities = "".join(f'<!ENTITY e{index} "{f"&e{index - 1};" * 10}">' for index in range(1, count))
    return f'<!DOCTYPE a [<!ENTITY e0 "{"x" * 1000}">{entities}]>'


BOMBS: Mapping[str, Callable[[], str]] = {
    "elements in elements": lambda: "<a>" * (MEGABYTE // 3),
    "elements in elements of a model": lambda: PMML + "<Node>" * (MEGABYTE // 6),
    "a million elements": lambda: "<x>" + "<y/>" * (MEGABYTE // 4) + "</x>",
    "attributes": lambda: "<PMML " + " ".join(f'a{index}=""' for index in range(MEGABYTE // 11)) + "/>",
    "attributes of one hash": lambda: "<PMML " + " ".join(f'a{index:05}="x"' for index in range(MEGABYTE // 11)) + "/>",
    "a long attribute": lambda: f'<PMML a="{"x" * 2 * MEGABYTE}"/>',
    "a long name": lambda: f"<{'x' * MEGABYTE * 2}/>",
    "a long comment": lambda: f"<!--{'-' + 'x' * 2 * MEGABYTE}--><x/>",
    "a long instruction": lambda: f"<?x {'x' * 2 * MEGABYTE}?><x/>",
    "a long namespace": lambda: f'<x xmlns="{"x" * (MEGABYTE // 2)}">' + "<y/>" * (MEGABYTE // 8) + "</x>",
    "a billion laughs": lambda: f"{_declared(12)}<a>&e11;</a>",
    "quadratic blow-up": lambda: (
        f'<!DOCTYPE a [<!ENTITY e "{"x" * (MEGABYTE // 2)}">]><a>{"&e;" * (MEGABYTE // 6)}</a>'
    ),
    "entities in an attribute": lambda: f'{_declared(12)}<a b="{"&e11;" * 1000}"/>',
    "parameter entities": lambda: (
        "<!DOCTYPE a [" + "".join(f'<!ENTITY % p{n} "%p{n - 1};">' for n in range(30_000)) + "]><a/>"
    ),
    "entities without number": lambda: (
        "<!DOCTYPE a [" + "".join(f'<!ENTITY e{n} "">' for n in range(50_000)) + "]><a/>"
    ),
    "content model": lambda: f"<!DOCTYPE a [<!ELEMENT a {'(' * (MEGABYTE // 2)}b{')' * (MEGABYTE // 2)}>]><a/>",
    "comments without end": lambda: "<!--" * (MEGABYTE // 4),
    "tags without end": lambda: "<PMML " * (MEGABYTE // 6),
    "page of comments": lambda: "<html>" + "<!--" * (MEGABYTE // 4),
    "page of quotes": lambda: "<html>" + "<a b='" * (MEGABYTE // 6),
    "page of tags": lambda: "<html>" + "<a " * (MEGABYTE // 3),
    "page of code": lambda: "<html>" + "`a``b" * (MEGABYTE // 5),
    "page of names": lambda: "<html><a" + " b" * (MEGABYTE // 2),
}
_MEASURED = """
import sys
from pathlib import Path
from vallum_validator.scan import scan_file
print(scan_file(Path(sys.argv[1])).verdict.value)
"""


@pytest.mark.parametrize("name", BOMBS)
def test_bomb_of_a_megabyte_is_unknown_within_its_limits(name: str, tmp_path: Path) -> None:
    """A file of a megabyte may take five seconds of processor time and 300 MiB; no bomb comes to that."""
    assert (Limits().processor_s(MEGABYTE), Limits().memory(MEGABYTE)) <= (5, 300 * 1024**2)
    data = BOMBS[name]().encode()
    report = scan(tmp_path, data)
    assert report.verdict is ScanVerdict.UNKNOWN, report
    assert not rules(report) & {"limit.wall-time", "limit.memory"}


def test_memory_does_not_grow_with_the_document(tmp_path: Path) -> None:
    (tmp_path / "m.pmml").write_bytes(f"{PMML}{'<Header/>' * 1_500_000}</PMML>".encode())
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_DATA, (200 * 1024**2,) * 2){_MEASURED}"
    result = subprocess.run(
        [sys.executable, "-c", limited, str(tmp_path / "m.pmml")], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["CLEAN"], result


def mutated(text: str, chance: random.Random) -> bytes:
    """The text with some pieces of it cut, doubled, moved or replaced by what XML is made of."""
    for _ in range(chance.randint(1, 4)):
        start = chance.randrange(len(text) + 1)
        end = min(len(text), start + chance.choice([0, 1, 4, 40]))
        piece = chance.choice(
            ["", "<", ">", "/>", "<!--", "-->", "]]>", "&#106;", "xmlns:i='x'", "\ud7ff", text[start:end] * 2]
        )
        text = text[:start] + piece + text[end:]
    return text.encode()


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_mutated_no_document_of_another_kind_is_clean(seed: int) -> None:
    """ElementTree tells what is a document; the scan never raises, and passes none but of the kinds it knows."""
    chance = random.Random(seed)
    texts = [write(Payload("/marker")) for write in OBJECTS.values()] + [text for _, text in HONEST.values()]
    for _ in range(400):
        data = mutated(chance.choice(texts), chance)
        ledger = Ledger(100)
        inspect(memoryview(data), Context("", 0, ledger, Budget.of(Limits(), len(data)), inspect))
        if ledger.verdict is ScanVerdict.CLEAN:
            try:
                root = str(ElementTree.fromstring(data).tag).rpartition("}")[2]
            except ElementTree.ParseError:
                continue
            assert root in {"PMML", "net", "svg", "opencv_storage"} or root.lower() in FRAGMENTS, data
