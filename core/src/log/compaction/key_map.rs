//! Where each key was last written, in a bounded amount of memory.

use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;

use crate::base::Offset;

const FREE: i64 = -1;
/// Slots of a map that is empty.
const SLOTS_MIN: usize = 1 << 10;

/// One key: a hash of 128 bits stands for it. Two keys of one hash would be taken for one, and whoever wanted that would have
/// to know the random numbers that it is made with.
#[derive(Clone, Copy, Debug)]
struct Slot {
    high: u64,
    low: u64,
    offset: i64,
}

const EMPTY: Slot = Slot { high: 0, low: 0, offset: FREE };

/// Keys and the last offset of each, at most as many as its memory has room for.
#[derive(Debug)]
pub struct KeyMap {
    seed: (u64, u64),
    slots: Vec<Slot>,
    slots_max: usize,
    keys: usize,
    keys_max: usize,
    end: Offset,
}

impl KeyMap {
    /// Bytes that a key takes.
    pub const SLOT_BYTES: usize = size_of::<Slot>();

    /// An empty map that grows to `bytes_max` (`log.cleaner.dedupe.buffer.size`) and is full when a share of `load`
    /// (`log.cleaner.io.buffer.load.factor`) of that is in use; it takes at least one key. `seed` are random numbers.
    #[must_use]
    pub fn new(bytes_max: usize, load: f64, seed: (u64, u64)) -> Self {
        let slots_max = (bytes_max / Self::SLOT_BYTES).max(2);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            clippy::cast_possible_truncation,
            reason = "a share"
        )]
        let keys_max = (slots_max as f64 * load.clamp(0.0, 0.95)) as usize;
        let slots = vec![EMPTY; SLOTS_MIN.min(slots_max)];
        Self { seed, slots, slots_max, keys: 0, keys_max: keys_max.max(1), end: Offset(0) }
    }

    /// Keys in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys == 0
    }

    /// The first offset of which it says nothing.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.end
    }

    /// It has looked at everything below `end`.
    pub(super) fn set_end(&mut self, end: Offset) {
        self.end = self.end.max(end);
    }

    /// Notes that `key` was written at `offset`, which is larger than all before; `false` if there is no room for it.
    pub(super) fn insert(&mut self, key: &[u8], offset: Offset) -> bool {
        let (high, low) = self.hash(key);
        let at = self.find(high, low);
        if let Some(slot) = self.slots.get_mut(at).filter(|slot| slot.offset != FREE) {
            slot.offset = offset.0;
            return true;
        }
        if self.keys >= self.keys_max {
            return false;
        }
        if self.slots.len() < self.slots_max && self.keys.saturating_mul(4) >= self.slots.len().saturating_mul(3) {
            self.grow();
        }
        self.put(Slot { high, low, offset: offset.0 });
        self.keys = self.keys.saturating_add(1);
        true
    }

    /// Where `key` was written last, if it was.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<Offset> {
        let (high, low) = self.hash(key);
        self.slots.get(self.find(high, low)).filter(|slot| slot.offset != FREE).map(|slot| Offset(slot.offset))
    }

    fn hash(&self, key: &[u8]) -> (u64, u64) {
        let mut hasher = SipHasher13::new_with_keys(self.seed.0, self.seed.1);
        hasher.write(key);
        let hash = hasher.finish128();
        (hash.h1, hash.h2)
    }

    /// The slot that has the hash, or the free one where it goes.
    fn find(&self, high: u64, low: u64) -> usize {
        let count = self.slots.len();
        // The upper half of the product: slots are used evenly, however many there are.
        let first = usize::try_from((u128::from(low) * count as u128) >> 64).unwrap_or(0);
        let from = (first..count).chain(0..first);
        let is_it = |slot: &Slot| slot.offset == FREE || (slot.high == high && slot.low == low);
        from.into_iter().find(|at| self.slots.get(*at).is_some_and(is_it)).unwrap_or(count)
    }

    fn put(&mut self, slot: Slot) {
        let at = self.find(slot.high, slot.low);
        if let Some(place) = self.slots.get_mut(at) {
            *place = slot;
        }
    }

    fn grow(&mut self) {
        let count = self.slots.len().saturating_mul(2).min(self.slots_max);
        let before = std::mem::replace(&mut self.slots, vec![EMPTY; count]);
        before.into_iter().filter(|slot| slot.offset != FREE).for_each(|slot| self.put(slot));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::test_support::Random;

    #[test]
    fn each_key_has_its_last_offset_however_the_map_has_grown() {
        let mut random = Random::new(1);
        let mut map = KeyMap::new(1 << 20, 0.9, (1, 2));
        let mut model = BTreeMap::new();
        for offset in 0..60_000 {
            let key = random.below(30_000).to_string();
            assert!(map.insert(key.as_bytes(), Offset(offset)));
            model.insert(key, Offset(offset));
        }
        assert_eq!(map.len(), model.len());
        assert!(model.iter().all(|(key, offset)| map.get(key.as_bytes()) == Some(*offset)));
        assert_eq!(map.get(b"none"), None);
    }

    #[test]
    fn a_full_map_takes_what_it_knows_and_nothing_new() {
        let mut map = KeyMap::new(KeyMap::SLOT_BYTES * 10, 0.9, (1, 2));
        for key in 0..9_u8 {
            assert!(map.insert(&[key], Offset(key.into())));
        }
        assert!(!map.insert(b"another", Offset(9)));
        assert!(map.insert(&[3], Offset(10)));
        assert_eq!((map.get(&[3]), map.get(b"another"), map.len()), (Some(Offset(10)), None, 9));
        assert!(KeyMap::new(0, 0.9, (1, 2)).insert(b"one", Offset(0)), "a pass always comes forward");
    }
}
