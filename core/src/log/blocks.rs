//! The end of a log that is written in whole blocks, past the page cache.
//!
//! Such a write begins and ends at a block's bounds, so the block in which the log ends is written again with every
//! append: what it held comes first and is the same bytes, then what is new, then zeros. A device that is cut off within a
//! block leaves sectors of the old one and of the new one, and what both have in common stands in either.

use bytes::Bytes;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::base::FilePosition;
use crate::limits::BLOCK_BYTES;

/// A piece of memory that the device takes as it is: aligned as it wants it, and as long as what it writes.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
pub struct Block([u8; BLOCK_BYTES]);

const _: () = assert!(align_of::<Block>() == BLOCK_BYTES);

/// The bytes of blocks that lie one behind the other.
#[must_use]
pub fn bytes_of(blocks: &[Block]) -> &[u8] {
    blocks.as_bytes()
}

/// The position of the block that `position` lies in.
#[must_use]
pub fn block_start(position: FilePosition) -> FilePosition {
    FilePosition(position.0 - position.0 % BLOCK_BYTES as u64)
}

/// The first block's bound at or behind `position`.
#[must_use]
pub fn block_end(position: FilePosition) -> FilePosition {
    FilePosition(position.0.next_multiple_of(BLOCK_BYTES as u64))
}

/// Blocks of zeros, for so many bytes.
#[must_use]
pub fn zeros(bytes: u64) -> Vec<Block> {
    let count = usize::try_from(bytes.div_ceil(BLOCK_BYTES as u64)).unwrap_or(0);
    // One by one they would be cleared twice.
    Block::new_vec_zeroed(count).expect("there is memory for what is written")
}

/// Where a log ends, and what its last block holds up to there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockTail {
    end: FilePosition,
    held: Vec<u8>,
}

impl BlockTail {
    /// A log that ends at `end`; `held` is what lies between [`block_start`] of it and there. `None` if it is not as long.
    #[must_use]
    pub fn new(end: FilePosition, held: &[u8]) -> Option<Self> {
        let expected = end.0 - block_start(end).0;
        (held.len() as u64 == expected).then(|| Self { end, held: held.to_vec() })
    }

    /// Where the log ends.
    #[must_use]
    pub fn end(&self) -> FilePosition {
        self.end
    }

    /// Moves the end behind `slices`, and gives what is to be written, and where.
    pub fn append(&mut self, slices: &[Bytes]) -> (FilePosition, Vec<Block>) {
        let position = block_start(self.end);
        let held = self.held.len();
        let bytes = held + slices.iter().map(Bytes::len).sum::<usize>();
        let mut blocks = zeros(bytes as u64);
        let all = blocks.as_mut_bytes();
        let mut rest = all;
        for piece in std::iter::once(self.held.as_slice()).chain(slices.iter().map(|slice| &slice[..])) {
            let (now, later) = rest.split_at_mut(piece.len());
            now.copy_from_slice(piece);
            rest = later;
        }
        self.end = position.plus(bytes as u64);
        let last = bytes - bytes % BLOCK_BYTES;
        self.held.clear();
        self.held.extend_from_slice(blocks.as_bytes().get(last..bytes).unwrap_or_default());
        (position, blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_the_log_and_zeros_up_to_a_blocks_end() {
        let mut log: Vec<u8> = Vec::new();
        let mut file: Vec<u8> = Vec::new();
        let mut tail = BlockTail::new(FilePosition(0), &[]).unwrap();
        for (number, bytes) in (1..=100u8).zip([1, 100, 3_994, 1, 4_096, 8_192, 5_000, 4_095].into_iter().cycle()) {
            let (first, second) = (Bytes::from(vec![number; bytes / 3]), Bytes::from(vec![number; bytes - bytes / 3]));
            log.extend_from_slice(&first);
            log.extend_from_slice(&second);
            let (position, blocks) = tail.append(&[first, second]);
            assert_eq!(position, block_start(position));
            let at = position.0 as usize;
            let unchanged = file.get(at..).map(<[u8]>::to_vec).unwrap_or_default();
            file.resize(at + blocks.as_bytes().len(), 0);
            file[at..].copy_from_slice(blocks.as_bytes());
            assert_eq!(tail.end(), FilePosition(log.len() as u64));
            assert_eq!(file.len() as u64, block_end(tail.end()).0);
            assert_eq!(file[..log.len()], log);
            assert!(file[log.len()..].iter().all(|byte| *byte == 0));
            // Whatever of a block is from before, what the log had there still is.
            let kept = unchanged.len().min(log.len() - bytes - at);
            assert_eq!(unchanged[..kept], file[at..][..kept]);
        }
    }

    #[test]
    fn it_goes_on_where_it_was_left() {
        let mut whole = BlockTail::new(FilePosition(0), &[]).unwrap();
        let (_, blocks) = whole.append(&[Bytes::from(vec![5; 5_000])]);
        let start = block_start(whole.end()).0 as usize;
        let held = &blocks.as_bytes()[start..5_000];
        assert_eq!(BlockTail::new(FilePosition(5_000), held).unwrap(), whole);
        assert_eq!(BlockTail::new(FilePosition(5_000), &held[1..]), None);
        assert_eq!(BlockTail::new(FilePosition(8_192), &[]).unwrap().end(), FilePosition(8_192));
    }
}
