"""Kafka's own tools give with us what they give with Kafka 4.3.1: the same calls on both, and a diff of what they print.

A scenario is a function that plays calls; ports, ids, times and durations are made equal before the comparison, nothing
else. Kafka plays each once in a run, Corelane once with each number of shards.
"""

import difflib

import pytest

from clients import tool_scenarios
from harness.toolbox import Toolbox, Transcript

SETTINGS = {
    "node.id": 1,
    "group.min.session.timeout.ms": 1_000,
    "group.initial.rebalance.delay.ms": 0,
    "offsets.topic.num.partitions": 5,
    "auto.create.topics.enable": "false",
}

# What does not hold yet: the scenario and what it waits for. A scenario that holds must leave this list.
NOT_YET = {
    "kafka-broker-api-versions": "names every API, also those that are not built",
    "kafka-configs-alter": "a setting that does not act is refused: log.cleaner.threads",
    "kafka-configs-quotas": "AlterClientQuotas (49) is not served",
    "kafka-features": "share.version and streams.version are not finalized",
}


@pytest.fixture(scope="module")
def on_kafka(module_brokers, toolbox):
    """What a scenario prints with Kafka, played when first asked for."""
    played: dict[str, list[str]] = {}

    def get(name: str) -> list[str]:
        if name not in played:
            played[name] = play(name, toolbox, module_brokers.share("kafka", **SETTINGS))
        return played[name]
    return get


def play(name: str, toolbox: Toolbox, broker) -> list[str]:
    transcript = Transcript(toolbox, broker, [])
    tool_scenarios.SCENARIOS[name](transcript)
    return transcript.lines


@pytest.mark.parametrize("name", tool_scenarios.SCENARIOS)
def test_tools_say_what_they_say_on_kafka(name, broker_kind, module_brokers, toolbox, on_kafka):
    if broker_kind == "kafka":
        # Nothing but chance may differ between two runs on Kafka itself.
        again = module_brokers.shared.get("again") or module_brokers.create("kafka", **SETTINGS).start()
        module_brokers.shared["again"] = again
        ours = play(name, toolbox, again)
    else:
        ours = play(name, toolbox, module_brokers.share(broker_kind, **SETTINGS))
    difference = "\n".join(difflib.unified_diff(on_kafka(name), ours, "Apache Kafka 4.3.1", broker_kind, lineterm="", n=1))
    if broker_kind != "kafka" and name in NOT_YET:
        assert difference, f"{name} holds now: take it out of NOT_YET"
        pytest.xfail(NOT_YET[name])
    assert not difference, difference
