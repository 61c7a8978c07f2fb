//! How long requests spend where: a histogram for each stage, on each shard.
//!
//! What is counted costs a look at the clock and a few additions, so it is always on. Somebody who asks with SIGUSR1
//! finds the figures in the broker's log.

use std::cell::RefCell;

use corelane_core::base::Monotonic;
use hdrhistogram::Histogram;

/// Shortest time that is told apart, in nanoseconds.
const TIME_NS_MIN: u64 = 128;
/// Longest time that is told apart, in nanoseconds.
const TIME_NS_MAX: u64 = 600_000_000_000;
/// Decimal digits that are kept of a time.
const DIGITS: u8 = 2;

/// A part of the way of a request, or of its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// From when its last byte was received until it is begun: it waits for those before it, and for room.
    Socket,
    /// Decoding and checking it, and all that can be done at once.
    Parse,
    /// Batches wait in the queue of their partition until they are written.
    Queue,
    /// Writing batches to the page cache, those of a group together.
    Append,
    /// Making what was written durable, where a topic asks for it, and at rolls.
    Sync,
    /// From when it is served until the socket has taken its answer: it waits for the answers before it, and for the
    /// peer.
    Respond,
    /// From its last byte in to its last byte out. For a fetch that waits for records that is most of it.
    Whole,
}

impl Stage {
    const ALL: [Self; 7] =
        [Self::Socket, Self::Parse, Self::Queue, Self::Append, Self::Sync, Self::Respond, Self::Whole];

    fn name(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Parse => "parse",
            Self::Queue => "queue",
            Self::Append => "append",
            Self::Sync => "sync",
            Self::Respond => "respond",
            Self::Whole => "whole",
        }
    }
}

/// The times of one shard.
pub(crate) struct Stages(Vec<RefCell<Histogram<u64>>>);

impl Default for Stages {
    fn default() -> Self {
        let histogram =
            || Histogram::new_with_bounds(TIME_NS_MIN, TIME_NS_MAX, DIGITS).expect("bounds and digits are in range");
        Self(Stage::ALL.iter().map(|_| RefCell::new(histogram())).collect())
    }
}

/// What the times of a stage come to, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct StageTimes {
    pub(crate) stage: &'static str,
    pub(crate) count: u64,
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) p9999: f64,
    pub(crate) max: f64,
}

impl Stages {
    /// Something has spent the time between two moments in a stage.
    pub(crate) fn add(&self, stage: Stage, from: Monotonic, to: Monotonic) {
        if let Some(histogram) = self.0.get(stage as usize) {
            histogram.borrow_mut().saturating_record(to.since_ns(from));
        }
    }

    /// What was counted so far, for each stage that was passed.
    pub(crate) fn times(&self) -> Vec<StageTimes> {
        let passed = Stage::ALL.iter().zip(&self.0).filter(|(_, histogram)| !histogram.borrow().is_empty());
        passed
            .map(|(stage, histogram)| {
                let histogram = histogram.borrow();
                let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
                StageTimes {
                    stage: stage.name(),
                    count: histogram.len(),
                    mean: histogram.mean() / 1e3,
                    p50: at(0.5),
                    p99: at(0.99),
                    p999: at(0.999),
                    p9999: at(0.9999),
                    max: histogram.max() as f64 / 1e3,
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_by_stage() {
        let stages = Stages::default();
        assert_eq!(stages.times(), vec![]);
        for ns in 1..=10_000 {
            stages.add(Stage::Append, Monotonic(500), Monotonic(500 + ns * 1_000));
        }
        stages.add(Stage::Whole, Monotonic(0), Monotonic(u64::MAX));
        let [append, whole] = stages.times()[..] else { panic!("two stages were passed") };
        assert_eq!((append.stage, append.count), ("append", 10_000));
        for (measured, expected) in [(append.p50, 5_000.0), (append.p99, 9_900.0), (append.p9999, 9_999.0)] {
            assert!((measured / expected - 1.0).abs() < 0.01, "{append:?}");
        }
        assert_eq!((whole.stage, whole.count), ("whole", 1), "a time beyond all bounds is the longest");
    }

    #[test]
    fn every_stage_has_its_place() {
        for (place, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage as usize, place);
        }
    }
}
