"""Messages of formats 0 and 1, written and read byte by byte, also wrong ones."""

import gzip
import struct
import zlib
from dataclasses import dataclass

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
APPEND_TIME = 8


@dataclass
class Message:
    """A message as it stands in a set. The value of one with a codec is a set."""

    key: bytes | None
    value: bytes | None
    timestamp: int = -1
    offset: int = 0
    magic: int = 0
    attributes: int = 0

    @property
    def codec(self) -> int:
        return self.attributes & 7


def encode(*messages: Message) -> bytes:
    data = bytearray()
    for message in messages:
        body = struct.pack(">BB", message.magic, message.attributes)
        if message.magic > 0:
            body += struct.pack(">q", message.timestamp)
        for part in (message.key, message.value):
            body += struct.pack(">i", -1 if part is None else len(part)) + (part or b"")
        data += struct.pack(">qiI", message.offset, len(body) + 4, zlib.crc32(body)) + body
    return bytes(data)


def wrap(codec: int, *messages: Message, **fields: object) -> bytes:
    """The messages in a compressed one, which says of itself what `fields` say."""
    compress = {GZIP: gzip.compress, LZ4: lz4_frame(messages[0].magic)}[codec]
    last = messages[-1]
    wrapper = {"timestamp": last.timestamp, "offset": last.offset, "magic": last.magic, "attributes": codec, **fields}
    return encode(Message(None, compress(encode(*messages)), **wrapper))


def lz4_frame(magic: int):
    """A frame of one block that is not compressed. The checksum of its head is the one that writers of the format give
    it: in format 0 it covers the magic of the frame too."""

    def frame(data: bytes) -> bytes:
        assert len(data) <= 64 * 1024
        checksum = b"\x1a" if magic == 0 else b"\x82"
        block = struct.pack("<I", len(data) | 1 << 31) + data
        return b"\x04\x22\x4d\x18\x60\x40" + checksum + block + bytes(4)

    return frame


def decode(data: bytes | None) -> list[Message]:
    """The whole messages, wrappers opened, offsets those of the log. The last one may be cut."""
    return [inner for message in shallow(data) for inner in opened(message)]


def shallow(data: bytes | None) -> list[Message]:
    """The whole messages as they stand in the set."""
    messages, position, data = [], 0, data or b""
    while len(data) - position >= 12:
        offset, size = struct.unpack_from(">qi", data, position)
        body = data[position + 12 : position + 12 + size]
        position += 12 + size
        if len(body) < size:
            break
        (crc,), covered = struct.unpack_from(">I", body), body[4:]
        assert crc == zlib.crc32(covered), f"checksum of the message at {offset}"
        magic, attributes = struct.unpack_from(">BB", covered)
        timestamp, at = struct.unpack_from(">q", covered, 2)[0] if magic else -1, 10 if magic else 2
        parts = []
        for _ in range(2):
            (length,) = struct.unpack_from(">i", covered, at)
            parts.append(None if length < 0 else covered[at + 4 : at + 4 + length])
            at += 4 + max(length, 0)
        assert at == len(covered), f"bytes behind the message at {offset}"
        messages.append(Message(*parts, timestamp, offset, magic, attributes))
    return messages


def opened(message: Message) -> list[Message]:
    if message.codec == NONE:
        return [message]
    assert message.codec == GZIP, f"codec {message.codec}"
    inner = shallow(gzip.decompress(message.value))
    assert all(one.magic == message.magic and one.codec == NONE for one in inner)
    if message.magic == 1:
        # Inner offsets count from the first one; the wrapper has the last.
        for one in inner:
            one.offset += message.offset - (len(inner) - 1)
    assert inner[-1].offset == message.offset
    return inner
