//! Incremental fetch sessions (KIP-227): what a consumer asked for last time need not be said again, and what has not
//! changed need not be answered again.
//!
//! A session lives on the shard of the connection that opened it, and moves with that connection. A client that comes
//! back on another one is told that the session is unknown and opens a new one, which every client must cope with
//! anyway because a broker may evict a session at any time.

use std::collections::BTreeMap;

use crate::base::{LeaderEpoch, Monotonic, Offset};
use crate::protocol::ErrorCode;

/// A session is evicted in favour of any newcomer once it was unused for this long, as in Kafka.
const EVICTION_MS: u64 = 120_000;

/// What a client wants of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// First offset wanted.
    pub offset: Offset,
    /// Most bytes of this partition in one answer.
    pub bytes_max: i32,
    /// Epoch the client believes in, to be fenced if it is not the current one.
    pub current_epoch: LeaderEpoch,
    /// Epoch of the last record the client has, to find divergence (KIP-595).
    pub last_fetched_epoch: LeaderEpoch,
}

/// What an incremental answer is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    high_watermark: Offset,
    log_start: Offset,
}

#[derive(Debug)]
struct Entry<K> {
    key: K,
    wanted: Wanted,
    told: Option<Told>,
}

#[derive(Debug)]
struct Session<K> {
    /// Epoch that the next request must carry.
    next_epoch: i32,
    /// Topics are named by id (Fetch 13 and later).
    by_id: bool,
    created: Monotonic,
    used: Monotonic,
    /// In serving order: what was just served goes to the end, so that all partitions get their turn.
    entries: Vec<Entry<K>>,
}

/// A session on its way to another shard.
#[derive(Debug)]
pub struct ReleasedSession<K> {
    id: i32,
    session: Session<K>,
}

/// The session fields of a Fetch request.
#[derive(Debug)]
pub struct SessionRequest<K> {
    /// Session id; 0 is none.
    pub id: i32,
    /// 0 opens a session, −1 wants none, larger continues one.
    pub epoch: i32,
    /// Topics are named by id (Fetch 13 and later).
    pub by_id: bool,
    /// Partitions that are new or whose wishes changed; all of them in a full fetch.
    pub wanted: Vec<(K, Wanted)>,
    /// Partitions to drop from the session.
    pub forgotten: Vec<K>,
}

/// How a fetch goes on: what to read, and how its answer is put together.
#[derive(Debug)]
pub struct SessionFetch<K> {
    /// Partitions to read, in order.
    pub wanted: Vec<(K, Wanted)>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sessionless,
    Full { by_id: bool },
    Incremental { id: i32 },
}

impl<K> SessionFetch<K> {
    /// Whether every partition is answered, also those without news.
    #[must_use]
    pub fn is_full(&self) -> bool {
        !matches!(self.kind, Kind::Incremental { .. })
    }
}

/// What became of one partition, as far as the session cares.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// High watermark in the answer; −1 with an error.
    pub high_watermark: Offset,
    /// Log start in the answer; −1 with an error.
    pub log_start: Offset,
    /// Records are in the answer.
    pub has_records: bool,
    /// An error or a diverging epoch is in the answer.
    pub must_tell: bool,
}

/// The sessions of one shard.
#[derive(Debug)]
pub struct SessionCache<K> {
    slots_max: usize,
    sessions: BTreeMap<i32, Session<K>>,
}

impl<K: Ord + Clone> SessionCache<K> {
    /// A cache for at most `slots_max` sessions (`max.incremental.fetch.session.cache.slots`).
    #[must_use]
    pub fn new(slots_max: usize) -> Self {
        Self { slots_max, sessions: BTreeMap::new() }
    }

    /// Sessions that live.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Takes the session part of a request apart.
    ///
    /// # Errors
    /// The top-level error of the answer: the session is unknown, its epoch is another, or the naming of topics changed.
    pub fn begin(&mut self, request: SessionRequest<K>, now: Monotonic) -> Result<SessionFetch<K>, ErrorCode> {
        let SessionRequest { id, epoch, by_id, wanted, forgotten } = request;
        if epoch <= 0 {
            if id != 0 {
                self.sessions.remove(&id);
            }
            let kind = if epoch == 0 { Kind::Full { by_id } } else { Kind::Sessionless };
            return Ok(SessionFetch { wanted, kind });
        }
        let session = self.sessions.get_mut(&id).ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
        if session.next_epoch != epoch {
            return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        if session.by_id != by_id {
            return Err(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
        }
        session.used = now;
        session.next_epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
        for key in forgotten {
            session.entries.retain(|entry| entry.key != key);
        }
        if !wanted.is_empty() {
            let places: BTreeMap<K, usize> =
                session.entries.iter().enumerate().map(|(place, entry)| (entry.key.clone(), place)).collect();
            for (key, wanted) in wanted {
                match places.get(&key).and_then(|place| session.entries.get_mut(*place)) {
                    Some(entry) => entry.wanted = wanted,
                    None => session.entries.push(Entry { key, wanted, told: None }),
                }
            }
        }
        if session.entries.is_empty() {
            self.sessions.remove(&id);
            return Ok(SessionFetch { wanted: Vec::new(), kind: Kind::Sessionless });
        }
        let wanted = session.entries.iter().map(|entry| (entry.key.clone(), entry.wanted)).collect();
        Ok(SessionFetch { wanted, kind: Kind::Incremental { id } })
    }

    /// Which partitions an incremental answer would mention, without changing the session.
    #[must_use]
    pub fn has_news(&self, fetch: &SessionFetch<K>, told: &[(K, Outcome)]) -> Vec<bool> {
        let session = match fetch.kind {
            Kind::Incremental { id } => self.sessions.get(&id),
            _ => return vec![true; told.len()],
        };
        let Some(session) = session else { return vec![true; told.len()] };
        let entries: BTreeMap<&K, &Entry<K>> = session.entries.iter().map(|entry| (&entry.key, entry)).collect();
        told.iter()
            .map(|(key, now)| {
                let before = entries.get(key).and_then(|entry| entry.told);
                now.has_records
                    || now.must_tell
                    || before != Some(Told { high_watermark: now.high_watermark, log_start: now.log_start })
            })
            .collect()
    }

    /// Ends a fetch: the session id of the answer, and for each partition whether it is mentioned.
    ///
    /// `random_id` must be positive; it becomes the id of a new session.
    pub fn finish(
        &mut self,
        fetch: &SessionFetch<K>,
        told: &[(K, Outcome)],
        now: Monotonic,
        random_id: i32,
    ) -> (i32, Vec<bool>) {
        let mentioned = self.has_news(fetch, told);
        match fetch.kind {
            Kind::Sessionless => (0, mentioned),
            Kind::Full { by_id } => {
                if fetch.wanted.is_empty() || !self.make_room(fetch.wanted.len(), now) {
                    return (0, mentioned);
                }
                let mut id = random_id.max(1);
                while self.sessions.contains_key(&id) {
                    id = id.checked_add(1).unwrap_or(1);
                }
                let told: BTreeMap<&K, &Outcome> = told.iter().map(|(key, told)| (key, told)).collect();
                let entries = fetch
                    .wanted
                    .iter()
                    .map(|(key, wanted)| Entry {
                        key: key.clone(),
                        wanted: *wanted,
                        told: told
                            .get(key)
                            .map(|told| Told { high_watermark: told.high_watermark, log_start: told.log_start }),
                    })
                    .collect();
                self.sessions.insert(id, Session { next_epoch: 1, by_id, created: now, used: now, entries });
                (id, mentioned)
            }
            Kind::Incremental { id } => {
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.remember(told);
                }
                (id, mentioned)
            }
        }
    }

    /// Takes a session out, for the shard that its connection moves to.
    pub fn release(&mut self, id: i32) -> Option<ReleasedSession<K>> {
        self.sessions.remove(&id).map(|session| ReleasedSession { id, session })
    }

    /// Takes a session over. One whose id is taken, or for which there is no room, is forgotten as if it were evicted.
    pub fn adopt(&mut self, released: ReleasedSession<K>, now: Monotonic) {
        let ReleasedSession { id, session } = released;
        if !self.sessions.contains_key(&id) && self.make_room(session.entries.len(), now) {
            self.sessions.insert(id, session);
        }
    }

    /// Makes room for a session of `size` partitions; false if every other has a better claim.
    fn make_room(&mut self, size: usize, now: Monotonic) -> bool {
        if self.sessions.len() < self.slots_max {
            return true;
        }
        let old = |since: Monotonic| now.since_ns(since) > EVICTION_MS * 1_000_000;
        let idle = self.sessions.iter().filter(|(_, s)| old(s.used)).min_by_key(|(_, s)| s.used);
        let smaller = || {
            let old_enough = self.sessions.iter().filter(|(_, s)| old(s.created));
            old_enough.min_by_key(|(_, s)| s.entries.len()).filter(|(_, s)| s.entries.len() < size)
        };
        let Some(id) = idle.or_else(smaller).map(|(id, _)| *id) else { return false };
        self.sessions.remove(&id);
        true
    }
}

impl<K: Ord + Clone> Session<K> {
    /// Keeps what was told, and puts the partitions that brought records behind the others.
    fn remember(&mut self, told: &[(K, Outcome)]) {
        let told: BTreeMap<&K, &Outcome> = told.iter().map(|(key, told)| (key, told)).collect();
        let mut served = Vec::new();
        let mut others = Vec::with_capacity(self.entries.len());
        for mut entry in self.entries.drain(..) {
            let Some(now) = told.get(&entry.key) else {
                others.push(entry);
                continue;
            };
            // After an error the next answer must mention the partition whatever it says.
            entry.told =
                (!now.must_tell).then_some(Told { high_watermark: now.high_watermark, log_start: now.log_start });
            if now.has_records { served.push(entry) } else { others.push(entry) }
        }
        others.append(&mut served);
        self.entries = others;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(offset: i64) -> Wanted {
        Wanted {
            offset: Offset(offset),
            bytes_max: 1024,
            current_epoch: LeaderEpoch::NONE,
            last_fetched_epoch: LeaderEpoch::NONE,
        }
    }

    fn request(id: i32, epoch: i32, keys: &[u8], forgotten: &[u8]) -> SessionRequest<u8> {
        SessionRequest {
            id,
            epoch,
            by_id: true,
            wanted: keys.iter().map(|key| (*key, wanted(0))).collect(),
            forgotten: forgotten.to_vec(),
        }
    }

    fn told(key: u8, high_watermark: i64, has_records: bool) -> (u8, Outcome) {
        let high_watermark = Offset(high_watermark);
        (key, Outcome { high_watermark, log_start: Offset(0), has_records, must_tell: false })
    }

    fn open(cache: &mut SessionCache<u8>, keys: &[u8], now: Monotonic) -> i32 {
        let fetch = cache.begin(request(0, 0, keys, &[]), now).unwrap();
        let all: Vec<_> = keys.iter().map(|key| told(*key, 0, false)).collect();
        let (id, mentioned) = cache.finish(&fetch, &all, now, 7);
        assert!(mentioned.iter().all(|m| *m), "a full answer mentions every partition");
        id
    }

    fn keys(fetch: &SessionFetch<u8>) -> Vec<u8> {
        fetch.wanted.iter().map(|(key, _)| *key).collect()
    }

    #[test]
    fn a_session_that_moves_goes_on_where_it_was_and_never_takes_the_place_of_another() {
        let (mut from, mut to) = (SessionCache::new(2), SessionCache::new(1));
        let id = open(&mut from, &[1, 2], Monotonic(0));
        let released = from.release(id).unwrap();
        assert!(from.is_empty() && from.release(id).is_none());
        to.adopt(released, Monotonic(1));
        let fetch = to.begin(request(id, 1, &[], &[]), Monotonic(1)).unwrap();
        assert_eq!(keys(&fetch), [1, 2]);
        let news = [told(1, 0, false), told(2, 3, true)];
        assert_eq!(to.finish(&fetch, &news, Monotonic(1), 9), (id, vec![false, true]), "what was told before is known");

        let same = open(&mut from, &[3], Monotonic(2));
        assert_eq!(same, id);
        to.adopt(from.release(same).unwrap(), Monotonic(2));
        let fetch = to.begin(request(id, 2, &[], &[]), Monotonic(2)).unwrap();
        assert_eq!(keys(&fetch), [1, 2], "the id is taken");
        let mut other = SessionCache::new(2);
        open(&mut other, &[4], Monotonic(3));
        let fetch = other.begin(request(0, 0, &[5], &[]), Monotonic(3)).unwrap();
        let (another, _) = other.finish(&fetch, &[told(5, 0, false)], Monotonic(3), 8);
        to.adopt(other.release(another).unwrap(), Monotonic(3));
        assert_eq!(
            to.begin(request(another, 1, &[], &[]), Monotonic(3)).unwrap_err(),
            ErrorCode::FETCH_SESSION_ID_NOT_FOUND
        );
        assert_eq!(to.len(), 1, "there is no room");
    }

    #[test]
    fn an_incremental_answer_mentions_news_only_and_served_partitions_go_last() {
        let mut cache = SessionCache::new(2);
        let id = open(&mut cache, &[1, 2, 3], Monotonic(0));
        assert_eq!(id, 7);
        let fetch = cache.begin(request(id, 1, &[], &[]), Monotonic(1)).unwrap();
        assert_eq!(keys(&fetch), [1, 2, 3]);
        let news = [told(1, 5, true), told(2, 0, false), told(3, 4, false)];
        assert_eq!(cache.finish(&fetch, &news, Monotonic(1), 9), (7, vec![true, false, true]));
        let fetch = cache.begin(request(id, 2, &[4], &[2]), Monotonic(2)).unwrap();
        assert_eq!(keys(&fetch), [3, 1, 4]);
        let news = [told(3, 4, false), told(1, 5, false), told(4, 0, false)];
        assert_eq!(
            cache.finish(&fetch, &news, Monotonic(2), 9).1,
            [false, false, true],
            "a new partition is mentioned"
        );
    }

    #[test]
    fn wrong_ids_epochs_and_naming_are_refused() {
        let mut cache = SessionCache::new(2);
        let id = open(&mut cache, &[1], Monotonic(0));
        let refusal = |result: Result<SessionFetch<u8>, ErrorCode>| result.unwrap_err();
        assert_eq!(refusal(cache.begin(request(99, 1, &[], &[]), Monotonic(1))), ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
        assert_eq!(
            refusal(cache.begin(request(id, 2, &[], &[]), Monotonic(1))),
            ErrorCode::INVALID_FETCH_SESSION_EPOCH
        );
        let by_name = SessionRequest { by_id: false, ..request(id, 1, &[], &[]) };
        assert_eq!(refusal(cache.begin(by_name, Monotonic(1))), ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
        assert!(cache.begin(request(id, 1, &[], &[]), Monotonic(1)).is_ok());
    }

    #[test]
    fn a_session_ends_when_closed_or_left_without_partitions() {
        let mut cache = SessionCache::new(2);
        let id = open(&mut cache, &[1], Monotonic(0));
        assert!(cache.begin(request(id, 1, &[], &[1]), Monotonic(1)).unwrap().wanted.is_empty());
        assert!(cache.is_empty());
        let id = open(&mut cache, &[1], Monotonic(0));
        assert!(cache.begin(request(id, -1, &[1], &[]), Monotonic(1)).unwrap().is_full());
        assert!(cache.is_empty());
    }

    #[test]
    fn the_epoch_wraps_to_one() {
        let mut cache = SessionCache::new(1);
        let id = open(&mut cache, &[1], Monotonic(0));
        cache.sessions.get_mut(&id).unwrap().next_epoch = i32::MAX;
        cache.begin(request(id, i32::MAX, &[], &[]), Monotonic(1)).unwrap();
        cache.begin(request(id, 1, &[], &[]), Monotonic(1)).unwrap();
    }

    #[test]
    fn a_full_cache_evicts_only_the_idle_and_the_old_and_smaller() {
        let mut cache = SessionCache::new(1);
        open(&mut cache, &[1, 2], Monotonic(0));
        assert_eq!(open(&mut cache, &[1, 2, 3], Monotonic(1)), 0, "a young session stays");
        let later = Monotonic(0).plus_ms(EVICTION_MS + 1);
        cache.sessions.get_mut(&7).unwrap().used = later;
        assert_eq!(open(&mut cache, &[1], later), 0, "an old one in use stays if it is larger");
        assert_ne!(open(&mut cache, &[1, 2, 3], later), 0);
        assert_eq!(cache.len(), 1);
        assert_ne!(open(&mut cache, &[1], later.plus_ms(EVICTION_MS + 1)), 0, "an idle one goes");
    }
}
