//! The checksum in the head of an LZ4 frame, which Kafka's first writers computed over too much.
//!
//! Format 0 keeps their mistake for ever: the checksum there covers the frame's magic as well (KIP-57). Our codec
//! insists on the right one, so it is put right before a frame is opened.

/// Bytes of the frame's magic.
const MAGIC_BYTES: usize = 4;
/// The frame says how many bytes it opens to: eight more in its head.
const CONTENT_SIZE: u8 = 0x08;
/// The frame names a dictionary: four more.
const DICTIONARY: u8 = 0x01;

/// Where the checksum of the head stands; `None` if the head is not all there.
fn checksum_at(frame: &[u8]) -> Option<usize> {
    let flags = *frame.get(MAGIC_BYTES)?;
    let size = if flags & CONTENT_SIZE == 0 { 0 } else { 8 };
    let dictionary = if flags & DICTIONARY == 0 { 0 } else { 4 };
    Some(MAGIC_BYTES + 2 + size + dictionary).filter(|at| *at < frame.len())
}

/// Gives the frame the checksum that the format asks for.
pub(super) fn make_right(frame: &mut [u8]) {
    set(frame, MAGIC_BYTES);
}

/// Gives the frame the checksum that writers of format 0 give it.
#[cfg(test)]
pub(super) fn make_wrong(frame: &mut [u8]) {
    set(frame, 0);
}

/// Sets the checksum to that of the head from `covered_from` on. A head that is cut off is left to the codec to refuse.
fn set(frame: &mut [u8], covered_from: usize) {
    let Some(at) = checksum_at(frame) else { return };
    let Some([_, second, ..]) = frame.get(covered_from..at).map(|covered| xxh32_short(covered).to_le_bytes()) else {
        return;
    };
    if let Some(checksum) = frame.get_mut(at) {
        *checksum = second;
    }
}

const PRIME_1: u32 = 0x9e37_79b1;
const PRIME_2: u32 = 0x85eb_ca77;
const PRIME_3: u32 = 0xc2b2_ae3d;
const PRIME_4: u32 = 0x27d4_eb2f;
const PRIME_5: u32 = 0x1656_67b1;

/// XXH32 with seed 0 of fewer than 16 bytes, as a head without its magic always has.
fn xxh32_short(bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<4>();
    let length = words.len().wrapping_mul(4).wrapping_add(rest.len());
    let mut hash = PRIME_5.wrapping_add(u32::try_from(length).unwrap_or(u32::MAX));
    for word in words {
        hash = hash.wrapping_add(u32::from_le_bytes(*word).wrapping_mul(PRIME_3));
        hash = hash.rotate_left(17).wrapping_mul(PRIME_4);
    }
    for byte in rest {
        hash = hash.wrapping_add(u32::from(*byte).wrapping_mul(PRIME_5));
        hash = hash.rotate_left(11).wrapping_mul(PRIME_1);
    }
    hash = (hash ^ (hash >> 15)).wrapping_mul(PRIME_2);
    hash = (hash ^ (hash >> 13)).wrapping_mul(PRIME_3);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_xxh32() {
        // From the reference implementation.
        assert_eq!(xxh32_short(b""), 0x02cc_5d05);
        assert_eq!(xxh32_short(b"a"), 0x550d_7456);
        assert_eq!(xxh32_short(b"abc"), 0x32d1_53ff);
        assert_eq!(xxh32_short(b"abcd"), 0xa364_3705);
    }

    #[test]
    fn a_head_that_is_cut_is_left_alone() {
        for length in 0..=6 {
            let mut frame = vec![0xff; length];
            make_right(&mut frame);
            make_wrong(&mut frame);
            assert_eq!(frame, vec![0xff; length]);
        }
    }
}
