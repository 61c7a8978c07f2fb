"""Record batches of format 2, written and read byte by byte, also wrong ones."""

import struct
import time
from dataclasses import dataclass, field

import crc32c

from harness.wire import Reader, Writer

HEADER = struct.Struct(">qiibIhiqqqhii")
CRC_AT = 17
CRC_COVERS_FROM = 21

LOG_APPEND_TIME = 1 << 3
TRANSACTIONAL = 1 << 4
CONTROL = 1 << 5


@dataclass
class Batch:
    """Fields as they stand in the header. Values are records in the order of their offsets; a record may be given as
    (key, value) or (key, value, milliseconds after the base timestamp)."""

    records: list[tuple]
    base_timestamp: int = field(default_factory=lambda: int(time.time() * 1000))
    max_timestamp: int | None = None
    attributes: int = 0
    base_offset: int = 0
    leader_epoch: int = -1
    magic: int = 2
    producer_id: int = -1
    producer_epoch: int = -1
    base_sequence: int = -1
    count: int | None = None
    last_offset_delta: int | None = None
    offset_deltas: list[int] | None = None

    def encode(self) -> bytes:
        body = Writer()
        deltas = self.offset_deltas or range(len(self.records))
        largest = 0
        for delta, (key, value, *after_ms) in zip(deltas, self.records, strict=True):
            after = after_ms[0] if after_ms else 0
            largest = max(largest, after)
            record = Writer().integer("i8", 0).varint(after).varint(delta)
            for part in (key, value):
                record.varint(-1 if part is None else len(part)).raw(part or b"")
            record.varint(0)
            encoded = record.bytes()
            body.varint(len(encoded)).raw(encoded)
        data = body.bytes()
        count = len(self.records) if self.count is None else self.count
        last_delta = len(self.records) - 1 if self.last_offset_delta is None else self.last_offset_delta
        max_timestamp = self.base_timestamp + largest if self.max_timestamp is None else self.max_timestamp
        header = HEADER.pack(
            self.base_offset, HEADER.size - 12 + len(data), self.leader_epoch, self.magic, 0, self.attributes,
            last_delta, self.base_timestamp, max_timestamp, self.producer_id, self.producer_epoch,
            self.base_sequence, count,
        )
        return with_crc(header + data)


def small(*values: bytes, **fields) -> Batch:
    """A batch of records with one and the same key."""
    return Batch([(b"key", value) for value in values], **fields)


def with_crc(batch: bytes) -> bytes:
    """The batch with the checksum that its bytes call for."""
    crc = crc32c.crc32c(batch[CRC_COVERS_FROM:])
    return batch[:CRC_AT] + struct.pack(">I", crc) + batch[CRC_COVERS_FROM:]


@dataclass
class Read:
    """A batch as it came from the broker, uncompressed ones with their records."""

    base_offset: int
    leader_epoch: int
    attributes: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    values: list[bytes | None]

    @property
    def last_offset(self) -> int:
        return self.base_offset + len(self.values) - 1


def decode_all(data: bytes | None) -> list[Read]:
    """The whole batches. The last one may be cut: Kafka ends an answer at the limit, wherever that falls, and clients
    skip the piece; Corelane ends it after a batch."""
    reader = Reader(data or b"")
    batches = []
    while reader.remaining():
        start = reader.position
        whole_bytes = 12 + int.from_bytes(reader.data[start + 8 : start + 12], "big")
        if batches and reader.remaining() < max(whole_bytes, HEADER.size):
            break
        fields = HEADER.unpack(reader.raw(HEADER.size))
        base_offset, length, leader_epoch, magic, crc, attributes, last_delta, base_timestamp, max_timestamp = fields[:9]
        assert magic == 2
        body = Reader(reader.raw(length - (HEADER.size - 12)))
        whole = bytes(reader.data[start : reader.position])
        assert crc == crc32c.crc32c(whole[CRC_COVERS_FROM:]), f"checksum of the batch at {base_offset}"
        values = []
        if attributes & 7 == 0:
            for _ in range(fields[12]):
                record = Reader(body.raw(body.varint()))
                record.integer("i8")
                record.varint()
                assert record.varint() == len(values)
                parts = []
                for _ in range(2):
                    size = record.varint()
                    parts.append(None if size < 0 else record.raw(size))
                values.append(parts[1])
            assert body.remaining() == 0 and last_delta == fields[12] - 1
        batches.append(Read(
            base_offset, leader_epoch, attributes, base_timestamp, max_timestamp, *fields[9:12], values
        ))
    return batches
