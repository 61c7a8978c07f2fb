//! A sorted map that is cheap to copy and cheap to change one entry of.
//!
//! The image of a cluster with 100,000 topics is replaced whole each time one of them changes. Copying two plain maps of
//! that size for it would cost milliseconds on the shard that decides; here the copy shares all chunks but the one that
//! changes. Lookups are two binary searches, as on the hot path of every request.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::sync::Arc;

/// Entries from which a chunk is cut in two.
const CHUNK_ENTRIES_MAX: usize = 128;

type Chunk<K, V> = Arc<Vec<(K, V)>>;

/// A map in key order whose clones share what did not change.
#[derive(Clone, Debug)]
pub struct ChunkedMap<K, V> {
    /// None empty, ascending, keys of one all below those of the next.
    chunks: Arc<Vec<Chunk<K, V>>>,
    entries: usize,
}

impl<K, V> Default for ChunkedMap<K, V> {
    fn default() -> Self {
        Self { chunks: Arc::new(Vec::new()), entries: 0 }
    }
}

impl<K: Ord + Clone, V: Clone> ChunkedMap<K, V> {
    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// The value of `key`.
    #[must_use]
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let chunk = self.chunks.get(self.chunk_of(key)?)?;
        let at = chunk.binary_search_by(|(k, _)| k.borrow().cmp(key)).ok()?;
        chunk.get(at).map(|(_, value)| value)
    }

    /// The value of `key`, to change in place; what clones share is copied first.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let number = self.chunk_of(key)?;
        let at = self.chunks.get(number)?.binary_search_by(|(k, _)| k.borrow().cmp(key)).ok()?;
        let chunk = Arc::make_mut(Arc::make_mut(&mut self.chunks).get_mut(number)?);
        chunk.get_mut(at).map(|(_, value)| value)
    }

    /// Sets the value of `key` and returns the one that it replaces.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let number = self.chunk_of(&key).unwrap_or(0);
        let chunks = Arc::make_mut(&mut self.chunks);
        let Some(shared) = chunks.get_mut(number) else {
            chunks.push(Arc::new(vec![(key, value)]));
            self.entries += 1;
            return None;
        };
        let chunk = Arc::make_mut(shared);
        match chunk.binary_search_by(|(k, _)| k.cmp(&key)) {
            Ok(at) => chunk.get_mut(at).map(|entry| std::mem::replace(&mut entry.1, value)),
            Err(at) => {
                chunk.insert(at, (key, value));
                self.entries += 1;
                if chunk.len() > CHUNK_ENTRIES_MAX {
                    let upper = chunk.split_off(CHUNK_ENTRIES_MAX / 2);
                    chunks.insert(number + 1, Arc::new(upper));
                }
                None
            }
        }
    }

    /// Takes the entry of `key` out.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let number = self.chunk_of(key)?;
        let at = self.chunks.get(number)?.binary_search_by(|(k, _)| k.borrow().cmp(key)).ok()?;
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = Arc::make_mut(chunks.get_mut(number)?);
        let (_, value) = chunk.remove(at);
        self.entries -= 1;
        if chunk.is_empty() {
            chunks.remove(number);
        }
        Some(value)
    }

    /// All entries in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.chunks.iter().flat_map(|chunk| chunk.iter()).map(|(key, value)| (key, value))
    }

    /// The entries from `first` on, in key order; what a paged listing continues with.
    pub fn iter_from<'a, Q: Ord + ?Sized>(&'a self, first: &'a Q) -> impl Iterator<Item = (&'a K, &'a V)>
    where
        K: Borrow<Q>,
    {
        let number = self.chunk_of(first).unwrap_or(0);
        self.chunks
            .iter()
            .skip(number)
            .flat_map(|chunk| chunk.iter())
            .skip_while(move |(key, _)| key.borrow() < first)
            .map(|(key, value)| (key, value))
    }

    /// Calls `changed(key, old, new)` for each entry that differs between `self` and `later`.
    ///
    /// Chunks that both share are passed over, so that the cost follows what changed.
    pub fn diff<'a>(&'a self, later: &'a Self, same: impl Fn(&V, &V) -> bool) -> Vec<MapChange<'a, K, V>> {
        let mut changes = Vec::new();
        let (mut old, mut new) = (Cursor::new(self), Cursor::new(later));
        loop {
            if old.skip_shared_chunk(&mut new) {
                continue;
            }
            match (old.peek(), new.peek()) {
                (None, None) => return changes,
                (Some(entry), None) => {
                    changes.push(MapChange::Removed(&entry.0, &entry.1));
                    old.advance();
                }
                (None, Some(entry)) => {
                    changes.push(MapChange::Added(&entry.0, &entry.1));
                    new.advance();
                }
                (Some(before), Some(after)) => match before.0.cmp(&after.0) {
                    Ordering::Less => {
                        changes.push(MapChange::Removed(&before.0, &before.1));
                        old.advance();
                    }
                    Ordering::Greater => {
                        changes.push(MapChange::Added(&after.0, &after.1));
                        new.advance();
                    }
                    Ordering::Equal => {
                        if !same(&before.1, &after.1) {
                            changes.push(MapChange::Changed(&before.0, &before.1, &after.1));
                        }
                        old.advance();
                        new.advance();
                    }
                },
            }
        }
    }

    /// The chunk that holds `key` if any does; `None` only for the empty map.
    fn chunk_of<Q: Ord + ?Sized>(&self, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
    {
        if self.chunks.is_empty() {
            return None;
        }
        let after = self.chunks.partition_point(|chunk| chunk.first().is_some_and(|(first, _)| first.borrow() <= key));
        Some(after.saturating_sub(1))
    }
}

/// One difference between two maps.
#[derive(Debug, PartialEq, Eq)]
pub enum MapChange<'a, K, V> {
    /// Only the later map has it.
    Added(&'a K, &'a V),
    /// Only the earlier map has it.
    Removed(&'a K, &'a V),
    /// Both have it: the earlier value, then the later one.
    Changed(&'a K, &'a V, &'a V),
}

struct Cursor<'a, K, V> {
    chunks: &'a [Chunk<K, V>],
    at: usize,
}

impl<'a, K, V> Cursor<'a, K, V> {
    fn new(map: &'a ChunkedMap<K, V>) -> Self {
        Self { chunks: &map.chunks, at: 0 }
    }

    fn peek(&self) -> Option<&'a (K, V)> {
        self.chunks.first()?.get(self.at)
    }

    fn advance(&mut self) {
        self.at += 1;
        if self.chunks.first().is_some_and(|chunk| self.at >= chunk.len()) {
            self.chunks = self.chunks.get(1..).unwrap_or_default();
            self.at = 0;
        }
    }

    fn skip_shared_chunk(&mut self, other: &mut Self) -> bool {
        let shared = self.at == 0
            && other.at == 0
            && matches!((self.chunks.first(), other.chunks.first()), (Some(a), Some(b)) if Arc::ptr_eq(a, b));
        if shared {
            self.chunks = self.chunks.get(1..).unwrap_or_default();
            other.chunks = other.chunks.get(1..).unwrap_or_default();
        }
        shared
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_as_an_ordinary_map_and_leaves_its_clones_alone(
            steps in prop::collection::vec((0u16..600, prop::option::weighted(0.7, 0u8..4)), 0..900),
        ) {
            let (mut map, mut model) = (ChunkedMap::default(), BTreeMap::new());
            let mut earlier = (map.clone(), model.clone());
            for (number, (key, value)) in steps.into_iter().enumerate() {
                match value {
                    Some(3) => {
                        let (ours, theirs) = (map.get_mut(&key), model.get_mut(&key));
                        prop_assert_eq!(&ours, &theirs);
                        if let (Some(ours), Some(theirs)) = (ours, theirs) {
                            *ours = 9;
                            *theirs = 9;
                        }
                    }
                    Some(value) => prop_assert_eq!(map.insert(key, value), model.insert(key, value)),
                    None => prop_assert_eq!(map.remove(&key), model.remove(&key)),
                }
                prop_assert_eq!(map.len(), model.len());
                if number % 97 == 0 {
                    earlier = (map.clone(), model.clone());
                }
            }
            prop_assert!(map.iter().eq(model.iter()));
            prop_assert!(earlier.0.iter().eq(earlier.1.iter()));
            for key in 0..600 {
                prop_assert_eq!(map.get(&key), model.get(&key));
            }
            prop_assert!(map.iter_from(&300).eq(model.range(300..)));

            let mut rebuilt = earlier.1;
            for change in earlier.0.diff(&map, |a, b| a == b) {
                match change {
                    MapChange::Added(key, value) => prop_assert_eq!(rebuilt.insert(*key, *value), None),
                    MapChange::Removed(key, value) => prop_assert_eq!(rebuilt.remove(key), Some(*value)),
                    MapChange::Changed(key, old, new) => prop_assert_eq!(rebuilt.insert(*key, *new), Some(*old)),
                }
            }
            prop_assert_eq!(rebuilt, model);
        }
    }
}
