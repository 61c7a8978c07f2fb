//! Which bytes of a segment answer a fetch: arithmetic over batch headers.
//!
//! A fetch begins at the batch that holds its offset and ends with a whole batch. The index says where to start
//! walking; the walk looks at headers only, so the bytes between may never come into memory.

use crate::base::{FilePosition, Offset, Timestamp};
use crate::log::index::OffsetIndex;
use crate::record::BatchHeader;
use crate::record::header::{HEADER_BYTES, MAGIC};

/// A batch in a segment, by its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchAt {
    /// Where it starts.
    pub position: FilePosition,
    /// Where it ends.
    pub end: FilePosition,
    /// Its first offset.
    pub base_offset: Offset,
    /// Its last offset.
    pub last_offset: Offset,
    /// Its largest timestamp.
    pub max_timestamp: Timestamp,
}

/// What stands in a segment where a batch should begin is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DamagedBatch {
    /// Where.
    pub position: FilePosition,
}

/// The headers of a chunk of a segment, one after another. Ends where the next header is not wholly in the chunk;
/// [`position`](Self::position) is where that one is.
#[derive(Clone, Debug)]
pub struct HeaderWalk<'a> {
    chunk: &'a [u8],
    chunk_start: FilePosition,
    position: FilePosition,
}

impl<'a> HeaderWalk<'a> {
    /// Walks `chunk`, which was read at `start`, where a batch begins.
    #[must_use]
    pub fn new(chunk: &'a [u8], start: FilePosition) -> Self {
        Self { chunk, chunk_start: start, position: start }
    }

    /// Where the next batch begins, in the chunk or behind it.
    #[must_use]
    pub fn position(&self) -> FilePosition {
        self.position
    }
}

impl HeaderWalk<'_> {
    /// The next batch with its header, unchecked but for its length.
    pub fn next_header(&mut self) -> Option<Result<(BatchAt, BatchHeader), DamagedBatch>> {
        let at = usize::try_from(self.position.0.checked_sub(self.chunk_start.0)?).ok()?;
        let header = BatchHeader::parse(self.chunk.get(at..at.checked_add(HEADER_BYTES)?)?)?;
        let size = header.batch_bytes().filter(|_| header.magic() == MAGIC);
        let Some(size) = size.and_then(|size| u64::try_from(size).ok()) else {
            return Some(Err(DamagedBatch { position: self.position }));
        };
        let batch = BatchAt {
            position: self.position,
            end: self.position.plus(size),
            base_offset: header.base_offset(),
            last_offset: header.last_offset(),
            max_timestamp: header.max_timestamp(),
        };
        self.position = batch.end;
        Some(Ok((batch, header)))
    }
}

impl Iterator for HeaderWalk<'_> {
    type Item = Result<BatchAt, DamagedBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_header().map(|found| found.map(|(batch, _)| batch))
    }
}

/// How far a walk has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walked<T> {
    /// There.
    Found(T),
    /// The walk goes on with a chunk read at this position; at the end of the log there is nothing to be found.
    ReadAt(FilePosition),
}

/// The first batch of the chunk that `wanted` accepts.
///
/// # Errors
/// The walk met something that is no batch.
pub fn find_batch(
    chunk: &[u8],
    start: FilePosition,
    wanted: impl Fn(&BatchAt) -> bool,
) -> Result<Walked<BatchAt>, DamagedBatch> {
    let mut walk = HeaderWalk::new(chunk, start);
    for batch in walk.by_ref() {
        let batch = batch?;
        if wanted(&batch) {
            return Ok(Walked::Found(batch));
        }
    }
    Ok(Walked::ReadAt(walk.position()))
}

/// The first batch of the chunk that reaches `offset`: it holds it, or begins behind it where compaction left a gap.
///
/// # Errors
/// The walk met something that is no batch.
pub fn find_offset(chunk: &[u8], start: FilePosition, offset: Offset) -> Result<Walked<BatchAt>, DamagedBatch> {
    find_batch(chunk, start, |batch| batch.last_offset >= offset)
}

/// What a fetch may take of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// Where the batch with the fetch offset starts.
    pub start: FilePosition,
    /// Most bytes; whole batches only.
    pub bytes_max: u64,
    /// First offset that the reader may not see. It never lies inside a batch.
    pub readable_end: Offset,
    /// Whether the first batch is taken though it alone is larger than `bytes_max`, which keeps a reader with small
    /// limits from being stuck (KIP-74).
    pub is_first_batch_whole: bool,
}

impl ReadLimits {
    /// Where the walk for the end begins: the last indexed batch that surely lies within the limits.
    #[must_use]
    pub fn walk_start(&self, index: OffsetIndex<'_>) -> FilePosition {
        // The batch of the entry may end behind the limit but begins within it.
        let last_readable = index.walk_start(self.readable_end.plus(-1));
        let within = index.at_or_before(self.start.plus(self.bytes_max)).map_or(self.start, |entry| entry.position);
        within.min(last_readable).max(self.start)
    }

    /// Walks a chunk read at `from`, which [`walk_start`](Self::walk_start) or the last call named, towards the end
    /// of the range: the end of its last whole batch, `start` if no batch may be taken.
    ///
    /// The end of the log is the end of the range too: where a read at the position asked for gives nothing, that
    /// position is it.
    ///
    /// # Errors
    /// The walk met something that is no batch.
    pub fn find_end(&self, chunk: &[u8], from: FilePosition) -> Result<Walked<FilePosition>, DamagedBatch> {
        let limit = self.start.plus(self.bytes_max);
        let mut walk = HeaderWalk::new(chunk, from);
        for batch in walk.by_ref() {
            let batch = batch?;
            let is_exempt = self.is_first_batch_whole && batch.position == self.start;
            if batch.last_offset >= self.readable_end || (batch.end > limit && !is_exempt) {
                return Ok(Walked::Found(batch.position));
            }
            if batch.end >= limit {
                return Ok(Walked::Found(batch.end));
            }
        }
        Ok(Walked::ReadAt(walk.position()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::LeaderEpoch;
    use crate::log::index::{IndexBuilder, IndexOptions};
    use crate::test_support::{Random, random_batch, random_options};

    struct Segment {
        log: Vec<u8>,
        index: IndexBuilder,
        batches: Vec<BatchAt>,
    }

    /// Random batches, with gaps between offsets as compaction leaves them.
    fn segment(random: &mut Random, count: usize) -> Segment {
        let options = IndexOptions { interval_bytes: 500, ..IndexOptions::default() };
        let mut index = IndexBuilder::new(Offset(0), options);
        let (mut log, mut batches, mut next) = (Vec::new(), Vec::new(), Offset(0));
        for _ in 0..count {
            let base = next.plus(if random.once_in(3) { 5 } else { 0 });
            let options = random_options(random, base);
            let batch = random_batch(random, options, 4, Timestamp(1)).stamped(base, LeaderEpoch(0));
            let position = FilePosition(log.len() as u64);
            log.extend_from_slice(batch.bytes());
            let (last_offset, max_timestamp) = (batch.header().last_offset(), batch.header().max_timestamp());
            index.add_batch(position, batch.bytes().len() as u64, last_offset, max_timestamp);
            let end = FilePosition(log.len() as u64);
            batches.push(BatchAt { position, end, base_offset: base, last_offset, max_timestamp });
            next = last_offset.plus(1);
        }
        Segment { log, index, batches }
    }

    /// Goes on reading `chunk_bytes` at a time until there is an answer; `None` at the end of the log.
    fn walk<T>(
        log: &[u8],
        chunk_bytes: usize,
        mut from: FilePosition,
        step: impl Fn(&[u8], FilePosition) -> Result<Walked<T>, DamagedBatch>,
    ) -> Option<T> {
        loop {
            let rest = &log[from.0 as usize..];
            if rest.is_empty() {
                return None;
            }
            match step(&rest[..rest.len().min(chunk_bytes)], from).unwrap() {
                Walked::Found(found) => return Some(found),
                Walked::ReadAt(next) => {
                    assert!(next > from);
                    from = next;
                }
            }
        }
    }

    #[test]
    fn each_offset_is_found_in_its_batch_or_behind_a_gap() {
        for seed in 0..20 {
            let mut random = Random::new(seed);
            let Segment { log, index, batches } = segment(&mut random, 20);
            for offset in 0..=batches.last().unwrap().last_offset.0 + 1 {
                let offset = Offset(offset);
                let expected = batches.iter().find(|batch| batch.last_offset >= offset).copied();
                let from = index.offsets().walk_start(offset);
                let chunk_bytes = HEADER_BYTES + random.below(500);
                let found = walk(&log, chunk_bytes, from, |chunk, at| find_offset(chunk, at, offset));
                assert_eq!(found, expected, "seed {seed}, {offset}");
            }
        }
    }

    /// The end of the range by going through all batches from its start.
    fn naive_end(batches: &[BatchAt], limits: &ReadLimits) -> FilePosition {
        let mut end = limits.start;
        for batch in batches.iter().filter(|batch| batch.position >= limits.start) {
            let fits = batch.end.0 - limits.start.0 <= limits.bytes_max;
            let is_exempt = limits.is_first_batch_whole && batch.position == limits.start;
            if batch.last_offset >= limits.readable_end || !(fits || is_exempt) {
                break;
            }
            end = batch.end;
        }
        end
    }

    #[test]
    fn a_range_ends_with_the_last_whole_batch_within_its_limits() {
        for seed in 0..300 {
            let mut random = Random::new(seed);
            let Segment { log, index, batches } = segment(&mut random, 20);
            let start = *random.pick(&batches);
            let limits = ReadLimits {
                start: start.position,
                bytes_max: *random.pick(&[0, 1, 100, 500, 1_000, 3_000, u64::MAX]),
                readable_end: *random.pick(&[
                    random.clone().pick(&batches).base_offset.max(start.base_offset),
                    start.base_offset,
                    Offset(i64::MAX),
                ]),
                is_first_batch_whole: random.once_in(2),
            };
            let from = limits.walk_start(index.offsets());
            let chunk_bytes = HEADER_BYTES + random.below(500);
            let end = walk(&log, chunk_bytes, from, |chunk, at| limits.find_end(chunk, at));
            let log_end = FilePosition(log.len() as u64);
            assert_eq!(end.unwrap_or(log_end), naive_end(&batches, &limits), "seed {seed}: {limits:?}");
        }
    }

    #[test]
    fn what_is_no_batch_is_reported_where_it_stands() {
        let Segment { mut log, batches, .. } = segment(&mut Random::new(1), 3);
        log[batches[1].position.0 as usize + 16] = 9;
        let damaged = Err(DamagedBatch { position: batches[1].position });
        assert_eq!(find_offset(&log, FilePosition(0), batches[2].base_offset), damaged);
        assert!(matches!(find_offset(&log, FilePosition(0), Offset(0)), Ok(Walked::Found(_))));
    }
}
