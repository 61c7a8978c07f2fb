//! Bytes on their way into a socket that never waits.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};

use bytes::{Buf, Bytes};

/// Slices that are written to a socket at once.
const WRITE_SLICES_MAX: usize = 256;

/// What a socket has not taken yet. Whoever puts in bounds it.
#[derive(Default)]
pub(crate) struct Outgoing {
    slices: VecDeque<Bytes>,
    bytes: usize,
}

/// What became of a try to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) bytes: usize,
    pub(crate) calls: u64,
    /// The socket takes no more now.
    pub(crate) is_full: bool,
}

impl Outgoing {
    /// Puts a piece behind those that wait.
    pub(crate) fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.bytes += piece.len();
            self.slices.push_back(piece);
        }
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    /// How much waits.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Writes until nothing is left or there is no room.
    pub(crate) fn write(&mut self, socket: &mut impl Write) -> io::Result<Written> {
        let mut written = Written::default();
        while !self.slices.is_empty() && !written.is_full {
            let window: Vec<IoSlice<'_>> =
                self.slices.iter().take(WRITE_SLICES_MAX).map(|slice| IoSlice::new(slice)).collect();
            match socket.write_vectored(&window) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => {
                    self.taken(bytes);
                    written.bytes += bytes;
                    written.calls += 1;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => written.is_full = true,
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }

    fn taken(&mut self, mut bytes: usize) {
        self.bytes -= bytes;
        while let Some(slice) = self.slices.front_mut() {
            let part = bytes.min(slice.len());
            slice.advance(part);
            bytes -= part;
            if !slice.is_empty() {
                return;
            }
            self.slices.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes in each call, and refuses when there is no call left.
    struct Socket {
        calls: usize,
        bytes_max: usize,
        taken: Vec<u8>,
    }

    impl Write for Socket {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.calls = self.calls.checked_sub(1).ok_or(io::ErrorKind::WouldBlock)?;
            let count = bytes.len().min(self.bytes_max);
            self.taken.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn everything_leaves_in_order_however_little_is_taken() {
        let mut outgoing = Outgoing::default();
        for piece in [&b"abc"[..], b"", b"d", b"efghij"] {
            outgoing.push(Bytes::copy_from_slice(piece));
        }
        let mut socket = Socket { calls: 3, bytes_max: 2, taken: Vec::new() };
        let first = outgoing.write(&mut socket).unwrap();
        assert_eq!((first.bytes, first.calls, first.is_full), (socket.taken.len(), 3, true));
        assert_eq!(outgoing.bytes(), 10 - first.bytes);
        socket.calls = 100;
        assert!(!outgoing.write(&mut socket).unwrap().is_full);
        assert_eq!((&*socket.taken, outgoing.bytes(), outgoing.is_empty()), (&b"abcdefghij"[..], 0, true));
        assert_eq!(
            outgoing.write(&mut socket).unwrap(),
            Written::default(),
            "nothing is asked of the socket for nothing"
        );
    }
}
