"""Transactions of every client that has them: committed, aborted, left open, timed out, fenced, and read by all."""

import time
from dataclasses import replace
from itertools import islice

import confluent_kafka
import pytest

from harness.connection import Connection
from harness.drivers import KafkaError, Offsets, Round
from harness.records import Record, assert_same, by_partition, numbered
from harness.topics import by_leader, create_topic

# With --full the stories are told on a core-direct listener too.
CORE_DIRECT = True
PARTITIONS = 2
# The one looks at what every client has done, the other writes what every client reads.
JUDGE, WRITER = "confluent-kafka", "java"
# Long enough for a slow client to write in, and no more: the test waits for it.
TIMEOUT_MS = 1_500
MARKER_SECONDS_MAX = 30
INVALID_PRODUCER_EPOCH = 47
INVALID_TRANSACTION_TIMEOUT = 50
PRODUCER_FENCED = 90


@pytest.fixture(scope="module")
def broker_of_module(module_brokers, broker_kind):
    """Brokers that soon see that a transaction has timed out, and on which a group of one need not wait for others."""
    return module_brokers.share(broker_kind, **{
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": 200,
        "group.initial.rebalance.delay.ms": 0,
    })


class Log:
    """What the partitions of a topic hold: the records, each at its offset, and between them the marker of each
    transaction that has ended."""

    def __init__(self):
        self.ends = [0] * PARTITIONS
        self.written: list[list[Record]] = [[] for _ in range(PARTITIONS)]
        self.markers: set[tuple[int, int]] = set()
        self.aborted: list[Record] = []
        self.open: list[Record] = []

    def add(self, record: Record) -> Record:
        record = replace(record, offset=self.ends[record.partition])
        self.ends[record.partition] += 1
        self.written[record.partition].append(record)
        return record

    def add_rounds(self, rounds: list[Round]) -> None:
        for each in rounds:
            records = [self.add(record) for record in each.records]
            if each.commit is None:
                self.open += records
            else:
                self._end(records, each.commit)

    def end_open(self, commit: bool) -> None:
        records, self.open = self.open, []
        self._end(records, commit)

    def _end(self, records: list[Record], commit: bool) -> None:
        """The marker of a transaction comes into each of its partitions."""
        for partition in {record.partition for record in records}:
            self.markers.add((partition, self.ends[partition]))
            self.ends[partition] += 1
        if not commit:
            self.aborted += records

    def end(self, partition: int, read_committed: bool) -> int:
        """Behind the last that can be read; for read_committed, the last stable offset."""
        held_back = [record.offset for record in self.open if record.partition == partition and read_committed]
        return min(held_back, default=self.ends[partition])

    def visible(self, partition: int, read_committed: bool, aborted: bool) -> list[Record]:
        end = self.end(partition, read_committed)
        return [
            record for record in self.written[partition]
            if record.offset < end and (aborted or record not in self.aborted)
        ]


class Stage:
    """What one story plays on: a topic of its own, the client that writes to it, and what is there by now."""

    def __init__(self, broker, clients, client, topic):
        self.broker, self.client, self.topic = broker, client, topic
        self.judge = clients[JUDGE]
        self.log = Log()
        self.fresh = iter(numbered(1_000, PARTITIONS))
        create_topic(broker, topic, partitions=PARTITIONS)
        self.leaders = {
            partition: address for address, led in by_leader(broker.address, topic).items() for partition in led
        }

    def records(self, count: int) -> list[Record]:
        """Some that are not used yet, for all partitions in turn."""
        return list(islice(self.fresh, count))

    def transact(self, *rounds: Round, **how) -> None:
        """The topic's name is the transactional id as well."""
        self.client.transact(self.broker.address, self.topic, self.topic, list(rounds), **how)
        self.log.add_rounds(rounds)

    def write_plain(self, count: int) -> None:
        """Records that are in no transaction, behind all markers of those that have ended."""
        self.await_markers()
        records = self.records(count)
        placed = by_partition(records, self.judge.produce(self.broker.address, self.topic, records))
        for record in records:
            assert self.log.add(record) in placed[record.partition], f"the log is {self.log.ends}, placed {placed}"

    def await_markers(self) -> None:
        """A broker may answer that a transaction ends before its markers are everywhere."""
        deadline = time.monotonic() + MARKER_SECONDS_MAX
        for partition in range(PARTITIONS):
            wanted = self.log.end(partition, True)
            while (found := self._end(partition, True)) != wanted:
                assert time.monotonic() < deadline, f"partition {partition} is stable to {found}, not to {wanted}"
                time.sleep(0.02)
            assert self._end(partition, False) == self.log.end(partition, False)

    def _end(self, partition: int, read_committed: bool) -> int:
        """Asked through the bare protocol: librdkafka often takes seconds for it."""
        asked = [{"name": self.topic, "partitions": [{"index": partition, "timestamp": -1}]}]
        with Connection(self.leaders[partition]) as connection:
            answered = connection.call("ListOffsets", 7, topics=asked, isolation_level=int(read_committed))
        return answered.topics[0].partitions[0].offset

    def check(self, *readers) -> None:
        """What the readers have to see."""
        self.await_markers()
        for reader in readers:
            for partition in range(PARTITIONS):
                for read_committed in (False, True):
                    self._check(reader, partition, read_committed)

    def _check(self, reader, partition, read_committed):
        end = self.log.end(partition, read_committed)
        wanted = self.log.visible(partition, read_committed, not read_committed or "aborted records" in reader.lacks)
        if "positions" in reader.lacks and end > 0 and (not wanted or wanted[-1].offset != end - 1):
            return
        if not read_committed and self.log.open and "uncommitted end" in reader.lacks:
            return
        received = reader.consume(self.broker.address, self.topic, partition, read_committed=read_committed)
        if "markers" in reader.lacks:
            received = [record for record in received if (partition, record.offset) not in self.log.markers]
        assert_same([reader.reads_as(record) for record in wanted], received)

    def check_ends(self, reader) -> None:
        """Where the reader finds the end of what is committed, and of all."""
        for partition in range(PARTITIONS):
            for read_committed in (True, False)[: 1 if "uncommitted end" in reader.lacks else 2]:
                found, _ = reader.list_offset(self.broker.address, self.topic, partition, "latest", read_committed)
                assert found == self.log.end(partition, read_committed)

    def committed(self, group: str, topic: str, isolation: str = "read_committed") -> int:
        """What librdkafka finds committed of partition 0. With read_committed it waits for transactions that commit
        another offset."""
        consumer = confluent_kafka.Consumer({
            "bootstrap.servers": self.broker.address, "group.id": group, "isolation.level": isolation,
        })
        try:
            (found,) = consumer.committed([confluent_kafka.TopicPartition(topic, 0)], MARKER_SECONDS_MAX)
            return found.offset
        finally:
            consumer.close()


@pytest.fixture
def stage(broker, clients, client, topic):
    if "transactions" in client.lacks:
        pytest.skip(client.lacks["transactions"])
    return Stage(broker, clients, client, topic)


def commit_abort_commit(stage: Stage) -> list[Round]:
    """The last one in a single partition, so that the partitions have markers at different places."""
    return [
        Round(stage.records(20)),
        Round(stage.records(20), commit=False),
        Round([record for record in stage.records(20) if record.partition == 1]),
    ]


def test_commit_abort_commit(stage):
    stage.transact(*commit_abort_commit(stage))
    stage.check(stage.judge, stage.client)
    # Those who do not know that they have passed a marker read to a record behind it.
    stage.write_plain(2)
    stage.check(stage.client)


def test_transactions_of_others_are_read(client, broker, clients, topic):
    stage = Stage(broker, clients, clients[WRITER], topic)
    stage.write_plain(2)
    stage.transact(*commit_abort_commit(stage))
    stage.write_plain(2)
    stage.check(client)


def test_offsets_are_committed_with_the_transaction(stage):
    source, group = f"{stage.topic}-source", stage.topic
    create_topic(stage.broker, source)
    stage.judge.produce(stage.broker.address, source, numbered(10))

    def play(offset, commit):
        stage.transact(Round(stage.records(2), commit, Offsets(group, source, 0, offset)))

    play(3, commit=True)
    assert stage.committed(group, source) == 3
    play(7, commit=False)
    assert stage.committed(group, source) == 3
    play(8, commit=None)
    assert stage.committed(group, source, "read_uncommitted") == 3
    # Another life of the producer ends what the last has left open.
    stage.transact()
    stage.log.end_open(commit=False)
    assert stage.committed(group, source) == 3
    play(5, commit=True)
    assert stage.committed(group, source) == 5
    stage.check(stage.judge)


def test_an_open_transaction_holds_readers_back(stage):
    stage.write_plain(2)
    stage.transact(Round(stage.records(10)), Round(stage.records(10), commit=False))
    stage.write_plain(2)
    stage.transact(Round(stage.records(10), commit=None))
    stage.write_plain(2)
    stage.check(stage.judge, stage.client)
    stage.check_ends(stage.client)
    stage.transact()
    stage.log.end_open(commit=False)
    stage.check(stage.judge, stage.client)
    stage.write_plain(2)
    stage.check(stage.client)


def test_an_open_transaction_times_out(stage):
    started = time.monotonic()
    stage.transact(Round(stage.records(10), commit=None), timeout_ms=TIMEOUT_MS)
    stage.log.end_open(commit=False)
    stage.await_markers()
    assert time.monotonic() - started >= TIMEOUT_MS / 1000, "too soon"
    stage.check(stage.judge, stage.client)
    # The transactional id goes on.
    stage.transact(Round(stage.records(10)))
    stage.write_plain(2)
    stage.check(stage.judge, stage.client)


@pytest.mark.parametrize("then", ["produce", "commit"])
@pytest.mark.parametrize("name", ["confluent-kafka", "java"])
def test_a_second_producer_fences_the_first(name, then, broker, clients, topic):
    stage = Stage(broker, clients, clients[name], topic)
    # The first two in one partition, which is in the transaction by then: the second of them meets its leader.
    first, _, refused, *second = stage.records(11)
    met = stage.client.fence(broker.address, topic, topic, [first, refused, *second], then)
    assert met in (INVALID_PRODUCER_EPOCH, PRODUCER_FENCED, confluent_kafka.KafkaError._FENCED), met
    stage.log.add_rounds([Round([first], commit=False), Round(second)])
    stage.check(stage.judge)


@pytest.mark.parametrize("older, newer", [("holds", "passes"), ("passes", "holds")])
def test_both_versions_at_once(older, newer, broker, clients, topic):
    """A transaction of version 1 stays open while those of version 2 come and go, and the other way round (KIP-890): all
    of them are held back together, until the open one is ended."""
    spoken = {older: clients[JUDGE], newer: clients[WRITER]}
    stage = Stage(broker, clients, spoken["holds"], topic)
    stage.transact(Round(stage.records(4)), Round(stage.records(10), commit=None))
    for _ in range(2):
        passing = [Round(stage.records(6)), Round(stage.records(6), commit=False)]
        spoken["passes"].transact(broker.address, topic, f"{topic}-passing", passing)
        stage.log.add_rounds(passing)
    stage.check(stage.judge, clients[WRITER])
    stage.transact()
    stage.log.end_open(commit=False)
    stage.transact(Round(stage.records(4)))
    stage.check(stage.judge, clients[WRITER])


def test_partitions_take_part_without_verification(brokers, broker_kind, clients, topic):
    """The setting spares older clients a question; those that rely on being added by what they write are added."""
    broker = brokers.create(broker_kind, **{"transaction.partition.verification.enable": "false"}).start()
    stage = Stage(broker, clients, clients["java"], topic)
    stage.transact(Round(stage.records(10)), Round(stage.records(10), commit=False), Round(stage.records(10)))
    stage.check(stage.judge, stage.client)


def test_a_timeout_that_is_too_long_is_refused(stage):
    """The broker's transaction.max.timeout.ms is 15 minutes."""
    if "refused timeout" in stage.client.lacks:
        pytest.skip(stage.client.lacks["refused timeout"])
    with pytest.raises(KafkaError) as refused:
        stage.transact(timeout_ms=15 * 60_000 + 1)
    assert refused.value.code == INVALID_TRANSACTION_TIMEOUT
