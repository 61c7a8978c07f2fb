//! The first opinion on our codec: what Kafka's own classes serialized is decoded and encoded again, byte for byte.

use std::collections::{BTreeMap, BTreeSet};

use crate::vector_files::{Vector, parse, read};
use corelane_protocol::samples::{Codec, codecs};

/// What Kafka's classes know and we have no use for: message, the newest version left out, and why.
const NOT_OURS: &[(&str, i16, &str)] = &[
    ("AlterPartition", 1, "between brokers and controllers only, of releases that will never share a cluster with us"),
    ("ControlledShutdown", 3, ZOOKEEPER),
    ("DefaultPrincipalData", 0, "inside of Envelope, between brokers and controllers"),
    ("LeaderAndIsr", 7, ZOOKEEPER),
    ("ListClientMetricsResources", 0, "was renamed to ListConfigResources without a change to version 0"),
    ("ProducerSnapshot", 1, "a file format, which the log knows itself"),
    ("RemoteLogSegmentMetadataRecord", 0, TIERING),
    ("RemoteLogSegmentMetadataSnapshotRecord", 0, TIERING),
    ("RemoteLogSegmentMetadataUpdateRecord", 0, TIERING),
    ("RemotePartitionDeleteMetadataRecord", 0, TIERING),
    ("RequestHeader", 0, "stood before ControlledShutdown 0 only"),
    ("ShareAcknowledge", 0, EARLY_ACCESS),
    ("ShareFetch", 0, EARLY_ACCESS),
    ("ShareGroupDescribe", 0, EARLY_ACCESS),
    ("ShareGroupHeartbeat", 0, EARLY_ACCESS),
    ("StopReplica", 4, ZOOKEEPER),
    ("UpdateMetadata", 8, ZOOKEEPER),
];

const ZOOKEEPER: &str = "from the controller of the ZooKeeper era";
const TIERING: &str = "of a plug-in for tiered storage";
const EARLY_ACCESS: &str = "was early access in Kafka 4.0 and is gone from 4.1";

#[test]
fn bytes_of_kafkas_own_classes_survive_a_round_trip() {
    let (Some(new), Some(old)) = (read("kafka-4.3.1.bin"), read("kafka-3.9.2.bin")) else {
        return;
    };
    let codecs: BTreeMap<_, _> = codecs().into_iter().map(|codec| (codec.name, codec)).collect();
    let mut unjudged: BTreeSet<_> = codecs.values().flat_map(all_versions).collect();
    let mut not_ours = BTreeSet::new();
    // Where both releases know a version the newer one is right: some were early access in the older.
    let mut seen = BTreeSet::new();
    for vectors in [parse(new), parse(old)] {
        let before = seen.clone();
        for vector in vectors {
            let message = (vector.name.clone(), vector.version);
            if before.contains(&message) || (is_of_a_coordinator(&vector.name) && !before.is_empty()) {
                continue;
            }
            match codecs.get(vector.name.as_str()).filter(|codec| codec.versions.contains(&vector.version)) {
                Some(codec) => check(codec, &vector),
                None => _ = not_ours.insert(message.clone()),
            }
            unjudged.remove(&message);
            seen.insert(message);
        }
    }
    assert_eq!(unjudged, BTreeSet::new(), "versions that no vector speaks of");
    let mut excuses: BTreeMap<_, _> = NOT_OURS.iter().map(|(name, newest, _)| (*name, *newest)).collect();
    let used: BTreeMap<_, _> = not_ours.iter().map(|(name, version)| (api_name(name), *version)).collect();
    excuses.retain(|name, newest| used.get(name) != Some(newest));
    assert_eq!(excuses, BTreeMap::new(), "excuses for what Kafka does not have or we do");
    for (name, version) in &not_ours {
        let excused = NOT_OURS.iter().any(|(excused, newest, _)| *excused == api_name(name) && version <= newest);
        assert!(excused, "{name} version {version} is Kafka's but not ours");
    }
}

/// Whether it is a coordinator's record. Kafka 3.9 numbers the versions of their keys otherwise, and was still to change
/// those of the new kinds of groups: only what Kafka 4 writes counts.
fn is_of_a_coordinator(name: &str) -> bool {
    name.ends_with("Key") || name.ends_with("Value")
}

fn check(codec: &Codec, vector: &Vector) {
    let Vector { name, version, bytes } = vector;
    match (codec.recode)(bytes.clone(), *version) {
        Ok(ours) => assert_eq!(&ours[..], &bytes[..], "{name} version {version}: bytes changed"),
        Err(error) => panic!("{name} version {version}: {error}\nin {bytes:?}"),
    }
}

fn all_versions(codec: &Codec) -> impl Iterator<Item = (String, i16)> {
    let name = codec.name;
    codec.versions.clone().map(move |version| (name.to_owned(), version))
}

/// The name that request and response share.
fn api_name(message: &str) -> &str {
    let api = message.strip_suffix("Request").or(message.strip_suffix("Response"));
    api.unwrap_or(message)
}
