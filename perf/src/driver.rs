//! Moves the bytes of a [`Client`]: blocking sockets, one reading thread for each, and the clock.
//!
//! All that threads have to say comes through one channel, so that a command waits in one place. The channel needs no
//! bound of its own: what can come in is what was asked for, and the client bounds that.

use std::collections::BTreeMap;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use corelane_core::base::Monotonic;
use corelane_core::client::{Address, AdminCall, AdminResult, Answer, Client, LinkId, RequestError, RequestId, Target};
use corelane_core::protocol::Request;

/// Time that an address has to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time that a broker has to take bytes before the connection counts as lost.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes that are read from a socket at once.
const READ_BYTES: usize = 256 * 1024;
/// Slices that are written to a socket at once.
const WRITE_SLICES_MAX: usize = 256;

/// What a thread has to say.
enum Event {
    Opened(LinkId, TcpStream),
    Bytes(LinkId, BytesMut),
    Closed(LinkId, String),
    /// Something else that the command waits for is there.
    Woken,
}

/// Ends a wait of the driver from another thread.
#[derive(Clone)]
pub struct Waker(Sender<Event>);

impl Waker {
    /// Ends the present wait, or else the next one.
    pub fn wake(&self) {
        // Nobody waits any more if the driver is gone.
        let _ = self.0.send(Event::Woken);
    }
}

/// A client with its sockets.
pub struct Driver {
    /// The client, to send requests through.
    pub client: Client,
    sockets: BTreeMap<LinkId, TcpStream>,
    sender: Sender<Event>,
    events: Receiver<Event>,
    start: Instant,
}

impl Driver {
    /// Drives `client`.
    pub fn new(client: Client) -> Self {
        let (sender, events) = channel();
        Self { client, sockets: BTreeMap::new(), sender, events, start: Instant::now() }
    }

    /// Time since the driver was made.
    pub fn now(&self) -> Monotonic {
        Monotonic(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// A handle by which another thread ends a wait.
    pub fn waker(&self) -> Waker {
        Waker(self.sender.clone())
    }

    /// Writes what is to be written, then waits until something comes in, but not beyond `until`.
    pub fn turn(&mut self, until: Option<Monotonic>) {
        self.client.advance(self.now());
        self.flush();
        let deadline = [self.client.poll_timeout(), until].into_iter().flatten().min();
        let first = match deadline {
            None => self.events.recv().ok(),
            Some(deadline) => {
                let wait = Duration::from_nanos(deadline.since_ns(self.now()));
                self.events.recv_timeout(wait).ok()
            }
        };
        let now = self.now();
        for event in first.into_iter().chain(std::iter::from_fn(|| self.events.try_recv().ok())).collect::<Vec<_>>() {
            match event {
                Event::Opened(link, socket) => {
                    self.sockets.insert(link, socket);
                    self.client.handle_open(link);
                }
                Event::Bytes(link, bytes) => self.client.handle_bytes(now, link, bytes),
                Event::Closed(link, reason) => {
                    self.sockets.remove(&link);
                    self.client.handle_closed(now, link, reason);
                }
                Event::Woken => {}
            }
        }
        self.client.advance(now);
        self.flush();
    }

    /// Opens, closes and writes.
    fn flush(&mut self) {
        while let Some(link) = self.client.poll_close() {
            if let Some(socket) = self.sockets.remove(&link) {
                let _ = socket.shutdown(Shutdown::Both);
            }
        }
        while let Some((link, address)) = self.client.poll_connect(self.now()) {
            let sender = self.sender.clone();
            thread::spawn(move || serve(link, &address, &sender));
        }
        let mut outgoing: BTreeMap<LinkId, Vec<Bytes>> = BTreeMap::new();
        while let Some((link, bytes)) = self.client.poll_transmit() {
            outgoing.entry(link).or_default().push(bytes);
        }
        for (link, slices) in outgoing {
            let Some(socket) = self.sockets.get_mut(&link) else { continue };
            if let Err(error) = write_all(socket, slices) {
                let _ = socket.shutdown(Shutdown::Both);
                self.sockets.remove(&link);
                self.client.handle_closed(self.now(), link, error.to_string());
            }
        }
    }

    /// Sends a request and waits for its answer. Answers to other requests are dropped.
    pub fn call<R: Request + Send + 'static>(
        &mut self,
        target: Target,
        request: R,
    ) -> Result<R::Response, RequestError> {
        let now = self.now();
        let id = self.client.send(now, target, request);
        loop {
            while let Some((answered, result)) = self.poll_answer() {
                if answered == id {
                    return result.and_then(|answer| answer.decode::<R>().map_err(RequestError::Malformed));
                }
            }
            self.turn(None);
        }
    }

    /// Drives a call to its end. Answers to other requests are dropped.
    pub fn settle<R: Request + Send + 'static>(&mut self, mut call: AdminCall<R>) -> AdminResult<R> {
        loop {
            call.advance(self.now(), &mut self.client);
            while let Some((id, result)) = self.poll_answer() {
                let now = self.now();
                if let Ok(Some(end)) = call.handle_answer(now, &mut self.client, id, result) {
                    return end;
                }
            }
            self.turn(call.poll_timeout());
        }
    }

    /// Takes the next answer.
    pub fn poll_answer(&mut self) -> Option<(RequestId, Result<Answer, RequestError>)> {
        let now = self.now();
        self.client.poll_answer(now)
    }
}

/// Opens a connection and reads from it until it ends.
fn serve(link: LinkId, address: &Address, sender: &Sender<Event>) {
    let end = |reason: String| {
        // Nobody is there to hear it if the command has ended.
        let _ = sender.send(Event::Closed(link, reason));
    };
    let opened = connect(address).and_then(|socket| Ok((socket.try_clone()?, socket)));
    let (for_writing, mut socket) = match opened {
        Ok(both) => both,
        Err(error) => return end(error.to_string()),
    };
    if sender.send(Event::Opened(link, for_writing)).is_err() {
        return;
    }
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return end("the broker closed the connection".to_owned()),
            Ok(length) => {
                // Copied, so that a short answer does not keep the whole buffer in memory.
                let bytes = BytesMut::from(buffer.get(..length).unwrap_or_default());
                if sender.send(Event::Bytes(link, bytes)).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return end(error.to_string()),
        }
    }
}

/// Tries each address that the name stands for.
fn connect(address: &Address) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (address.host.as_str(), address.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(socket) => {
                socket.set_nodelay(true)?;
                socket.set_write_timeout(Some(WRITE_TIMEOUT))?;
                return Ok(socket);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn write_all(socket: &mut TcpStream, mut slices: Vec<Bytes>) -> io::Result<()> {
    let mut start = 0;
    while start < slices.len() {
        let window: Vec<IoSlice<'_>> =
            slices.iter().skip(start).take(WRITE_SLICES_MAX).map(|slice| IoSlice::new(slice)).collect();
        let mut written = match socket.write_vectored(&window) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        while let Some(slice) = slices.get_mut(start) {
            let taken = written.min(slice.len());
            slice.advance(taken);
            written -= taken;
            if !slice.is_empty() {
                break;
            }
            start += 1;
        }
    }
    Ok(())
}
