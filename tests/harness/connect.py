"""Kafka Connect and MirrorMaker 2 from Kafka's jars: processes that are started, killed and started again, as they would be
where they are at home."""

import json
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from harness.broker import free_port
from harness.paths import TESTS

READY_SECONDS_MAX = 300
REST_SECONDS_MAX = 180
STORAGE = ("config", "offset", "status")
# One replica of everything: there is one broker.
ONE_REPLICA = {f"{name}.storage.replication.factor": 1 for name in STORAGE}


class JavaProgram:
    """One of Kafka's long-lived programs, with a file of properties."""

    tool: str

    def __init__(self, directory: Path, properties: dict[str, object]):
        directory.mkdir(parents=True, exist_ok=True)
        self.properties_path = directory / f"{self.tool}.properties"
        self.output_path = directory / f"{self.tool}.output"
        self.properties_path.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
        self.process: subprocess.Popen | None = None

    def spawn(self) -> None:
        with open(self.output_path, "ab") as output:
            self.process = subprocess.Popen(
                [TESTS / "kafka" / "tool", self.tool, self.properties_path], stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def assert_alive(self) -> None:
        assert self.process.poll() is None, f"{self.tool} ended:\n{self.output_tail()}"

    def output_tail(self, lines: int = 60) -> str:
        return "\n".join(self.output_path.read_text(errors="replace").splitlines()[-lines:])


class Worker(JavaProgram):
    """A distributed worker of Connect, alone in its group."""

    tool = "connect-distributed"

    def __init__(self, directory: Path, address: str, **more: object):
        self.port = free_port()
        topics = {f"{name}.storage.topic": f"connect-{name}" for name in STORAGE}
        string = "org.apache.kafka.connect.storage.StringConverter"
        super().__init__(directory, {
            "bootstrap.servers": address, "group.id": "connect", **topics, **ONE_REPLICA, "key.converter": string,
            "value.converter": string, "listeners": f"http://127.0.0.1:{self.port}", "offset.flush.interval.ms": 1_000,
            # One that comes back after a kill gets its tasks at once, and not after five minutes.
            "scheduled.rebalance.max.delay.ms": 0, **{name.replace("_", "."): value for name, value in more.items()},
        })  # fmt: skip

    def start(self) -> "Worker":
        self.spawn()
        deadline = time.monotonic() + READY_SECONDS_MAX
        while True:
            self.assert_alive()
            try:
                self.ask("GET", "/connectors")
                return self
            except (OSError, Refused):
                pass
            assert time.monotonic() < deadline, f"no answer from the worker:\n{self.output_tail()}"
            time.sleep(0.1)

    def ask(self, method: str, path: str, body: object = None) -> object:
        """What the REST interface answers; raises `Refused` with what it says otherwise."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", json.dumps(body).encode() if body is not None else None,
            {"Content-Type": "application/json"}, method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=REST_SECONDS_MAX) as answer:
                text = answer.read()
                return json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            raise Refused(f"{method} {path}: {error.code} {error.read().decode(errors='replace')}") from error

    def put_connector(self, name: str, **config: object) -> None:
        config = {key.replace("_", "."): str(value) for key, value in config.items()}
        deadline = time.monotonic() + REST_SECONDS_MAX
        while True:
            try:
                self.ask("PUT", f"/connectors/{name}/config", config)
                return
            except Refused as refused:
                # While its group is being balanced.
                assert " 409 " in str(refused) and time.monotonic() < deadline, refused
            time.sleep(0.2)

    def states(self, name: str) -> list[str]:
        """Those of a connector and its tasks."""
        status = self.ask("GET", f"/connectors/{name}/status")
        return [status["connector"]["state"], *(task["state"] for task in status["tasks"])]


class Refused(Exception):
    """The REST interface refuses."""


class MirrorMaker(JavaProgram):
    """MirrorMaker 2 between two clusters, both ways."""

    tool = "connect-mirror-maker"

    def __init__(self, directory: Path, addresses: dict[str, str], **more: object):
        one, other = addresses
        internal = {f"{name}.topic.replication.factor": 1 for name in ("checkpoints", "heartbeats", "offset-syncs")}
        seconds = {
            f"{what}.interval.seconds": 1
            for what in ("refresh.topics", "refresh.groups", "sync.group.offsets", "emit.checkpoints", "emit.heartbeats")
        }
        super().__init__(directory, {
            "clusters": f"{one}, {other}", **{f"{name}.bootstrap.servers": address for name, address in addresses.items()},
            f"{one}->{other}.enabled": "true", f"{other}->{one}.enabled": "true", "replication.factor": 1, **internal,
            **ONE_REPLICA, **seconds, "sync.group.offsets.enabled": "true", "offset.flush.interval.ms": 1_000,
            "scheduled.rebalance.max.delay.ms": 0, **more,
        })  # fmt: skip
