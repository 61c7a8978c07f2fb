//! The four compression codecs, with a bound on what they may produce.
//!
//! Sizes that a stream declares about itself are the client's word and decide nothing but an early refusal: output
//! grows as it is produced and stops at the caller's limit.

use std::fmt;
use std::io::{self, Read, Write};

/// Codec of a batch's payload, bits 0–2 of its attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Codec {
    /// Not compressed.
    #[default]
    None,
    /// RFC 1952; several members may follow each other.
    Gzip,
    /// The framed stream of snappy-java; one raw block is accepted as well.
    Snappy,
    /// LZ4 frame format.
    Lz4,
    /// RFC 8878; several frames may follow each other (KIP-110).
    Zstd,
}

/// Codec and how hard it tries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compression {
    /// Codec.
    pub codec: Codec,
    /// Level in the codec's own scale; `None` is the codec's default. Snappy has none.
    pub level: Option<i32>,
}

/// Why a payload could not be opened or made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodecError {
    /// The attributes name a codec that does not exist.
    UnknownCodec,
    /// The stream is broken, or ends early.
    Corrupt,
    /// The stream holds more than the caller allows.
    TooLarge {
        /// What was allowed.
        limit_bytes: usize,
    },
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownCodec => f.write_str("unknown compression codec"),
            Self::Corrupt => f.write_str("the compressed data are damaged"),
            Self::TooLarge { limit_bytes } => write!(f, "the compressed data hold more than {limit_bytes} bytes"),
        }
    }
}

impl std::error::Error for CodecError {}

impl Codec {
    /// The codec with this number in the attributes.
    #[must_use]
    pub const fn from_id(id: i16) -> Option<Self> {
        match id {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Its number in the attributes.
    #[must_use]
    pub const fn id(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// Its name in configurations and on command lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// Opens `compressed`, which holds at most `limit_bytes`.
///
/// # Errors
/// The stream is broken or holds more.
pub fn decompress(codec: Codec, compressed: &[u8], limit_bytes: usize) -> Result<Vec<u8>, CodecError> {
    match codec {
        Codec::None if compressed.len() > limit_bytes => Err(CodecError::TooLarge { limit_bytes }),
        Codec::None => Ok(compressed.to_vec()),
        Codec::Gzip => read_bounded(flate2::bufread::MultiGzDecoder::new(compressed), limit_bytes),
        Codec::Snappy => snappy::decompress(compressed, limit_bytes),
        Codec::Lz4 => read_bounded(lz4_flex::frame::FrameDecoder::new(compressed), limit_bytes),
        Codec::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(compressed).map_err(|_| CodecError::Corrupt)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|_| CodecError::Corrupt)?;
            read_bounded(decoder, limit_bytes)
        }
    }
}

/// Compresses `plain`.
///
/// # Errors
/// [`CodecError::Corrupt`] if the codec refuses its level or input, which none does for the levels that
/// configurations allow.
pub fn compress(compression: Compression, plain: &[u8]) -> Result<Vec<u8>, CodecError> {
    let corrupt = |_| CodecError::Corrupt;
    match compression.codec {
        Codec::None => Ok(plain.to_vec()),
        Codec::Gzip => {
            let level = compression.level.and_then(|level| u32::try_from(level).ok()).filter(|level| *level <= 9);
            let level = level.map_or_else(flate2::Compression::default, flate2::Compression::new);
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(plain).map_err(corrupt)?;
            encoder.finish().map_err(corrupt)
        }
        Codec::Snappy => snappy::compress(plain),
        Codec::Lz4 => {
            // Kafka's reader takes independent blocks only, and allocates by the block size.
            let mut encoder = lz4::EncoderBuilder::new()
                .level(lz4_effort(compression.level))
                .block_mode(lz4::BlockMode::Independent)
                .block_size(lz4::BlockSize::Max64KB)
                .block_checksum(lz4::liblz4::BlockChecksum::NoBlockChecksum)
                .checksum(lz4::ContentChecksum::NoChecksum)
                .build(Vec::new())
                .map_err(corrupt)?;
            encoder.write_all(plain).map_err(corrupt)?;
            let (compressed, finished) = encoder.finish();
            finished.map_err(corrupt)?;
            Ok(compressed)
        }
        Codec::Zstd => zstd::stream::encode_all(plain, compression.level.unwrap_or(0)).map_err(corrupt),
    }
}

/// What the library calls the level that configurations name. Kafka's default is its fast compressor, and every other level
/// the one that searches longer (KIP-390): so the default makes larger batches than level 1 does.
const fn lz4_effort(level: Option<i32>) -> u32 {
    const KAFKAS_DEFAULT: i32 = 9;
    const FAST: u32 = 0;
    /// The library's range; what lies beyond acts as its end.
    const SEARCHING_MIN: u32 = 3;
    const SEARCHING_MAX: u32 = 12;
    match level {
        None | Some(KAFKAS_DEFAULT) => FAST,
        Some(level) if level < SEARCHING_MIN.cast_signed() => SEARCHING_MIN,
        Some(level) if level > SEARCHING_MAX.cast_signed() => SEARCHING_MAX,
        Some(level) => level.cast_unsigned(),
    }
}

/// Largest window that a zstd stream may ask for, as a power of two: 128 MiB, which level 22 needs. It is address
/// space; memory follows what is really decoded.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

fn read_bounded(stream: impl Read, limit_bytes: usize) -> Result<Vec<u8>, CodecError> {
    let over = u64::try_from(limit_bytes).unwrap_or(u64::MAX).saturating_add(1);
    let mut plain = Vec::new();
    match stream.take(over).read_to_end(&mut plain) {
        Ok(_) if plain.len() > limit_bytes => Err(CodecError::TooLarge { limit_bytes }),
        Ok(_) => Ok(plain),
        Err(error) => {
            debug_assert!(error.kind() != io::ErrorKind::Interrupted);
            Err(CodecError::Corrupt)
        }
    }
}

/// Snappy as Java clients frame it: 16 bytes of head, then blocks with their length in front.
mod snappy {
    use super::CodecError;

    /// Magic, then version 1 and least compatible version 1.
    const HEAD: [u8; 16] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
    const MAGIC_BYTES: usize = 8;
    const BLOCK_BYTES: usize = 32 * 1024;
    /// No element of the format makes more than 64 bytes out of two, so a larger claim is a lie.
    const EXPANSION_MAX: usize = 32;

    pub(super) fn decompress(compressed: &[u8], limit_bytes: usize) -> Result<Vec<u8>, CodecError> {
        let mut plain = Vec::new();
        let magic = HEAD.get(..MAGIC_BYTES).unwrap_or_default();
        if !compressed.starts_with(magic) {
            append_block(&mut plain, compressed, limit_bytes)?;
            return Ok(plain);
        }
        let mut rest = compressed;
        while !rest.is_empty() {
            // Streams that were concatenated repeat the head; Java's reader skips it, whatever its versions.
            if rest.starts_with(magic) {
                rest = rest.get(HEAD.len()..).ok_or(CodecError::Corrupt)?;
                continue;
            }
            let (length, after) = rest.split_first_chunk().ok_or(CodecError::Corrupt)?;
            let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| CodecError::Corrupt)?;
            let (block, after) = after.split_at_checked(length).ok_or(CodecError::Corrupt)?;
            append_block(&mut plain, block, limit_bytes)?;
            rest = after;
        }
        Ok(plain)
    }

    fn append_block(plain: &mut Vec<u8>, block: &[u8], limit_bytes: usize) -> Result<(), CodecError> {
        let claimed = snap::raw::decompress_len(block).map_err(|_| CodecError::Corrupt)?;
        if claimed > block.len().saturating_mul(EXPANSION_MAX) {
            return Err(CodecError::Corrupt);
        }
        if claimed > limit_bytes.saturating_sub(plain.len()) {
            return Err(CodecError::TooLarge { limit_bytes });
        }
        let start = plain.len();
        plain.resize(start.saturating_add(claimed), 0);
        let room = plain.get_mut(start..).unwrap_or_default();
        let made = snap::raw::Decoder::new().decompress(block, room).map_err(|_| CodecError::Corrupt)?;
        if made == claimed { Ok(()) } else { Err(CodecError::Corrupt) }
    }

    pub(super) fn compress(plain: &[u8]) -> Result<Vec<u8>, CodecError> {
        let mut compressed = HEAD.to_vec();
        let mut encoder = snap::raw::Encoder::new();
        for block in plain.chunks(BLOCK_BYTES) {
            let block = encoder.compress_vec(block).map_err(|_| CodecError::Corrupt)?;
            let length = i32::try_from(block.len()).map_err(|_| CodecError::Corrupt)?;
            compressed.extend_from_slice(&length.to_be_bytes());
            compressed.extend_from_slice(&block);
        }
        Ok(compressed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{CODECS, Random};

    fn with(codec: Codec, level: Option<i32>, plain: &[u8]) -> Vec<u8> {
        compress(Compression { codec, level }, plain).unwrap()
    }

    #[test]
    fn each_codec_gives_back_what_it_took() {
        let mut random = Random::new(1);
        for codec in CODECS {
            for size in [0, 1, 100, 32 * 1024, 32 * 1024 + 1, 300_000] {
                let plain = random.bytes(size);
                for level in [None, Some(1), Some(9)] {
                    let compressed = with(codec, level, &plain);
                    assert_eq!(decompress(codec, &compressed, plain.len()).as_ref(), Ok(&plain));
                }
            }
        }
        for level in [-131_072, -1, 22] {
            let compressed = with(Codec::Zstd, Some(level), b"abcabcabc");
            assert_eq!(decompress(Codec::Zstd, &compressed, 9), Ok(b"abcabcabc".to_vec()));
        }
    }

    #[test]
    fn every_level_of_lz4_acts_and_the_default_is_the_fast_one() {
        let mut random = Random::new(2);
        let words: Vec<_> = (0..200).map(|_| random.bytes(7)).collect();
        let plain: Vec<u8> = (0..20_000).flat_map(|_| random.pick(&words).clone()).collect();
        let bytes = |level| {
            let compressed = with(Codec::Lz4, level, &plain);
            assert_eq!(decompress(Codec::Lz4, &compressed, plain.len()).as_ref(), Ok(&plain));
            compressed.len()
        };
        assert_eq!(bytes(None), bytes(Some(9)), "9 is Kafka's default");
        assert!(bytes(Some(1)) < bytes(Some(9)), "and its fast compressor");
        assert!(bytes(Some(4)) < bytes(Some(1)));
        assert!(bytes(Some(12)) < bytes(Some(4)));
        assert_eq!(bytes(Some(12)), bytes(Some(17)));
    }

    #[test]
    fn output_stops_at_the_limit_however_small_the_input() {
        let plain = vec![0; 4 << 20];
        for codec in CODECS {
            let compressed = with(codec, None, &plain);
            for limit_bytes in [0, 1, plain.len() - 1] {
                assert_eq!(
                    decompress(codec, &compressed, limit_bytes),
                    Err(CodecError::TooLarge { limit_bytes }),
                    "{codec:?}"
                );
            }
            assert!(decompress(codec, &compressed, plain.len()).is_ok());
        }
    }

    #[test]
    fn a_cut_or_changed_stream_is_refused_or_opened_but_never_more() {
        let mut random = Random::new(2);
        let plain = random.bytes(5_000);
        for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let compressed = with(codec, None, &plain);
            for cut in 1..compressed.len() {
                if let Ok(opened) = decompress(codec, &compressed[..cut], 10_000) {
                    assert!(plain.starts_with(&opened), "{codec:?} cut at {cut}");
                }
            }
            for _ in 0..2_000 {
                let mut damaged = compressed.clone();
                random.mutate(&mut damaged);
                if let Ok(opened) = decompress(codec, &damaged, 10_000) {
                    assert!(opened.len() <= 10_000);
                }
            }
        }
    }

    #[test]
    fn streams_may_follow_each_other_where_readers_of_java_take_that() {
        for codec in [Codec::Gzip, Codec::Snappy, Codec::Zstd] {
            let two = [with(codec, None, b"one "), with(codec, None, b"two")].concat();
            assert_eq!(decompress(codec, &two, 100), Ok(b"one two".to_vec()), "{codec:?}");
        }
    }

    #[test]
    fn raw_snappy_is_taken_and_a_lying_length_costs_nothing() {
        let raw = snap::raw::Encoder::new().compress_vec(b"abcabcabcabc").unwrap();
        assert_eq!(decompress(Codec::Snappy, &raw, 100), Ok(b"abcabcabcabc".to_vec()));
        // Four gigabytes, says the block; five bytes are there.
        let liar = [0xff, 0xff, 0xff, 0xff, 0x0f];
        assert_eq!(decompress(Codec::Snappy, &liar, usize::MAX), Err(CodecError::Corrupt));
        let zeros = snap::raw::Encoder::new().compress_vec(&vec![0; 1 << 20]).unwrap();
        assert_eq!(decompress(Codec::Snappy, &zeros, 1 << 20).map(|plain| plain.len()), Ok(1 << 20));
    }
}
