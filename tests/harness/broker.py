"""A broker as a process: Corelane with some number of shards, or Apache Kafka, which is the reference.

Both are started on free ports of 127.0.0.1 with their data in a folder of the test, can be stopped cleanly, killed and
started again on the same folder, and keep what they print in a file beside it.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from harness.connection import Connection
from harness.paths import KAFKA, REPOSITORY

# How long to wait before something is taken for stuck. Far above what it takes: a machine may be busy with something else for
# a minute, and what has to be quick is measured elsewhere.
READY_SECONDS_MAX = 300
STOP_SECONDS_MAX = 120

# Below the range from which outgoing connections take theirs, so that no client of a neighbouring test sits on a port
# when a killed broker wants it back.
PORTS = range(20_000, 32_000)
# Tests that run at the same time take ports from parts of their own, for the same reason.
WORKERS_MAX = 4
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
OWN_PORTS = PORTS[WORKER * len(PORTS) // WORKERS_MAX : (WORKER + 1) * len(PORTS) // WORKERS_MAX]
# Each is given once before any is given again: a broker that is down for a moment, or not yet up, has none bound.
GIVEN: set[int] = set()


def free_port(following: int = 0) -> int:
    """A port that nobody listens on now, and on that many after it neither; nobody else is given any of them."""
    for _ in range(2):
        for port in random.sample(OWN_PORTS, len(OWN_PORTS)):
            wanted = range(port, port + following + 1)
            if wanted[-1] in OWN_PORTS and GIVEN.isdisjoint(wanted) and all(map(is_free, wanted)):
                GIVEN.update(wanted)
                return port
        GIVEN.clear()
    raise AssertionError(f"no free port between {OWN_PORTS.start} and {OWN_PORTS.stop}; workers: at most {WORKERS_MAX}")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Broker:
    """What both kinds share. Subclasses say which command starts them."""

    kind: str
    is_reference = False

    def __init__(self, directory: Path, settings: dict[str, object] | None = None):
        self.directory = Path(directory)
        self.settings = dict(settings or {})
        self.port = free_port()
        self.log_path = self.directory.with_name(self.directory.name + ".output")
        self.process: subprocess.Popen | None = None
        # What goes before the command, as for a start inside a namespace.
        self.before: list[str] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> "Broker":
        self.spawn()
        self.wait_until_ready()
        return self

    def spawn(self) -> None:
        """Starts the process without waiting for it."""
        assert self.process is None, "already started"
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [*self.before, *self.command()], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def wait_until_ready(self) -> None:
        """Returns once the broker names itself in Metadata: from then on a client finds it."""
        deadline = time.monotonic() + READY_SECONDS_MAX
        while True:
            if self.process.poll() is not None:
                status, self.process = self.process.returncode, None
                raise AssertionError(f"{self.kind} ended with status {status} while starting:\n{self.output_tail()}")
            try:
                with Connection(self.address, timeout_seconds=5) as connection:
                    if connection.call("Metadata", 1, topics=[]).brokers:
                        return
            except (OSError, EOFError):
                pass
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"{self.kind} not ready after {READY_SECONDS_MAX} s:\n{self.output_tail()}")
            time.sleep(0.005)

    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        """SIGTERM, and a clean end: status 0 (Java's is 143 when a signal ended it)."""
        process, self.process = self.process, None
        process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"{self.kind} did not stop within {STOP_SECONDS_MAX} s:\n{self.output_tail()}")
        expected = 143 if self.is_reference else 0
        assert status == expected, f"{self.kind} stopped with status {status}:\n{self.output_tail()}"

    def kill(self) -> None:
        """SIGKILL: the process gets no chance to finish anything."""
        process, self.process = self.process, None
        process.kill()
        process.wait()

    def end(self) -> None:
        """For the end of a test, whatever state it left behind."""
        if self.is_alive():
            self.stop()

    def output_tail(self, lines: int = 40) -> str:
        text = self.log_path.read_text(errors="replace") if self.log_path.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


class Corelane(Broker):
    """`corelane start`, from a release build of this repository."""

    binary = Path(os.environ.get("CORELANE", REPOSITORY / "target" / "release" / "corelane"))

    def __init__(self, directory: Path, shards: int = 1, settings: dict[str, object] | None = None):
        super().__init__(directory, settings)
        self.shards = shards
        self.kind = f"corelane-{shards}"

    def command(self) -> list[str]:
        settings = {
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port}",
            "log.dirs": self.directory,
            **self.settings,
        }
        overrides = [part for name, value in settings.items() for part in ("--override", f"{name}={value}")]
        cores = sorted(os.sched_getaffinity(0))[: self.shards]
        return [str(self.binary), "start", "--cores", ",".join(map(str, cores)), *overrides]


class CoreDirect(Corelane):
    """Corelane with two shards, reached through a listener on which each of them is a broker."""

    def __init__(self, directory: Path, settings: dict[str, object] | None = None):
        super().__init__(directory, 2, settings)
        self.kind = "direct-2"
        self.port = free_port(following=1)
        self.plain_port = free_port()
        self.settings = {
            "listeners": f"DIRECT://127.0.0.1:{self.port},PLAINTEXT://127.0.0.1:{self.plain_port}",
            "listener.security.protocol.map": "DIRECT:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "corelane.core.direct.listeners": "DIRECT",
            **self.settings,
        }

    @property
    def plain_address(self) -> str:
        return f"127.0.0.1:{self.plain_port}"

    def shard_address(self, shard: int) -> str:
        return f"127.0.0.1:{self.port + shard}"


class ApacheKafka(Broker):
    """Apache Kafka as a single KRaft node, formatted at its first start."""

    kind = "kafka"
    is_reference = True

    def __init__(self, directory: Path, settings: dict[str, object] | None = None):
        super().__init__(directory, settings)
        self.controller_port = free_port()

    @classmethod
    def on_copy_of(cls, broker: Broker, directory: Path) -> "ApacheKafka":
        """On a copy of a stopped broker's data, as the node that it was."""
        shutil.copytree(broker.directory, directory)
        facts = (line.split("=", 1) for line in (directory / "meta.properties").read_text().splitlines() if "=" in line)
        return cls(directory, {"node.id": dict(facts)["node.id"]})

    def command(self) -> list[str]:
        return [
            str(KAFKA / "broker"),
            str(self.directory),
            str(self.port),
            str(self.controller_port),
            *(f"{name}={value}" for name, value in self.settings.items()),
        ]


class OldKafka(ApacheKafka):
    """The last release that had the versions and message formats which Kafka 4 dropped."""

    kind = "kafka-3.9"

    def command(self) -> list[str]:
        return ["env", "KAFKA_VERSION=3.9.2", *super().command()]


KINDS = {
    "corelane-1": lambda directory, settings=None: Corelane(directory, 1, settings),
    "corelane-2": lambda directory, settings=None: Corelane(directory, 2, settings),
    "direct-2": lambda directory, settings=None: CoreDirect(directory, settings),
    "kafka": lambda directory, settings=None: ApacheKafka(directory, settings),
    "kafka-3.9": lambda directory, settings=None: OldKafka(directory, settings),
}
