//! Cutting a byte stream into frames: a big-endian `i32` size, then that many bytes.

use std::error::Error;
use std::fmt;

use bytes::{Buf, Bytes, BytesMut};

/// What the front of a receive buffer holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// Not a whole frame yet.
    Incomplete {
        /// Bytes that are certainly still missing: those of the frame, or of the size while that is not whole itself.
        missing_bytes: usize,
    },
    /// A frame without its size, cut off the buffer.
    Complete(Bytes),
}

/// A size that no frame may have; the connection is closed, as by Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The size is negative.
    Negative {
        /// The size as received.
        size: i32,
    },
    /// The size is above the maximum (`socket.request.max.bytes`).
    TooLarge {
        /// The size as received.
        size: usize,
        /// The most that is allowed.
        size_max: usize,
    },
}

/// Takes the first frame off `buffer` if it is whole. Reserves nothing: the caller knows what its budget allows.
///
/// # Errors
/// The size is negative or above `size_max` bytes; `buffer` is left as it was.
pub fn next_frame(buffer: &mut BytesMut, size_max: usize) -> Result<Frame, FrameError> {
    let Some(prefix) = buffer.first_chunk::<4>() else {
        return Ok(Frame::Incomplete { missing_bytes: 4 - buffer.len() });
    };
    let size = i32::from_be_bytes(*prefix);
    let Ok(frame_size) = usize::try_from(size) else {
        return Err(FrameError::Negative { size });
    };
    if frame_size > size_max {
        return Err(FrameError::TooLarge { size: frame_size, size_max });
    }
    let available = buffer.len() - 4;
    if available < frame_size {
        return Ok(Frame::Incomplete { missing_bytes: frame_size - available });
    }
    buffer.advance(4);
    Ok(Frame::Complete(buffer.split_to(frame_size).freeze()))
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Negative { size } => write!(f, "frame size {size} is negative"),
            Self::TooLarge { size, size_max } => write!(f, "frame size {size} is above the maximum of {size_max}"),
        }
    }
}

impl Error for FrameError {}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::unwrap_used)]
mod tests {
    use super::*;

    fn buffer(bytes: &[u8]) -> BytesMut {
        BytesMut::from(bytes)
    }

    #[test]
    fn every_prefix_of_a_frame_says_what_is_missing() {
        let whole = [0, 0, 0, 3, b'a', b'b', b'c'];
        for length in 0..whole.len() {
            let missing_bytes = if length < 4 { 4 - length } else { 7 - length };
            assert_eq!(next_frame(&mut buffer(&whole[..length]), 3), Ok(Frame::Incomplete { missing_bytes }));
        }
        assert_eq!(next_frame(&mut buffer(&whole), 3), Ok(Frame::Complete(Bytes::from_static(b"abc"))));
    }

    #[test]
    fn frames_come_off_one_by_one() {
        let mut bytes = buffer(&[0, 0, 0, 1, 7, 0, 0, 0, 0, 0, 0, 0, 2, 8]);
        assert_eq!(next_frame(&mut bytes, 9), Ok(Frame::Complete(Bytes::from_static(&[7]))));
        assert_eq!(next_frame(&mut bytes, 9), Ok(Frame::Complete(Bytes::new())));
        assert_eq!(next_frame(&mut bytes, 9), Ok(Frame::Incomplete { missing_bytes: 1 }));
        assert_eq!(&bytes[..], [0, 0, 0, 2, 8]);
    }

    #[test]
    fn frames_are_the_same_however_the_stream_was_cut() {
        let frames: Vec<Vec<u8>> = (0..40_u8).map(|index| vec![index; usize::from(index) * 7 % 19]).collect();
        let size = |frame: &Vec<u8>| u32::try_from(frame.len()).unwrap().to_be_bytes();
        let stream: Vec<u8> = frames.iter().flat_map(|frame| [&size(frame)[..], frame].concat()).collect();
        for chunk_bytes in 1..=stream.len() {
            let (mut received, mut buffer) = (Vec::new(), BytesMut::new());
            for chunk in stream.chunks(chunk_bytes) {
                buffer.extend_from_slice(chunk);
                while let Frame::Complete(frame) = next_frame(&mut buffer, 18).unwrap() {
                    received.push(frame.to_vec());
                }
            }
            assert_eq!(received, frames, "in chunks of {chunk_bytes}");
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn impossible_sizes_are_refused_before_their_bytes_come() {
        assert_eq!(next_frame(&mut buffer(&[0xff; 4]), 9), Err(FrameError::Negative { size: -1 }));
        let too_large = Err(FrameError::TooLarge { size: 10, size_max: 9 });
        assert_eq!(next_frame(&mut buffer(&[0, 0, 0, 10]), 9), too_large);
    }
}
