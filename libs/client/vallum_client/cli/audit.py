"""`vallum audit …`: the log of every event."""

from __future__ import annotations

import contextlib
import datetime as dt
from typing import Annotated, Any

import typer
from google.protobuf import json_format
from google.protobuf.message import DecodeError

from vallum.compliance.v1 import compliance_service_pb2
from vallum_client.cli.context import Exit, session
from vallum_client.client import Client
from vallum_common.bus.topics import all_topics
from vallum_common.errors import Invalid


def register(app: typer.Typer) -> None:
    """Add the commands."""
    audit = typer.Typer(no_args_is_help=True, help="Every event, once, in one order.")
    audit.command("replay")(replay)
    audit.command("tail")(tail)
    app.add_typer(audit, name="audit")


def replay(
    *,
    since: Annotated[str, typer.Option(help="Only from this time on, RFC 3339, e.g. 2026-11-23T10:00:00Z.")] = "",
    model: Annotated[str, typer.Option(help="Only events of this model.")] = "",
    from_index: Annotated[int, typer.Option(min=0, help="Only from this entry on.")] = 0,
) -> int:
    """Tell again what has happened, oldest first; with --json one document per line."""
    request = compliance_service_pb2.ReplayRequest(from_index=from_index, model=model)
    if since:
        request.since.FromDatetime(parse_time(since))
    return session.ask(lambda client: _print(client, request))


def tail(*, model: Annotated[str, typer.Option(help="Only events of this model.")] = "") -> int:
    """Follow the log: what happens from now on, until Ctrl-C."""
    request = compliance_service_pb2.ReplayRequest(model=model, follow=True)
    request.since.FromDatetime(dt.datetime.now(dt.UTC))
    return session.ask(lambda client: _print(client, request))


async def _print(client: Client, request: compliance_service_pb2.ReplayRequest) -> int:
    with client.errors("compliance"):
        async for entry in client.audit.Replay(request):
            document = entry_dict(entry)
            if session.json:
                session.document(document)
            else:
                short = document["type"].rpartition(".")[2]
                session.say(f"{document['index']:>6}  {document['time'][:19]}  {short:<20} {document['subject']}")
    return Exit.GOOD


def entry_dict(entry: compliance_service_pb2.ReplayResponse) -> dict[str, Any]:
    """An entry with the field values the command promises; data of an unknown type stays as base64."""
    types = {topic.message_type.DESCRIPTOR.full_name: topic.message_type for topic in all_topics()}
    try:
        data: Any = json_format.MessageToDict(
            types[entry.type].FromString(entry.data), preserving_proto_field_name=True
        )
    except (KeyError, DecodeError):
        data = json_format.MessageToDict(entry, preserving_proto_field_name=True).get("data", "")
    return {
        "index": entry.index,
        "type": entry.type,
        "id": entry.id,
        "source": entry.source,
        "subject": entry.subject,
        "time": entry.time.ToJsonString(),
        "data": data,
    }


def parse_time(text: str) -> dt.datetime:
    """A time as people type it.

    Raises:
        Invalid: it is not RFC 3339 with a time zone.
    """
    with contextlib.suppress(ValueError, OverflowError):  # the second: a zone that leads before the year 1
        moment = dt.datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(dt.UTC)
    raise Invalid(f"{text!r} is not a time with a zone; write e.g. 2026-11-23T10:00:00Z")
