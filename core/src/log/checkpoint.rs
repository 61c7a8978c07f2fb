//! Checkpoint files: a version, a count, and that many lines.
//!
//! The offset checkpoints at the root of a data directory (`recovery-point-`, `replication-`, `log-start-` and
//! `cleaner-offset-checkpoint`) are of this kind, and so is a partition's `leader-epoch-checkpoint`.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;

use crate::base::{Offset, PartitionIndex};

/// A line of a small text file that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextError {
    /// Line, from 1; one past the last if something is missing at the end.
    pub line: usize,
    /// What is wrong with it.
    pub problem: String,
}

impl TextError {
    pub(crate) fn at(line: usize, problem: impl Into<String>) -> Self {
        Self { line, problem: problem.into() }
    }
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}

impl std::error::Error for TextError {}

/// Offset of each partition of a data directory: topic and partition to offset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetCheckpoint {
    /// The offsets, in the order in which they are written.
    pub offsets: BTreeMap<(String, PartitionIndex), Offset>,
}

impl OffsetCheckpoint {
    /// Reads the text of a checkpoint.
    ///
    /// # Errors
    /// The first line that is wrong.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        let mut offsets = BTreeMap::new();
        parse_lines(text, |fields| {
            let [topic, partition, offset] = fields else { return Err("expected topic, partition and offset".into()) };
            let partition = PartitionIndex(parse_number(partition, "partition")?);
            let offset = Offset(parse_number(offset, "offset")?);
            match offsets.insert(((*topic).to_owned(), partition), offset) {
                None => Ok(()),
                Some(_) => Err(format!("{topic}-{partition} is listed twice")),
            }
        })?;
        Ok(Self { offsets })
    }

    /// The text of the checkpoint.
    #[must_use]
    pub fn to_text(&self) -> String {
        let lines = self.offsets.iter().map(|((topic, partition), offset)| format!("{topic} {partition} {offset}"));
        format_lines(lines)
    }
}

/// Hands the fields of each line to `line`, having checked version and count. An empty text has no lines: so Kafka
/// creates a file that it has nothing to write to.
pub(crate) fn parse_lines(text: &str, mut line: impl FnMut(&[&str]) -> Result<(), String>) -> Result<(), TextError> {
    if text.is_empty() {
        return Ok(());
    }
    let mut lines = (1..).zip(text.lines());
    let mut head = |what: &str, number| {
        let (_, text) = lines.next().ok_or_else(|| TextError::at(number, format!("the {what} is missing")))?;
        parse_number::<u32>(text, what).map_err(|problem| TextError::at(number, problem))
    };
    let version = head("version", 1)?;
    if version != 0 {
        return Err(TextError::at(1, format!("version {version} is not known, only 0 is")));
    }
    let count = head("count", 2)?;
    let mut found: u32 = 0;
    let mut next = 3;
    for (number, text) in lines {
        next = number + 1;
        if text.is_empty() && found == count {
            continue;
        }
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        if found == count {
            return Err(TextError::at(number, format!("only {count} lines were promised")));
        }
        line(&fields).map_err(|problem| TextError::at(number, problem))?;
        found += 1;
    }
    if found < count {
        return Err(TextError::at(next, format!("{count} lines were promised, {found} are there")));
    }
    Ok(())
}

/// The text with version 0, the count and these lines.
pub(crate) fn format_lines(lines: impl ExactSizeIterator<Item = String>) -> String {
    let mut text = format!("0\n{}\n", lines.len());
    for line in lines {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{line}");
    }
    text
}

pub(crate) fn parse_number<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, String> {
    text.trim().parse().map_err(|_| format!("{what} {text:?} is not a number that fits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_kafkas_and_comes_back() {
        let mut checkpoint = OffsetCheckpoint::default();
        assert_eq!(checkpoint.to_text(), "0\n0\n");
        assert_eq!(OffsetCheckpoint::parse(""), Ok(checkpoint.clone()));
        checkpoint.offsets.insert(("t".to_owned(), PartitionIndex(2)), Offset(7));
        checkpoint.offsets.insert(("a-b".to_owned(), PartitionIndex(0)), Offset(i64::MAX));
        assert_eq!(checkpoint.to_text(), "0\n2\na-b 0 9223372036854775807\nt 2 7\n");
        assert_eq!(OffsetCheckpoint::parse(&checkpoint.to_text()), Ok(checkpoint));
    }

    #[test]
    fn an_error_names_its_line() {
        for (text, line) in [
            ("\n", 1),
            ("x\n", 1),
            ("1\n0\n", 1),
            ("0\n", 2),
            ("0\n-1\n", 2),
            ("0\n1\n", 3),
            ("0\n2\nt 0 1\n", 4),
            ("0\n1\nt 0 1\nt 1 1\n", 4),
            ("0\n1\nt 0\n", 3),
            ("0\n1\nt 0 1 1\n", 3),
            ("0\n2\nt 0 1\nt x 1\n", 4),
            ("0\n2\nt 0 1\nt 0 1\n", 4),
            ("0\n1\nt 0 9223372036854775808\n", 3),
        ] {
            assert_eq!(OffsetCheckpoint::parse(text).unwrap_err().line, line, "{text:?}");
        }
    }
}
