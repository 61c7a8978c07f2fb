"""Kafka's primitive types as bytes, and message bodies from field lists.

A second, independent reading of the protocol: the broker's own codec is not used, so that an error in it cannot hide.
The field lists themselves are in `messages`.
"""

import struct
import uuid
from dataclasses import dataclass, field
from types import SimpleNamespace

NO_UUID = uuid.UUID(int=0)
INTEGERS = {"i8": ">b", "i16": ">h", "i32": ">i", "u32": ">I", "i64": ">q"}


class Writer:
    def __init__(self):
        self.parts: list[bytes] = []

    def raw(self, data: bytes) -> "Writer":
        self.parts.append(bytes(data))
        return self

    def integer(self, kind: str, value: int) -> "Writer":
        return self.raw(struct.pack(INTEGERS[kind], value))

    def unsigned_varint(self, value: int) -> "Writer":
        while value >= 0x80:
            self.parts.append(bytes([value & 0x7F | 0x80]))
            value >>= 7
        return self.raw(bytes([value]))

    def varint(self, value: int) -> "Writer":
        """Zigzag, as in records; covers Kafka's varlong as well."""
        return self.unsigned_varint((value << 1) ^ (value >> 63) if value < 0 else value << 1)

    def bytes(self) -> bytes:
        return b"".join(self.parts)


class Reader:
    def __init__(self, data: bytes):
        self.data = memoryview(data)
        self.position = 0

    def raw(self, length: int) -> bytes:
        end = self.position + length
        if length < 0 or end > len(self.data):
            raise EOFError(f"{length} bytes wanted at {self.position} of {len(self.data)}")
        piece = bytes(self.data[self.position : end])
        self.position = end
        return piece

    def integer(self, kind: str) -> int:
        layout = INTEGERS[kind]
        return struct.unpack(layout, self.raw(struct.calcsize(layout)))[0]

    def unsigned_varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.raw(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def varint(self) -> int:
        value = self.unsigned_varint()
        return (value >> 1) ^ -(value & 1)

    def remaining(self) -> int:
        return len(self.data) - self.position


@dataclass
class Field:
    name: str
    kind: str
    versions: tuple[int, int]
    default: object
    tag: int | None
    fields: list["Field"] = field(default_factory=list)

    def in_version(self, version: int) -> bool:
        return self.versions[0] <= version <= self.versions[1]


def parse_fields(text: str) -> list[Field]:
    """Reads a field list: one field a line, `name type [versions] [=default] [#tag]`, children indented below it.

    Types: bool, i8 … i64, uuid, string, bytes; a leading `?` allows null; `[type]` is an array, `[]` an array of the
    structure below, `{}` that structure itself.
    """
    top: list[Field] = []
    open_levels = [(-1, top)]
    for line in text.splitlines():
        if not line.strip():
            continue
        indent = len(line) - len(line.lstrip())
        name, kind, *rest = line.split()
        versions, default, tag = (0, 999), None, None
        for word in rest:
            if word.startswith("="):
                default = int(word[1:])
            elif word.startswith("#"):
                tag = int(word[1:])
            elif word.endswith("+"):
                versions = (int(word[:-1]), 999)
            else:
                first, _, last = word.partition("-")
                versions = (int(first), int(last or first))
        while open_levels[-1][0] >= indent:
            open_levels.pop()
        entry = Field(name, kind, versions, default, tag)
        open_levels[-1][1].append(entry)
        open_levels.append((indent, entry.fields))
    return top


def default_of(entry: Field) -> object:
    if entry.default is not None:
        return entry.default
    kind = entry.kind
    if kind.startswith("?"):
        return None
    if kind.startswith("["):
        return []
    if kind == "{}":
        return {}
    return {"bool": False, "uuid": NO_UUID, "string": "", "bytes": b""}.get(kind, 0)


def _value(container: object, entry: Field) -> object:
    values = container if isinstance(container, dict) else vars(container)
    return values[entry.name] if entry.name in values else default_of(entry)


def write_fields(writer: Writer, fields: list[Field], values: object, version: int, flexible: bool) -> None:
    given = values if isinstance(values, dict) else vars(values)
    unknown = given.keys() - {entry.name for entry in fields}
    assert not unknown, f"no such field: {sorted(unknown)}"
    tagged = []
    for entry in fields:
        if not entry.in_version(version):
            continue
        if entry.tag is not None and flexible:
            if entry.name in given:
                tagged.append(entry)
        else:
            _write(writer, entry.kind, entry.fields, _value(values, entry), version, flexible)
    if flexible:
        writer.unsigned_varint(len(tagged))
        for entry in sorted(tagged, key=lambda entry: entry.tag):
            inner = Writer()
            _write(inner, entry.kind, entry.fields, given[entry.name], version, flexible)
            data = inner.bytes()
            writer.unsigned_varint(entry.tag).unsigned_varint(len(data)).raw(data)


def _write(writer: Writer, kind: str, fields: list[Field], value: object, version: int, flexible: bool) -> None:
    nullable = kind.startswith("?")
    kind = kind.removeprefix("?")
    assert nullable or value is not None, f"null for a {kind}"
    if kind in INTEGERS:
        writer.integer(kind, value)
    elif kind == "bool":
        writer.integer("i8", int(value))
    elif kind == "uuid":
        writer.raw(value.bytes)
    elif kind == "{}":
        if nullable:
            writer.integer("i8", -1 if value is None else 1)
        if value is not None:
            write_fields(writer, fields, value, version, flexible)
    else:
        data = value.encode() if isinstance(value, str) else value
        length = -1 if data is None else len(data)
        if flexible:
            writer.unsigned_varint(length + 1)
        else:
            writer.integer("i16" if kind == "string" else "i32", length)
        if data is None:
            return
        if kind in ("string", "bytes"):
            writer.raw(data)
        else:
            for item in data:
                _write(writer, kind[1:-1] or "{}", fields, item, version, flexible)


def read_fields(reader: Reader, fields: list[Field], version: int, flexible: bool) -> SimpleNamespace:
    values = SimpleNamespace()
    for entry in fields:
        setattr(values, entry.name, default_of(entry))
        if entry.in_version(version) and not (entry.tag is not None and flexible):
            setattr(values, entry.name, _read(reader, entry.kind, entry.fields, version, flexible))
    if flexible:
        by_tag = {entry.tag: entry for entry in fields if entry.tag is not None and entry.in_version(version)}
        last = -1
        for _ in range(reader.unsigned_varint()):
            tag = reader.unsigned_varint()
            assert tag > last, f"tags out of order: {tag} after {last}"
            last = tag
            inner = Reader(reader.raw(reader.unsigned_varint()))
            if tag in by_tag:
                entry = by_tag[tag]
                setattr(values, entry.name, _read(inner, entry.kind, entry.fields, version, flexible))
                assert inner.remaining() == 0, f"{inner.remaining()} bytes too many in tag {tag}"
    return values


def _read(reader: Reader, kind: str, fields: list[Field], version: int, flexible: bool) -> object:
    nullable = kind.startswith("?")
    kind = kind.removeprefix("?")
    if kind in INTEGERS:
        return reader.integer(kind)
    if kind == "bool":
        return reader.integer("i8") != 0
    if kind == "uuid":
        return uuid.UUID(bytes=reader.raw(16))
    if kind == "{}":
        if nullable and reader.integer("i8") < 0:
            return None
        return read_fields(reader, fields, version, flexible)
    if flexible:
        length = reader.unsigned_varint() - 1
    else:
        length = reader.integer("i16" if kind == "string" else "i32")
    if length < 0:
        assert nullable, f"null for a {kind}"
        return None
    if kind == "string":
        return reader.raw(length).decode()
    if kind == "bytes":
        return reader.raw(length)
    return [_read(reader, kind[1:-1] or "{}", fields, version, flexible) for _ in range(length)]
