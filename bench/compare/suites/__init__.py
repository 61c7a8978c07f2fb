"""The rows of the matrix, a file for each question. A suite is given a started life and yields its rows one by one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from loads import Figures, Loads

from . import cold, connections, consume, latency, partitions, produce, restart, strict, transactions

Rows = Iterator[tuple[str, Figures]]


@dataclass
class Suite:
    about: str
    measure: Callable[[Loads], Rows]
    # What the stand-in does with batches, or that it has no part in this.
    bare_mode: str | None
    is_warmed: bool


SUITES = {
    "produce": Suite("producing, as fast as it goes", produce.measure, "append", True),
    "consume": Suite("reading what lies in the page cache, and following producers", consume.measure, "memory", True),
    "latency": Suite("time from the producer to the consumer", latency.measure, "memory", True),
    "strict": Suite("records that are on the device before they are acknowledged", strict.measure, None, True),
    "transactions": Suite("producing in transactions", transactions.measure, None, True),
    "cold": Suite("new records, while somebody reads old ones that are in no memory", cold.measure, "memory", True),
    "connections": Suite("connections that do nothing", connections.measure, "discard", False),
    "partitions": Suite("thousands of partitions", partitions.measure, None, True),
    "restart": Suite("starts, and kill -9 to the next acknowledgement", restart.measure, None, False),
}
