"""`vallum dead …`: events that could not be understood, and a second chance for them."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

import typer
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from vallum_client.cli.context import Exit, session
from vallum_client.profile import load_profile
from vallum_common.bus.topics import all_topics
from vallum_common.errors import Invalid, NotFound, Unavailable

_READ_MS: Final = 2000

Place = Annotated[str, typer.Argument(metavar="TOPIC:PARTITION:OFFSET", help="As `vallum dead list` shows it.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    dead = typer.Typer(no_args_is_help=True, help="Events that could not be understood.")
    dead.command("list")(list_dead)
    dead.command("show")(show)
    dead.command("requeue")(requeue)
    app.add_typer(dead, name="dead")


def list_dead() -> int:
    """All dead letters, with who gave up and why."""
    found = asyncio.run(_read())
    if session.json:
        session.document({"dead": found})
        return Exit.GOOD
    rows = ((r["place"], r["consumer"], r["error"], r["reason"]) for r in found)
    session.table(("place", "consumer", "error", "reason"), rows)
    return Exit.GOOD


def show(place: Place) -> int:
    """One dead letter with its headers and the size of its value."""
    record = _one(place)
    if session.json:
        session.document(record)
        return Exit.GOOD
    for name, value in record.items():
        session.say(f"{name:<10} {value}")
    return Exit.GOOD


def requeue(place: Place) -> int:
    """Put the original back on its topic, with its id: who has taken effect of it will know it."""
    asyncio.run(_requeue(_one(place)))
    if session.json:
        session.document({"requeued": place})
    session.say(f"{place} is back on its topic")
    return Exit.GOOD


def _one(place: str) -> dict[str, Any]:
    for record in asyncio.run(_read()):
        if record["place"] == place:
            return record
    raise NotFound(f"no dead letter at {place!r}; `vallum dead list` shows all")


def _kafka() -> str:
    profile = load_profile(session.profile_path())
    if not profile.kafka:
        raise Invalid(f"the profile {str(profile.path)!r} lacks the address of 'kafka' under [services]")
    return profile.kafka


async def _read() -> list[dict[str, Any]]:
    consumer = AIOKafkaConsumer(bootstrap_servers=_kafka(), enable_auto_commit=False, auto_offset_reset="earliest")
    try:
        await consumer.start()
        partitions = [
            TopicPartition(topic.dead, number)
            for topic in all_topics()
            for number in sorted(consumer.partitions_for_topic(topic.dead) or await _partitions(consumer, topic.dead))
        ]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        await consumer.seek_to_beginning(*partitions)
        records: list[dict[str, Any]] = []
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            for found in (await consumer.getmany(timeout_ms=_READ_MS)).values():
                records += [_describe(record) for record in found]
        return records
    except KafkaError as error:
        raise Unavailable(f"Kafka at {_kafka()!r} does not answer: {type(error).__name__}") from error
    finally:
        await consumer.stop()


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    # Metadata of a topic nobody subscribed to is fetched only when asked for.
    await consumer._client.add_topic(topic)
    return consumer.partitions_for_topic(topic) or set()


def _describe(record: Any) -> dict[str, Any]:
    headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
    return {
        "place": f"{record.topic}:{record.partition}:{record.offset}",
        "topic": headers.get("x-dead-topic", ""),
        "id": headers.get("ce_id", ""),
        "consumer": headers.get("x-dead-consumer", ""),
        "error": headers.get("x-dead-error", ""),
        "reason": headers.get("x-dead-reason", ""),
        "key": (record.key or b"").hex(),
        "value": (record.value or b"").hex(),
        "headers": [[name, (value or b"").hex()] for name, value in record.headers],
    }


async def _requeue(record: dict[str, Any]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=_kafka(), enable_idempotence=True)
    headers = [(name, bytes.fromhex(value)) for name, value in record["headers"] if not name.startswith("x-dead-")]
    try:
        await producer.start()
        await producer.send_and_wait(
            record["topic"],
            key=bytes.fromhex(record["key"]),
            value=bytes.fromhex(record["value"]),
            headers=[*headers, ("ce_replayof", record["place"].encode())],
        )
    except KafkaError as error:
        raise Unavailable(f"Kafka at {_kafka()!r} does not answer: {type(error).__name__}") from error
    finally:
        await producer.stop()
