"""Consumer groups of every client: a rebalance, a member that leaves, one that crashes, offsets that are kept."""

import os
import re
import time
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace

import confluent_kafka
import pytest

from harness.connection import Connection
from harness.drivers import CLIENTS
from harness.members import ABILITIES, SESSION_MS, Group
from harness.records import Record, by_partition
from harness.topics import create_topic

# Kafka's number of a group among what has settings.
GROUP_RESOURCE = 32
# With --full the stories are told on a core-direct listener too.
CORE_DIRECT = True
PARTITIONS = 6
# A member may be silent for less than Kafka's least by default, 6 s.
SETTINGS = {"group.min.session.timeout.ms": 1_000, "group.initial.rebalance.delay.ms": 300}
# Of KIP-848, where the broker sets the session.
CONSUMER_SETTINGS = {
    "group.consumer.min.session.timeout.ms": 1_000,
    "group.consumer.session.timeout.ms": SESSION_MS,
    "group.consumer.min.heartbeat.interval.ms": 500,
    "group.consumer.heartbeat.interval.ms": 500,
}


@pytest.fixture(scope="module")
def broker_of_module(module_brokers, broker_kind):
    """Brokers that allow short sessions, and a short delay before the first rebalance."""
    return module_brokers.share(broker_kind, **SETTINGS)


class Writer:
    """Writes numbered values to every partition in turn, and knows what a group has to read."""

    def __init__(self, broker, clients, topic):
        self.broker, self.topic = broker, topic
        self.client = clients["confluent-kafka"]
        self.values: dict[int, dict[int, str]] = {partition: {} for partition in range(PARTITIONS)}
        self.count = 0

    def write(self, count: int) -> None:
        now = int(time.time() * 1000)
        records = [
            Record(number % PARTITIONS, now, None, f"value {number}".encode())
            for number in range(self.count, self.count + count)
        ]
        self.count += count
        for partition, placed in by_partition(records, self.client.produce(self.broker.address, self.topic, records)).items():
            self.values[partition] |= {record.offset: record.value.decode() for record in placed}

    def await_read(self, group: Group) -> None:
        group.wait(f"all {self.count} records are read", lambda: group.records_read() >= self.count)
        assert group.read() == self.values

    def ends(self) -> dict[int, int]:
        return {partition: len(values) for partition, values in self.values.items()}


class Stage:
    """What one story plays on: a broker, a topic of its own, what is written to it, and groups that read it."""

    def __init__(self, broker, clients, client: str, topic: str):
        self.broker, self.client, self.topic = broker, client, topic
        create_topic(broker, topic, partitions=PARTITIONS)
        self.writer = Writer(broker, clients, topic)
        self.groups: list[Group] = []

    def group(self, name: str = "", **how) -> Group:
        self.groups.append(Group(self.broker.address, self.client, name or self.topic, self.topic, **how))
        return self.groups[-1]

    def play(self, story) -> None:
        try:
            story(self)
        finally:
            for group in self.groups:
                group.end()


class Stories:
    """Stories wait more than they work, so those of a test that differ in the client only are played a few at a time.
    Each client's is a test of its own nevertheless: it takes its outcome from here."""

    AT_A_TIME = 3

    def __init__(self):
        self.pool = ThreadPoolExecutor(self.AT_A_TIME)
        self.played: dict[tuple, Future] = {}

    def outcome(self, request, broker, clients, story) -> None:
        mine = request.node.callspec.params
        if (story, broker.kind, mine["name"]) not in self.played:
            for item in request.session.items:
                params = item.callspec.params if hasattr(item, "callspec") else {}
                if item.function is request.function and params["broker_kind"] == mine["broker_kind"]:
                    name = params["name"]
                    topic = re.sub(r"\W+", "-", f"{story.__name__}-{name}-{os.urandom(3).hex()}")
                    self.played[story, broker.kind, name] = self.pool.submit(
                        lambda name=name, topic=topic: Stage(broker, clients, name, topic).play(story)
                    )
        self.played[story, broker.kind, mine["name"]].result()


@pytest.fixture(scope="module")
def stories():
    stories = Stories()
    yield stories
    stories.pool.shutdown(cancel_futures=True)


@pytest.fixture
def play(stories, request, broker, clients):
    return lambda story: stories.outcome(request, broker, clients, story)


def committed(broker, group: str, topic: str) -> dict[int, int]:
    """What the broker says is committed, asked by a client that is not under test."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": broker.address, "group.id": group})
    try:
        places = [confluent_kafka.TopicPartition(topic, partition) for partition in range(PARTITIONS)]
        return {place.partition: place.offset for place in consumer.committed(places, 30)}
    finally:
        consumer.close()


def one_leaves_and_one_crashes(stage: Stage, **how) -> Group:
    """Three members share the partitions; one leaves, one crashes; at every time everything is read, and nothing twice
    that was committed."""
    group, writer = stage.group(**how), stage.writer
    writer.write(300)
    first, second, third = (group.join() for _ in range(3))
    group.wait("three members share", lambda: group.settled([first, second, third], PARTITIONS))
    writer.write(300)
    writer.await_read(group)

    third.leave()
    took = group.wait("two members share", lambda: group.settled([first, second], PARTITIONS))
    # A member that says good-bye is not waited for.
    assert took < group.session_ms / 1000, f"{took:.1f} s after a clean leave"
    writer.write(300)
    writer.await_read(group)

    second.kill()
    took = group.wait("one member has all", lambda: group.settled([first], PARTITIONS))
    assert took < group.session_ms / 1000 + 10, f"{took:.1f} s after a crash"
    writer.write(300)
    writer.await_read(group)
    first.leave()

    group.check_story()
    assert committed(stage.broker, group.name, stage.topic) == writer.ends()
    return group


def cooperative_rebalance(stage: Stage) -> None:
    """KIP-429: who keeps a partition is not stopped: it never hears that it owns nothing while others come and go."""
    group = one_leaves_and_one_crashes(stage, assignor="cooperative-sticky")
    told = [event["partitions"] for event in group.members[0].own("assigned")]
    first = next(index for index, partitions in enumerate(told) if partitions)
    assert all(told[first:-1]), f"all partitions were taken away: {told}"


def static_member_comes_back(stage: Stage) -> None:
    """KIP-345: a member with an instance id that ends and returns within its session has its partitions again, and the
    others hear nothing of it."""
    group, writer = stage.group(session_ms=30_000), stage.writer
    stays, goes = group.join(instance="one"), group.join(instance="two")
    group.wait("two members share", lambda: group.settled([stays, goes], PARTITIONS))
    writer.write(300)
    writer.await_read(group)
    told, share = len(stays.own("assigned")), goes.assigned()
    goes.kill()
    returns = group.join(instance="two")
    took = group.wait("the member is back", lambda: returns.assigned())
    assert took < 20, f"{took:.1f} s, nearly a session"
    assert returns.assigned() == share
    writer.write(300)
    writer.await_read(group)
    assert len(stays.own("assigned")) == told, f"the other member was disturbed: {stays.own('assigned')}"
    for member in (stays, returns):
        member.ask_to_leave()
    group.wait("both end", lambda: stays.own("gone") and returns.own("gone"))
    group.check_story()


def commit_and_resume(stage: Stage) -> None:
    """A member reads a part, commits, leaves; the next of the same group goes on there. Another group begins anew."""
    group, writer = stage.group(), stage.writer
    writer.write(300)
    first = group.join(records_max=100)
    group.wait("the first part is read and the member gone", lambda: first.own("gone"))
    assert group.records_read() == 100
    second = group.join()
    writer.await_read(group)
    second.leave()
    group.check_story()
    told = [record for event in second.own("records") for record in event["records"]]
    assert len(told) == 200, f"{len(told)} records read after the commit of 100 among 300"
    assert committed(stage.broker, group.name, stage.topic) == writer.ends()

    other = stage.group(f"{stage.topic}-other")
    other.join()
    writer.await_read(other)


def start_at_the_end(stage: Stage) -> None:
    """Without a committed offset, auto.offset.reset=latest (or what the client calls it) begins behind what is there."""
    group, writer = stage.group(), stage.writer
    writer.write(300)
    member = group.join(reset="latest")
    group.wait("the member has all", lambda: group.settled([member], PARTITIONS))
    # Where the end is, the client asks at some time after it was assigned; what is written before that is not read.
    for _ in range(100):
        writer.write(PARTITIONS)
        try:
            group.wait("something of each partition is read", lambda: len(group.read()) == PARTITIONS, 0.3)
            break
        except AssertionError:
            continue
    writer.write(60)
    group.wait("the rest is read", lambda: all(
        set(range(end - 10, end)) <= group.read()[partition].keys() for partition, end in writer.ends().items()
    ))
    assert min(offset for offsets in group.read().values() for offset in offsets) >= 300 / PARTITIONS
    member.leave()


def clients_with(assignor: str = "", static: bool = False) -> list[str]:
    return [
        name for name, has in ABILITIES.items()
        if name in CLIENTS and (not assignor or assignor in has.assignors) and (has.static or not static)
    ]


@pytest.mark.parametrize("name", clients_with())
def test_one_leaves_and_one_crashes(play, name):
    play(one_leaves_and_one_crashes)


@pytest.mark.parametrize("name", clients_with("cooperative-sticky"))
def test_cooperative_rebalance(play, name):
    play(cooperative_rebalance)


@pytest.mark.parametrize("name", clients_with(static=True))
def test_a_static_member_comes_back(play, name):
    play(static_member_comes_back)


@pytest.mark.parametrize("name", clients_with())
def test_commit_and_resume(play, name):
    play(commit_and_resume)


@pytest.mark.parametrize("name", clients_with())
def test_start_at_the_end(play, name):
    play(start_at_the_end)


def static_member_leaves_and_comes_back(stage: Stage, **how) -> None:
    """KIP-848: a static member that ends says that it will be back, and keeps its place until its session is over."""
    group, writer = stage.group(**how), stage.writer
    # A machine that is busy takes more than the session of the other stories to start a program.
    set_for_group(stage.broker, group.name, "consumer.session.timeout.ms", "60000")
    stays, goes = group.join(instance="one"), group.join(instance="two")
    group.wait("two members share", lambda: group.settled([stays, goes], PARTITIONS))
    writer.write(300)
    writer.await_read(group)
    told, share = len(stays.own("assigned")), goes.assigned()
    goes.leave()
    returns = group.join(instance="two")
    group.wait("the member is back", lambda: returns.assigned())
    assert returns.assigned() == share
    writer.write(300)
    writer.await_read(group)
    assert len(stays.own("assigned")) == told, f"the other member was disturbed: {stays.own('assigned')}"
    for member in (stays, returns):
        member.leave()
    group.check_story()


def set_for_group(broker, group: str, name: str, value: str) -> None:
    setting = {"name": name, "operation": 0, "value": value}
    resource = {"type": GROUP_RESOURCE, "name": group, "configs": [setting]}
    with Connection(broker.address) as connection:
        [result] = connection.call("IncrementalAlterConfigs", 1, resources=[resource], validate_only=False).results
    assert result.error == 0, result.error_message


def group_changes_over_and_back(stage: Stage, **how) -> None:
    """KIP-848: members of the consumer protocol come into a classic group that is at work, until nobody speaks the classic
    one any more, and the other way round. Nothing is passed over, and nothing read twice that was committed."""
    group, writer = stage.group(**how), stage.writer
    old = [group.join(), group.join()]
    group.wait("two classic members share", lambda: group.settled(old, PARTITIONS))
    writer.write(300)
    writer.await_read(group)
    new = group.join(protocol="consumer", assignor="uniform")
    group.wait("three members of both share", lambda: group.settled([*old, new], PARTITIONS))
    writer.write(300)
    writer.await_read(group)
    for number, member in enumerate(old, 1):
        member.leave()
        group.wait("the others share", lambda: group.settled([*old[number:], new], PARTITIONS))
    writer.write(300)
    writer.await_read(group)
    last = group.join()
    group.wait("two members of both share", lambda: group.settled([last, new], PARTITIONS))
    new.leave()
    group.wait("the classic member has all", lambda: group.settled([last], PARTITIONS))
    writer.write(300)
    writer.await_read(group)
    last.leave()
    group.check_story()
    assert committed(stage.broker, group.name, stage.topic) == writer.ends()


@pytest.mark.parametrize("name", [name for name, has in ABILITIES.items() if has.consumer_protocol])
def test_consumer_protocol(name, brokers, broker_kind, clients, topic):
    """KIP-848: the broker assigns, by each of its assignors, topics by name and by pattern. One story beside the other."""
    broker = brokers.create(broker_kind, **SETTINGS, **CONSUMER_SETTINGS).start()
    told = {
        "uniform": lambda stage: one_leaves_and_one_crashes(stage, protocol="consumer", assignor="uniform"),
        "range": lambda stage: one_leaves_and_one_crashes(stage, protocol="consumer", assignor="range"),
        "pattern": lambda stage: one_leaves_and_one_crashes(
            stage, protocol="consumer", assignor="uniform", pattern=f"{topic}-pat.*n"
        ),
    }
    for assignor in ("range", "cooperative-sticky"):
        told[f"from-{assignor}"] = lambda stage, assignor=assignor: group_changes_over_and_back(stage, assignor=assignor)
    if ABILITIES[name].says_that_it_will_be_back:
        told["static"] = lambda stage: static_member_leaves_and_comes_back(stage, protocol="consumer", assignor="uniform")
    with ThreadPoolExecutor(len(told)) as pool:
        plays = [
            pool.submit(Stage(broker, clients, name, f"{topic}-{story}").play, act) for story, act in told.items()
        ]
    for play in plays:
        play.result()


def test_the_check_notices_a_skipped_record_and_a_lost_commit():
    """The check itself, on stories that must not pass."""

    def story(*events):
        group = Group("", "java", "g", "t")
        for number, event in events:
            group.events.append((SimpleNamespace(number=number), event))
        return group

    def read(*offsets):
        return {"event": "records", "records": [[0, offset, "v"] for offset in offsets]}

    def commit(offset):
        return {"event": "committed", "offsets": [[0, offset]]}

    story((1, read(0, 1)), (1, commit(2)), (2, read(2, 3)), (3, read(2, 3, 4))).check_story()
    with pytest.raises(AssertionError, match="skipped 2"):
        story((1, read(0, 1)), (2, read(3))).check_story()
    with pytest.raises(AssertionError, match="2 was committed"):
        story((1, read(0, 1)), (1, commit(2)), (2, read(1, 2))).check_story()
