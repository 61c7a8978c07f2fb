"""Members of consumer groups: each a process of its own, which tells what it is assigned, reads and commits.

The programs are those of harness/drivers.py. A member commits each batch that it has read, and waits for the answer;
what is in a `committed` event is what the broker has confirmed.
"""

import itertools
import json
import os
import re
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field

from harness.drivers import CLIENTS, JsonLines, PyKafka, PythonProgram
from harness.paths import TESTS

SESSION_MS = 5_000
SETTLE_SECONDS_MAX = 180
LEAVE_SECONDS_MAX = 120


@dataclass(frozen=True)
class Abilities:
    """What a client has of groups: the names of its assignors, and whether a member may be static (KIP-345)."""

    assignors: tuple[str, ...]
    static: bool = False
    # Assignors that the broker has, for the protocol of KIP-848.
    consumer_protocol: tuple[str, ...] = ()
    # A static member of that protocol that ends says that it will be back; franz-go's is silent until its session is over.
    says_that_it_will_be_back: bool = False


class ConfluentProgram(PythonProgram):
    name = "confluent-kafka"


PROGRAMS: dict[str, type[JsonLines]] = {
    name: kind for name, kind in CLIENTS.items() if issubclass(kind, JsonLines)
} | {"confluent-kafka": ConfluentProgram, "pykafka": PyKafka}

ABILITIES = {
    "confluent-kafka": Abilities(("range", "roundrobin", "cooperative-sticky"), True, ("uniform", "range"), True),
    "java": Abilities(("range", "roundrobin", "sticky", "cooperative-sticky"), True, ("uniform", "range"), True),
    "franz-go": Abilities(("range", "roundrobin", "sticky", "cooperative-sticky"), True, ("uniform", "range")),
    "sarama": Abilities(("range", "roundrobin", "sticky"), True),
    "segmentio/kafka-go": Abilities(("range", "roundrobin")),
    "kafka-python": Abilities(("range", "roundrobin", "sticky", "cooperative-sticky"), True),
    "aiokafka": Abilities(("range", "roundrobin", "sticky"), True),
    "kafkajs": Abilities(("roundrobin",)),
    # kcat 1.7 takes cooperative-sticky as well, and then owns what it is given but tells nothing.
    "kcat": Abilities(("range", "roundrobin"), True),
    "pykafka": Abilities(("range",)),
}


@dataclass
class Group:
    """One group that reads one topic, and all that its members have told, in the order of arrival."""

    broker: str
    client: str
    name: str
    topic: str
    assignor: str = ""
    protocol: str = "classic"
    # Of the topic's name; empty if members name the topic.
    pattern: str = ""
    session_ms: int = SESSION_MS
    members: list["Member"] = field(default_factory=list)
    events: list[tuple["Member", dict]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)
    # Value by offset, by partition; and the number of records that were told, those read again included.
    values: dict[int, dict[int, str]] = field(default_factory=dict)
    records_told: int = 0

    def __post_init__(self):
        self.assignor = self.assignor or ABILITIES[self.client].assignors[0]

    def join(self, instance: str = "", records_max: int = 0, reset: str = "earliest", **other) -> "Member":
        """Another member; `protocol` and `assignor` may be others than the group's."""
        kind = KcatMember if self.client == "kcat" else ProgramMember
        member = kind(self, {
            "operation": "member", "broker": self.broker, "group": self.name, "topic": self.topic,
            "pattern": self.pattern, "assignor": self.assignor, "protocol": self.protocol, "session_ms": self.session_ms,
            "instance": instance, "records_max": records_max, "reset": reset, **other,
        })
        self.members.append(member)
        return member

    def tell(self, member: "Member", event: dict) -> None:
        with self.changed:
            self.events.append((member, event))
            for partition, offset, value in event.get("records", []):
                self.values.setdefault(partition, {})[offset] = value
                self.records_told += 1
            self.changed.notify_all()

    def wait(self, what: str, until, seconds: float = SETTLE_SECONDS_MAX) -> float:
        """Waits for a condition of what was told and returns how long it took."""
        started = time.monotonic()
        with self.changed:
            while not until():
                for member, event in self.events[-50:]:
                    assert "failure" not in event and "error" not in event, f"{member}: {event}"
                left = started + seconds - time.monotonic()
                assert left > 0, f"{self.client}: not within {seconds} s: {what}\n{self.story()}"
                self.changed.wait(min(left, 0.5))
        return time.monotonic() - started

    def settled(self, members: list["Member"], partitions: int) -> bool:
        """Whether these members have every partition once between them, and each has some."""
        shares = [member.assigned() or [] for member in members]
        return all(shares) and sorted(itertools.chain(*shares)) == list(range(partitions))

    def read(self) -> dict[int, dict[int, str]]:
        """Everything that was read: value by offset, by partition."""
        with self.changed:
            return {partition: dict(offsets) for partition, offsets in self.values.items()}

    def records_read(self) -> int:
        return sum(len(offsets) for offsets in self.values.values())

    def check_story(self) -> None:
        """No record is passed over, and no member begins before what another had confirmed before."""
        end: dict[int, int] = {}
        confirmed: dict[int, int] = {}
        position: dict[tuple[int, int], int] = {}
        for member, event in self.events:
            for partition, offset, value in event.get("records", []):
                where = f"{self.client}: {member} partition {partition} offset {offset}"
                assert offset <= end.get(partition, 0), f"{where}: skipped {end.get(partition, 0)}\n{self.story()}"
                if offset != position.get((member.number, partition)):
                    at_least = confirmed.get(partition, 0)
                    assert offset >= at_least, f"{where}: {at_least} was committed\n{self.story()}"
                position[member.number, partition] = offset + 1
                end[partition] = max(end.get(partition, 0), offset + 1)
            for partition, offset in event.get("offsets", []):
                confirmed[partition] = max(confirmed.get(partition, 0), offset)

    def confirmed(self) -> dict[int, int]:
        """The highest offset that was confirmed, by partition."""
        offsets: dict[int, int] = {}
        for _, event in self.events:
            for partition, offset in event.get("offsets", []):
                offsets[partition] = max(offsets.get(partition, 0), offset)
        return offsets

    def story(self) -> str:
        lines = []
        for member, event in self.events:
            if event["event"] == "records":
                read = [(partition, offset) for partition, offset, _ in event["records"]]
                event = {"event": "records", "partition, offset": f"{read[0]} … {read[-1]}"}
            lines.append(f"{member} {str(event)[:160]}")
        return "\n".join(lines[:20] + ["…"] * (len(lines) > 60) + lines[max(20, len(lines) - 40) :])

    def end(self) -> None:
        for member in self.members:
            member.kill()


class Member:
    """What is common to a program of ours and to kcat."""

    process: subprocess.Popen

    def __init__(self, group: Group, asked: dict):
        self.group = group
        self.number = len(group.members)
        self.process = self.start(asked)
        self.reader = threading.Thread(target=self._follow, daemon=True)
        self.reader.start()

    def __repr__(self) -> str:
        return f"member {self.number}"

    def start(self, asked: dict) -> subprocess.Popen:
        raise NotImplementedError

    def events(self):
        raise NotImplementedError

    def _follow(self) -> None:
        for event in self.events():
            self.group.tell(self, event)
        self.group.tell(self, {"event": "gone"})

    def assigned(self) -> list[int] | None:
        """The partitions that it was last told to own."""
        for member, event in reversed(self.group.events):
            if member is self and event["event"] == "assigned":
                return event["partitions"]
        return None

    def own(self, *kinds: str) -> list[dict]:
        return [event for member, event in self.group.events if member is self and event["event"] in kinds]

    def ask_to_leave(self) -> None:
        raise NotImplementedError

    def leave(self) -> None:
        """A clean end: the client closes its consumer."""
        self.ask_to_leave()
        self.group.wait(f"{self} leaves", lambda: self.own("gone"), LEAVE_SECONDS_MAX)
        assert self.process.wait(LEAVE_SECONDS_MAX) == 0, f"{self} ended with {self.process.returncode}"

    def kill(self) -> None:
        """SIGKILL: the broker hears nothing."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join(5)


class ProgramMember(Member):
    def start(self, asked):
        process = PROGRAMS[self.group.client].start()
        process.stdin.write(json.dumps(asked).encode() + b"\n")
        process.stdin.flush()
        return process

    def events(self):
        for line in self.process.stdout:
            if line.endswith(b"\n"):
                yield json.loads(line)

    def ask_to_leave(self):
        if self.process.poll() is None:
            try:
                self.process.stdin.write(b"leave\n")
                self.process.stdin.flush()
            except BrokenPipeError:
                pass


class KcatMember(Member):
    """`kcat -G`: it commits by itself and tells nothing of it, so nothing of what it read is held as confirmed."""

    def start(self, asked):
        command = [
            "stdbuf", "-oL", "kcat", "-G", asked["group"], "-b", asked["broker"], "-f", "%p %o %s\n", "-u",
            *(f"-X{name}={value}" for name, value in {
                "auto.offset.reset": asked["reset"],
                "auto.commit.interval.ms": 100,
                "partition.assignment.strategy": asked["assignor"],
                "session.timeout.ms": asked["session_ms"],
                "heartbeat.interval.ms": asked["session_ms"] // 6,
                "fetch.wait.max.ms": 100,
            }.items()),
        ]
        if asked["instance"]:
            command.append(f"-Xgroup.instance.id={asked['instance']}")
        if asked["records_max"]:
            command += ["-c", str(asked["records_max"])]
        return subprocess.Popen(
            [*command, asked["topic"]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=TESTS,
            env=os.environ | {"LC_ALL": "C"},
        )

    def events(self):
        for line in self.process.stdout:
            text = line.decode()
            if rebalanced := re.search(r"^% Group .* rebalanced .*: (assigned|revoked|.*error.*?):(.*)", text):
                kind, places = rebalanced.groups()
                owned = {int(number) for number in re.findall(r"\[(\d+)\]", places)} if kind == "assigned" else set()
                yield {"event": "assigned", "partitions": sorted(owned)}
            elif record := re.search(r"^(\d+) (\d+) (.*)$", text):
                partition, offset, value = record.groups()
                yield {"event": "records", "records": [[int(partition), int(offset), value]]}

    def ask_to_leave(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
