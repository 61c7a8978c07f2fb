"""The programs in the documents, run as they stand there; only the broker's address is another."""

import re
import subprocess
import sys

from harness.paths import REPOSITORY


def programs(document: str, broker) -> list[str]:
    text = (REPOSITORY / document).read_text()
    found = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert all("localhost:9092" in program for program in found)
    return [program.replace("localhost:9092", broker.address) for program in found]


def run(program: str, *arguments: str) -> list[str]:
    ran = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def test_readme(broker):
    [program] = programs("README.md", broker)
    assert run(program)[-1].endswith("b'who' b'hello from Python'")


def test_streaming_this_machine(broker):
    produce, consume = programs("docs/streaming-this-machine.md", broker)
    sent = run(produce, "3")
    assert [line.split(":")[0] for line in sent] == ["offset 0", "offset 1", "offset 2"], sent
    read = run(consume)
    assert [line.split(":")[0] for line in read] == ["0", "1", "2"], read
    assert all(re.search(r"load \d+\.\d+, \d+ KiB free, (first sample|CPU \d+ % busy)$", line) for line in read), read
