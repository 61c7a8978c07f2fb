//! `partition.metadata`: which topic, by id, the folder of a partition belongs to (KIP-516).
//!
//! A folder left from a topic that was deleted and created again under its old name is told apart by this.

use crate::base::{TopicId, Uuid};
use crate::log::checkpoint::TextError;

/// Content of `partition.metadata`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionMetadata {
    /// Id of the topic; never zero.
    pub topic_id: TopicId,
}

impl PartitionMetadata {
    /// Reads the text of the file.
    ///
    /// # Errors
    /// The first line that is wrong.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        let mut lines = text.lines();
        let mut field = |line, name: &str| {
            let found = lines.next().and_then(|text| text.split_once(':')).filter(|(key, _)| key.trim() == name);
            found.map(|(_, value)| value.trim()).ok_or_else(|| TextError::at(line, format!("expected {name:?}")))
        };
        let version = field(1, "version")?;
        if version != "0" {
            return Err(TextError::at(1, format!("version {version:?} is not known, only 0 is")));
        }
        let id = field(2, "topic_id")?;
        let topic_id = Uuid::parse(id).filter(|id| *id != Uuid::ZERO);
        let topic_id = topic_id.ok_or_else(|| TextError::at(2, format!("{id:?} is not the id of a topic")))?;
        match lines.find(|text| !text.trim().is_empty()) {
            None => Ok(Self { topic_id }),
            Some(_) => Err(TextError::at(3, "nothing may follow the topic id")),
        }
    }

    /// The text of the file; like Kafka's it does not end its last line.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("version: 0\ntopic_id: {}", self.topic_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_kafkas_and_comes_back() {
        let metadata = PartitionMetadata { topic_id: Uuid::METADATA_TOPIC };
        assert_eq!(metadata.to_text(), "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(PartitionMetadata::parse(&metadata.to_text()), Ok(metadata));
        assert_eq!(PartitionMetadata::parse(&format!("{}\n", metadata.to_text())), Ok(metadata));
        for (text, line) in [
            ("", 1),
            ("version: 1\n", 1),
            ("version: 0\n", 2),
            ("version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA", 2),
            ("version: 0\ntopic_id: A", 2),
            ("version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ\nx: 1\n", 3),
        ] {
            assert_eq!(PartitionMetadata::parse(text).unwrap_err().line, line, "{text:?}");
        }
    }
}
