//! Finishing what a log cleaner, ours or Kafka's, was killed in: the exchange of segments for their cleaned copies.
//!
//! The cleaner writes copies as `.cleaned` and syncs them; renames each to `.swap`, the last one first; renames the
//! segments that they replace to `.deleted`; and renames each `.swap` to its name in use. Splitting a segment whose
//! offsets are too far apart goes the same way. So what a start finds means:
//!
//! | found | what it means | what is done |
//! | --- | --- | --- |
//! | `.deleted` | out of the log | removed |
//! | `.cleaned` | copies that are not all there yet | removed, after any `.swap` at or above the lowest of them |
//! | `.swap` | all copies are there | the segments whose places they take are removed, then they are renamed |
//!
//! Each step must be on the device before the next is begun: then a start that is itself cut short is simply repeated.

use std::ops::Range;

use crate::base::Offset;
use crate::log::names::{FileStage, SegmentFile, SegmentFileKind};

/// What is left of an exchange in a partition's folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    /// `.swap` files of an exchange that was not complete: to be removed first.
    pub incomplete: Vec<SegmentFile>,
    /// `.cleaned` and `.deleted` files: to be removed then.
    pub worthless: Vec<SegmentFile>,
    /// `.swap` files that take the places of others.
    pub swaps: Vec<SegmentFile>,
}

impl Exchange {
    /// What the files of a folder say.
    #[must_use]
    pub fn of(files: &[SegmentFile]) -> Self {
        let staged = |stage| files.iter().copied().filter(move |file| file.stage == stage);
        let lowest_cleaned = staged(FileStage::Cleaned).map(|file| file.base_offset).min();
        let (incomplete, swaps) =
            staged(FileStage::Swap).partition(|file| lowest_cleaned.is_some_and(|cleaned| file.base_offset >= cleaned));
        let worthless = staged(FileStage::Cleaned).chain(staged(FileStage::Deleted)).collect();
        Self { incomplete, worthless, swaps }
    }

    /// Whether nothing is left of any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.incomplete.is_empty() && self.worthless.is_empty() && self.swaps.is_empty()
    }

    /// Base offsets of the segments that take the places of others; where each ends must be found out.
    pub fn new_segments(&self) -> impl Iterator<Item = Offset> + '_ {
        self.swaps.iter().filter(|file| file.kind == SegmentFileKind::Log).map(|file| file.base_offset)
    }

    /// Of the `files` of a folder, those in use that the new segments, which span `offsets`, take the places of.
    pub fn replaced(files: &[SegmentFile], offsets: Range<Offset>) -> impl Iterator<Item = SegmentFile> + '_ {
        files.iter().copied().filter(move |file| file.stage == FileStage::Live && offsets.contains(&file.base_offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> Vec<SegmentFile> {
        names.iter().map(|name| SegmentFile::parse(name).unwrap()).collect()
    }

    fn names(files: impl IntoIterator<Item = SegmentFile>) -> Vec<String> {
        files.into_iter().map(|file| file.name()).collect()
    }

    const LIVE: [&str; 3] = ["00000000000000000000.log", "00000000000000000010.log", "00000000000000000020.log"];

    #[test]
    fn a_folder_at_rest_has_nothing_of_an_exchange() {
        assert!(Exchange::of(&files(&LIVE)).is_empty());
        assert!(Exchange::of(&[]).is_empty());
    }

    #[test]
    fn copies_that_are_not_all_there_are_worthless() {
        let found = files(&[
            "00000000000000000000.log.cleaned",
            "00000000000000000000.index.cleaned",
            "00000000000000000010.log.swap",
            "00000000000000000007.log.deleted",
        ]);
        let exchange = Exchange::of(&found);
        assert_eq!(names(exchange.incomplete), ["00000000000000000010.log.swap"]);
        assert_eq!(exchange.worthless.len(), 3);
        assert!(exchange.swaps.is_empty());
    }

    #[test]
    fn a_copy_below_those_of_another_attempt_counts() {
        let exchange = Exchange::of(&files(&["00000000000000000000.log.swap", "00000000000000000020.log.cleaned"]));
        assert_eq!(names(exchange.swaps), ["00000000000000000000.log.swap"]);
        assert!(exchange.incomplete.is_empty());
    }

    #[test]
    fn what_new_segments_span_is_replaced_and_nothing_else() {
        let mut found = files(&LIVE);
        found.extend(files(&["00000000000000000010.snapshot", "00000000000000000000.log.swap"]));
        let exchange = Exchange::of(&found);
        assert_eq!(exchange.new_segments().collect::<Vec<_>>(), [Offset(0)]);
        assert_eq!(
            names(Exchange::replaced(&found, Offset(0)..Offset(20))),
            ["00000000000000000000.log", "00000000000000000010.log", "00000000000000000010.snapshot"]
        );
    }
}
