"""The closed list of what a scan can find, what each finding does to the verdict, and how much it matters.

A rule id is a promise: SARIF consumers, waivers and policies refer to it. A finding that is not on this list cannot be
reported, so no inspector can invent a severity of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from vallum_validator.domain.findings import ScanVerdict, Severity

_CLEAN, _MALICIOUS, _UNKNOWN = ScanVerdict.CLEAN, ScanVerdict.MALICIOUS, ScanVerdict.UNKNOWN
_INFO, _LOW, _MEDIUM, _HIGH, _CRITICAL = (
    Severity.INFO,
    Severity.LOW,
    Severity.MEDIUM,
    Severity.HIGH,
    Severity.CRITICAL,
)


class Rule(NamedTuple):
    """What a finding means.

    Args:
        id: stable name, `<area>.<what>`.
        verdict: the best verdict a file with this finding can still get.
        severity: how much it matters to a person.
        meaning: one sentence for whoever reads the report.
    """

    id: str
    verdict: ScanVerdict
    severity: Severity
    meaning: str


_LIST: Final = (
    Rule("scan.failed", _UNKNOWN, _HIGH, "The scanner itself failed on this file; nothing is known about it."),
    Rule("scan.lists-invalid", _UNKNOWN, _HIGH, "An allow-list is not the one that was published; none is trusted."),
    Rule("scan.spool", _UNKNOWN, _HIGH, "No temporary file could be made for what the file expands to."),
    Rule("scan.unconfined", _CLEAN, _LOW, "The file was judged by a process that is confined less than on Linux 6.12."),
    Rule("scan.finding-limit", _CLEAN, _INFO, "More findings than are kept; the verdict counts them all."),
    Rule("limit.reached", _UNKNOWN, _HIGH, "A limit on size, ratio, entries, depth or opcodes ended the scan early."),
    Rule("limit.wall-time", _UNKNOWN, _HIGH, "The scan took longer than a file of this size may take, and was ended."),
    Rule("limit.memory", _UNKNOWN, _HIGH, "The scan needed more memory than a file of this size may take."),
    Rule("limit.spool", _UNKNOWN, _HIGH, "There was no room on the disk for what the file expands to."),
    Rule("opinion.picklescan", _UNKNOWN, _HIGH, "picklescan, which was asked for a second opinion, refuses the file."),
    Rule("opinion.hayward", _UNKNOWN, _HIGH, "hayward, which was asked for a second opinion, refuses the file."),
    Rule("opinion.failed", _CLEAN, _INFO, "A second opinion was asked for and not given; it changes nothing."),
    Rule("file.unreadable", _UNKNOWN, _HIGH, "The file could not be opened or read."),
    Rule("file.not-regular", _UNKNOWN, _HIGH, "Not a plain file: a folder, device, pipe or a link that leads nowhere."),
    Rule("file.empty", _UNKNOWN, _MEDIUM, "The file has no bytes."),
    Rule("file.changed", _UNKNOWN, _HIGH, "The file changed while it was scanned."),
    Rule("file.unrecognised", _UNKNOWN, _MEDIUM, "No known format matches the content."),
    Rule("file.unsupported", _UNKNOWN, _MEDIUM, "The format is known and cannot be judged here."),
    Rule("file.extension", _UNKNOWN, _MEDIUM, "The name promises another format than the content has."),
    Rule("file.program", _UNKNOWN, _HIGH, "The content is a program or a script, not data."),
    Rule("file.polyglot", _UNKNOWN, _HIGH, "Bytes before, between or after the parts of the format are not explained."),
    Rule(
        "file.polyglot-pickle", _MALICIOUS, _CRITICAL, "A pickle hides in bytes that another format explains as data."
    ),
    Rule("format.broken", _UNKNOWN, _HIGH, "The content breaks the rules of its format."),
    Rule("pickle.broken", _UNKNOWN, _HIGH, "The opcodes end early, underflow the stack or cannot be decoded."),
    Rule("pickle.trailing-bytes", _UNKNOWN, _HIGH, "Bytes after the last STOP are not a pickle."),
    Rule("pickle.global-denied", _MALICIOUS, _CRITICAL, "A global is named that runs code, reads or writes files."),
    Rule("pickle.global-unlisted", _UNKNOWN, _HIGH, "A global is named that no allow-list knows."),
    Rule("pickle.global-computed", _MALICIOUS, _CRITICAL, "The name of a global is computed, not written."),
    Rule("pickle.call-denied", _MALICIOUS, _CRITICAL, "A callable is called that loading an honest model never calls."),
    Rule("pickle.call-unlisted", _UNKNOWN, _HIGH, "A callable is called that is not on an allow-list of callables."),
    Rule("pickle.call-of-result", _MALICIOUS, _CRITICAL, "The result of a call is itself called."),
    Rule("pickle.build-on-global", _MALICIOUS, _CRITICAL, "BUILD changes a class, function or module."),
    Rule("pickle.class-changed", _MALICIOUS, _CRITICAL, "BUILD makes an object one of another class."),
    Rule("pickle.companion-file", _UNKNOWN, _HIGH, "The loader reads another file, with whatever pickle is in it."),
    Rule("pickle.store-in-global", _MALICIOUS, _CRITICAL, "Items are stored in a class, function or module."),
    Rule("pickle.extension-code", _UNKNOWN, _HIGH, "EXT names a global by a number only the loading process knows."),
    Rule("pickle.persistent-id", _UNKNOWN, _HIGH, "A persistent id is resolved by the loading program."),
    Rule("pickle.buffer", _UNKNOWN, _MEDIUM, "A buffer outside the stream is needed."),
    Rule("pickle.payload-text", _MALICIOUS, _CRITICAL, "A call that is not listed is given a command or program text."),
    Rule("pickle.memo-bomb", _UNKNOWN, _HIGH, "A memo index is far above the number of entries."),
    Rule("archive.link", _MALICIOUS, _CRITICAL, "An archive holds a link or device."),
    Rule("archive.traversal", _MALICIOUS, _CRITICAL, "An archive holds a path that leads out of it."),
    Rule("archive.duplicate", _UNKNOWN, _HIGH, "Two entries have one name: readers disagree which is meant."),
    Rule("archive.header-mismatch", _UNKNOWN, _HIGH, "The local header and the directory of a zip disagree."),
    Rule("archive.checksum", _UNKNOWN, _HIGH, "The content of an entry does not have the CRC that is written."),
    Rule("archive.name", _UNKNOWN, _HIGH, "Readers disagree on the name of an entry."),
    Rule("archive.encrypted", _UNKNOWN, _HIGH, "An entry is encrypted."),
    Rule("skops.type-denied", _MALICIOUS, _CRITICAL, "A skops schema names a type that runs code or touches files."),
    Rule("skops.type-unlisted", _UNKNOWN, _HIGH, "A skops schema names a type that no allow-list knows."),
    Rule("skops.loader-unknown", _UNKNOWN, _HIGH, "A skops schema uses a loader that is not known."),
    Rule("onnx.operator-unknown", _UNKNOWN, _HIGH, "An operator is neither in a standard domain nor defined here."),
    Rule("onnx.external-path", _MALICIOUS, _CRITICAL, "External tensor data lies outside the model's folder."),
    Rule("onnx.external-data", _UNKNOWN, _MEDIUM, "Tensor data lies in another file."),
    Rule("onnx.size-bomb", _UNKNOWN, _HIGH, "A small file declares a tensor of enormous size."),
    Rule("onnx.tensor-size", _UNKNOWN, _HIGH, "The data of a tensor has another size than its shape says."),
    Rule("gguf.layout", _UNKNOWN, _HIGH, "Tensors overlap, leave holes or do not fill the file."),
    Rule("torch.operator-denied", _MALICIOUS, _CRITICAL, "TorchScript calls an operator that reads or writes files."),
    Rule("torch.operator-unknown", _UNKNOWN, _HIGH, "TorchScript calls an operator that is not torch's own."),
    Rule("keras.module-unknown", _UNKNOWN, _HIGH, "A Keras configuration names code outside Keras."),
    Rule("tensorflow.operator-denied", _MALICIOUS, _CRITICAL, "An operator reads or writes files, or runs Python."),
    Rule("tensorflow.operator-unknown", _UNKNOWN, _HIGH, "An operator that no list knows."),
    Rule("hdf5.external", _MALICIOUS, _CRITICAL, "The file reads other files through a link."),
    Rule("hdf5.size-bomb", _UNKNOWN, _HIGH, "A data set of enormous size is described, and its data is not there."),
    Rule("secret.found", _UNKNOWN, _CRITICAL, "The content holds a credential."),
    Rule("personal.found", _CLEAN, _MEDIUM, "The content holds personal data."),
    Rule("safetensors.layout", _UNKNOWN, _HIGH, "Tensors overlap, leave holes or do not fit their shape."),
    Rule("config.remote-code", _UNKNOWN, _HIGH, "The configuration makes the loader fetch and run code."),
    Rule("config.file", _UNKNOWN, _HIGH, "The configuration names a file that is read when it is loaded."),
    Rule("config.outside-file", _MALICIOUS, _CRITICAL, "The configuration reads a file outside the model's folder."),
    Rule("config.program", _MALICIOUS, _CRITICAL, "The configuration holds a program that runs when it is loaded."),
    Rule("text.yaml-object", _MALICIOUS, _CRITICAL, "A YAML tag makes a loader build objects or call functions."),
    Rule("text.yaml-tag", _UNKNOWN, _HIGH, "A YAML tag is not one of YAML's own: only the application knows its type."),
    Rule("text.xml-entity", _UNKNOWN, _HIGH, "The XML declares a document type or entities."),
    Rule("text.xml-external", _MALICIOUS, _CRITICAL, "The XML reads a file or an address through an entity."),
    Rule("text.xml-object", _MALICIOUS, _CRITICAL, "The XML makes its loader build objects that run code."),
    Rule("text.xml-script", _UNKNOWN, _HIGH, "The text holds a script, which a viewer or evaluator runs."),
    Rule("text.xml-unknown", _UNKNOWN, _MEDIUM, "The XML is of no kind that is known to keep models."),
    Rule("text.page", _UNKNOWN, _MEDIUM, "The text is a web page, not a model."),
    Rule("openvino.operator-unknown", _UNKNOWN, _HIGH, "A layer is of an operator set that a library must bring."),
    Rule("metadata.licence", _CLEAN, _INFO, "The metadata names the licence."),
    Rule("metadata.base-model", _CLEAN, _INFO, "The metadata names the model this one was made from."),
    Rule("reference.refused", _UNKNOWN, _HIGH, "The format's own parser refuses the file."),
    Rule("reference.disagrees", _UNKNOWN, _HIGH, "The format's own parser finds something else in the file."),
    Rule("reference.crashed", _UNKNOWN, _HIGH, "The format's own parser broke on the file, or did not end."),
    Rule("reference.unavailable", _UNKNOWN, _MEDIUM, "The format's own parser could not be asked, safely confined."),
    Rule("template.escape", _MALICIOUS, _CRITICAL, "A template reaches for Python internals."),
    Rule("template.suspicious", _UNKNOWN, _HIGH, "A template uses what an honest chat template does not need."),
)

RULES: Final[Mapping[str, Rule]] = {rule.id: rule for rule in _LIST}
"""Every rule by its id."""
