//! Pseudo-random draws out of a seed: the only source of chance in a simulation.

/// A SplitMix64 generator. Each part of the world has one of its own, so that a draw more in one part does not shift
/// those of all others.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The generator of one part of the world.
    #[must_use]
    pub fn new(seed: u64, part: &str) -> Self {
        let mut random = Self(seed);
        for byte in part.bytes() {
            random.0 ^= random.bits() ^ u64::from(byte);
        }
        random
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which must not be 0. The bias of the remainder does not matter here.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.bits() % bound
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// An index into something of that length, which must not be 0.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("below a usize")
    }

    /// True `per_mille` times out of a thousand.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// A duration around `typical_ns`, now and then many times as long, as devices and schedulers have it.
    pub fn latency_ns(&mut self, typical_ns: u64) -> u64 {
        let usual = self.between(typical_ns / 2, typical_ns * 2);
        if self.chance(20) { usual * 20 } else { usual }
    }
}
