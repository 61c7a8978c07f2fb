"""Groups of pykafka 2.8, of 2018; the rest of it is in test_old_clients.py. The reference is Kafka 3.9.2."""

import pytest

from clients.test_groups import SETTINGS, Stage, commit_and_resume, one_leaves_and_one_crashes
from harness.broker import KINDS


def pytest_generate_tests(metafunc):
    config = metafunc.config
    kinds = config.option.broker or ["corelane-1", "corelane-2"]
    reference = config.option.reference or "kafka" in kinds
    kinds = [kind for kind in kinds if kind != "kafka"] + ["kafka-3.9"] * reference
    metafunc.parametrize("old_broker", dict.fromkeys(kinds), indirect=True, scope="module")


@pytest.fixture(scope="module")
def old_broker(request, module_brokers):
    assert request.param in KINDS
    broker = module_brokers.share(request.param, **SETTINGS)
    return broker


def test_commit_and_resume(old_broker, clients, topic):
    Stage(old_broker, clients, "pykafka", topic).play(commit_and_resume)


def test_one_leaves_and_one_crashes(old_broker, clients, topic, full):
    if not full:
        pytest.skip("its session is 30 s, whatever it is told: --full")
    Stage(old_broker, clients, "pykafka", topic).play(lambda stage: one_leaves_and_one_crashes(stage, session_ms=30_000))
