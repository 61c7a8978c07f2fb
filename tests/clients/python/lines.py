"""One JSON request a line comes in, one JSON answer a line goes out; a member of a group tells its story in lines.

A driver is a module with a function for each operation, which takes the request and returns the fields of the answer,
and `error_code`, which finds Kafka's error number in an exception. Operations and fields are those of
harness/drivers.py and harness/members.py.
"""

import base64
import json
import sys
import threading
import time
import traceback
from types import ModuleType

OPERATION_SECONDS_MAX = 60


class Member:
    """What a driver tells of itself while it is a member, and whether it was told to leave."""

    def __init__(self, asked: dict):
        self.group: str = asked["group"]
        self.topic: str = asked["topic"]
        self.left_to_read: int | None = asked["records_max"] or None
        self.leaving = threading.Event()
        self.owned: list[int] | None = None
        threading.Thread(target=self._await_leave, daemon=True).start()

    def _await_leave(self) -> None:
        sys.stdin.readline()
        self.leaving.set()

    def goes_on(self) -> bool:
        return not self.leaving.is_set() and self.left_to_read != 0

    def assigned(self, partitions) -> None:
        """Tells the partitions that are owned from now on, if they are others than before."""
        now = sorted(partitions)
        if now != self.owned:
            self.owned = now
            emit({"event": "assigned", "partitions": now})

    def records(self, read: list[tuple[int, int, bytes]]) -> list[tuple[int, int]]:
        """Tells partition, offset and value of what was read, no more than was asked for. Returns partition and
        offset behind the last of each, which is what to commit."""
        if self.left_to_read is not None:
            read = read[: self.left_to_read]
            self.left_to_read -= len(read)
        if read:
            emit({"event": "records", "records": [[part, offset, value.decode()] for part, offset, value in read]})
        return list({partition: offset + 1 for partition, offset, _ in read}.items())

    def committed(self, offsets: list[tuple[int, int]]) -> None:
        """Tells what the broker has confirmed."""
        emit({"event": "committed", "offsets": offsets})

    def commit_refused(self, error: Exception) -> None:
        """A rebalance came in between: what was read will be read again."""
        emit({"event": "commit_refused", "message": repr(error)})

    def trouble(self, error: object) -> None:
        """An error that the client mends by itself."""
        emit({"event": "trouble", "message": str(error)})


def emit(event: dict) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def serve(driver: ModuleType) -> None:
    for line in iter(sys.stdin.readline, ""):
        asked = json.loads(line)
        try:
            answer = getattr(driver, asked["operation"])(asked) or {}
        except Exception as thrown:
            code = driver.error_code(thrown)
            answer = {"error": code, "message": repr(thrown)} if code else {"failure": traceback.format_exc()}
        if asked["operation"] == "member":
            emit({"event": "ended", **answer})
            return
        emit(answer)


def from_base64(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)


def to_base64(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(bytes(data)).decode()


def given_headers(record: dict) -> list[tuple[str, bytes | None]]:
    return [(header["Key"], from_base64(header["Value"])) for header in record["headers"]]


def told(partition, offset, timestamp, key, value, headers) -> dict:
    """A record as the answer carries it."""
    return {
        "partition": partition, "offset": offset, "timestamp": timestamp,
        "key": to_base64(key), "value": to_base64(value),
        "headers": [{"Key": name, "Value": to_base64(data)} for name, data in headers],
    }


class Deadline:
    def __init__(self):
        self.at = time.monotonic() + OPERATION_SECONDS_MAX

    def check(self, what: str) -> None:
        if time.monotonic() > self.at:
            raise TimeoutError(what)
