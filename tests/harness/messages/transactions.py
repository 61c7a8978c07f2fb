"""What producers ask of the coordinator of their transactions, and of groups in them."""

from harness.messages.api import ERRORS_BY_PARTITION, define

# From version 4 on it is for brokers.
define("AddPartitionsToTxn", 24, 0, 3, 3, """
transactional_id string
producer_id i64
producer_epoch i16
topics []
  name string
  partitions [i32]
""", ERRORS_BY_PARTITION)

define("AddOffsetsToTxn", 25, 0, 4, 3, """
transactional_id string
producer_id i64
producer_epoch i16
group_id string
""", """
throttle_time_ms i32
error i16
""")

define("EndTxn", 26, 0, 5, 3, """
transactional_id string
producer_id i64
producer_epoch i16
committed bool
""", """
throttle_time_ms i32
error i16
producer_id i64 5+ =-1
producer_epoch i16 5+ =-1
""")

define("TxnOffsetCommit", 28, 0, 5, 3, """
transactional_id string
group_id string
producer_id i64
producer_epoch i16
generation_id i32 3+ =-1
member_id string 3+
group_instance_id ?string 3+
topics []
  name string
  partitions []
    index i32
    offset i64
    leader_epoch i32 2+ =-1
    metadata ?string
""", ERRORS_BY_PARTITION)
