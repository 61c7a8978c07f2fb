//! One socket: bytes in, frames out of them, answers back.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};

use bytes::{Bytes, BytesMut};

use super::fetch::Poll;
use crate::outgoing::Outgoing;

/// Bytes that are received at once, and held for a connection that sends little.
const INBOX_BYTES: usize = 256 * 1024;
/// Bytes of one request at most, as Kafka's `socket.request.max.bytes`.
pub(super) const REQUEST_BYTES_MAX: usize = 100 * 1024 * 1024;
/// By how much room for a long request grows at once: what is announced is not believed before it comes.
const GROWTH_BYTES_MAX: usize = 1024 * 1024;
/// Above so many bytes of answers that its peer does not take, nothing more is read from a connection.
const OUTBOX_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Why a connection ends.
#[derive(Debug)]
pub(super) enum End {
    /// Its peer has gone.
    Gone,
    /// What it did.
    Fault(String),
}

/// A connection, and the fetch of it that waits.
pub(super) struct Connection {
    pub(super) socket: TcpStream,
    pub(super) peer: SocketAddr,
    /// Initialised throughout; the first `filled` bytes have come.
    inbox: BytesMut,
    filled: usize,
    outbox: Outgoing,
    /// What the kernel was last asked to tell, as [`wanted_interest`](Self::wanted_interest).
    pub(super) interest: (bool, bool),
    /// The fetch that waits; what came behind it waits too.
    pub(super) poll: Option<Poll>,
}

/// What has come in and was not looked at.
pub(super) struct Received {
    bytes: Bytes,
    filled: usize,
    taken: usize,
}

impl Connection {
    pub(super) fn new(socket: TcpStream, peer: SocketAddr) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let (inbox, outbox) = (BytesMut::new(), Outgoing::default());
        Ok(Self { socket, peer, inbox, filled: 0, outbox, interest: (true, false), poll: None })
    }

    /// Takes what has come, once.
    pub(super) fn receive(&mut self) -> Result<(), End> {
        let needed = self.needed()?;
        let grown = needed.min(INBOX_BYTES.max(self.filled + GROWTH_BYTES_MAX));
        if self.inbox.is_empty() {
            // Zeros that the kernel need not bring before they are used.
            self.inbox = BytesMut::zeroed(grown);
        } else if self.inbox.len() < grown {
            self.inbox.resize(grown, 0);
        }
        // Of a long frame exactly what is missing: what is not taken need not be moved.
        let end = if needed > INBOX_BYTES { grown } else { self.inbox.len() };
        let Some(room) = self.inbox.get_mut(self.filled..end).filter(|room| !room.is_empty()) else {
            // Requests behind a fetch that waits; they are looked at when it is answered.
            return Ok(());
        };
        match self.socket.read(room) {
            Ok(0) => Err(End::Gone),
            Ok(length) => {
                self.filled += length;
                Ok(())
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(()),
            Err(_) => Err(End::Gone),
        }
    }

    /// Bytes of the inbox up to the end of its first frame, and at least what an inbox has.
    fn needed(&self) -> Result<usize, End> {
        let announced = self.inbox.get(..self.filled).and_then(|bytes| bytes.first_chunk::<4>());
        Ok(announced.map_or(Ok(0), |prefix| frame_bytes(*prefix))?.max(INBOX_BYTES))
    }

    /// Everything that has come, for frames to be cut off it; it has to be given [back](Self::give_back).
    pub(super) fn received(&mut self) -> Received {
        Received { bytes: std::mem::take(&mut self.inbox).freeze(), filled: self.filled, taken: 0 }
    }

    /// Keeps what is left. Nobody may hold a range of it any more, or it is copied.
    pub(super) fn give_back(&mut self, received: Received) {
        let Received { bytes, filled, taken } = received;
        // Unlike a vector's, this way back moves no byte.
        self.inbox = bytes.try_into_mut().unwrap_or_else(|held| BytesMut::from(&held[..]));
        self.inbox.copy_within(taken..filled, 0);
        self.filled = filled - taken;
        if self.inbox.len() > 2 * GROWTH_BYTES_MAX && self.filled < INBOX_BYTES {
            self.inbox = BytesMut::from(self.inbox.get(..INBOX_BYTES).unwrap_or_default());
        }
    }

    /// Whether requests may be served.
    pub(super) fn is_open(&self) -> bool {
        self.poll.is_none() && self.outbox.bytes() <= OUTBOX_BYTES_MAX
    }

    /// Whether a whole request is there that may be served now.
    pub(super) fn has_work(&self) -> bool {
        let announced = self.inbox.get(..self.filled).and_then(|bytes| bytes.first_chunk::<4>());
        self.is_open()
            && announced.is_some_and(|prefix| frame_bytes(*prefix).map_or(true, |bytes| bytes <= self.filled))
    }

    /// What the kernel should tell: that there is something to read, that there is room for writing.
    pub(super) fn wanted_interest(&self) -> (bool, bool) {
        let has_room = self.needed().is_ok_and(|needed| self.filled < needed);
        (has_room && self.outbox.bytes() <= OUTBOX_BYTES_MAX, !self.outbox.is_empty())
    }

    /// Puts an answer behind those that wait to be sent.
    pub(super) fn answer(&mut self, pieces: Vec<Bytes>) {
        pieces.into_iter().for_each(|piece| self.outbox.push(piece));
    }

    /// Sends as much as the peer takes.
    pub(super) fn send(&mut self) -> Result<(), End> {
        self.outbox.write(&mut self.socket).map(drop).map_err(|_| End::Gone)
    }
}

impl Received {
    /// The next whole frame, without its size.
    pub(super) fn next_frame(&mut self) -> Result<Option<Bytes>, End> {
        let rest = self.bytes.get(self.taken..self.filled).unwrap_or_default();
        let Some(prefix) = rest.first_chunk::<4>() else { return Ok(None) };
        let whole = frame_bytes(*prefix)?;
        if rest.len() < whole {
            return Ok(None);
        }
        let frame = self.bytes.slice(self.taken + 4..self.taken + whole);
        self.taken += whole;
        Ok(Some(frame))
    }
}

/// Bytes of a frame with its size.
fn frame_bytes(prefix: [u8; 4]) -> Result<usize, End> {
    let size = i32::from_be_bytes(prefix);
    match usize::try_from(size) {
        Ok(bytes) if bytes <= REQUEST_BYTES_MAX => Ok(bytes + 4),
        _ => {
            Err(End::Fault(format!("sends a request of {size} bytes, which is not between 0 and {REQUEST_BYTES_MAX}")))
        }
    }
}
