"""The field lists of the requests and answers that the tests speak, in every version of Kafka 4.3 and in older ones."""

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

# APIs that Kafka 3.9 and Corelane have in older versions too, which Kafka 4 dropped (KIP-896): all of them from 0.
WITH_OLD_VERSIONS = [
    "Produce", "Fetch", "ListOffsets", "CreateTopics", "DeleteTopics", "OffsetForLeaderEpoch", "DescribeConfigs",
    "AlterReplicaLogDirs", "DescribeLogDirs",
]


def define(name: str, key: int, first: int, last: int, flexible_from: int, request: str, response: str) -> None:
    versions = range(first, last + 1)
    APIS[name] = Api(name, key, versions, flexible_from, parse_fields(request), parse_fields(response))


define("Produce", 0, 3, 13, 9, """
transactional_id ?string 3+
acks i16 =-1
timeout_ms i32 =30000
topics []
  name string 0-12
  topic_id uuid 13+
  partitions []
    index i32
    records ?bytes
""", """
topics []
  name string 0-12
  topic_id uuid 13+
  partitions []
    index i32
    error i16
    base_offset i64
    log_append_time_ms i64 2+ =-1
    log_start_offset i64 5+ =-1
    record_errors [] 8+
      batch_index i32
      message ?string
    error_message ?string 8+
    current_leader {} 10+ #0
      leader_id i32 =-1
      leader_epoch i32 =-1
throttle_time_ms i32 1+
node_endpoints [] 10+ #0
  node_id i32
  host string
  port i32
  rack ?string
""")

define("Fetch", 1, 4, 18, 12, """
cluster_id ?string 12+ #0
replica_id i32 0-14 =-1
replica_state {} 15+ #1
  replica_id i32 =-1
  replica_epoch i64 =-1
max_wait_ms i32
min_bytes i32
max_bytes i32 3+ =2147483647
isolation_level i8 4+
session_id i32 7+
session_epoch i32 7+ =-1
topics []
  name string 0-12
  topic_id uuid 13+
  partitions []
    index i32
    current_leader_epoch i32 9+ =-1
    fetch_offset i64
    last_fetched_epoch i32 12+ =-1
    log_start_offset i64 5+ =-1
    max_bytes i32 =1048576
    replica_directory_id uuid 17+ #0
    high_watermark i64 18+ #1
forgotten [] 7+
  name string 0-12
  topic_id uuid 13+
  partitions [i32]
rack_id string 11+
""", """
throttle_time_ms i32 1+
error i16 7+
session_id i32 7+
topics []
  name string 0-12
  topic_id uuid 13+
  partitions []
    index i32
    error i16
    high_watermark i64
    last_stable_offset i64 4+ =-1
    log_start_offset i64 5+ =-1
    diverging_epoch {} 12+ #0
      epoch i32 =-1
      end_offset i64 =-1
    current_leader {} 12+ #1
      leader_id i32 =-1
      leader_epoch i32 =-1
    snapshot_id {} 12+ #2
      end_offset i64 =-1
      epoch i32 =-1
    aborted_transactions ?[] 4+
      producer_id i64
      first_offset i64
    preferred_read_replica i32 11+ =-1
    records ?bytes
node_endpoints [] 16+ #0
  node_id i32
  host string
  port i32
  rack ?string
""")

define("ListOffsets", 2, 1, 11, 6, """
replica_id i32 =-1
isolation_level i8 2+
topics []
  name string
  partitions []
    index i32
    current_leader_epoch i32 4+ =-1
    timestamp i64
    max_num_offsets i32 0-0 =1
timeout_ms i32 10+
""", """
throttle_time_ms i32 2+
topics []
  name string
  partitions []
    index i32
    error i16
    old_style_offsets [i64] 0-0
    timestamp i64 1+ =-1
    offset i64 1+ =-1
    leader_epoch i32 4+ =-1
""")

define("Metadata", 3, 0, 13, 9, """
topics ?[]
  topic_id uuid 10+
  name ?string
allow_auto_topic_creation bool 4+ =1
include_cluster_authorized_operations bool 8-10
include_topic_authorized_operations bool 8+
""", """
throttle_time_ms i32 3+
brokers []
  node_id i32
  host string
  port i32
  rack ?string 1+
cluster_id ?string 2+
controller_id i32 1+ =-1
topics []
  error i16
  name ?string
  topic_id uuid 10+
  is_internal bool 1+
  partitions []
    error i16
    index i32
    leader_id i32
    leader_epoch i32 7+ =-1
    replicas [i32]
    isr [i32]
    offline_replicas [i32] 5+
  authorized_operations i32 8+ =-2147483648
cluster_authorized_operations i32 8-10 =-2147483648
error i16 13+
""")

define("ApiVersions", 18, 0, 4, 3, """
client_software_name string 3+
client_software_version string 3+
""", """
error i16
apis []
  key i16
  first i16
  last i16
throttle_time_ms i32 1+
supported_features [] 3+ #0
  name string
  first i16
  last i16
finalized_features_epoch i64 3+ =-1 #1
finalized_features [] 3+ #2
  name string
  last_level i16
  first_level i16
zk_migration_ready bool 3+ #3
""")

define("CreateTopics", 19, 2, 7, 5, """
topics []
  name string
  num_partitions i32 =-1
  replication_factor i16 =-1
  assignments []
    index i32
    broker_ids [i32]
  configs []
    name string
    value ?string
timeout_ms i32 =30000
validate_only bool 1+
""", """
throttle_time_ms i32 2+
topics []
  name string
  topic_id uuid 7+
  error i16
  error_message ?string 1+
  topic_config_error i16 5+ #0
  num_partitions i32 5+ =-1
  replication_factor i16 5+ =-1
  configs ?[] 5+
    name string
    value ?string
    read_only bool
    source i8 =-1
    is_sensitive bool
""")

define("DeleteTopics", 20, 1, 6, 4, """
topics [] 6+
  name ?string
  topic_id uuid
topic_names [string] 0-5
timeout_ms i32 =30000
""", """
throttle_time_ms i32 1+
topics []
  name ?string
  topic_id uuid 6+
  error i16
  error_message ?string 5+
""")

define("InitProducerId", 22, 0, 5, 2, """
transactional_id ?string
transaction_timeout_ms i32 =60000
producer_id i64 3+ =-1
producer_epoch i16 3+ =-1
""", """
throttle_time_ms i32
error i16
producer_id i64
producer_epoch i16
""")

define("OffsetForLeaderEpoch", 23, 2, 4, 4, """
replica_id i32 3+ =-2
topics []
  name string
  partitions []
    index i32
    current_leader_epoch i32 2+ =-1
    leader_epoch i32
""", """
throttle_time_ms i32 2+
topics []
  name string
  partitions []
    error i16
    index i32
    leader_epoch i32 1+ =-1
    end_offset i64
""")

define("DescribeConfigs", 32, 1, 4, 4, """
resources []
  resource_type i8
  resource_name string
  configuration_keys ?[string]
include_synonyms bool 1+
include_documentation bool 3+
""", """
throttle_time_ms i32
results []
  error i16
  error_message ?string
  resource_type i8
  resource_name string
  configs []
    name string
    value ?string
    read_only bool
    is_default bool 0-0
    source i8 1+ =-1
    is_sensitive bool
    synonyms [] 1+
      name string
      value ?string
      source i8
    config_type i8 3+
    documentation ?string 3+
""")

define("CreatePartitions", 37, 0, 3, 2, """
topics []
  name string
  count i32
  assignments ?[]
    broker_ids [i32]
timeout_ms i32 =30000
validate_only bool
""", """
throttle_time_ms i32
results []
  name string
  error i16
  error_message ?string
""")

define("DescribeCluster", 60, 0, 2, 0, """
include_cluster_authorized_operations bool
endpoint_type i8 1+ =1
include_fenced_brokers bool 2+
""", """
throttle_time_ms i32
error i16
error_message ?string
endpoint_type i8 1+ =1
cluster_id string
controller_id i32 =-1
brokers []
  node_id i32
  host string
  port i32
  rack ?string
  is_fenced bool 2+
cluster_authorized_operations i32 =-2147483648
""")

define("DescribeTopicPartitions", 75, 0, 0, 0, """
topics []
  name string
response_partition_limit i32 =2000
cursor ?{}
  topic_name string
  partition_index i32
""", """
throttle_time_ms i32
topics []
  error i16
  name ?string
  topic_id uuid
  is_internal bool
  partitions []
    error i16
    index i32
    leader_id i32
    leader_epoch i32 =-1
    replicas [i32]
    isr [i32]
    eligible_leader_replicas ?[i32]
    last_known_elr ?[i32]
    offline_replicas [i32]
  authorized_operations i32 =-2147483648
next_cursor ?{}
  topic_name string
  partition_index i32
""")

define("DeleteRecords", 21, 0, 2, 2, """
topics []
  name string
  partitions []
    index i32
    offset i64
timeout_ms i32 =30000
""", """
throttle_time_ms i32
topics []
  name string
  partitions []
    index i32
    low_watermark i64
    error i16
""")

define("AlterConfigs", 33, 0, 2, 2, """
resources []
  type i8
  name string
  configs []
    name string
    value ?string
validate_only bool
""", """
throttle_time_ms i32
results []
  error i16
  error_message ?string
  type i8
  name string
""")

define("AlterReplicaLogDirs", 34, 1, 2, 2, """
dirs []
  path string
  topics []
    name string
    partitions [i32]
""", """
throttle_time_ms i32
topics []
  name string
  partitions []
    index i32
    error i16
""")

define("DescribeLogDirs", 35, 1, 5, 2, """
topics ?[]
  name string
  partitions [i32]
""", """
throttle_time_ms i32
error i16 3+
results []
  error i16
  log_dir string
  topics []
    name string
    partitions []
      index i32
      size i64
      offset_lag i64
      is_future_key bool
  total_bytes i64 4+ =-1
  usable_bytes i64 4+ =-1
  is_cordoned bool 5+
""")

define("ElectLeaders", 43, 0, 2, 2, """
election_type i8 1+
topics ?[]
  name string
  partitions [i32]
timeout_ms i32 =60000
""", """
throttle_time_ms i32
error i16 1+
topics []
  name string
  partitions []
    index i32
    error i16
    error_message ?string
""")

define("IncrementalAlterConfigs", 44, 0, 1, 1, """
resources []
  type i8
  name string
  configs []
    name string
    operation i8
    value ?string
validate_only bool
""", """
throttle_time_ms i32
results []
  error i16
  error_message ?string
  type i8
  name string
""")

define("AlterPartitionReassignments", 45, 0, 1, 0, """
timeout_ms i32 =60000
allow_replication_factor_change bool 1+ =1
topics []
  name string
  partitions []
    index i32
    replicas ?[i32]
""", """
throttle_time_ms i32
allow_replication_factor_change bool 1+ =1
error i16
error_message ?string
topics []
  name string
  partitions []
    index i32
    error i16
    error_message ?string
""")

define("ListPartitionReassignments", 46, 0, 0, 0, """
timeout_ms i32 =60000
topics ?[]
  name string
  partitions [i32]
""", """
throttle_time_ms i32
error i16
error_message ?string
topics []
  name string
  partitions []
    index i32
    replicas [i32]
    adding_replicas [i32]
    removing_replicas [i32]
""")

define("DescribeClientQuotas", 48, 0, 1, 1, """
components []
  entity_type string
  match_type i8
  match ?string
strict bool
""", """
throttle_time_ms i32
error i16
error_message ?string
entries ?[]
  entity []
    type string
    name ?string
  values []
    key string
    value i64
""")

define("DescribeQuorum", 55, 0, 2, 0, """
topics []
  name string
  partitions []
    index i32
""", """
error i16
error_message ?string 2+
topics []
  name string
  partitions []
    index i32
    error i16
    error_message ?string 2+
    leader_id i32
    leader_epoch i32
    high_watermark i64
    current_voters []
      replica_id i32
      directory_id uuid 2+
      log_end_offset i64
      last_fetch_timestamp i64 1+ =-1
      last_caught_up_timestamp i64 1+ =-1
    observers []
      replica_id i32
      directory_id uuid 2+
      log_end_offset i64
      last_fetch_timestamp i64 1+ =-1
      last_caught_up_timestamp i64 1+ =-1
nodes [] 2+
  node_id i32
  listeners []
    name string
    host string
    port i16
""")

define("DescribeProducers", 61, 0, 0, 0, """
topics []
  name string
  partitions [i32]
""", """
throttle_time_ms i32
topics []
  name string
  partitions []
    index i32
    error i16
    error_message ?string
    producers []
      producer_id i64
      epoch i32
      last_sequence i32
      last_timestamp i64
      coordinator_epoch i32
      transaction_start i64
""")

define("ListConfigResources", 74, 0, 1, 0, """
types [i8] 1+
""", """
throttle_time_ms i32
error i16
resources []
  name string
  type i8 1+
""")

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
""", """
error i16
throttle_time_ms i32
topics []
  name string
  partitions []
    index i32
    error i16
""")

define("UpdateFeatures", 57, 0, 2, 0, """
timeout_ms i32 =60000
updates []
  feature string
  level i16
  allow_downgrade bool 0
  upgrade_type i8 1+ =1
validate_only bool 1+
""", """
throttle_time_ms i32
error i16
error_message ?string
results [] 0-1
  feature string
  error i16
  error_message ?string
""")
