"""Groups and their offsets."""

from harness.messages.api import ERRORS_BY_PARTITION, define

define("FindCoordinator", 10, 0, 6, 3, """
key string 0-3
key_type i8 1+
keys [string] 4+
""", """
throttle_time_ms i32 1+
error i16 0-3
error_message ?string 1-3
node_id i32 0-3
host string 0-3
port i32 0-3
coordinators [] 4+
  key string
  node_id i32
  host string
  port i32
  error i16
  error_message ?string
""")

define("JoinGroup", 11, 0, 9, 6, """
group_id string
session_timeout_ms i32 =10000
rebalance_timeout_ms i32 1+ =10000
member_id string
group_instance_id ?string 5+
protocol_type string
protocols []
  name string
  metadata bytes
reason ?string 8+
""", """
throttle_time_ms i32 2+
error i16
generation_id i32
protocol_type ?string 7+
protocol_name ?string
leader string
skip_assignment bool 9+
member_id string
members []
  member_id string
  group_instance_id ?string 5+
  metadata bytes
""")

define("Heartbeat", 12, 0, 4, 4, """
group_id string
generation_id i32
member_id string
group_instance_id ?string 3+
""", """
throttle_time_ms i32 1+
error i16
""")

define("LeaveGroup", 13, 0, 5, 4, """
group_id string
member_id string 0-2
members [] 3+
  member_id string
  group_instance_id ?string 3+
  reason ?string 5+
""", """
throttle_time_ms i32 1+
error i16
members [] 3+
  member_id string
  group_instance_id ?string
  error i16
""")

define("SyncGroup", 14, 0, 5, 4, """
group_id string
generation_id i32
member_id string
group_instance_id ?string 3+
protocol_type ?string 5+
protocol_name ?string 5+
assignments []
  member_id string
  assignment bytes
""", """
throttle_time_ms i32 1+
error i16
protocol_type ?string 5+
protocol_name ?string 5+
assignment bytes
""")

define("OffsetCommit", 8, 2, 10, 8, """
group_id string
generation_id i32 =-1
member_id string
group_instance_id ?string 7+
retention_time_ms i64 2-4 =-1
topics []
  name string 0-9
  topic_id uuid 10+
  partitions []
    index i32
    offset i64
    leader_epoch i32 6+ =-1
    metadata ?string
""", """
throttle_time_ms i32 3+
topics []
  name string 0-9
  topic_id uuid 10+
  partitions []
    index i32
    error i16
""")

define("OffsetFetch", 9, 1, 10, 6, """
group_id string 0-7
topics ?[] 0-7
  name string
  partitions [i32]
groups [] 8+
  group_id string
  member_id ?string 9+
  member_epoch i32 9+ =-1
  topics ?[]
    name string 8-9
    topic_id uuid 10+
    partitions [i32]
require_stable bool 7+
""", """
throttle_time_ms i32 3+
topics [] 0-7
  name string
  partitions []
    index i32
    offset i64
    leader_epoch i32 5+ =-1
    metadata ?string
    error i16
error i16 2-7
groups [] 8+
  group_id string
  topics []
    name string 8-9
    topic_id uuid 10+
    partitions []
      index i32
      offset i64
      leader_epoch i32
      metadata ?string
      error i16
  error i16
""")

define("DescribeGroups", 15, 0, 6, 5, """
groups [string]
include_authorized_operations bool 3+
""", """
throttle_time_ms i32 1+
groups []
  error i16
  error_message ?string 6+
  group_id string
  state string
  protocol_type string
  protocol_data string
  members []
    member_id string
    group_instance_id ?string 4+
    client_id string
    client_host string
    metadata bytes
    assignment bytes
  authorized_operations i32 3+ =-2147483648
""")

define("ListGroups", 16, 0, 5, 3, """
states [string] 4+
types [string] 5+
""", """
throttle_time_ms i32 1+
error i16
groups []
  group_id string
  protocol_type string
  state string 4+
  type string 5+
""")

define("DeleteGroups", 42, 0, 2, 2, """
groups [string]
""", """
throttle_time_ms i32
results []
  group_id string
  error i16
""")

define("OffsetDelete", 47, 0, 0, 99, """
group_id string
topics []
  name string
  partitions []
    index i32
""", "error i16" + ERRORS_BY_PARTITION)

define("ConsumerGroupHeartbeat", 68, 0, 1, 0, """
group_id string
member_id string
member_epoch i32
instance_id ?string
rack_id ?string
rebalance_timeout_ms i32 =-1
subscribed_topic_names ?[string]
subscribed_topic_regex ?string 1+
server_assignor ?string
topic_partitions ?[]
  topic_id uuid
  partitions [i32]
""", """
throttle_time_ms i32
error i16
error_message ?string
member_id ?string
member_epoch i32
heartbeat_interval_ms i32
assignment ?{}
  topic_partitions []
    topic_id uuid
    partitions [i32]
""")
