"""Kafka's command line tools, run in one Java VM, and what they print, made comparable between two brokers."""

import json
import re
import subprocess
import time
from dataclasses import dataclass

from harness.drivers import Java, kafka_tool
from harness.paths import KAFKA

# Words that tell nothing but where and when: ports, random ids, times, durations, rates.
PATTERNS = [
    (r"127\.0\.0\.1[:/ ]\d{5}\b", "BROKER"),
    (r"(TopicId: )[\w-]{22}", r"\1ID"),
    (r"(Cluster ID: )[\w-]{22}", r"\1ID"),
    (r"CreateTime:\d+", "CreateTime:TIME"),
    (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d[.,:]\d{3}", "TIME"),
    (r'("timestamp":)\d+', r"\1TIME"),
    (r"clientId=[\w-]+", "clientId=ID"),
    (r"(?m)^\d\d:\d\d:\d\d\.\d{3} (ERROR)", r"\1"),
    # Some tools print the exception with which the box takes the place of System.exit.
    (r"(?m)^(Toolbox\$Ended: )?the tool has ended\n?", ""),
    # The stack is the tool's own, not the broker's.
    (r"(?m)^\s+at .*\n?", ""),
    (r"(?m)^\s+\.\.\. \d+ more\n?", ""),
    # Which refusal it is, the class says; the words are the broker's own.
    (r"((?:\w+\.)+\w+Exception): .+", r"\1: WORDS"),
    (r"(Error while executing \w+ command : ).+", r"\1WORDS"),
    # Kafka's controller keeps this one default as a dynamic setting of the cluster: the value is the same.
    (r"(Configs: )min\.insync\.replicas=1,?", r"\1"),
    (r"DYNAMIC_DEFAULT_BROKER_CONFIG:min\.insync\.replicas=1, ", ""),
    (r"(?m)^ +min\.insync\.replicas=1 .*\{DYNAMIC_DEFAULT_BROKER_CONFIG:min\.insync\.replicas=1\}$", ""),
    (r"(?m)[ \t]+$", ""),
    # Columns are as wide as the longest name in them, and the names of passing groups are random.
    (r" {2,}", "  "),
]


def comparable(text: str, shape: list[tuple[str, str]]) -> str:
    for pattern, stands_for in [*PATTERNS, *shape]:
        text = re.sub(pattern, stands_for, text)
    return text


def in_order(line: str) -> str:
    """JSON with its fields in order: Java's maps give them in another one in each VM."""
    try:
        return json.dumps(json.loads(line), sort_keys=True) if line.startswith("{") else line
    except ValueError:
        return line


def classes() -> dict[str, str]:
    """Java's class by tool, from the one table of them."""
    return dict(re.findall(r"^ +(kafka-[\w-]+)\) class=(\S+) ;;$", (KAFKA / "tool").read_text(), re.MULTILINE))


class Toolbox(Java):
    name = "toolbox"
    main_class = "Toolbox"
    built = None

    def run(self, tool: str, *arguments: object, typed: str = "") -> tuple[int, str, str]:
        """Status, output and errors."""
        if not self.is_alive():
            # It ends itself after a tool that did not come back.
            self.process = self.start()
        answer = self._ask(
            "tool", "", **{"class": classes()[tool]}, arguments=[str(each) for each in arguments], typed=typed
        )
        return answer["status"], answer["out"], answer["err"]


def in_own_vm(tool: str, *arguments: object, typed: str = "") -> tuple[int, str, str]:
    done = kafka_tool(tool, *arguments, typed=typed, check=False)
    return done.returncode, done.stdout, done.stderr


@dataclass
class Transcript:
    """Plays calls of tools against one broker and keeps what they printed."""

    toolbox: Toolbox
    broker: object
    lines: list[str]

    def __call__(
        self, tool: str, *arguments: object, typed: str = "", shape: list[tuple[str, str]] = (), sort: bool = False,
        only: str = "", until: str = "", option: str = "--bootstrap-server", own_vm: bool = False,
    ) -> str:
        """One call. `shape`: further patterns and what stands for them; `sort`: the order of lines is left to chance;
        `only`: keep lines that match; `until`: Kafka may learn of a change later, so ask until this is there;
        `option` names the broker, or nothing does; `own_vm`: for a tool that goes on after its main."""
        # Corelane's answer to a change says that the change is there.
        deadline = time.monotonic() + (20 if self.broker.is_reference else 0)
        target = [option, self.broker.address] if option else []
        while True:
            # kafka-cluster wants its command first, argparse4j's other tools their options.
            line = [*arguments, *target] if tool == "kafka-cluster" else [*target, *arguments]
            status, out, err = (in_own_vm if own_vm else self.toolbox.run)(tool, *line, typed=typed)
            if status != 0 or re.search(until, out) or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        self.lines.append("$ " + comparable(f"{tool} {' '.join(map(str, arguments))}", self.places(shape)))
        self.lines.append(f"status {status}")
        for stream, text in (("out", out), ("err", err)):
            lines = map(in_order, comparable(text, self.places(shape)).splitlines())
            found = [line for line in lines if line.strip() and re.search(only, line)]
            self.lines += [f"{stream} {line}" for line in (sorted(found) if sort or stream == "err" else found)]
        return out

    def places(self, shape: list[tuple[str, str]]) -> list[tuple[str, str]]:
        return [(re.escape(str(self.broker.directory)), "DIRECTORY"), *shape]

    def endless(self, tool: str, *arguments: object, lines: int, only: str, shape: list[tuple[str, str]] = ()) -> None:
        """A tool that runs until it is stopped: the first lines of its output that match, in a VM of its own."""
        process = subprocess.Popen(
            [KAFKA / "tool", tool, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.lines.append(f"$ {tool}")
        found = 0
        try:
            deadline = time.monotonic() + 60
            while found < lines and time.monotonic() < deadline and (line := process.stdout.readline()):
                line = comparable(line, shape)
                if re.search(only, line):
                    self.lines.append("out " + line.strip())
                    found += 1
        finally:
            process.kill()
            process.wait()
