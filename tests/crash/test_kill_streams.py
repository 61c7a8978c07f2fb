"""A Kafka Streams application with exactly_once_v2, and the broker under it, are killed with SIGKILL, again and again:
each click is joined once and in order, and each count goes up by one, from one to the number of clicks."""

import random
import shutil
import subprocess
import threading
import time
from collections import Counter, defaultdict
from os.path import commonprefix

import confluent_kafka
import pytest
from harness.drivers import Java
from harness.topics import create_topic

CYCLES_DEFAULT = 3
CYCLES_FULL = 10
WAYS = ("broker", "application", "both")
PARTITIONS = 3
USERS = 12
CLICKS_PER_SECOND = 300
# As in clients/java/Streams.java.
WINDOW_MS = 20_000
# By the clicks' own time; and how far one may be behind the one before.
CLICK_MS = 10
DISORDER_MS = 5_000
DELIVERY_SECONDS_MAX = 120
# Apache Kafka that is started after a kill is fenced when the session of the killed one ends, 9 s after the controller
# came up. If that falls between the load of a transaction that is to be ended and its markers, it finds no leader for
# them, takes the partitions for deleted, writes none, and calls the transaction complete: it hangs, and with it all
# that reads committed records. With shorter sessions this is over before the coordinator loads anything.
REFERENCE_SETTINGS = {"broker.session.timeout.ms": 3_000, "broker.heartbeat.interval.ms": 500}
# A start after a kill waits for the session of the killed one, and may wait for its transactions, ten seconds each; the
# reference takes ten more to start.
PROGRESS_SECONDS_MAX = 240


def user_of(number: int) -> int:
    return number % USERS


def name_of(user: int) -> str:
    return f"name-of-{user}"


class Clicks:
    """Writes the users, and then numbered clicks of them in turn, whatever happens to the broker."""

    def __init__(self, broker):
        self.count = 0
        self.failures: list[str] = []
        # In the hour before now: for a broker it is neither old, to be deleted, nor in the future, to be refused.
        self.first_ms = int(time.time() * 1_000) - 3_600_000
        self.producer = confluent_kafka.Producer({
            "bootstrap.servers": broker.address, "enable.idempotence": True, "linger.ms": 5, "log_level": 0,
            "message.timeout.ms": DELIVERY_SECONDS_MAX * 1_000,
            # As in Java: so clicks are in the partition of their user, and in the same one when they are joined.
            "partitioner": "murmur2_random",
        })
        for user in range(USERS):
            # Before each click, so that Streams reads them first.
            self.write("users", user, name_of(user), self.first_ms - DISORDER_MS)
        self.flush()
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def write(self, topic: str, user: int, value: str, time_ms: int) -> None:
        def told(error, _):
            if error is not None:
                self.failures.append(str(error))

        self.producer.produce(topic, value, str(user), timestamp=time_ms, on_delivery=told)

    def time_ms(self, number: int) -> int:
        """A click's time depends on nothing but its number; windows overlap in the order of the clicks."""
        return self.first_ms + number * CLICK_MS - number * 7_919 % DISORDER_MS

    def window_ms(self, number: int) -> int:
        return self.time_ms(number) // WINDOW_MS * WINDOW_MS

    def run(self) -> None:
        while not self.is_over.is_set():
            self.write("clicks", user_of(self.count), str(self.count), self.time_ms(self.count))
            self.count += 1
            self.producer.poll(1 / CLICKS_PER_SECOND)

    def flush(self) -> None:
        assert self.producer.flush(DELIVERY_SECONDS_MAX) == 0 and not self.failures, self.failures[:3]

    def stop(self) -> None:
        self.is_over.set()
        self.thread.join()
        self.flush()

    def counts(self) -> dict[str, int]:
        """The number of clicks by user and window, as the application names them."""
        return Counter(f"{user_of(number)} {self.window_ms(number)}" for number in range(self.count))


class Program(Java):
    main_class = "Streams"


class Application:
    """clients/java/Streams.java, as often as it is started."""

    def __init__(self, broker, directory):
        self.broker = broker
        self.state = directory / "state"
        self.output_path = directory / "application.output"
        # Where RocksDB unpacks its library, which a killed process leaves behind.
        self.temporary = directory / "temporary"
        self.temporary.mkdir()
        self.command = Program.program()
        self.process = None

    def start(self) -> None:
        *java, main_class = self.command
        arguments = [self.broker.address, self.state, "clicks-application"]
        with open(self.output_path, "ab") as output:
            self.process = subprocess.Popen(
                [*java, f"-Djava.io.tmpdir={self.temporary}", main_class, *arguments], stdin=subprocess.DEVNULL,
                stdout=output, stderr=output,
            )

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def lose_state(self) -> None:
        """As on a new machine: what it needs it reads back from the topics in which it logs its state."""
        shutil.rmtree(self.state, ignore_errors=True)

    def failures(self) -> list[str]:
        """What it said of threads that ended, each of which it replaced."""
        return [line for line in self.lines() if line.startswith("failed: ")]

    def lines(self) -> list[str]:
        return self.output_path.read_text(errors="replace").splitlines()

    def story(self) -> str:
        """Each failure once, though it came with every thread that was replaced, and the last lines without stacks."""
        told = [line for line in self.lines() if not line.startswith("\t")]
        return "\n".join([*dict.fromkeys(self.failures()), "…", *told[-20:]])


class Output:
    """What is committed in the application's topics."""

    def __init__(self, broker):
        # Number and name, by partition; and counts by user and window: both in the order of the topic.
        self.joined: list[list[str]] = [[] for _ in range(PARTITIONS)]
        self.counts: dict[str, list[int]] = defaultdict(list)
        self.consumer = confluent_kafka.Consumer({
            "bootstrap.servers": broker.address, "group.id": "unused: partitions are assigned",
            "isolation.level": "read_committed", "auto.offset.reset": "earliest", "log_level": 0,
        })
        self.consumer.assign([
            confluent_kafka.TopicPartition(topic, index, 0)
            for topic in ("joined", "counts") for index in range(PARTITIONS)
        ])

    def read(self) -> None:
        for message in self.consumer.consume(1_000, 0.2):
            if message.error() is not None:
                continue
            if message.topic() == "joined":
                self.joined[message.partition()].append(message.value().decode())
            else:
                self.counts[message.key().decode()].append(int(message.value()))

    def clicks(self) -> int:
        """How many clicks came out at both ends."""
        return min(sum(map(len, self.joined)), sum(map(len, self.counts.values())))

    def wait_for(self, clicks: int, what: str, application: Application) -> None:
        deadline = time.monotonic() + PROGRESS_SECONDS_MAX
        while self.clicks() < clicks:
            self.read()
            told = f"{what}: {self.clicks()} of {clicks} clicks are joined and counted"
            assert application.process.poll() is None, f"the application ended; {told}\n{application.story()}"
            assert time.monotonic() < deadline, f"{told}\n{application.story()}"

    def close(self) -> None:
        self.consumer.close()


def assert_each_click_joined_once(joined: list[list[str]], clicks: int) -> None:
    numbers = [[int(value.split(" ")[0]) for value in values] for values in joined]
    found = Counter(number for partition in numbers for number in partition)
    lost = [number for number in range(clicks) if number not in found]
    doubled = [number for number, times in found.items() if times > 1]
    assert not lost and not doubled, (
        f"of {clicks} clicks {len(lost)} were not joined, first {lost[:5]}, and {len(doubled)} more than once, "
        f"first {sorted(doubled)[:5]}"
    )
    assert len(found) == clicks, f"joined, but not written: {sorted(found)[clicks:][:5]}"
    for partition, values in enumerate(joined):
        assert numbers[partition] == sorted(numbers[partition]), f"partition {partition} is not in order"
        assert values == [f"{number} {name_of(user_of(number))}" for number in numbers[partition]]


def assert_each_click_counted_once(counts: dict[str, list[int]], expected: dict[str, int]) -> None:
    """With every value in the topic, a click counted twice or lost shows in the last one, a count written again in the
    others."""
    wrong = {}
    for key in counts.keys() | expected.keys():
        values, right = counts.get(key, []), list(range(1, expected.get(key, 0) + 1))
        if values != right:
            same = len(commonprefix([values, right]))
            wrong[key] = f"of {len(right)} after {same}: {values[same:][:5]}"
    assert not wrong, f"{len(wrong)} of {len(expected)} counts are wrong, first {dict(sorted(wrong.items())[:5])}"


@pytest.fixture
def application(tmp_path):
    made = []
    yield lambda broker: made.append(Application(broker, tmp_path)) or made[-1]
    for each in made:
        each.kill()


def test_kills_with_streams(brokers, broker_kind, application, full, capsys):
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    print(f"seed {seed}")
    broker = brokers.create(broker_kind, **{"group.initial.rebalance.delay.ms": 0})
    if broker.is_reference:
        broker.settings |= REFERENCE_SETTINGS
    broker.start()
    for topic in ("clicks", "users", "joined", "counts"):
        create_topic(broker, topic, partitions=PARTITIONS)
    streams, clicks, output = application(broker), Clicks(broker), Output(broker)
    # The reference needs some ten seconds for each start after a kill.
    cycles = CYCLES_FULL if full and not broker.is_reference else CYCLES_DEFAULT
    # In each order, but each way as often as the others.
    ways = [way for _ in range(0, cycles, len(WAYS)) for way in chance.sample(WAYS, len(WAYS))][:cycles]
    try:
        streams.start()
        for cycle, way in enumerate(ways):
            # One that is written from here on: it was not joined before the last kill.
            output.wait_for(clicks.count + 1, f"cycle {cycle}, before a kill of {way}", streams)
            time.sleep(chance.uniform(0, 1))
            without_state = way != "broker" and chance.random() < 0.5
            print(f"cycle {cycle}: {way}{', and the state is lost' if without_state else ''}, {output.clicks()} clicks")
            if way != "application":
                broker.kill()
            if way != "broker":
                streams.kill()
            if without_state:
                streams.lose_state()
            if way != "application":
                broker.start()
            if way != "broker":
                streams.start()
        clicks.stop()
        output.wait_for(clicks.count, "at the end", streams)
        # Nothing comes behind that either.
        time.sleep(1)
        output.read()
    finally:
        clicks.is_over.set()
        output.close()
    assert_each_click_joined_once(output.joined, clicks.count)
    assert_each_click_counted_once(output.counts, clicks.counts())
    with capsys.disabled():
        told = f"{clicks.count} clicks joined and counted once, {len(streams.failures())} threads replaced"
        print(f"\n{broker_kind}: {cycles} kills, {told}")


def test_the_check_notices_what_is_lost_doubled_or_out_of_order():
    joined = [[f"{number} {name_of(user_of(number))}" for number in numbers] for numbers in ((0, 3), (1, 4), (2, 5))]
    assert_each_click_joined_once(joined, 6)
    for first, expected in (
        (joined[0][:1], r"1 were not joined, first \[3\]"),
        (joined[0] * 2, r"2 more than once, first \[0, 3\]"),
        (joined[0][::-1], "not in order"),
        ([*joined[0], "6 name-of-6"], "not written"),
    ):
        with pytest.raises(AssertionError, match=expected):
            assert_each_click_joined_once([first, *joined[1:]], 6)
    assert_each_click_counted_once({"0 0": [1, 2, 3], "1 0": [1]}, {"0 0": 3, "1 0": 1})
    for values in ([1, 2], [1, 2, 2, 3], [1, 3], [1, 2, 3, 4], [1, 3, 2], []):
        with pytest.raises(AssertionError, match="1 of 1 counts are wrong"):
            assert_each_click_counted_once({"0 0": values}, {"0 0": 3})
