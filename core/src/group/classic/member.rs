//! One member of a classic group.

use bytes::Bytes;

use super::super::message::{detached, detached_text};
use super::super::turn::Wishes;
use crate::base::Monotonic;
use crate::coordinator::RequestId;
use crate::protocol::KafkaString;
use crate::protocol::messages::join_group_request::JoinGroupRequestProtocol;

/// Estimates of what a member and a protocol take besides their texts and bytes.
const MEMBER_BYTES: usize = 768;
const PROTOCOL_BYTES: usize = 128;

/// A way to assign that a member knows, and what it wants the leader to know under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Protocol {
    pub(in super::super) name: KafkaString,
    pub(in super::super) metadata: Bytes,
}

impl Protocol {
    /// A request's protocols, copied, each name once.
    pub(in super::super) fn copied(asked: &[JoinGroupRequestProtocol]) -> Vec<Self> {
        let mut seen = std::collections::BTreeSet::new();
        let first = asked.iter().filter(|protocol| seen.insert(protocol.name.as_str()));
        let copy = |protocol: &JoinGroupRequestProtocol| Self {
            name: detached_text(&protocol.name),
            metadata: detached(&protocol.metadata),
        };
        first.map(copy).collect()
    }

    pub(in super::super) fn bytes(&self) -> usize {
        PROTOCOL_BYTES + self.name.len() + self.metadata.len()
    }
}

/// A request that waits for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Parked {
    pub(in super::super) request: RequestId,
    pub(in super::super) version: i16,
}

/// A member.
#[derive(Debug)]
pub(in super::super) struct Member {
    pub(in super::super) id: KafkaString,
    /// The name that a static member keeps when it comes back (KIP-345).
    pub(in super::super) instance_id: Option<KafkaString>,
    pub(in super::super) client_id: KafkaString,
    pub(in super::super) client_host: KafkaString,
    pub(in super::super) protocol_type: KafkaString,
    pub(in super::super) wishes: Wishes,
    pub(in super::super) assignment: Bytes,
    /// Its open JoinGroup.
    pub(in super::super) join: Option<Parked>,
    /// Its open SyncGroup.
    pub(in super::super) sync: Option<Parked>,
    /// It joined for the first time and does not know its generation yet, so that it cannot send heartbeats.
    pub(in super::super) is_new: bool,
    /// When its session is over; `None` if it ran out while a request of it was open, which counts as a sign of life.
    pub(in super::super) deadline: Option<Monotonic>,
}

impl Member {
    /// What it tells the leader under `protocol`.
    pub(in super::super) fn metadata(&self, protocol: &str) -> Option<&Bytes> {
        self.wishes.protocols.iter().find(|known| *known.name == *protocol).map(|known| &known.metadata)
    }

    pub(in super::super) fn bytes(&self) -> usize {
        let texts = [&self.id, &self.client_id, &self.client_host];
        MEMBER_BYTES
            + texts.into_iter().map(|text| text.len()).sum::<usize>()
            + self.instance_id.as_ref().map_or(0, |text| text.len())
            + self.wishes.protocols.iter().map(Protocol::bytes).sum::<usize>()
            + self.assignment.len()
    }

    /// Whether it need not send heartbeats now.
    pub(in super::super) fn is_waiting(&self) -> bool {
        !self.is_new && (self.join.is_some() || self.sync.is_some())
    }
}
