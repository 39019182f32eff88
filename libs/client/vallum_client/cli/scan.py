"""`vallum scan`: what a person, a pipeline and a pre-commit hook run on files, without a server.

It has to start as fast as it scans a small file, so it imports neither typer nor rich nor protobuf: its options are
argparse's and its table is plain text. It never ends with 0 unless every file is CLEAN and it could say so.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from vallum_client.cli.exits import Exit, visible
from vallum_common.errors import Invalid

if TYPE_CHECKING:
    from vallum_validator.domain.findings import FileReport, ScanReport

_FORMATS: Final = ("table", "json", "sarif")
_EXITS: Final = {"CLEAN": Exit.GOOD, "MALICIOUS": Exit.NO, "UNKNOWN": Exit.COULD_NOT_TELL}
_UNCONFINED: Final = "scan.unconfined"
_COLOURS: Final = {"CLEAN": "32", "MALICIOUS": "31", "UNKNOWN": "33"}
_WIDTH: Final = 80
_INDENT: Final = "    "
_HELP: Final = """\
Scan model files statically: nothing of them is loaded, run or imported.
Folders are searched; a link to a folder is not followed and not passed over.
"""
_EXAMPLES: Final = """\
Each file is CLEAN (every byte is understood and harmless), MALICIOUS, or
UNKNOWN (not understood, a limit was reached, or it could not be read).

exit codes:
  0  every file is CLEAN
  1  a file is MALICIOUS
  2  a file is UNKNOWN, and none MALICIOUS
  3  wrong use, or nothing to scan
  4  the command failed, or its output could not be written

examples:
  vallum scan model.pkl
  vallum scan models/ --format sarif --output vallum.sarif
  vallum scan model.joblib --json
  vallum scan model.pkl --second-opinion picklescan,hayward
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Invalid(message)


def _parser() -> _Parser:
    parser = _Parser(
        prog="vallum scan",
        description=_HELP,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("paths", metavar="PATH", nargs="+", type=Path, help="file or folder")
    parser.add_argument("--format", metavar="FORM", help="table (default), json or sarif")
    parser.add_argument("--json", action="store_true", help="the same as --format json")
    parser.add_argument("--output", metavar="FILE", type=Path, help="write the report there instead of to stdout")
    parser.add_argument(
        "--second-opinion",
        metavar="NAMES",
        default="",
        help="also ask picklescan, hayward or both: what they refuse is UNKNOWN, what they pass changes nothing",
    )
    parser.add_argument(
        "--allowlists",
        metavar="FOLDER",
        type=Path,
        help="newer allow-lists, signed by a release key",
    )
    parser.add_argument("--profile", help=argparse.SUPPRESS)  # of every command; a scan asks no server
    return parser


def run_scan(arguments: Sequence[str]) -> int:
    """Scan, and tell what was found.

    Args:
        arguments: as typed, without the name of the command.

    Returns:
        the exit code.

    Raises:
        Invalid: wrong use, or nothing to scan.
    """
    try:
        options = _parser().parse_args(arguments)
    except SystemExit:  # after --help
        return Exit.GOOD
    form = _format(options.format, as_json=options.json)
    if options.allowlists:
        from vallum_validator.scan import allowlist

        allowlist.use(options.allowlists)
    files = list(dict.fromkeys(file for path in options.paths for file in files_in(path)))
    report = _scan(files, [name for name in options.second_opinion.split(",") if name])
    code = _EXITS[report.verdict.value]
    return code if _tell(report, form, options.output, code) else max(code, Exit.FAILED, key=_severity)


def _format(named: str | None, *, as_json: bool) -> str:
    form = named or ("json" if as_json else "table")
    if form not in _FORMATS:
        raise Invalid(f"--format must be {', '.join(_FORMATS[:-1])} or {_FORMATS[-1]}, got {form!r}")
    if as_json and form != "json":
        raise Invalid(f"--json means --format json, and --format {form} was given too; leave one of them out")
    return form


def _severity(code: Exit) -> int:
    """Of a verdict that could not be told: a refusal stays one, but nobody takes silence for a pass."""
    return (Exit.GOOD, Exit.FAILED, Exit.COULD_NOT_TELL, Exit.NO).index(code)


def _scan(files: Sequence[Path], opinions: Sequence[str]) -> ScanReport:
    from vallum_validator.scan.files import scan_paths

    gc.enable()
    programs = None
    if opinions:
        from vallum_validator.scan.opinions import find

        programs = find(opinions)
    with _progress(len(files)) as on_report:
        return scan_paths(files, on_report=on_report, programs=programs)


def files_in(path: Path) -> Iterator[Path]:
    """The file that is named, or all below the folder that is; links are not followed, nothing is left out.

    Raises:
        Invalid: there is nothing.
    """
    if not os.path.lexists(path):
        raise Invalid(f"nothing to scan at {str(path)!r}; name files or folders")
    if not path.is_dir():
        yield path
        return
    unreadable: list[OSError] = []
    count = 0
    for folder, folders, names in os.walk(path, onerror=unreadable.append):
        folders.sort()
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in (*sorted(names), *links):
            count += 1
            yield Path(folder, name)
    yield from (Path(error.filename) for error in unreadable)
    if not count and not unreadable:
        raise Invalid(f"nothing to scan in {str(path)!r}: the folder holds no file")


@contextmanager
def _progress(total: int) -> Iterator[Callable[[FileReport], None]]:
    """A bar on stderr, when that is a terminal and there is more than one file."""
    if total < 2 or not sys.stderr or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress

    # Drawn by us and not by a thread of its own: processes are forked while it is shown.
    with Progress(console=Console(stderr=True), auto_refresh=False, transient=True) as bar:
        task = bar.add_task("scanning", total=total)

        def advance(_: FileReport) -> None:
            bar.advance(task)
            if bar.tasks[0].completed % max(1, total // 200) == 0:
                bar.refresh()

        yield advance


def _tell(report: ScanReport, form: str, output: Path | None, code: Exit) -> bool:
    """Write the report; say whether it has arrived."""
    if form == "table":
        colour = output is None and _is_terminal()
        lines = [line for file in report.files for line in _lines(file, colour=colour)]
        text = "".join(line + "\n" for line in (*lines, *_of_this_machine(report)))
    else:
        import json

        document = json.dumps(_document(report, form, code), ensure_ascii=False)
        # What is not printable is only ever inside a string, and a terminal obeys it there, too.
        text = "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in document) + "\n"
    return _write(text) if output is None else _write_file(text, output)


def _write_file(text: str, output: Path) -> bool:
    try:
        output.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        _lost(f" to {str(output)!r}: {error.strerror or error}")
        return False
    return True


def _write(text: str) -> bool:
    """To stdout, which may be closed, full or a pipe that nobody reads any more."""
    if not sys.stdout:
        _lost(": stdout is closed")
        return False
    try:
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except (OSError, ValueError) as error:
        if not isinstance(error, BrokenPipeError):
            _lost(f": {error}")
        # Python would try once more at exit, and complain.
        sys.stdout = None
        return False
    return True


def _lost(why: str) -> None:
    sys.stderr.write(f"vallum: the report could not be written{visible(why)}\n")


def _document(report: ScanReport, form: str, code: Exit) -> dict[str, Any]:
    from vallum_validator import __version__

    if form == "sarif":
        from vallum_validator.scan.sarif import sarif

        return sarif(report, version=__version__, exit_code=code)
    from vallum_validator.scan import allowlist

    return {
        "files": [_file(file) for file in report.files],
        "rules_digest": report.rules_digest,
        "scanner_version": __version__,
        "allowlist": {"version": allowlist.version(), "digest": allowlist.digest()},
    }


def _file(report: FileReport) -> dict[str, Any]:
    """The scan of one file, with the field names of the contract: a test holds the two together."""
    from dataclasses import asdict

    document: dict[str, Any] = _text(asdict(report))
    return document


def _text(value: Any) -> Any:
    """Names in hostile files need not be Unicode; JSON takes nothing else."""
    if isinstance(value, str):
        return str(value).encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {name: _text(inner) for name, inner in value.items()}
    return [_text(inner) for inner in value] if isinstance(value, list | tuple) else value


def _is_terminal() -> bool:
    return bool(sys.stdout) and sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _lines(file: FileReport, *, colour: bool) -> Iterator[str]:
    verdict = f"{file.verdict.value:<9}"
    if colour:
        verdict = f"\x1b[{_COLOURS[file.verdict.value]}m{verdict}\x1b[0m"
    yield f"{verdict} {file.format:<12} {visible(file.path)}"
    for finding in file.findings:
        if finding.rule != _UNCONFINED:
            member = f" {finding.member}" if finding.member else ""
            offset = "" if finding.offset is None else f" byte {finding.offset}"
            yield from _wrapped(
                f"{finding.severity.value:<8} {finding.rule}{member}{offset}: {finding.message}", _INDENT
            )


def _of_this_machine(report: ScanReport) -> Iterator[str]:
    """What is so of every file alike, told once; JSON and SARIF have it with each file."""
    from collections import Counter

    told = Counter(one.message for file in report.files for one in file.findings if one.rule == _UNCONFINED)
    for message, count in told.items():
        yield from _wrapped(f"{_UNCONFINED}, {count} of {len(report.files)} files: {message}", "")


def _wrapped(text: str, indent: str) -> list[str]:
    import textwrap

    return textwrap.wrap(
        visible(text), _WIDTH - 2, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
