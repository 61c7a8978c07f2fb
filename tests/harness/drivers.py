"""Clients behind one interface, so that one test is told to each of them.

confluent-kafka runs in this process; kcat is run once for each thing it does; all others are small programs in their
own languages (clients/go, clients/java, clients/kafkajs, clients/python) that read operations as JSON lines.
"""

import base64
import fcntl
import json
import os
import re
import select
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

import confluent_kafka
from confluent_kafka import admin as confluent_admin

from harness.paths import KAFKA, TESTS, WORK
from harness.records import Record

OPERATION_SECONDS_MAX = 240
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


class KafkaError(Exception):
    """The broker refused, with Kafka's error number."""

    def __init__(self, code: int, message: str = ""):
        super().__init__(f"error {code}: {message}")
        self.code = code


@dataclass(frozen=True)
class Offsets:
    """An offset that a transaction commits for a group."""

    group: str
    topic: str
    partition: int
    offset: int


@dataclass(frozen=True)
class Round:
    """One transaction: what it writes, and how it ends. `commit` None leaves it open."""

    records: list[Record]
    commit: bool | None = True
    offsets: Offsets | None = None


class Client:
    """What a test may ask of a client. `acks` is -1, 0 or 1; times are milliseconds since 1970."""

    name: str
    sets_timestamps = True
    # What of the tests' questions this client has no words for, by the name that the test gives it: a reason each.
    lacks: dict[str, str] = {}

    def produce(
        self, broker: str, topic: str, records: list[Record], codec: str = "none", acks: int = -1,
        idempotent: bool = False,
    ) -> list[tuple[int, int]]:
        """Writes the records and returns partition and offset of each."""
        raise NotImplementedError

    def consume(
        self, broker: str, topic: str, partition: int, start: int = 0, read_committed: bool = False
    ) -> list[Record]:
        """Reads one assigned partition from an offset to its end."""
        raise NotImplementedError

    def list_offset(
        self, broker: str, topic: str, partition: int, spec: str | int, read_committed: bool = False
    ) -> tuple[int, int]:
        """Offset and timestamp for 'earliest', 'latest', 'max_timestamp', or a time; -1 and -1 if there is none."""
        raise NotImplementedError

    def transact(
        self, broker: str, topic: str, transactional_id: str, rounds: list[Round], timeout_ms: int = 60_000
    ) -> None:
        """One life of a transactional producer: it is initialized, goes through the rounds, and closes its connections
        without ending what it left open. Without rounds it ends what an earlier life left open."""
        raise NotImplementedError

    def fence(
        self, broker: str, topic: str, transactional_id: str, records: list[Record], then: str
    ) -> int:
        """Two producers of one transactional id: the first writes the first record, the second is initialized, and the
        first goes on in its open transaction: it writes the second record, or commits (`then` is 'produce' or
        'commit'). The other records the second writes in a transaction of its own. Returns the error that the first
        has met, 0 if none."""
        raise NotImplementedError

    def can_express(self, record: Record) -> bool:
        """Whether this client is able to write such a record at all."""
        return True

    def reads_as(self, record: Record) -> Record:
        """How this client shows such a record to its user."""
        return record

    def is_alive(self) -> bool:
        return True

    def close(self) -> None:
        pass


class AdminClient(Client):
    """A client that also administers topics. Refusals are raised as KafkaError."""

    def create_topic(
        self, broker: str, topic: str, partitions: int = -1, replication: int = -1,
        configs: dict[str, str] | None = None,
    ) -> None:
        raise NotImplementedError

    def delete_topic(self, broker: str, topic: str) -> None:
        raise NotImplementedError

    def create_partitions(self, broker: str, topic: str, partitions: int) -> None:
        raise NotImplementedError

    def describe_topic(self, broker: str, topic: str) -> dict:
        """`topic_id` and the number of `partitions`."""
        raise NotImplementedError

    def list_topics(self, broker: str) -> list[str]:
        raise NotImplementedError

    def describe_configs(self, broker: str, topic: str) -> dict[str, str | None]:
        raise NotImplementedError


class Confluent(AdminClient):
    name = "confluent-kafka"

    def produce(self, broker, topic, records, codec="none", acks=-1, idempotent=False, one_batch=False):
        """`one_batch`: what goes to one partition goes there in one batch, however slowly this is done."""
        producer = confluent_kafka.Producer({
            "bootstrap.servers": broker,
            "compression.type": codec,
            "acks": acks,
            "enable.idempotence": idempotent,
            "linger.ms": OPERATION_SECONDS_MAX * 500 if one_batch else 5,
            "message.timeout.ms": OPERATION_SECONDS_MAX * 1000,
        })
        if one_batch:
            # Otherwise records wait until the topic's partitions are known, and set out one by one.
            producer.list_topics(topic, OPERATION_SECONDS_MAX)
        placed: list[tuple[int, int] | None] = [None] * len(records)
        failures = []

        def on_delivery(index):
            def deliver(error, message):
                if error is not None:
                    failures.append(error)
                else:
                    placed[index] = (message.partition(), message.offset())
            return deliver

        for index, record in enumerate(records):
            producer.produce(
                topic, record.value, record.key, partition=record.partition, timestamp=record.timestamp,
                headers=list(record.headers), on_delivery=on_delivery(index),
            )
        assert producer.flush(OPERATION_SECONDS_MAX) == 0, "records left in the producer"
        if failures:
            raise KafkaError(failures[0].code(), failures[0].str())
        return placed

    def consume(self, broker, topic, partition, start=0, read_committed=False):
        consumer = confluent_kafka.Consumer({
            "bootstrap.servers": broker,
            "group.id": "unused: partitions are assigned",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed" if read_committed else "read_uncommitted",
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 100,
        })
        records = []
        try:
            consumer.assign([confluent_kafka.TopicPartition(topic, partition, start)])
            deadline = time.monotonic() + OPERATION_SECONDS_MAX
            while True:
                assert time.monotonic() < deadline, f"no end after {len(records)} records"
                message = consumer.poll(1)
                if message is None:
                    continue
                if message.error():
                    if message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF:
                        return records
                    raise KafkaError(message.error().code(), message.error().str())
                kind, timestamp = message.timestamp()
                records.append(Record(
                    message.partition(), timestamp, message.key(), message.value(),
                    tuple(message.headers() or ()), message.offset(),
                ))
        finally:
            consumer.close()

    def list_offset(self, broker, topic, partition, spec, read_committed=False):
        specs = {
            "earliest": confluent_admin.OffsetSpec.earliest,
            "latest": confluent_admin.OffsetSpec.latest,
            "max_timestamp": confluent_admin.OffsetSpec.max_timestamp,
        }
        asked = specs[spec]() if isinstance(spec, str) else confluent_admin.OffsetSpec.for_timestamp(spec)
        where = confluent_kafka.TopicPartition(topic, partition)
        levels = confluent_kafka.IsolationLevel
        level = levels.READ_COMMITTED if read_committed else levels.READ_UNCOMMITTED
        found = self._result(broker, lambda admin: admin.list_offsets({where: asked}, isolation_level=level))
        return found.offset, found.timestamp

    def transact(self, broker, topic, transactional_id, rounds, timeout_ms=60_000):
        try:
            # Its close() would abort what is open; the end of its last reference does not.
            producer = self._transactional(broker, transactional_id, timeout_ms)
            for each in rounds:
                producer.begin_transaction()
                self._write(producer, topic, each.records)
                if each.offsets is not None:
                    where = confluent_kafka.TopicPartition(
                        each.offsets.topic, each.offsets.partition, each.offsets.offset
                    )
                    group = self._group_without_members(broker, each.offsets.group)
                    producer.send_offsets_to_transaction([where], group, OPERATION_SECONDS_MAX)
                if each.commit is None:
                    return
                end = producer.commit_transaction if each.commit else producer.abort_transaction
                end(OPERATION_SECONDS_MAX)
        except confluent_kafka.KafkaException as refused:
            raise refusal(refused) from refused

    def fence(self, broker, topic, transactional_id, records, then):
        first = self._transactional(broker, transactional_id)
        first.begin_transaction()
        self._write(first, topic, records[:1])
        second = self._transactional(broker, transactional_id)
        try:
            if then == "produce":
                self._write(first, topic, records[1:2])
            else:
                first.commit_transaction(OPERATION_SECONDS_MAX)
            met = 0
        except KafkaError as refused:
            met = refused.code
        except confluent_kafka.KafkaException as refused:
            met = refused.args[0].code()
        second.begin_transaction()
        self._write(second, topic, records[2:])
        second.commit_transaction(OPERATION_SECONDS_MAX)
        return met

    @staticmethod
    def _transactional(broker, transactional_id, timeout_ms=60_000):
        """A producer that is initialized."""
        producer = confluent_kafka.Producer({
            "bootstrap.servers": broker,
            "transactional.id": transactional_id,
            "transaction.timeout.ms": timeout_ms,
            "linger.ms": 5,
            "log_level": 0,
        })
        producer.init_transactions(OPERATION_SECONDS_MAX)
        return producer

    @staticmethod
    def _write(producer, topic, records):
        """Writes the records in the transaction that is open, and waits until they are there."""
        failures = []

        def deliver(error, _):
            if error is not None:
                failures.append(error)

        for record in records:
            producer.produce(
                topic, record.value, record.key, partition=record.partition, timestamp=record.timestamp,
                headers=list(record.headers), on_delivery=deliver,
            )
        try:
            assert producer.flush(OPERATION_SECONDS_MAX) == 0, "records left in the producer"
        except SystemError as thrown:
            # What is fatal is raised while deliver runs, which Python does not expect of a callback.
            raise thrown.__cause__ from None
        if failures:
            raise KafkaError(failures[0].code(), failures[0].str())

    @staticmethod
    def _group_without_members(broker, group):
        """What librdkafka knows of a group that nobody has joined: only a consumer tells it."""
        consumer = confluent_kafka.Consumer({"bootstrap.servers": broker, "group.id": group})
        try:
            return consumer.consumer_group_metadata()
        finally:
            consumer.close()

    def create_topic(self, broker, topic, partitions=-1, replication=-1, configs=None):
        new = confluent_admin.NewTopic(
            topic, num_partitions=partitions, replication_factor=replication, config=configs or {}
        )
        self._result(broker, lambda admin: admin.create_topics([new]))

    def delete_topic(self, broker, topic):
        self._result(broker, lambda admin: admin.delete_topics([topic]))

    def create_partitions(self, broker, topic, partitions):
        new = confluent_admin.NewPartitions(topic, partitions)
        self._result(broker, lambda admin: admin.create_partitions([new]))

    def describe_topic(self, broker, topic):
        names = confluent_kafka.TopicCollection([topic])
        found = self._result(broker, lambda admin: admin.describe_topics(names))
        return {"topic_id": str(found.topic_id), "partitions": len(found.partitions)}

    def list_topics(self, broker):
        return list(self._admin(broker).list_topics(timeout=OPERATION_SECONDS_MAX).topics)

    def describe_configs(self, broker, topic):
        resource = confluent_admin.ConfigResource(confluent_admin.ResourceType.TOPIC, topic)
        found = self._result(broker, lambda admin: admin.describe_configs([resource]))
        return {name: entry.value for name, entry in found.items()}

    @staticmethod
    def _admin(broker):
        return confluent_admin.AdminClient({"bootstrap.servers": broker})

    def _result(self, broker, ask):
        # The name keeps the client alive: one that is collected never answers its futures.
        admin = self._admin(broker)
        (future,) = ask(admin).values()
        try:
            return future.result(OPERATION_SECONDS_MAX)
        except confluent_kafka.KafkaException as refused:
            raise refusal(refused) from refused


def refusal(thrown: confluent_kafka.KafkaException) -> KafkaError:
    error = thrown.args[0]
    return KafkaError(error.code(), error.str())


class JsonLines(AdminClient):
    """A client in another language: a process that answers one JSON line for each that it reads."""

    built: list[str] | None = None

    def __init__(self):
        self.process = self.start()

    @classmethod
    def program(cls) -> list[str]:
        """The command that starts it, built if it must be."""
        raise NotImplementedError

    @classmethod
    def environment(cls) -> dict[str, str]:
        return {}

    @classmethod
    def start(cls) -> subprocess.Popen:
        if cls.built is None:
            cls.built = cls.program()
        return subprocess.Popen(
            cls.built, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=TESTS, env=os.environ | cls.environment()
        )

    def is_alive(self):
        return self.process.poll() is None

    def close(self):
        if not self.is_alive():
            return
        self.process.stdin.close()
        assert self.process.wait(OPERATION_SECONDS_MAX) == 0

    def _ask(self, operation, broker, **fields):
        request = json.dumps({"operation": operation, "broker": broker, **fields})
        self.process.stdin.write(request.encode() + b"\n")
        self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], OPERATION_SECONDS_MAX)
        if not ready:
            self.process.kill()
            raise AssertionError(f"{self.name} did not answer {operation} within {OPERATION_SECONDS_MAX} s")
        line = self.process.stdout.readline()
        assert line, f"{self.name} ended during {operation}"
        answer = json.loads(line)
        if "failure" in answer:
            raise AssertionError(f"{self.name}: {operation}: {answer['failure']}")
        if answer.get("error"):
            raise KafkaError(answer["error"], answer["message"])
        return answer

    def produce(self, broker, topic, records, codec="none", acks=-1, idempotent=False):
        answer = self._ask(
            "produce", broker, topic=topic, codec=codec, acks=acks, idempotent=idempotent, records=to_json(records)
        )
        return [tuple(place) for place in answer["placed"]]

    def consume(self, broker, topic, partition, start=0, read_committed=False):
        answer = self._ask(
            "consume", broker, topic=topic, partition=partition, start=start, read_committed=read_committed
        )
        return [
            Record(
                got["partition"], got["timestamp"], from_base64(got["key"]), from_base64(got["value"]),
                tuple((header["Key"], from_base64(header["Value"])) for header in got["headers"]), got["offset"],
            )
            for got in answer["records"]
        ]

    def list_offset(self, broker, topic, partition, spec, read_committed=False):
        kind, timestamp = (spec, 0) if isinstance(spec, str) else ("timestamp", spec)
        answer = self._ask(
            "list_offset", broker, topic=topic, partition=partition, spec=kind, timestamp=timestamp,
            read_committed=read_committed,
        )
        return answer["offset"], answer["timestamp"]

    def transact(self, broker, topic, transactional_id, rounds, timeout_ms=60_000):
        self._ask(
            "transact", broker, topic=topic, transactional_id=transactional_id, timeout_ms=timeout_ms,
            rounds=[
                {
                    "records": to_json(each.records),
                    "commit": each.commit,
                    "offsets": None if each.offsets is None else asdict(each.offsets),
                }
                for each in rounds
            ],
        )

    def fence(self, broker, topic, transactional_id, records, then):
        return self._ask(
            "fence", broker, topic=topic, transactional_id=transactional_id, records=to_json(records), then=then
        )["met"]

    def create_topic(self, broker, topic, partitions=-1, replication=-1, configs=None):
        self._ask(
            "create_topic", broker, topic=topic, partitions=partitions, replication=replication,
            configs=configs or {},
        )

    def delete_topic(self, broker, topic):
        self._ask("delete_topic", broker, topic=topic)

    def create_partitions(self, broker, topic, partitions):
        self._ask("create_partitions", broker, topic=topic, partitions=partitions)

    def describe_topic(self, broker, topic):
        return self._ask("describe_topic", broker, topic=topic)

    def list_topics(self, broker):
        return self._ask("list_topics", broker)["topics"]

    def describe_configs(self, broker, topic):
        return self._ask("describe_configs", broker, topic=topic)["configs"]


def to_json(records: list[Record]) -> list[dict]:
    return [
        {
            "partition": record.partition,
            "timestamp": record.timestamp,
            "key": to_base64(record.key),
            "value": to_base64(record.value),
            "headers": [{"Key": name, "Value": to_base64(value)} for name, value in record.headers],
        }
        for record in records
    ]


def to_base64(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def from_base64(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)


@contextmanager
def one_builds():
    """Tests that run at the same time use what the first of them has built."""
    with open(WORK / "building", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class GoProgram(JsonLines):
    """A package of the module clients/go."""

    package: str

    @classmethod
    def program(cls) -> list[str]:
        built = WORK / "go" / cls.package
        with one_builds():
            subprocess.run(["go", "build", "-o", built, f"./{cls.package}"], cwd=TESTS / "clients" / "go", check=True)
        return [str(built)]


class Franz(GoProgram):
    name = "franz-go"
    package = "franz"


class Sarama(GoProgram):
    name = "sarama"
    package = "sarama"
    lacks = {
        "largest time": "sarama sends ListOffsets in a version before the one that has this question",
        "positions": "sarama shows records only, so its reader does not know that it has passed the last marker",
    }


class Segmentio(GoProgram):
    name = "segmentio/kafka-go"
    package = "segmentio"
    lacks = {
        "idempotence": "kafka-go has no idempotent producer",
        "transactions": "kafka-go's writer has no transactions",
        "aborted records": "kafka-go reads to the last stable offset, but shows what was aborted before it",
        "markers": "kafka-go shows a marker as if it were a record",
        "topic ids": "kafka-go asks Metadata in a version without topic ids",
        "largest time": "kafka-go does not ask for the record with the largest time",
    }

    def reads_as(self, record):
        """Null where it is empty."""
        headers = tuple((name, value or None) for name, value in record.headers)
        return replace(record, key=record.key or None, value=record.value or None, headers=headers)


class Java(JsonLines):
    name = "java"
    main_class = "Driver"
    lacks = {"refused timeout": "Java tells this refusal in words, without its number"}

    @classmethod
    def program(cls):
        classes = WORK / "java"
        jars = f"{WORK}/kafka/libs/*"
        sources = list((TESTS / "clients" / "java").glob("*.java"))
        newest = max(source.stat().st_mtime for source in sources)
        made = classes / f"{cls.main_class}.class"
        with one_builds():
            subprocess.run([KAFKA / "fetch"], check=True)
            if not made.exists() or made.stat().st_mtime < newest:
                subprocess.run(["javac", "-d", classes, "-cp", jars, *sources], check=True)
        return [
            "java", "-Xmx1G", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData",
            f"-Dlog4j2.configurationFile={KAFKA}/log4j2.properties", "-Dkafka.log.level=ERROR",
            "-cp", f"{classes}:{jars}", cls.main_class,
        ]


class KafkaJs(JsonLines):
    name = "kafkajs"
    lacks = {
        "assigned partitions": "kafkajs reads in groups only",
        "uncommitted end": "kafkajs asks for the end of what is committed, whatever it is to read",
        "topic ids": "kafkajs asks Metadata in a version without topic ids",
        "largest time": "kafkajs does not ask for the record with the largest time",
    }

    @classmethod
    def program(cls):
        return ["node", str(TESTS / "clients" / "kafkajs" / "driver.js")]

    def can_express(self, record):
        return all(value is not None for _, value in record.headers) and self.reads_as(record) == record

    def reads_as(self, record):
        """An object of headers: those of one name come together."""
        names = {name: None for name, _ in record.headers}
        return replace(record, headers=tuple(
            (name, value) for name in names for other, value in record.headers if other == name
        ))

    @classmethod
    def environment(cls):
        return {"NODE_PATH": str(WORK / "kafkajs" / "node_modules")}


class PythonProgram(JsonLines):
    """A module of clients/python."""

    @classmethod
    def program(cls):
        return [sys.executable, "-m", "clients.python", cls.name]


class KafkaPython(PythonProgram):
    name = "kafka-python"
    lacks = {
        "refused describe_configs": "kafka-python leaves out what was refused",
        "refused timeout": "kafka-python tells this refusal in words, without its number",
    }

    def can_express(self, record):
        """It wants a key or a value, and a value in each header."""
        return has_key_or_value(record) and all(value is not None for _, value in record.headers)


class AioKafka(PythonProgram):
    name = "aiokafka"
    lacks = {
        "topic ids": "aiokafka asks Metadata in a version without topic ids",
        "unknown topics": "aiokafka asks Metadata in a way that makes the topic",
        "largest time": "aiokafka does not ask for the record with the largest time",
    }


    def can_express(self, record):
        return has_key_or_value(record)


def has_key_or_value(record: Record) -> bool:
    return record.key is not None or record.value is not None


class PyKafka(PythonProgram):
    """It speaks what Kafka 4 has dropped, so it is not among CLIENTS: clients/test_pykafka.py asks Kafka 3.9.2."""

    name = "pykafka"
    lacks = {"transactions": "pykafka is from before transactions"}

    def can_express(self, record):
        """Formats 0 and 1 have no headers."""
        return not record.headers


class Kcat(Client):
    """kcat takes keys and header values as arguments or delimited text, and sets no timestamps."""

    name = "kcat"
    sets_timestamps = False
    lacks = {"transactions": "kcat's producer has no transactions"}
    # Key and value of one record are cut apart, and records from one another, by bytes that no record here contains.
    KEY_END, RECORD_END = "\x01", "\x02"

    def can_express(self, record):
        texts = [record.key or b"", *(value or b"" for _, value in record.headers)]
        if any(b"\0" in text or len(text) > 50_000 for text in texts):
            return False
        if any(name == "" or value is not None and b"," in value for name, value in record.headers):
            return False
        if record.value:
            return True
        # An empty file is no record, so these go in as text, where one switch makes nulls of all empty parts.
        return not record.headers and (record.key is None) == (record.value is None) or bool(record.key)

    def produce(self, broker, topic, records, codec="none", acks=-1, idempotent=False):
        return [self._produce_one(broker, topic, record, codec, acks, idempotent) for record in records]

    def _produce_one(self, broker, topic, record, codec, acks, idempotent):
        command = [
            "kcat", "-P", "-b", broker, "-t", topic, "-p", str(record.partition), "-z", codec, "-vv",
            "-X", f"acks={acks}", "-X", f"enable.idempotence={str(idempotent).lower()}",
        ]
        for name, value in record.headers:
            command += ["-H", name if value is None else f"{name}={value.decode()}"]
        with tempfile.NamedTemporaryFile() as file:
            if record.value:
                file.write(record.value)
                file.flush()
                if record.key is not None:
                    command += ["-k", record.key]
                command.append(file.name)
                typed = b""
            else:
                command += ["-K", self.KEY_END, "-D", self.RECORD_END]
                if record.value is None:
                    command.append("-Z")
                typed = (record.key or b"") + self.KEY_END.encode() + self.RECORD_END.encode()
            output = self._run(command, typed).stderr.decode(errors="replace")
        placed = re.findall(r"delivered to partition (-?\d+) \(offset (-?\d+)\)", output)
        assert len(placed) == 1, output
        return int(placed[0][0]), int(placed[0][1])

    def consume(self, broker, topic, partition, start=0, read_committed=False):
        isolation = "read_committed" if read_committed else "read_uncommitted"
        output = self._run([
            "kcat", "-C", "-b", broker, "-t", topic, "-p", str(partition), "-o", str(start), "-e", "-q",
            "-X", f"isolation.level={isolation}", "-X", "fetch.wait.max.ms=100",
            "-f", "%p %o %T %K %S %h\\n%k%s\\n",
        ]).stdout
        records, position = [], 0
        while position < len(output):
            # Header values may hold any byte but a comma; the lengths come first, so the line end is found from them.
            head = re.compile(rb"(\d+) (\d+) (-?\d+) (-?\d+) (-?\d+) ").match(output, position)
            found, offset, timestamp, key_length, value_length = map(int, head.groups())
            line_end = output.index(b"\n", head.end())
            headers = parse_headers(output[head.end() : line_end])
            position = line_end + 1
            parts = []
            for length in (key_length, value_length):
                parts.append(None if length < 0 else output[position : position + length])
                position += max(length, 0)
            position += 1
            records.append(Record(found, timestamp, parts[0], parts[1], headers, offset))
        return records

    def list_offset(self, broker, topic, partition, spec, read_committed=False):
        assert isinstance(spec, int), "kcat asks by time only"
        output = self._run(["kcat", "-Q", "-b", broker, "-t", f"{topic}:{partition}:{spec}"]).stdout
        offset = int(re.search(rb"offset (-?\d+)", output).group(1))
        return offset, -1

    @staticmethod
    def _run(command, typed=b""):
        done = subprocess.run(command, input=typed, capture_output=True, timeout=OPERATION_SECONDS_MAX)
        assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stderr.decode()[-2000:]}"
        return done


def parse_headers(text: bytes) -> tuple[tuple[str, bytes | None], ...]:
    """kcat's `name=value,name=NULL`."""
    headers = []
    for part in text.split(b",") if text else []:
        name, _, value = part.partition(b"=")
        headers.append((name.decode(), None if value == b"NULL" else value))
    return tuple(headers)


def kafka_tool(name: str, *arguments: object, typed: str = "", check: bool = True) -> subprocess.CompletedProcess:
    """Runs one of Kafka's own command line tools."""
    done = subprocess.run(
        [KAFKA / "tool", name, *map(str, arguments)], input=typed, capture_output=True, text=True,
        timeout=OPERATION_SECONDS_MAX,
    )
    if check:
        assert done.returncode == 0, f"{name} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done


CLIENTS: dict[str, type[Client]] = {
    kind.name: kind
    for kind in (Kcat, Confluent, Franz, Java, Sarama, Segmentio, KafkaPython, AioKafka, KafkaJs)
}
# Not for a broker of today: clients/test_pykafka.py.
OLD_CLIENTS: dict[str, type[Client]] = {PyKafka.name: PyKafka}
