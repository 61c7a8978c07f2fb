//! Control records: what a metadata log and its snapshots say about themselves rather than about the cluster.

use std::fmt;

use bytes::Bytes;
use corelane_protocol::wire::{DecodeError, EncodeError, Reader, Writer};
use corelane_protocol::{KafkaString, Message, records as schema};

use crate::base::{NodeId, Timestamp, Uuid};
use crate::record::ControlType;

/// The quorum protocol whose voters are in the log itself (KIP-853).
pub const KRAFT_VERSION_DYNAMIC: i16 = 1;

/// One control record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlRecord {
    /// First record of each leader epoch.
    LeaderChange {
        /// The leader.
        leader: NodeId,
        /// All voters.
        voters: Vec<NodeId>,
        /// Those that voted for the leader.
        granting_voters: Vec<NodeId>,
    },
    /// First record of a snapshot.
    SnapshotHeader {
        /// Append time of the last record that the snapshot contains; 0 if none.
        last_contained_log_timestamp: Timestamp,
    },
    /// Last record of a snapshot.
    SnapshotFooter,
    /// Which quorum protocol the voters speak: 0 voters from the configuration, 1 voters from the log.
    KraftVersion(i16),
    /// The voters from here on.
    Voters(Vec<Voter>),
}

/// A voter of the metadata quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voter {
    /// Node id.
    pub id: NodeId,
    /// Its metadata directory; the same node with an empty disk is another voter.
    pub directory_id: Uuid,
    /// Where controllers reach it.
    pub endpoints: Vec<VoterEndpoint>,
    /// Lowest quorum protocol that it speaks.
    pub kraft_version_min: i16,
    /// Highest quorum protocol that it speaks.
    pub kraft_version_max: i16,
}

/// Where a voter listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoterEndpoint {
    /// Listener name.
    pub listener: String,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// Why a record of a control batch cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlRecordError {
    /// The key names no control record that a metadata log holds.
    UnknownType,
    /// The value is malformed.
    Malformed(&'static str, DecodeError),
}

impl fmt::Display for ControlRecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownType => f.write_str("a control record of unknown type"),
            Self::Malformed(name, error) => write!(f, "malformed {name}: {error}"),
        }
    }
}

impl std::error::Error for ControlRecordError {}

impl ControlRecord {
    /// Reads key and value of one record of a control batch.
    ///
    /// # Errors
    /// What is wrong with it, by name.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, ControlRecordError> {
        Ok(match ControlType::of_key(key) {
            Some(ControlType::LeaderChange) => {
                let change: schema::LeaderChangeMessage = read(value)?;
                Self::LeaderChange {
                    leader: NodeId(change.leader_id),
                    voters: change.voters.iter().map(|voter| NodeId(voter.voter_id)).collect(),
                    granting_voters: change.granting_voters.iter().map(|voter| NodeId(voter.voter_id)).collect(),
                }
            }
            Some(ControlType::SnapshotHeader) => {
                let header: schema::SnapshotHeaderRecord = read(value)?;
                Self::SnapshotHeader { last_contained_log_timestamp: Timestamp(header.last_contained_log_timestamp) }
            }
            Some(ControlType::SnapshotFooter) => {
                let _: schema::SnapshotFooterRecord = read(value)?;
                Self::SnapshotFooter
            }
            Some(ControlType::KraftVersion) => {
                Self::KraftVersion(read::<schema::KRaftVersionRecord>(value)?.kraft_version)
            }
            Some(ControlType::KraftVoters) => {
                Self::Voters(read::<schema::VotersRecord>(value)?.voters.into_iter().map(voter).collect())
            }
            Some(ControlType::Abort | ControlType::Commit) | None => return Err(ControlRecordError::UnknownType),
        })
    }

    /// Key and value.
    ///
    /// # Errors
    /// A text is longer than the format can carry.
    pub fn encode(&self) -> Result<([u8; 4], Bytes), EncodeError> {
        let (kind, value) = match self {
            Self::LeaderChange { leader, voters, granting_voters } => {
                use schema::leader_change_message::Voter;
                // Version 0 carries ids only; it is what Kafka writes with either quorum protocol.
                let voter = |id: &NodeId| Voter { voter_id: id.0, ..Voter::default() };
                let message = schema::LeaderChangeMessage {
                    version: 0,
                    leader_id: leader.0,
                    voters: voters.iter().map(voter).collect(),
                    granting_voters: granting_voters.iter().map(voter).collect(),
                };
                (ControlType::LeaderChange, write(&message)?)
            }
            Self::SnapshotHeader { last_contained_log_timestamp } => {
                let last_contained_log_timestamp = last_contained_log_timestamp.0;
                let header = schema::SnapshotHeaderRecord { version: 0, last_contained_log_timestamp };
                (ControlType::SnapshotHeader, write(&header)?)
            }
            Self::SnapshotFooter => (ControlType::SnapshotFooter, write(&schema::SnapshotFooterRecord { version: 0 })?),
            Self::KraftVersion(level) => {
                (ControlType::KraftVersion, write(&schema::KRaftVersionRecord { version: 0, kraft_version: *level })?)
            }
            Self::Voters(voters) => {
                let voters = voters.iter().map(voter_record).collect();
                (ControlType::KraftVoters, write(&schema::VotersRecord { version: 0, voters })?)
            }
        };
        Ok((kind.key(), value))
    }
}

fn read<M: Message>(value: &[u8]) -> Result<M, ControlRecordError> {
    let malformed = |error| ControlRecordError::Malformed(M::NAME, error);
    // The value begins with its own version.
    let version = Reader::new(Bytes::copy_from_slice(value)).i16().map_err(malformed)?;
    let mut reader = Reader::new(Bytes::copy_from_slice(value));
    let message = M::decode(&mut reader, version).map_err(malformed)?;
    reader.finish().map_err(malformed)?;
    Ok(message)
}

fn write<M: Message>(message: &M) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::with_capacity(64);
    message.encode(&mut writer, 0)?;
    Ok(writer.into_bytes())
}

fn voter(record: schema::voters_record::Voter) -> Voter {
    Voter {
        id: NodeId(record.voter_id),
        directory_id: Uuid(record.voter_directory_id),
        endpoints: record
            .endpoints
            .into_iter()
            .map(|endpoint| VoterEndpoint {
                listener: endpoint.name.to_string(),
                host: endpoint.host.to_string(),
                port: endpoint.port,
            })
            .collect(),
        kraft_version_min: record.kraft_version_feature.min_supported_version,
        kraft_version_max: record.kraft_version_feature.max_supported_version,
    }
}

fn voter_record(voter: &Voter) -> schema::voters_record::Voter {
    use schema::voters_record::{Endpoint, KRaftVersionFeature};
    let endpoint = |endpoint: &VoterEndpoint| Endpoint {
        name: KafkaString::copied(&endpoint.listener),
        host: KafkaString::copied(&endpoint.host),
        port: endpoint.port,
    };
    schema::voters_record::Voter {
        voter_id: voter.id.0,
        voter_directory_id: voter.directory_id.0,
        endpoints: voter.endpoints.iter().map(endpoint).collect(),
        kraft_version_feature: KRaftVersionFeature {
            min_supported_version: voter.kraft_version_min,
            max_supported_version: voter.kraft_version_max,
        },
    }
}
