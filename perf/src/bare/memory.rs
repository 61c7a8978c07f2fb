//! The newest batches of a partition in memory: blocks of bytes that lie as they are sent.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use corelane_core::protocol::ErrorCode;

/// Bytes of a block; a longer batch has a block to itself. As much as a client asks of a partition by default.
const BLOCK_BYTES: usize = 1024 * 1024;

/// Where a batch begins.
#[derive(Clone, Copy)]
struct Place {
    base_offset: i64,
    position: usize,
}

/// A block that is full.
struct Block {
    places: Vec<Place>,
    bytes: Bytes,
}

/// Blocks, oldest first. When they hold more than they may, the oldest goes.
pub(super) struct Ring {
    full: VecDeque<Block>,
    full_bytes: usize,
    places: Vec<Place>,
    bytes: BytesMut,
    /// The memory of a block that went.
    spare: Option<BytesMut>,
    bytes_max: usize,
}

impl Ring {
    /// A ring of at most `bytes_max` bytes, its newest batch not counted.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            full: VecDeque::new(),
            full_bytes: 0,
            places: Vec::new(),
            bytes: BytesMut::new(),
            spare: None,
            bytes_max: bytes_max.max(1),
        }
    }

    /// Offset of the oldest batch.
    pub(super) fn first_offset(&self) -> Option<i64> {
        let places = self.full.front().map_or(&self.places, |block| &block.places);
        places.first().map(|place| place.base_offset)
    }

    /// Keeps a batch: its stamped front and the rest of it.
    pub(super) fn append(&mut self, base_offset: i64, front: &[u8], rest: &[u8]) {
        let batch_bytes = front.len() + rest.len();
        let block_bytes = BLOCK_BYTES.min(self.bytes_max);
        if self.bytes.len() + batch_bytes > block_bytes && !self.bytes.is_empty() {
            self.turn_over();
        }
        if self.bytes.capacity() == 0 {
            self.bytes = self.spare.take().unwrap_or_else(|| BytesMut::with_capacity(block_bytes.max(batch_bytes)));
        }
        self.places.push(Place { base_offset, position: self.bytes.len() });
        self.bytes.extend_from_slice(front);
        self.bytes.extend_from_slice(rest);
        while self.full_bytes + self.bytes.len() > self.bytes_max {
            let Some(oldest) = self.full.pop_front() else { break };
            self.full_bytes -= oldest.bytes.len();
            // Only where nobody reads it any more.
            if let Ok(mut memory) = oldest.bytes.try_into_mut() {
                memory.clear();
                self.spare = Some(memory);
            }
        }
    }

    fn turn_over(&mut self) {
        let (places, bytes) = (std::mem::take(&mut self.places), std::mem::take(&mut self.bytes));
        let block = Block { places, bytes: bytes.freeze() };
        self.full_bytes += block.bytes.len();
        self.full.push_back(block);
    }

    /// Whole batches from the one that has `offset` on: at least one, and no more than `bytes_max` bytes unless it alone
    /// is longer. They end with their block at the latest.
    ///
    /// # Errors
    /// `offset` lies before the oldest batch.
    pub(super) fn read(&self, offset: i64, bytes_max: usize) -> Result<Bytes, ErrorCode> {
        let after = self.full.partition_point(|block| first(&block.places) <= offset);
        let in_open = first(&self.places) <= offset;
        let block = after.checked_sub(1).and_then(|index| self.full.get(index));
        let (places, length) = match block {
            _ if in_open => (&self.places, self.bytes.len()),
            Some(block) => (&block.places, block.bytes.len()),
            None => return Err(ErrorCode::OFFSET_OUT_OF_RANGE),
        };
        let begin = places.partition_point(|place| place.base_offset <= offset).saturating_sub(1);
        let start = places.get(begin).map_or(length, |place| place.position);
        let limit = start.saturating_add(bytes_max);
        let end = if length <= limit {
            length
        } else {
            let beyond = places.partition_point(|place| place.position <= limit);
            let end = places.get(beyond.saturating_sub(1).max(begin + 1)).map_or(length, |place| place.position);
            end.max(start)
        };
        Ok(match block {
            Some(block) if !in_open => block.bytes.slice(start..end),
            _ => Bytes::copy_from_slice(self.bytes.get(start..end).unwrap_or_default()),
        })
    }
}

fn first(places: &[Place]) -> i64 {
    places.first().map_or(i64::MAX, |place| place.base_offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch of `length` bytes that all are `fill`; of its offset only the ring knows.
    fn append(ring: &mut Ring, offset: i64, fill: u8, length: usize) {
        let (front, rest) = (vec![fill; 16], vec![fill; length - 16]);
        ring.append(offset, &front, &rest);
    }

    #[test]
    fn whole_batches_come_back_within_the_limit() {
        let mut ring = Ring::new(1 << 20);
        for number in 0..5_u8 {
            append(&mut ring, i64::from(number) * 10, number, 100);
        }
        let read = |offset, max| ring.read(offset, max).unwrap();
        assert_eq!(read(0, 1_000).len(), 500);
        assert_eq!(read(10, 250), [vec![1; 100], vec![2; 100]].concat());
        assert_eq!(read(19, 200), [vec![1; 100], vec![2; 100]].concat(), "an offset within a batch");
        assert_eq!(read(0, 1).len(), 100, "one batch whatever the limit");
        assert_eq!(read(40, 1), vec![4; 100]);
    }

    #[test]
    fn the_oldest_blocks_go_and_the_others_stay_whole() {
        let mut ring = Ring::new(3 * BLOCK_BYTES);
        let batch_bytes = 300 * 1024;
        for number in 0..40_u8 {
            append(&mut ring, i64::from(number), number, batch_bytes);
            assert!(ring.full_bytes + ring.bytes.len() <= 3 * BLOCK_BYTES);
            let oldest = ring.first_offset().unwrap();
            for offset in oldest..=i64::from(number) {
                let read = ring.read(offset, batch_bytes).unwrap();
                assert_eq!(read, vec![u8::try_from(offset).unwrap(); batch_bytes]);
            }
            assert_eq!(ring.read(oldest - 1, 1), Err(ErrorCode::OFFSET_OUT_OF_RANGE));
        }
        assert!(ring.first_offset().unwrap() >= 30);
    }

    #[test]
    fn a_batch_longer_than_everything_is_kept_alone() {
        let mut ring = Ring::new(1_000);
        append(&mut ring, 0, 1, 500);
        append(&mut ring, 1, 2, 5_000);
        assert_eq!((ring.first_offset(), ring.read(1, 10).unwrap().len()), (Some(1), 5_000));
        append(&mut ring, 2, 3, 500);
        assert_eq!((ring.first_offset(), ring.read(2, 10).unwrap().len()), (Some(2), 500));
    }
}
