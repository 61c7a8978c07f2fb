"""What administers a cluster beyond the making of topics."""

import textwrap

from harness.messages.api import ERRORS_BY_PARTITION, define

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
""", ERRORS_BY_PARTITION)

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

ACL_FILTER = """
resource_type_filter i8
resource_name_filter ?string
pattern_type_filter i8 =3
principal_filter ?string
host_filter ?string
operation i8
permission_type i8
"""

define("DescribeAcls", 29, 1, 3, 2, ACL_FILTER, """
throttle_time_ms i32
error i16
error_message ?string
resources []
  type i8
  name string
  pattern_type i8
  acls []
    principal string
    host string
    operation i8
    permission_type i8
""")

define("CreateAcls", 30, 1, 3, 2, """
creations []
  resource_type i8
  resource_name string
  resource_pattern_type i8 =3
  principal string
  host string
  operation i8
  permission_type i8
""", """
throttle_time_ms i32
results []
  error i16
  error_message ?string
""")

define("DeleteAcls", 31, 1, 3, 2, "filters []\n" + textwrap.indent(ACL_FILTER, "  "), """
throttle_time_ms i32
filter_results []
  error i16
  error_message ?string
  matching_acls []
    error i16
    error_message ?string
    resource_type i8
    resource_name string
    pattern_type i8
    principal string
    host string
    operation i8
    permission_type i8
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

define("UnregisterBroker", 64, 0, 0, 0, """
broker_id i32
""", """
throttle_time_ms i32
error i16
error_message ?string
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
