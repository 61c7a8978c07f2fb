"""One socket to a broker that speaks the protocol with nothing in between."""

import socket
import struct
from types import SimpleNamespace

from harness.messages import APIS, Api
from harness.wire import Reader, Writer, read_fields, write_fields


class Connection:
    """Requests go out as they are asked for and answers are read when asked for, so a test can pipeline."""

    def __init__(self, address: str, timeout_seconds: float = 20, client_id: str = "raw"):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout_seconds)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.client_id = client_id
        self.next_correlation_id = 1

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def call(self, name: str, version: int, **values: object) -> SimpleNamespace:
        """Sends one request and returns its answer."""
        correlation_id = self.send(name, version, **values)
        return self.receive(name, version, correlation_id)

    def send(self, name: str, version: int, **values: object) -> int:
        api = APIS[name]
        body = Writer()
        write_fields(body, api.request, values, version, api.is_flexible(version))
        return self.send_body(api.key, version, body.bytes(), api.is_flexible(version))

    def send_body(self, key: int, version: int, body: bytes, flexible: bool) -> int:
        correlation_id = self.next_correlation_id
        self.next_correlation_id += 1
        header = Writer().integer("i16", key).integer("i16", version).integer("i32", correlation_id)
        client_id = self.client_id.encode()
        header.integer("i16", len(client_id)).raw(client_id)
        if flexible:
            header.unsigned_varint(0)
        self.send_frame(header.bytes() + body)
        return correlation_id

    def send_frame(self, frame: bytes) -> None:
        self.socket.sendall(struct.pack(">i", len(frame)) + frame)

    def receive(self, name: str, version: int, correlation_id: int) -> SimpleNamespace:
        api = APIS[name]
        return decode_answer(api, version, self.receive_frame(), correlation_id)

    def receive_frame(self) -> bytes:
        (length,) = struct.unpack(">i", self._receive_exactly(4))
        assert 4 <= length < 1 << 28, f"answer of {length} bytes"
        return self._receive_exactly(length)

    def _receive_exactly(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            piece = self.socket.recv(min(length - len(data), 1 << 20))
            if not piece:
                raise EOFError(f"closed after {len(data)} of {length} bytes")
            data += piece
        return bytes(data)

    def expect_close(self, within_seconds: float = 5) -> None:
        """The broker says nothing more and closes."""
        self.socket.settimeout(within_seconds)
        try:
            piece = self.socket.recv(1)
        except ConnectionResetError:
            return
        assert piece == b"", f"an answer where a close was due: {piece!r}…"

    def expect_silence(self, seconds: float) -> None:
        """Neither an answer nor a close within this time."""
        self.socket.settimeout(seconds)
        try:
            piece = self.socket.recv(1)
        except TimeoutError:
            return
        raise AssertionError("closed" if piece == b"" else f"an answer where none was due: {piece!r}…")


def decode_answer(api: Api, version: int, frame: bytes, correlation_id: int) -> SimpleNamespace:
    reader = Reader(frame)
    answered = reader.integer("i32")
    assert answered == correlation_id, f"answer {answered} where {correlation_id} was due"
    flexible = api.is_flexible(version)
    # ApiVersions keeps the old header in every version: a client reads it before it knows what the broker speaks.
    if flexible and api.name != "ApiVersions":
        assert reader.unsigned_varint() == 0, "tags in an answer header"
    answer = read_fields(reader, api.response, version, flexible)
    assert reader.remaining() == 0, f"{reader.remaining()} bytes after {api.name} v{version}"
    return answer
