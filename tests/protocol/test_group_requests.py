"""A small group by hand: its life in each version, and what its coordinator answers to what does not fit."""

import time

import pytest

from harness.messages import APIS
from harness.topics import create_topic

UNKNOWN_TOPIC_OR_PARTITION = 3
COORDINATOR_NOT_AVAILABLE = 15
ILLEGAL_GENERATION = 22
INCONSISTENT_GROUP_PROTOCOL = 23
INVALID_GROUP_ID = 24
UNKNOWN_MEMBER_ID = 25
INVALID_SESSION_TIMEOUT = 26
REBALANCE_IN_PROGRESS = 27
NON_EMPTY_GROUP = 68
GROUP_ID_NOT_FOUND = 69
MEMBER_ID_REQUIRED = 79


@pytest.fixture(scope="module")
def broker_of_module(module_brokers, broker_kind):
    """Nobody waits here for members that might still come."""
    return module_brokers.share(broker_kind, **{"group.initial.rebalance.delay.ms": 0})


def versions(api):
    return pytest.mark.parametrize("version", APIS[api].versions)


def find(session, group):
    """Waits until the group has a coordinator: Kafka makes the topic behind it in the background."""
    deadline = time.monotonic() + 30
    while True:
        [found] = session.call("FindCoordinator", 4, keys=[group]).coordinators
        if found.error == 0:
            # And until it has loaded.
            described = session.call("DescribeGroups", 5, groups=[group]).groups[0]
            if described.error == 0:
                return found
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def join(session, group, version=5, member_id="", **how):
    asked = {"group_id": group, "protocol_type": "consumer", "protocols": [{"name": "range", "metadata": b"m"}], **how}
    answer = session.call("JoinGroup", version, member_id=member_id, **asked)
    if answer.error == MEMBER_ID_REQUIRED and not member_id:
        return session.call("JoinGroup", version, member_id=answer.member_id, **asked)
    return answer


def stable(session, group):
    find(session, group)
    joined = join(session, group)
    assert joined.error == 0
    mine = [{"member_id": joined.member_id, "assignment": b"all"}]
    synced = session.call(
        "SyncGroup", 3, group_id=group, generation_id=joined.generation_id, member_id=joined.member_id, assignments=mine
    )
    assert (synced.error, synced.assignment) == (0, b"all")
    return joined


@versions("JoinGroup")
def test_a_member_joins(session, topic, version):
    find(session, topic)
    joined = join(session, topic, version)
    assert (joined.error, joined.generation_id, joined.leader) == (0, 1, joined.member_id)
    assert [(member.member_id, member.metadata) for member in joined.members] == [(joined.member_id, b"m")]


@pytest.mark.parametrize("how, error", [
    ({"group_id": ""}, INVALID_GROUP_ID),
    ({"session_timeout_ms": 1}, INVALID_SESSION_TIMEOUT),
    ({"session_timeout_ms": 10_000_000}, INVALID_SESSION_TIMEOUT),
    ({"protocols": []}, INCONSISTENT_GROUP_PROTOCOL),
    ({"protocol_type": ""}, INCONSISTENT_GROUP_PROTOCOL),
])
def test_joins_that_are_refused(session, topic, how, error):
    find(session, topic)
    assert join(session, topic, **how).error == error


def test_strangers_and_old_generations(session, topic):
    joined = stable(session, topic)
    member = {"group_id": topic, "member_id": joined.member_id}
    generation = joined.generation_id

    def beat(**how):
        return session.call("Heartbeat", 3, **{**member, "generation_id": generation, **how}).error

    assert beat() == 0
    assert beat(generation_id=generation + 1) == ILLEGAL_GENERATION
    assert beat(member_id="stranger") == UNKNOWN_MEMBER_ID
    assert beat(group_id=topic + "-none") == UNKNOWN_MEMBER_ID
    assert join(session, topic, member_id="stranger").error == UNKNOWN_MEMBER_ID


def commit(session, group, topic, offset, partition=0, version=8, **who):
    partitions = [{"index": partition, "offset": offset, "metadata": "note"}]
    answer = session.call(
        "OffsetCommit", version, group_id=group, topics=[{"name": topic, "partitions": partitions}], **who
    )
    return answer.topics[0].partitions[0].error


def committed(session, group, topic, partition=0):
    [found] = session.call(
        "OffsetFetch", 7, group_id=group, topics=[{"name": topic, "partitions": [partition]}]
    ).topics[0].partitions
    assert found.error == 0
    return found.offset, found.metadata


@pytest.mark.parametrize("version", range(2, 10))
def test_offsets_are_kept(session, broker, topic, version):
    create_topic(broker, topic)
    find(session, topic)
    assert committed(session, topic, topic) == (-1, "")
    assert commit(session, topic, topic, 7, version=version) == 0
    assert committed(session, topic, topic) == (7, "note")
    assert commit(session, topic, topic, 8, partition=5, version=version) == UNKNOWN_TOPIC_OR_PARTITION
    # Of a group that has members only they commit.
    joined = stable(session, topic)
    assert commit(session, topic, topic, 9) == UNKNOWN_MEMBER_ID
    who = {"member_id": joined.member_id, "generation_id": joined.generation_id}
    assert commit(session, topic, topic, 9, **who) == 0
    assert commit(session, topic, topic, 10, **{**who, "generation_id": 99}) == ILLEGAL_GENERATION
    assert committed(session, topic, topic) == (9, "note")


def test_the_life_of_a_group(session, topic):
    joined = stable(session, topic)
    [described] = session.call("DescribeGroups", 5, groups=[topic]).groups
    assert (described.state, described.protocol_type, described.protocol_data) == ("Stable", "consumer", "range")
    assert [(member.metadata, member.assignment) for member in described.members] == [(b"m", b"all")]
    assert session.call("DeleteGroups", 2, groups=[topic]).results[0].error == NON_EMPTY_GROUP
    left = session.call("LeaveGroup", 3, group_id=topic, members=[{"member_id": joined.member_id}])
    assert (left.error, left.members[0].error) == (0, 0)
    [listed] = [group for group in session.call("ListGroups", 5).groups if group.group_id == topic]
    assert (listed.state.lower(), listed.type) == ("empty", "classic")
    assert session.call("DeleteGroups", 2, groups=[topic]).results[0].error == 0
    assert session.call("DeleteGroups", 2, groups=[topic]).results[0].error == GROUP_ID_NOT_FOUND
    assert session.call("DescribeGroups", 6, groups=[topic]).groups[0].error == GROUP_ID_NOT_FOUND
    assert session.call("DescribeGroups", 5, groups=[topic]).groups[0].state == "Dead"
