//! Whether a shard that has nothing to do waits awake.
//!
//! To sleep and to be woken costs tens of microseconds, which a shard that is asked often saves by looking around for a
//! while. It does so only while pauses have lately been shorter than that while: one that is asked rarely sleeps at once,
//! and so does every shard whose node has not been told to spin.

use std::cell::Cell;
use std::time::Duration;

use corelane_core::base::Monotonic;

/// A pause counts this part of what is expected of the next.
const WEIGHT: u64 = 8;

/// A look that comes later than this after the one before says that the thread was not running in between.
const LOOK_NS_MAX: u64 = 20_000;

/// One shard's pauses.
pub(super) struct Spin {
    /// Longest time to look around; 0 is never.
    max_ns: u64,
    /// Since when there has been nothing to do.
    idle_since: Cell<Option<Monotonic>>,
    /// How long the next pause is expected to be.
    expected_ns: Cell<u64>,
    spun_ns: Cell<u64>,
    /// When it was last looked whether there is something to do.
    looked_at: Cell<Option<Monotonic>>,
    /// It has gone to sleep in this pause.
    gave_up: Cell<bool>,
}

impl Spin {
    pub(super) fn new(max: Duration) -> Self {
        let max_ns = u64::try_from(max.as_nanos()).unwrap_or(u64::MAX);
        Self {
            max_ns,
            idle_since: Cell::new(None),
            expected_ns: Cell::new(max_ns),
            spun_ns: Cell::new(0),
            looked_at: Cell::new(None),
            gave_up: Cell::new(false),
        }
    }

    /// Whether the node was told to spin at all.
    pub(super) fn is_on(&self) -> bool {
        self.max_ns > 0
    }

    /// There is nothing to do now: whether to look again, or to sleep.
    pub(super) fn goes_on(&self, now: Monotonic) -> bool {
        if !self.is_on() || self.gave_up.get() {
            return false;
        }
        let since = self.idle_since.get().unwrap_or(now);
        self.idle_since.set(Some(since));
        let idle_ns = now.since_ns(since);
        self.count(now);
        let goes_on = self.expected_ns.get() <= self.max_ns && idle_ns < self.max_ns;
        if !goes_on {
            self.gave_up.set(true);
            self.looked_at.set(None);
        }
        goes_on
    }

    /// There was something to do: the pause, if there was one, is over.
    pub(super) fn busy(&self, now: Monotonic) {
        let Some(since) = self.idle_since.take() else { return };
        let pause_ns = now.since_ns(since);
        if !self.gave_up.replace(false) {
            self.count(now);
        }
        self.looked_at.set(None);
        // A long one counts as twice the longest that is waited for, so that a few short ones make up for it.
        let pause_ns = pause_ns.min(self.max_ns.saturating_mul(2));
        self.expected_ns.set((self.expected_ns.get() * (WEIGHT - 1) + pause_ns) / WEIGHT);
    }

    /// Adds the time since the last look.
    fn count(&self, now: Monotonic) {
        if let Some(before) = self.looked_at.replace(Some(now)) {
            self.spun_ns.set(self.spun_ns.get() + now.since_ns(before).min(LOOK_NS_MAX));
        }
    }

    /// Time spent awake in pauses, in nanoseconds.
    pub(super) fn spun_ns(&self) -> u64 {
        self.spun_ns.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goes through a pause of so many microseconds, looking every microsecond; how many of them were spent awake.
    fn pause(spin: &Spin, clock: &mut u64, us: u64) -> u64 {
        let begun = *clock;
        let mut awake = 0;
        while *clock < begun + us * 1_000 && spin.goes_on(Monotonic(*clock)) {
            *clock += 1_000;
            awake += 1;
        }
        *clock = begun + us * 1_000;
        spin.busy(Monotonic(*clock));
        awake
    }

    #[test]
    fn short_pauses_are_spent_awake_and_long_ones_asleep() {
        let (spin, mut clock) = (Spin::new(Duration::from_micros(50)), 1);
        for _ in 0..100 {
            assert_eq!(pause(&spin, &mut clock, 20), 20);
        }
        assert_eq!(spin.spun_ns(), 100 * 20_000);
        let tried = (0..100).map(|_| pause(&spin, &mut clock, 10_000)).filter(|awake| *awake > 0).count();
        assert!(tried <= 10, "{tried} long pauses were begun awake");
        let slept = (0..100).map(|_| pause(&spin, &mut clock, 20)).filter(|awake| *awake == 0).count();
        assert!(slept <= 10, "after {slept} short pauses it was awake again");
    }

    #[test]
    fn one_that_is_told_nothing_sleeps() {
        let (spin, mut clock) = (Spin::new(Duration::ZERO), 1);
        assert_eq!((0..100).map(|_| pause(&spin, &mut clock, 1)).sum::<u64>(), 0);
        assert_eq!(spin.spun_ns(), 0);
    }
}
