"""Assembles the command and maps every outcome to its exit code."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from vallum_client.cli.exits import Exit, exit_of, visible
from vallum_common.errors import Invalid, VallumError

if TYPE_CHECKING:
    import typer

_VALUE_FLAGS: Final = ("--profile",)

COMMANDS: Final[Mapping[str, tuple[str, ...]]] = {
    "signature": ("signature",),
    "local": ("up", "scan", "checks", "token", "outbox"),
    "submit": ("submit",),
    "models": ("models", "deploy", "rollback", "quarantine", "release"),
    "admission": ("admission",),
    "risk": ("risk",),
    "audit": ("audit",),
    "soc": ("alerts", "metrics", "observe"),
    "dead": ("dead",),
}
"""Module to the commands in it. Only the module of the command that was typed is imported: gRPC, Kafka's client and the
manifest take longer to import than most commands take to run."""


def build_app(command: str) -> typer.Typer:
    """The command line, with the one command that was typed, or with all where none of ours was."""
    import typer

    from vallum_client.cli.context import options

    app = typer.Typer(
        name="vallum",
        help="The gate and the watch for machine-learning models.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(options)
    wanted = [module for module, commands in COMMANDS.items() if command in commands] or list(COMMANDS)
    for module in wanted:
        importlib.import_module(f"vallum_client.cli.{module}").register(app)
    return app


def main() -> None:
    """Run the command and exit with its code; an error is one line on stderr."""
    gc.disable()  # while modules are imported there is nothing to collect, only to look through
    code = run(sys.argv[1:])
    gc.freeze()  # nor at the end, when everything is given back at once
    raise SystemExit(code)


def run(arguments: list[str]) -> int:
    """Run the command.

    Args:
        arguments: as typed after `vallum`.

    Returns:
        The exit code.
    """
    ordered = _options_first(arguments)
    try:
        _check_words(arguments)
        return _scan(ordered) if _command(ordered) == "scan" else _run(ordered)
    except VallumError as error:
        sys.stderr.write(f"vallum: {visible(error.message)}\n")
        return exit_of(error)
    except KeyboardInterrupt:
        return Exit.FAILED
    except BrokenPipeError:
        # Who reads the output has enough; that is no error, but Python would complain at exit.
        sys.stderr.close()
        return Exit.GOOD
    except Exception as error:  # noqa: BLE001 (the edge: a traceback ends with 1, "done, and the answer is no")
        if os.environ.get("VALLUM_DEBUG"):
            import traceback

            traceback.print_exc()
        sys.stderr.write(f"vallum: {visible(_told(error))}\n")
        return Exit.FAILED


def _check_words(words: list[str]) -> None:
    """An empty word is a variable that nobody has set; as a path it would be the folder one happens to be in.

    Raises:
        Invalid: one of the words is empty, or the value of an option is.
    """
    for place, word in enumerate(words):
        if word == "--":
            continue
        name = word.removesuffix("=") if word.startswith("--") and word.find("=") == len(word) - 1 else ""
        if not word or name:
            before = f" after {words[place - 1]!r}" if place else ""
            raise Invalid(f"the value of {name} is empty" if name else f"the argument{before} is empty; leave it out")


def _told(error: Exception) -> str:
    """One line: which file cannot be used, or, of a mistake of our own, where to look for it."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{os.fsdecode(error.filename)!r} cannot be used: {error.strerror}"
    detail = (str(error) or "no more is known").splitlines()[0]
    return f"{type(error).__name__}: {detail}; VALLUM_DEBUG=1 shows where"


def _scan(ordered: list[str]) -> int:
    """Without typer: it takes longer to import than a small file to scan, and a hook scans many small files."""
    from vallum_client.cli.scan import run_scan

    place = next(place for place in range(len(ordered)) if _command(ordered[: place + 1]))
    return run_scan([*ordered[:place], *ordered[place + 1 :]])


def _run(ordered: list[str]) -> int:
    import typer

    try:
        app = build_app(_command(ordered))
        gc.enable()
        outcome = app(ordered, standalone_mode=False, prog_name="vallum")
        return int(outcome or Exit.GOOD)
    except typer.TyperException as error:
        text = str(error)
        # A group without a command is answered with its help, which is no error message.
        sys.stderr.write(text + "\n" if text.startswith("Usage:") else f"vallum: {visible(text)}\n")
        return Exit.WRONG_USE
    except typer.Abort:
        return Exit.FAILED


def _command(ordered: list[str]) -> str:
    """The first word that is neither an option nor the value of one."""
    words = iter(ordered)
    for word in words:
        if word in _VALUE_FLAGS:
            next(words, None)
        elif not word.startswith("-"):
            return word
    return ""


def _options_first(arguments: list[str]) -> list[str]:
    """Move the global options to the front, so that they may be written anywhere."""
    front: list[str] = []
    rest: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "--":
            return [*front, *rest, "--", *remaining]
        if argument == "--json" or argument.startswith("--profile="):
            front.append(argument)
        elif argument in _VALUE_FLAGS:
            front += [argument, *([value] if (value := next(remaining, None)) is not None else [])]
        else:
            rest.append(argument)
    return [*front, *rest]
