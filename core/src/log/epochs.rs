//! Where each leadership of a partition began in its log (KIP-101), and the file that remembers it.
//!
//! A follower or consumer that knows an epoch asks where it ended, and so finds what it must forget.

use crate::base::{LeaderEpoch, Offset};
use crate::log::checkpoint::{TextError, format_lines, parse_lines, parse_number};

/// The first offset that was appended under an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEntry {
    /// Leadership.
    pub epoch: LeaderEpoch,
    /// Its first offset.
    pub start_offset: Offset,
}

/// Where an epoch ended: what OffsetForLeaderEpoch answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The epoch asked for, or the largest known one below it.
    pub epoch: LeaderEpoch,
    /// First offset that is not of that epoch.
    pub end_offset: Offset,
}

/// The epochs of one log. Epochs and start offsets both ascend strictly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaderEpochs {
    entries: Vec<EpochEntry>,
}

impl LeaderEpochs {
    /// The entries, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[EpochEntry] {
        &self.entries
    }

    /// The newest entry.
    #[must_use]
    pub fn latest(&self) -> Option<EpochEntry> {
        self.entries.last().copied()
    }

    /// Notes that `epoch` begins at `start_offset`. Entries that this contradicts are dropped: a log that was cut
    /// back may begin a new epoch below an older one. Returns whether anything changed, that is, whether the file
    /// must be written.
    pub fn assign(&mut self, epoch: LeaderEpoch, start_offset: Offset) -> bool {
        if epoch < LeaderEpoch(0) || start_offset < Offset(0) {
            return false;
        }
        if self.latest().is_some_and(|last| last.epoch == epoch && last.start_offset <= start_offset) {
            return false;
        }
        while self.latest().is_some_and(|last| last.epoch >= epoch || last.start_offset >= start_offset) {
            self.entries.pop();
        }
        self.entries.push(EpochEntry { epoch, start_offset });
        true
    }

    /// Takes note of a stored batch of `epoch` at `base_offset`, met on a walk that may begin anywhere: only an epoch
    /// above all known ones is news. What is known beyond the end of the log is for [`truncate_to`](Self::truncate_to).
    pub fn replay(&mut self, epoch: LeaderEpoch, base_offset: Offset) {
        if self.latest().is_none_or(|last| epoch > last.epoch) {
            self.assign(epoch, base_offset);
        }
    }

    /// Where `epoch` ended, `log_end` being the end of the log; `None` for an epoch above all known ones.
    #[must_use]
    pub fn end_of(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<EpochEnd> {
        if self.latest()?.epoch == epoch {
            return Some(EpochEnd { epoch, end_offset: log_end });
        }
        if epoch < LeaderEpoch(0) {
            return None;
        }
        let above = self.entries.partition_point(|entry| entry.epoch <= epoch);
        let end_offset = self.entries.get(above)?.start_offset;
        let floor = above.checked_sub(1).and_then(|at| self.entries.get(at));
        Some(EpochEnd { epoch: floor.map_or(epoch, |entry| entry.epoch), end_offset })
    }

    /// The epoch under which `offset` was appended; `None` if it lies before all entries.
    #[must_use]
    pub fn epoch_of(&self, offset: Offset) -> Option<LeaderEpoch> {
        let above = self.entries.partition_point(|entry| entry.start_offset <= offset);
        Some(self.entries.get(above.checked_sub(1)?)?.epoch)
    }

    /// Forgets what began at or after `log_end`, to which the log was cut back. Returns whether anything changed.
    pub fn truncate_to(&mut self, log_end: Offset) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.start_offset < log_end);
        self.entries.len() != before
    }

    /// Forgets what ended before `log_start`; the epoch of that offset begins there now. Returns whether anything
    /// changed.
    pub fn advance_to(&mut self, log_start: Offset) -> bool {
        let above = self.entries.partition_point(|entry| entry.start_offset <= log_start);
        let Some(current) = above.checked_sub(1) else { return false };
        self.entries.drain(..current);
        match self.entries.first_mut() {
            Some(first) if first.start_offset != log_start => {
                first.start_offset = log_start;
                true
            }
            _ => current > 0,
        }
    }

    /// Reads the text of `leader-epoch-checkpoint`.
    ///
    /// # Errors
    /// The first line that is wrong, or that does not ascend.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        let mut epochs = Self::default();
        parse_lines(text, |fields| {
            let [epoch, start] = fields else { return Err("expected an epoch and its start offset".into()) };
            let entry = EpochEntry {
                epoch: LeaderEpoch(parse_number(epoch, "epoch")?),
                start_offset: Offset(parse_number(start, "start offset")?),
            };
            if entry.epoch < LeaderEpoch(0) || entry.start_offset < Offset(0) {
                return Err("neither may be negative".into());
            }
            let ascends = |last: EpochEntry| last.epoch < entry.epoch && last.start_offset < entry.start_offset;
            if !epochs.latest().is_none_or(ascends) {
                return Err("epochs and start offsets must ascend".into());
            }
            epochs.entries.push(entry);
            Ok(())
        })?;
        Ok(epochs)
    }

    /// The text of `leader-epoch-checkpoint`.
    #[must_use]
    pub fn to_text(&self) -> String {
        format_lines(self.entries.iter().map(|entry| format!("{} {}", entry.epoch, entry.start_offset)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(entries: &[(i32, i64)]) -> LeaderEpochs {
        let mut epochs = LeaderEpochs::default();
        for (epoch, start) in entries {
            assert!(epochs.assign(LeaderEpoch(*epoch), Offset(*start)));
        }
        epochs
    }

    fn list(epochs: &LeaderEpochs) -> Vec<(i32, i64)> {
        epochs.entries().iter().map(|entry| (entry.epoch.0, entry.start_offset.0)).collect()
    }

    #[test]
    fn an_epoch_ends_where_the_next_begins() {
        let epochs = epochs(&[(2, 10), (4, 20), (7, 35)]);
        for (asked, expected) in [
            (7, Some((7, 50))),
            (8, None),
            (4, Some((4, 35))),
            (5, Some((4, 35))),
            (6, Some((4, 35))),
            (2, Some((2, 20))),
            (3, Some((2, 20))),
            (1, Some((1, 10))),
            (0, Some((0, 10))),
            (-1, None),
        ] {
            let end = epochs.end_of(LeaderEpoch(asked), Offset(50)).map(|end| (end.epoch.0, end.end_offset.0));
            assert_eq!(end, expected, "epoch {asked}");
        }
        assert_eq!(LeaderEpochs::default().end_of(LeaderEpoch(0), Offset(5)), None);
    }

    #[test]
    fn an_offset_has_the_epoch_that_began_last_before_it() {
        let epochs = epochs(&[(2, 10), (4, 20)]);
        for (offset, epoch) in [(9, None), (10, Some(2)), (19, Some(2)), (20, Some(4)), (99, Some(4))] {
            assert_eq!(epochs.epoch_of(Offset(offset)), epoch.map(LeaderEpoch));
        }
    }

    #[test]
    fn a_new_entry_drops_those_it_contradicts() {
        let mut first = epochs(&[(1, 0), (2, 10), (4, 20)]);
        assert!(!first.assign(LeaderEpoch(4), Offset(25)), "the same epoch goes on");
        assert!(first.assign(LeaderEpoch(5), Offset(10)));
        assert_eq!(list(&first), [(1, 0), (5, 10)]);
        let mut lower = epochs(&[(1, 0), (4, 20)]);
        assert!(lower.assign(LeaderEpoch(3), Offset(30)));
        assert_eq!(list(&lower), [(1, 0), (3, 30)]);
        let mut negative = LeaderEpochs::default();
        assert!(!negative.assign(LeaderEpoch(-1), Offset(0)));
    }

    #[test]
    fn a_walk_from_anywhere_adds_only_what_is_new() {
        let stored = [(1, 0), (1, 5), (3, 10), (3, 15), (7, 20), (7, 25)];
        let all = [(1, 0), (3, 10), (7, 20)];
        for known in 0..=all.len() {
            // The walk begins where something is still known of, or at the first batch of what is not.
            for from in 0..=(2 * known).min(stored.len() - 1) {
                let mut epochs = epochs(&all[..known]);
                for (epoch, base) in &stored[from..] {
                    epochs.replay(LeaderEpoch(*epoch), Offset(*base));
                }
                assert_eq!(list(&epochs), all, "{known} known, from {from}");
            }
        }
    }

    #[test]
    fn both_ends_of_the_log_move() {
        let all = epochs(&[(2, 10), (4, 20), (7, 35)]);
        for (end, expected) in [(36, 3), (35, 2), (20, 1), (10, 0)] {
            let mut cut = all.clone();
            assert_eq!(cut.truncate_to(Offset(end)), expected != 3);
            assert_eq!(cut.entries().len(), expected);
        }
        for (start, expected) in [
            (5, vec![(2, 10), (4, 20), (7, 35)]),
            (10, vec![(2, 10), (4, 20), (7, 35)]),
            (12, vec![(2, 12), (4, 20), (7, 35)]),
            (20, vec![(4, 20), (7, 35)]),
            (40, vec![(7, 40)]),
        ] {
            let mut advanced = all.clone();
            assert_eq!(advanced.advance_to(Offset(start)), start > 10);
            assert_eq!(list(&advanced), expected);
        }
    }

    #[test]
    fn the_text_is_kafkas_and_comes_back() {
        let all = epochs(&[(0, 0), (3, 20)]);
        assert_eq!(all.to_text(), "0\n2\n0 0\n3 20\n");
        assert_eq!(LeaderEpochs::parse(&all.to_text()), Ok(all));
        for (text, line) in
            [("0\n2\n3 0\n2 5\n", 4), ("0\n2\n1 5\n2 5\n", 4), ("0\n1\n-1 5\n", 3), ("0\n1\n1\n", 3), ("0\n1\n", 3)]
        {
            assert_eq!(LeaderEpochs::parse(text).unwrap_err().line, line, "{text:?}");
        }
    }
}
