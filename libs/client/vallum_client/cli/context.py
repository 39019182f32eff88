"""What every command shares: the global options, output as JSON or for people, and exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import textwrap
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer
from google.protobuf import json_format
from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vallum_client.cli.exits import Exit, exit_of, visible
from vallum_common.errors import Invalid

__all__ = [
    "Exit",
    "Part",
    "Session",
    "as_dict",
    "exit_of",
    "number",
    "options",
    "plain_enum",
    "session",
    "split_version",
]

if TYPE_CHECKING:
    from vallum_client.client import Client

Answer = TypeVar("Answer")
Part = str | tuple[str, str]
"""Text for people, or text with its style."""

INDENTED_WIDTH: Final = 74
REASON_WIDTH: Final = 220
"""What people see of a reason; `--json` has all of it."""


@dataclass
class Session:
    """The options before the command, and the terminal.

    Args:
        json: whether to print one JSON document and nothing else.
        profile: file named with `--profile`.
        console: for people; on stdout.
    """

    json: bool = False
    profile: Path | None = None
    console: Console = field(default_factory=lambda: Console(highlight=False, soft_wrap=False))

    def client(self) -> Client:
        """A client for the chosen profile.

        Raises:
            Invalid: there is no profile, or it is not right.
        """
        from vallum_client.client import Client  # gRPC: commands that ask no server do without it
        from vallum_client.profile import load_profile

        return Client(load_profile(self.profile_path()))

    def profile_path(self) -> Path | None:
        """The profile that is named, by option or environment; `None` for the default."""
        return self.profile or (Path(os.environ["VALLUM_PROFILE"]) if os.environ.get("VALLUM_PROFILE") else None)

    def ask(self, question: Callable[[Client], Awaitable[Answer]]) -> Answer:
        """Run a coroutine with an open client."""

        async def run() -> Answer:
            async with self.client() as client:
                return await question(client)

        return asyncio.run(run())

    def document(self, content: Any) -> None:
        """Print one JSON document."""
        sys.stdout.write(json.dumps(content, ensure_ascii=False, indent=None) + "\n")
        sys.stdout.flush()

    def say(self, *parts: Part) -> None:
        """Print a line for people, its parts one after the other."""
        if not self.json:
            # Text is folded where it is made; a path or digest must stay in one piece to be copied.
            self.console.print(Text.assemble(*map(_visible, parts)), soft_wrap=True)

    def explain(self, text: str) -> None:
        """Print a text for people below the line it belongs to, folded and indented; it fits 80 columns."""
        for line in textwrap.wrap(text, INDENTED_WIDTH):
            self.say(f"    {line}")

    def table(self, columns: Iterable[str], rows: Iterable[Iterable[Part]], *, title: str | None = None) -> None:
        """Print a table for people; it fits 80 columns by folding long cells."""
        table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column, overflow="fold")  # never an ellipsis: names are there to be copied
        for row in rows:
            table.add_row(*map(_visible, row))
        self.console.print(table)


def _visible(part: Part) -> Text:
    """Text as it is: a name in a hostile bundle may hold markup, a line of its own, or what steers a terminal."""
    text, style = (part, "") if isinstance(part, str) else part
    return Text(visible(text), style)


session = Session()
"""The one session of this process; `cli.main` fills in the options."""


def options(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else.")] = False,
    profile: Annotated[Path | None, typer.Option(help="Profile to use; default VALLUM_PROFILE or .vallum.")] = None,
) -> None:
    """Options of every command; they may stand before or after it."""
    session.json = as_json
    session.profile = profile


def split_version(text: str) -> tuple[str, str]:
    """`adult-income@1.2.0` as model and version.

    Raises:
        Invalid: it is not of that form.
    """
    match = re.fullmatch(r"([a-z0-9-]{1,63})@([0-9A-Za-z.+_-]{1,64})", text)
    if not match:
        raise Invalid(f"{text!r} is not a model version; write model@version, e.g. adult-income@1.2.0")
    return match.group(1), match.group(2)


def as_dict(message: Message) -> dict[str, Any]:
    """A protobuf message as JSON-compatible values, fields named as in the contract, empty ones included."""
    document = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    _whole_numbers(message.DESCRIPTOR, document)
    return document


def _whole_numbers(descriptor: Any, document: dict[str, Any]) -> None:
    """Write 64-bit integers as numbers: protobuf's JSON makes text of them, for the sake of JavaScript."""
    for entry in descriptor.fields:
        value = document.get(entry.name)
        if value is None:
            continue
        if entry.cpp_type in (entry.CPPTYPE_INT64, entry.CPPTYPE_UINT64):
            document[entry.name] = list(map(int, value)) if isinstance(value, list) else int(value)
        elif entry.message_type is not None and not entry.message_type.full_name.startswith("google.protobuf."):
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, dict):
                    _whole_numbers(entry.message_type, part)


def plain_enum(name: str, prefix: str) -> str:
    """`MODEL_STATE_APPROVED` without its prefix; empty for UNSPECIFIED."""
    short = name.removeprefix(prefix)
    return "" if short == "UNSPECIFIED" else short


def number(value: float | None, digits: int = 3) -> str:
    """A number for people; a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"
