//! The error codes that answers carry, with Kafka's names and words of our own.

use std::fmt;

/// An error code of the protocol. Codes that this release does not know are carried unchanged.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErrorCode(pub i16);

impl ErrorCode {
    /// Kafka's name for the code, `UNKNOWN` for one that is not in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().map_or("UNKNOWN", |row| row.name)
    }

    /// What the code means, in a sentence without a full stop.
    #[must_use]
    pub fn message(self) -> &'static str {
        self.row().map_or("the error code is not known to this release", |row| row.message)
    }

    /// Whether clients send the same request again.
    #[must_use]
    pub fn is_retriable(self) -> bool {
        self.row().is_some_and(|row| row.retriable)
    }

    /// Whether this is not an error.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    fn row(self) -> Option<&'static Row> {
        // The codes are dense from −1, which a test checks.
        ROWS.get(usize::try_from(self.0.checked_add(1)?).ok()?)
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.name(), self.0)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.name(), self.0, self.message())
    }
}

impl From<ErrorCode> for i16 {
    fn from(code: ErrorCode) -> Self {
        code.0
    }
}

struct Row {
    #[cfg(test)]
    code: i16,
    name: &'static str,
    retriable: bool,
    message: &'static str,
}

macro_rules! retriable {
    (retry) => {
        true
    };
    (fatal) => {
        false
    };
}

macro_rules! error_codes {
    ($($code:literal $name:ident $retry:ident $message:literal)*) => {
        impl ErrorCode {
            $(
                #[doc = concat!("Code ", stringify!($code), ": ", $message, ".")]
                pub const $name: Self = Self($code);
            )*
        }

        const ROWS: &[Row] = &[$(Row {
            #[cfg(test)]
            code: $code,
            name: stringify!($name),
            retriable: retriable!($retry),
            message: $message,
        }),*];
    };
}

// `retry` where Kafka's clients treat the error as one that may pass by itself.
#[rustfmt::skip]
error_codes! {
    -1  UNKNOWN_SERVER_ERROR                  fatal "the broker met an error that it has no code for"
    0   NONE                                  fatal "no error"
    1   OFFSET_OUT_OF_RANGE                   fatal "the partition has no record at this offset"
    2   CORRUPT_MESSAGE                       retry "a batch has a wrong checksum or size, or a compacted topic got a record without a key"
    3   UNKNOWN_TOPIC_OR_PARTITION            retry "this broker has no such topic or partition"
    4   INVALID_FETCH_SIZE                    fatal "the size to fetch makes no sense"
    5   LEADER_NOT_AVAILABLE                  retry "the partition has no leader at the moment"
    6   NOT_LEADER_OR_FOLLOWER                retry "this broker is not the replica that can answer"
    7   REQUEST_TIMED_OUT                     retry "the time that the request allowed has passed"
    8   BROKER_NOT_AVAILABLE                  fatal "the broker is not available"
    9   REPLICA_NOT_AVAILABLE                 retry "this broker has no replica of the partition that it could use"
    10  MESSAGE_TOO_LARGE                     fatal "a batch is larger than the topic allows"
    11  STALE_CONTROLLER_EPOCH                fatal "the controller has been replaced by a newer one"
    12  OFFSET_METADATA_TOO_LARGE             fatal "the text committed with an offset is too long"
    13  NETWORK_EXCEPTION                     retry "the connection ended before the answer came"
    14  COORDINATOR_LOAD_IN_PROGRESS          retry "the coordinator is still reading its log"
    15  COORDINATOR_NOT_AVAILABLE             retry "there is no coordinator at the moment"
    16  NOT_COORDINATOR                       retry "another broker coordinates this group or transaction"
    17  INVALID_TOPIC_EXCEPTION               fatal "the topic's name is not allowed"
    18  RECORD_LIST_TOO_LARGE                 fatal "the records sent together are larger than a segment"
    19  NOT_ENOUGH_REPLICAS                   retry "fewer replicas are in sync than the topic demands; nothing was written"
    20  NOT_ENOUGH_REPLICAS_AFTER_APPEND      retry "written, but to fewer replicas than the topic demands"
    21  INVALID_REQUIRED_ACKS                 fatal "acks must be -1, 0 or 1"
    22  ILLEGAL_GENERATION                    fatal "the group has moved on to another generation"
    23  INCONSISTENT_GROUP_PROTOCOL           fatal "the member's protocols do not match those of its group"
    24  INVALID_GROUP_ID                      fatal "the group's name is not allowed"
    25  UNKNOWN_MEMBER_ID                     fatal "the group has no such member"
    26  INVALID_SESSION_TIMEOUT               fatal "the session timeout is outside of what the broker allows"
    27  REBALANCE_IN_PROGRESS                 fatal "the group is being rebalanced; the member has to join again"
    28  INVALID_COMMIT_OFFSET_SIZE            fatal "the offsets committed together are too large"
    29  TOPIC_AUTHORIZATION_FAILED            fatal "not allowed on this topic"
    30  GROUP_AUTHORIZATION_FAILED            fatal "not allowed on this group"
    31  CLUSTER_AUTHORIZATION_FAILED          fatal "not allowed on the cluster"
    32  INVALID_TIMESTAMP                     fatal "a record's timestamp is too far from the broker's time"
    33  UNSUPPORTED_SASL_MECHANISM            fatal "the broker does not offer this SASL mechanism"
    34  ILLEGAL_SASL_STATE                    fatal "not at this point of the authentication"
    35  UNSUPPORTED_VERSION                   fatal "the broker does not support this version or feature"
    36  TOPIC_ALREADY_EXISTS                  fatal "there already is a topic of this name"
    37  INVALID_PARTITIONS                    fatal "the number of partitions is not allowed"
    38  INVALID_REPLICATION_FACTOR            fatal "the replication factor is below 1 or above the number of brokers"
    39  INVALID_REPLICA_ASSIGNMENT            fatal "the assignment of replicas to brokers is not allowed"
    40  INVALID_CONFIG                        fatal "a setting is unknown or its value is not allowed"
    41  NOT_CONTROLLER                        retry "another node is the controller"
    42  INVALID_REQUEST                       fatal "the request contradicts itself or lacks something"
    43  UNSUPPORTED_FOR_MESSAGE_FORMAT        fatal "the stored records are of a format that cannot do this"
    44  POLICY_VIOLATION                      fatal "a policy of the operator forbids it"
    45  OUT_OF_ORDER_SEQUENCE_NUMBER          fatal "a batch of this producer is missing before this one"
    46  DUPLICATE_SEQUENCE_NUMBER             fatal "this producer has sent the batch before"
    47  INVALID_PRODUCER_EPOCH                fatal "a newer instance of the producer has taken over"
    48  INVALID_TXN_STATE                     fatal "the transaction is not in a state that allows it"
    49  INVALID_PRODUCER_ID_MAPPING           fatal "the transactional id belongs to another producer id"
    50  INVALID_TRANSACTION_TIMEOUT           fatal "the transaction timeout is above what the broker allows"
    51  CONCURRENT_TRANSACTIONS               retry "another operation on the transaction is still in progress"
    52  TRANSACTION_COORDINATOR_FENCED        fatal "the transaction coordinator has been replaced by a newer one"
    53  TRANSACTIONAL_ID_AUTHORIZATION_FAILED fatal "not allowed to use this transactional id"
    54  SECURITY_DISABLED                     fatal "the broker runs without the security feature that this needs"
    55  OPERATION_NOT_ATTEMPTED               fatal "not tried, because another part of the request failed"
    56  KAFKA_STORAGE_ERROR                   retry "the broker cannot use the disk that holds the log"
    57  LOG_DIR_NOT_FOUND                     fatal "the broker has no such log directory"
    58  SASL_AUTHENTICATION_FAILED            fatal "wrong credentials"
    59  UNKNOWN_PRODUCER_ID                   fatal "the partition remembers nothing of this producer"
    60  REASSIGNMENT_IN_PROGRESS              fatal "the partition's replicas are already being moved"
    61  DELEGATION_TOKEN_AUTH_DISABLED        fatal "the broker has delegation tokens switched off"
    62  DELEGATION_TOKEN_NOT_FOUND            fatal "there is no such delegation token"
    63  DELEGATION_TOKEN_OWNER_MISMATCH       fatal "the delegation token belongs to somebody else"
    64  DELEGATION_TOKEN_REQUEST_NOT_ALLOWED  fatal "delegation tokens cannot be managed over this kind of connection"
    65  DELEGATION_TOKEN_AUTHORIZATION_FAILED fatal "not allowed on this delegation token"
    66  DELEGATION_TOKEN_EXPIRED              fatal "the delegation token has expired"
    67  INVALID_PRINCIPAL_TYPE                fatal "principals of this type are not supported here"
    68  NON_EMPTY_GROUP                       fatal "the group still has members"
    69  GROUP_ID_NOT_FOUND                    fatal "there is no such group"
    70  FETCH_SESSION_ID_NOT_FOUND            retry "the broker has forgotten this fetch session"
    71  INVALID_FETCH_SESSION_EPOCH           retry "the fetch session is at another epoch"
    72  LISTENER_NOT_FOUND                    retry "the leader has no listener of the kind that was asked"
    73  TOPIC_DELETION_DISABLED               fatal "deleting topics is switched off"
    74  FENCED_LEADER_EPOCH                   retry "the client's leader epoch is older than the broker's"
    75  UNKNOWN_LEADER_EPOCH                  retry "the client's leader epoch is newer than the broker's"
    76  UNSUPPORTED_COMPRESSION_TYPE          fatal "this version of the request cannot carry that compression"
    77  STALE_BROKER_EPOCH                    fatal "the broker has registered again since"
    78  OFFSET_NOT_AVAILABLE                  retry "the new leader has not caught up far enough to tell offsets"
    79  MEMBER_ID_REQUIRED                    fatal "the member has to join again with the id in this answer"
    80  PREFERRED_LEADER_NOT_AVAILABLE        retry "the preferred leader cannot lead at the moment"
    81  GROUP_MAX_SIZE_REACHED                fatal "the group has as many members as it may"
    82  FENCED_INSTANCE_ID                    fatal "another member has taken this static instance id"
    83  ELIGIBLE_LEADERS_NOT_AVAILABLE        retry "no replica that may lead is available"
    84  ELECTION_NOT_NEEDED                   retry "the partition already has the leader that was asked for"
    85  NO_REASSIGNMENT_IN_PROGRESS           fatal "the partition's replicas are not being moved"
    86  GROUP_SUBSCRIBED_TO_TOPIC             fatal "the group still reads this topic"
    87  INVALID_RECORD                        fatal "a record or batch breaks a rule and was refused"
    88  UNSTABLE_OFFSET_COMMIT                retry "an offset is part of a transaction that is not decided yet"
    89  THROTTLING_QUOTA_EXCEEDED             retry "the quota is used up for now"
    90  PRODUCER_FENCED                       fatal "a newer producer with the same transactional id is at work"
    91  RESOURCE_NOT_FOUND                    fatal "there is no such resource"
    92  DUPLICATE_RESOURCE                    fatal "the request names a resource twice, or it exists already"
    93  UNACCEPTABLE_CREDENTIAL               fatal "the credentials break a rule of the broker"
    94  INCONSISTENT_VOTER_SET                fatal "sender and receiver disagree about the voters"
    95  INVALID_UPDATE_VERSION                fatal "the version in the request is not the one to update"
    96  FEATURE_UPDATE_FAILED                 fatal "a feature level could not be changed"
    97  PRINCIPAL_DESERIALIZATION_FAILURE     fatal "the principal in a forwarded request is not readable"
    98  SNAPSHOT_NOT_FOUND                    fatal "there is no such snapshot"
    99  POSITION_OUT_OF_RANGE                 fatal "the position is outside of the snapshot"
    100 UNKNOWN_TOPIC_ID                      retry "this broker has no topic with this id"
    101 DUPLICATE_BROKER_REGISTRATION         fatal "another live broker has this node id"
    102 BROKER_ID_NOT_REGISTERED              fatal "no broker with this node id has registered"
    103 INCONSISTENT_TOPIC_ID                 retry "the topic of this name has another id"
    104 INCONSISTENT_CLUSTER_ID               fatal "the node belongs to another cluster"
    105 TRANSACTIONAL_ID_NOT_FOUND            fatal "there is no such transactional id"
    106 FETCH_SESSION_TOPIC_ID_ERROR          retry "a fetch session cannot mix topic names and topic ids"
    107 INELIGIBLE_REPLICA                    fatal "this replica may not be in the in-sync set"
    108 NEW_LEADER_ELECTED                    fatal "the change made another broker leader"
    109 OFFSET_MOVED_TO_TIERED_STORAGE        fatal "the records at this offset are only in tiered storage"
    110 FENCED_MEMBER_EPOCH                   fatal "the coordinator has fenced the member; it must start anew"
    111 UNRELEASED_INSTANCE_ID                fatal "another live member still has this static instance id"
    112 UNSUPPORTED_ASSIGNOR                  fatal "the group does not support this assignor"
    113 STALE_MEMBER_EPOCH                    fatal "the member's epoch is behind; it has to heartbeat first"
    114 MISMATCHED_ENDPOINT_TYPE              fatal "the request is meant for the other kind of endpoint"
    115 UNSUPPORTED_ENDPOINT_TYPE             fatal "there is no such kind of endpoint here"
    116 UNKNOWN_CONTROLLER_ID                 fatal "there is no controller with this id"
    117 UNKNOWN_SUBSCRIPTION_ID               fatal "the telemetry subscription has changed"
    118 TELEMETRY_TOO_LARGE                   fatal "the metrics pushed are larger than the broker takes"
    119 INVALID_REGISTRATION                  fatal "the registration breaks a rule"
    120 TRANSACTION_ABORTABLE                 fatal "the transaction has to be aborted"
    121 INVALID_RECORD_STATE                  fatal "the record's delivery state does not allow it"
    122 SHARE_SESSION_NOT_FOUND               retry "the broker has forgotten this share session"
    123 INVALID_SHARE_SESSION_EPOCH           retry "the share session is at another epoch"
    124 FENCED_STATE_EPOCH                    fatal "the share state is at a newer epoch"
    125 INVALID_VOTER_KEY                     fatal "the voter key is not this node's"
    126 DUPLICATE_VOTER                       fatal "the voter is already in the set"
    127 VOTER_NOT_FOUND                       fatal "the voter is not in the set"
    128 INVALID_REGULAR_EXPRESSION            fatal "the regular expression is malformed"
    129 REBOOTSTRAP_REQUIRED                  fatal "the client has to start again from its bootstrap servers"
    130 STREAMS_INVALID_TOPOLOGY              fatal "the topology breaks a rule"
    131 STREAMS_INVALID_TOPOLOGY_EPOCH        fatal "the topology's epoch breaks a rule"
    132 STREAMS_TOPOLOGY_FENCED               fatal "the topology's epoch is outdated"
    133 SHARE_SESSION_LIMIT_REACHED           retry "the broker has as many share sessions as it may"
    134 GROUP_DELETION_FAILED                 fatal "the group could not be deleted"
    135 STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED fatal "the description of the topology could not be stored"
    136 CONTROLLER_ID_NOT_REGISTERED          fatal "no controller with this id has registered"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_dense_so_that_each_finds_its_row() {
        for (code, row) in (-1..).zip(ROWS) {
            assert_eq!(row.code, code, "{}", row.name);
        }
        assert_eq!(ROWS.len(), 138);
    }

    #[test]
    fn names_and_messages_are_found_by_code() {
        assert_eq!(ErrorCode(-1).name(), "UNKNOWN_SERVER_ERROR");
        assert_eq!(ErrorCode::NOT_LEADER_OR_FOLLOWER.to_string(), {
            "NOT_LEADER_OR_FOLLOWER (6): this broker is not the replica that can answer"
        });
        assert_eq!(format!("{:?}", ErrorCode(136)), "CONTROLLER_ID_NOT_REGISTERED(136)");
        for unknown in [i16::MIN, -2, 137, i16::MAX] {
            assert_eq!(ErrorCode(unknown).name(), "UNKNOWN");
            assert!(!ErrorCode(unknown).is_retriable());
        }
    }
}
