//! What a group reads: topics by name, and by patterns that the broker evaluates.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use super::{ConsumerGroup, Member, RecordKey};
use crate::base::{Timestamp, TopicId};
use crate::limits::TOPIC_PATTERN_BYTES_MAX;
use crate::metadata::MetadataImage;
use crate::pattern::whole_match;
use crate::protocol::KafkaString;

/// Estimates of what a pattern and a topic that it matches take besides their texts, in bytes.
const PATTERN_BYTES: usize = 192;
const NAME_BYTES: usize = 64;

/// What a pattern matches. It is compiled whenever that is looked at: kept so, it could take a thousand times the memory.
#[derive(Debug)]
pub(super) struct Pattern {
    pub(super) topics: BTreeSet<KafkaString>,
    /// How far the metadata was, and when.
    pub(super) version: i64,
    pub(super) at: Timestamp,
}

/// The pattern that a text stands for.
///
/// # Errors
/// What is wrong with it.
pub(super) fn compiled(text: &str) -> Result<Regex, regex::Error> {
    whole_match(text, TOPIC_PATTERN_BYTES_MAX)
}

impl Pattern {
    pub(super) fn has(&self, topic: &str) -> bool {
        self.topics.contains(topic)
    }

    pub(super) fn bytes(&self, text: &str) -> usize {
        PATTERN_BYTES + text.len() + self.topics.iter().map(|topic| NAME_BYTES + topic.len()).sum::<usize>()
    }

    /// What a pattern matches now.
    fn evaluated(regex: &Regex, metadata: &MetadataImage, at: Timestamp) -> Self {
        let names = metadata.topics().map(|topic| &topic.name).filter(|name| regex.is_match(name));
        let topics = names.map(|name| KafkaString::copied(name)).collect();
        Self { topics, version: metadata.position.end_offset.0, at }
    }
}

impl ConsumerGroup {
    /// A member subscribes to a pattern, which nobody may have done before.
    pub(super) fn add_pattern(&mut self, text: &KafkaString, regex: &Regex, metadata: &MetadataImage, at: Timestamp) {
        if !self.patterns.contains_key(text) {
            self.put_pattern(text.clone(), Some(Pattern::evaluated(regex, metadata, at)));
            self.unwritten.insert(RecordKey::Pattern(text.clone()));
        }
    }

    pub(super) fn put_pattern(&mut self, text: KafkaString, pattern: Option<Pattern>) {
        if let Some(before) = self.patterns.remove(&text) {
            self.bytes -= before.bytes(&text);
        }
        if let Some(pattern) = pattern {
            self.bytes += pattern.bytes(&text);
            self.patterns.insert(text, pattern);
        }
    }

    pub(super) fn drop_unused_pattern(&mut self, text: Option<&KafkaString>) {
        let Some(text) = text else { return };
        if self.patterns.contains_key(text)
            && !self.members.values().any(|member| member.told.pattern.as_ref() == Some(text))
        {
            self.put_pattern(text.clone(), None);
            self.unwritten.insert(RecordKey::Pattern(text.clone()));
        }
    }

    /// Looks at the metadata, if there is something new; whether what the group reads is another than before.
    pub(super) fn has_other_topics(&mut self, metadata: &MetadataImage, at: Timestamp) -> bool {
        let position = metadata.position.end_offset;
        if self.seen == Some(position) {
            return false;
        }
        self.seen = Some(position);
        let texts: Vec<KafkaString> = self.patterns.keys().cloned().collect();
        for text in texts {
            // One that another broker took and this one cannot read matches what it did.
            let Ok(regex) = compiled(&text) else { continue };
            let now = Pattern::evaluated(&regex, metadata, at);
            if self.patterns.get(&text).is_some_and(|before| before.topics != now.topics) {
                self.unwritten.insert(RecordKey::Pattern(text.clone()));
            }
            self.put_pattern(text, Some(now));
        }
        self.hash(metadata) != self.metadata_hash
    }

    /// The topics that a member reads and that there are.
    pub(super) fn topics_of<'a>(
        &'a self,
        member: &'a Member,
        metadata: &'a MetadataImage,
    ) -> impl Iterator<Item = TopicId> + use<'a> {
        let matched = member.told.pattern.as_ref().and_then(|text| self.patterns.get(text));
        let names = member.told.names.iter().chain(matched.into_iter().flat_map(|pattern| &pattern.topics));
        names.filter_map(|name| metadata.topic_id(name))
    }

    /// Partitions of each topic that somebody reads.
    pub(super) fn counts(&self, metadata: &MetadataImage) -> BTreeMap<TopicId, i32> {
        let names = self.members.values().flat_map(|member| &member.told.names);
        let names: BTreeSet<&KafkaString> = names.chain(self.patterns.values().flat_map(|it| &it.topics)).collect();
        let topics = names.into_iter().filter_map(|name| metadata.topic(name));
        topics.map(|topic| (topic.id, i32::try_from(topic.partition_count()).unwrap_or(i32::MAX))).collect()
    }

    /// Stands for the topics that the group reads: their identities and how many partitions they have. FNV-1a.
    pub(super) fn hash(&self, metadata: &MetadataImage) -> i64 {
        let counts = self.counts(metadata);
        let bytes = counts.iter().flat_map(|(topic, count)| topic.0.into_iter().chain(count.to_be_bytes()));
        let hash = bytes
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        hash.cast_signed()
    }
}
