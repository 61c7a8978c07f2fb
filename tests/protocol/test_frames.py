"""What a broker does before it knows what is asked: frames, headers, versions."""

import struct

import pytest

from harness.messages import APIS
from harness.wire import Reader, read_fields

UNSUPPORTED_VERSION = 35


def test_api_versions_in_every_version(session):
    for version in APIS["ApiVersions"].versions:
        named = {"client_software_name": "raw", "client_software_version": "1"} if version >= 3 else {}
        answer = session.call("ApiVersions", version, **named)
        assert answer.error == 0
        assert 18 in {api.key for api in answer.apis}


def test_an_unknown_version_of_api_versions_is_answered_in_version_0(session):
    correlation_id = session.send_body(18, 99, b"whatever a later version holds", flexible=True)
    reader = Reader(session.receive_frame())
    assert reader.integer("i32") == correlation_id
    answer = read_fields(reader, APIS["ApiVersions"].response, 0, flexible=False)
    assert reader.remaining() == 0
    assert answer.error == UNSUPPORTED_VERSION
    # A client picks its next try from this entry.
    assert {api.key for api in answer.apis} == {18}
    assert session.call("ApiVersions", 3, client_software_name="raw", client_software_version="1").error == 0


@pytest.mark.parametrize("name", ["", "spaces are not allowed", "-dash first"])
def test_a_malformed_software_name_is_an_invalid_request(session, name):
    assert session.call("ApiVersions", 3, client_software_name=name, client_software_version="1").error == 42


@pytest.mark.parametrize("key", [-1, 4, 7, 93, 1000, 32767])
def test_an_unknown_api_closes(session, key):
    session.send_body(key, 0, b"", flexible=False)
    session.expect_close()


@pytest.mark.parametrize("name, version", [("Produce", -1), ("Produce", 99), ("Fetch", -1), ("Metadata", -1), ("Metadata", 99)])
def test_an_unknown_version_closes(session, name, version):
    session.send_body(APIS[name].key, version, b"\0" * 64, flexible=False)
    session.expect_close()


@pytest.mark.parametrize("name, version", [("Produce", 2), ("Fetch", 3), ("ListOffsets", 0)])
def test_what_kafka_dropped_closes_there(session, broker, name, version):
    if broker.is_reference:
        session.send_body(APIS[name].key, version, b"\0" * 64, flexible=False)
        session.expect_close()
    else:
        # Served here (test_old_versions): a body of zeros is the fault.
        session.send_body(APIS[name].key, version, b"\0", flexible=False)
        session.expect_close()


def test_a_frame_larger_than_allowed_closes(session):
    """socket.request.max.bytes is 100 MiB; nothing of the frame is waited for."""
    session.socket.sendall(struct.pack(">i", 104_857_601))
    session.expect_close()


def test_a_negative_frame_length_closes(session):
    session.socket.sendall(struct.pack(">i", -1))
    session.expect_close()


def test_a_body_that_ends_too_soon_closes(session):
    # A Metadata request that promises two billion topics.
    session.send_body(3, 1, struct.pack(">i", 0x7FFFFFFF), flexible=False)
    session.expect_close()


def test_a_frame_may_arrive_in_pieces(session):
    frame = struct.pack(">hhih", 18, 0, 77, -1)
    whole = struct.pack(">i", len(frame)) + frame
    for byte in whole:
        session.socket.sendall(bytes([byte]))
    assert Reader(session.receive_frame()).integer("i32") == 77


def test_answers_come_in_the_order_of_requests(session):
    sent = [session.send("Metadata", 1, topics=[]) for _ in range(30)]
    sent += [session.send("ListOffsets", 2, topics=[]) for _ in range(30)]
    for number, correlation_id in enumerate(sent):
        session.receive("Metadata" if number < 30 else "ListOffsets", 1 if number < 30 else 2, correlation_id)
