"""The records that every client writes and reads back, and the comparison of what came back."""

import hashlib
import random
import time
from dataclasses import dataclass, replace

HOUR_MS = 3_600_000
LARGE_BYTES = 900 * 1024


@dataclass(frozen=True)
class Record:
    """A record as a client sees it; times in milliseconds since 1970. `offset` is None before it is written."""

    partition: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    offset: int | None = None

    def __repr__(self) -> str:
        return (
            f"<{self.partition}@{self.offset} {self.timestamp} key={brief(self.key)} value={brief(self.value)}"
            f" headers={self.headers}>"
        )


def brief(data: bytes | None) -> str:
    """Long bytes as length and digest: a failed comparison stays readable."""
    if data is None or len(data) <= 32:
        return repr(data)
    return f"{len(data)} bytes {hashlib.sha256(data).hexdigest()[:8]}"


def random_bytes(length: int, seed: int) -> bytes:
    """Does not compress."""
    return random.Random(seed).randbytes(length)


def text_bytes(length: int) -> bytes:
    """Compresses well, and has no repetition at a fixed distance."""
    words, size, number = [], 0, 0
    while size < length:
        word = f"line {number}: the quick brown fox jumps over {number * 7919}\n".encode()
        words.append(word)
        size += len(word)
        number += 1
    return b"".join(words)[:length]


def every_shape(partitions: int, start_ms: int | None = None, large_bytes: int = LARGE_BYTES) -> list[Record]:
    """One record of each shape that Kafka's format can carry, spread over the partitions in turn.

    Timestamps rise by seven seconds a record, except for a few that go back: order in the log is order of arrival.
    """
    start_ms = start_ms or int(time.time() * 1000) - HOUR_MS // 2
    shapes: list[tuple[bytes | None, bytes | None, tuple]] = [
        (None, b"no key", ()),
        (b"", b"empty key", ()),
        (b"null value", None, ()),
        (b"empty value", b"", ()),
        (None, None, ()),
        (b"", b"", ()),
        (b"\x00\xff binary \n\t", b"\x00\x01\x02 \xfe\xff \r\n", ()),
        ("schlüssel".encode(), "значение 値".encode(), ()),
        (b"k", b"one header", (("name", b"value"),)),
        (b"k", b"twice the same header key", (("a", b"1"), ("b", b"2"), ("a", b"3"), ("a", b"1"))),
        (b"k", b"null and empty header values", (("null", None), ("empty", b""), ("after", b"x"))),
        (b"k", b"an empty header key", (("", b"value"),)),
        (b"k", None, (("on a tombstone", b"yes"),)),
        (b"k", b"many headers", tuple((f"h{number}", str(number).encode()) for number in range(200))),
        (b"k", b"large header", (("large", random_bytes(10_000, 1).hex().encode()),)),
        (b"k" * 10_000, b"large key", ()),
        *((str(length).encode(), text_bytes(length), ()) for length in (1, 63, 64, 1_000, 8_191, 8_192, 70_000)),
        *((str(length).encode(), random_bytes(length, length), ()) for length in (1, 127, 128, 16_384, 300_000)),
        (b"large text", text_bytes(large_bytes), ()),
        (b"large random", random_bytes(large_bytes, 2), ()),
        (b"after the large ones", b"small again", ()),
    ]
    records = []
    for number, (key, value, headers) in enumerate(shapes):
        back_ms = 60_000 if number % 8 == 5 else 0
        timestamp = start_ms + number * 7_000 - back_ms
        records.append(Record(number % partitions, timestamp, key, value, headers))
    return records


def numbered(count: int, partitions: int = 1, start_ms: int | None = None, step_ms: int = 1_000) -> list[Record]:
    """Small records whose value is their number."""
    start_ms = start_ms or int(time.time() * 1000) - HOUR_MS // 2
    return [
        Record(number % partitions, start_ms + number * step_ms, str(number % 10).encode(), str(number).encode())
        for number in range(count)
    ]


def by_partition(records: list[Record], acknowledged: list[tuple[int, int]]) -> dict[int, list[Record]]:
    """What a consumer has to see: the records with the offsets that the broker gave them, in offset order.

    Offsets of one partition must be without a gap and in the order of production.
    """
    assert len(acknowledged) == len(records)
    placed: dict[int, list[Record]] = {}
    for record, (partition, offset) in zip(records, acknowledged):
        assert partition == record.partition
        placed.setdefault(partition, []).append(replace(record, offset=offset))
    for partition, sequence in placed.items():
        first = sequence[0].offset
        offsets = [record.offset for record in sequence]
        assert offsets == list(range(first, first + len(sequence))), f"partition {partition}: {offsets}"
    return placed


def assert_same(expected: list[Record], received: list[Record]) -> None:
    """Every field of every record, in order."""
    for wanted, got in zip(expected, received):
        assert wanted == got, f"wanted {wanted}\n   got {got}"
    assert len(expected) == len(received), f"{len(expected)} records wanted, {len(received)} came"
