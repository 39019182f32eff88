"""A real Kafka node: topics made once and as asked for, and nothing acknowledged is ever lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import MessageSizeTooLargeError, UnknownTopicOrPartitionError

from vallum_common.errors import Conflict, Unavailable
from vallum_local.children import stop_children
from vallum_local.foundations import free_port
from vallum_local.kafka import Kafka, Topic, create_topics, new_cluster_id, read_cluster_id
from vallum_local.topics import DEAD_LETTER_BYTES, platform_topics

pytestmark = pytest.mark.platform
Run = Callable[..., object]


async def described(bootstrap: str, name: str) -> tuple[int, str]:
    """Partitions and retention of a topic."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        topics = await admin.describe_topics([name])
        resource = ConfigResource(ConfigResourceType.TOPIC, name, {"retention.ms": None})
        (answer,) = await admin.describe_configs([resource])
        return len(topics[0]["partitions"]), answer.resources[0][4][0][1]
    finally:
        await admin.close()


async def test_topics_are_made_as_asked_for_and_never_changed(kafka: str) -> None:
    suffix = new_cluster_id()
    forever, bounded = f"for-ever-{suffix}", f"bounded-{suffix}"
    await create_topics(kafka, [Topic(forever, 3), Topic(bounded, 1, retention_ms=60_000)])

    await create_topics(kafka, [Topic(forever, 5), Topic(bounded, 1)])

    assert await described(kafka, forever) == (3, "-1")
    assert await described(kafka, bounded) == (1, "60000")


async def test_dead_letter_fits_where_its_original_only_just_did(kafka: str) -> None:
    """On any cluster, whatever its brokers' own limit is; ours is told in the node's settings."""
    (dead,) = [topic for topic in platform_topics() if topic.name == "inference-observed.dead"]
    name = f"dead-{new_cluster_id()}"
    await create_topics(kafka, [replace(dead, name=name)])
    producer = AIOKafkaProducer(bootstrap_servers=kafka, max_request_size=DEAD_LETTER_BYTES)
    await producer.start()
    try:
        original = b"\x00" * (1024 * 1024)
        await producer.send_and_wait(name, original, headers=[("x-dead-reason", b"why" * 1000)])
        with pytest.raises(MessageSizeTooLargeError):
            await producer.send_and_wait(name, original * 2)
    finally:
        await producer.stop()


async def test_topic_that_kafka_refuses_is_named(kafka: str) -> None:
    with pytest.raises(Unavailable, match="not/a/topic"):
        await create_topics(kafka, [Topic("not/a/topic")])


async def test_misspelt_topic_is_not_made(kafka: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka, request_timeout_ms=500)
    await producer.start()
    with pytest.raises(UnknownTopicOrPartitionError):
        await producer.send_and_wait("modle-submitted", b"fact")
    await producer.stop()

    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    assert "modle-submitted" not in await admin.list_topics()
    await admin.close()


async def test_absent_broker_is_unavailable() -> None:
    where = f"127.0.0.1:{free_port()}"

    with pytest.raises(Unavailable, match=where):
        await create_topics(where, [Topic("t")])


def test_cluster_ids_are_never_taken_for_options() -> None:
    identifiers = {new_cluster_id() for _ in range(2000)}

    assert len(identifiers) == 2000
    assert {len(identifier) for identifier in identifiers} == {22}
    assert not [identifier for identifier in identifiers if identifier.startswith("-")]


def test_folder_without_kafka_data_has_no_cluster_id(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"meta\.properties"):
        read_cluster_id(tmp_path)


async def write(bootstrap: str, count: int) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)
    await producer.start()
    for number in range(count):
        await producer.send_and_wait("kept", str(number).encode())
    await producer.stop()


async def written(bootstrap: str) -> list[int]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    partition = TopicPartition("kept", 0)
    consumer.assign([partition])
    end = (await consumer.end_offsets([partition]))[partition]
    numbers = [int((await consumer.getone()).value) for _ in range(end)]
    await consumer.stop()
    return numbers


def test_acknowledged_records_survive_a_kill_and_a_move(tmp_path: Path, run: Run) -> None:
    def node() -> Kafka:
        log = tmp_path / "kafka.log"
        ports = {"port": free_port(), "controller_port": free_port()}
        return Kafka(tmp_path / "kafka", **ports, log=log, environment=os.environ)

    first = node()
    child = run(first.start())
    try:
        run(create_topics(first.address, [Topic("kept")]))
        run(write(first.address, 100))
        identity = read_cluster_id(tmp_path / "kafka" / "data")
        os.kill(child.pid, signal.SIGKILL)
    finally:
        stop_children([child])

    second = node()  # on other ports
    child = run(second.start())
    try:
        assert run(written(second.address)) == list(range(100))
        assert read_cluster_id(tmp_path / "kafka" / "data") == identity
    finally:
        stop_children([child])


async def test_node_that_answers_for_another_cluster_is_refused(kafka: str, tmp_path: Path) -> None:
    port = int(kafka.rpartition(":")[2])
    stranger = Kafka(tmp_path, port=port, controller_port=free_port(), log=tmp_path / "log", environment=os.environ)

    with pytest.raises(Conflict, match="not ours"):
        await stranger._answers("another-cluster")
