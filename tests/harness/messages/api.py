"""How an API is told of."""

from dataclasses import dataclass

from harness.wire import Field, parse_fields


@dataclass
class Api:
    name: str
    key: int
    # Those of Kafka 4.3.
    versions: range
    flexible_from: int
    request: list[Field]
    response: list[Field]

    def is_flexible(self, version: int) -> bool:
        return version >= self.flexible_from


APIS: dict[str, Api] = {}

# What several APIs answer that have one error for each partition.
ERRORS_BY_PARTITION = """
throttle_time_ms i32
topics []
  name string
  partitions []
    index i32
    error i16
"""

# APIs that Kafka 3.9 and Corelane have in older versions too, which Kafka 4 dropped (KIP-896): all of them from 0.
WITH_OLD_VERSIONS = [
    "Produce", "Fetch", "ListOffsets", "CreateTopics", "DeleteTopics", "OffsetForLeaderEpoch", "DescribeConfigs",
    "AlterReplicaLogDirs", "DescribeLogDirs",
]


def define(name: str, key: int, first: int, last: int, flexible_from: int, request: str, response: str) -> None:
    versions = range(first, last + 1)
    APIS[name] = Api(name, key, versions, flexible_from, parse_fields(request), parse_fields(response))
