"""The field lists of the requests and answers that the tests speak, in every version of Kafka 4.3 and in older ones."""

from harness.messages import administration, groups, topics, transactions  # each adds its own to APIS
from harness.messages.api import APIS, WITH_OLD_VERSIONS, Api

__all__ = ["APIS", "WITH_OLD_VERSIONS", "Api", "administration", "groups", "topics", "transactions"]
