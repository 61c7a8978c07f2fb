//! A Kafka client without I/O: bytes in, bytes out, time as an argument.
//!
//! [`Client`] keeps connections and knows the cluster; [`Producer`] and [`Consumer`] send their requests through it and
//! take their answers from it, and so do an [`AdminCall`] and a [`GroupMember`]. Whoever drives them owns the sockets and
//! the clock: see [`Client`].

mod aborted;
mod admin;
mod assignor;
mod batch_queue;
mod cluster;
mod connection;
mod consumer;
mod delivery;
mod error;
mod fetched;
mod member;
mod metadata;
mod partitioner;
mod producer;
mod request;
mod shared_name;
mod transactions;

pub use crate::protocol::ErrorCode;
pub use admin::{AdminCall, AdminResult, Destination};
pub use assignor::{Assignment, decode_assignment, decode_subscription, range_assignment};
pub use cluster::{Client, ClientConfig, LinkId, SendOptions};
pub use connection::{Answer, ConnectionError};
pub use consumer::Consumer;
pub use delivery::{Acks, AppendError, Delivery, DeliveryError, ProducerOptions, RecordId, RecordToSend};
pub use fetched::{ConsumerError, ConsumerOptions, FetchedBatch, IsolationLevel, StartOffset};
pub use member::{AssignedPartition, GroupMember, MemberError, MemberEvent, MemberOptions};
pub use metadata::{Address, ClusterMetadata, PartitionMetadata, TopicMetadata};
pub use partitioner::{StickyPartition, murmur2, partition_of_key};
pub use producer::Producer;
pub use request::{RequestError, RequestId, Target};
pub use transactions::TransactionOptions;

#[cfg(test)]
mod tests;
