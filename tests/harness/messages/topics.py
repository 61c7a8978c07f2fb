"""Topics and their records, and what every connection begins with."""

from harness.messages.api import define

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
