//! Moves the bytes of a [`Client`]: its sockets, the clock, and one place to wait.
//!
//! Sockets are read and written by the thread that turns the driver, so that nothing stands between a broker and the
//! load that is put on it. Only connecting, which may have to ask for an address, is done by a thread of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use corelane_core::base::{Monotonic, NodeId};
use corelane_core::client::{
    Address, AdminCall, AdminResult, Answer, Client, ClientConfig, LinkId, RequestError, RequestId, Target,
};
use corelane_core::protocol::Request;
use corelane_core::protocol::messages::MetadataRequest;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};

use crate::outgoing::Outgoing;

/// Time that an address has to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes that are read from a socket at once.
const READ_BYTES: usize = 256 * 1024;
/// Reads from one socket before the others have their turn.
const READS_MAX: usize = 8;

/// Buffers of sockets in the kernel; none is what the system gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketBuffers {
    /// Bytes on their way out (`send.buffer.bytes`).
    pub send_bytes: Option<usize>,
    /// Bytes that have come in (`receive.buffer.bytes`).
    pub receive_bytes: Option<usize>,
}

/// How a cluster is reached.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// What clients are told.
    pub client: ClientConfig,
    /// What their sockets are told.
    pub buffers: SocketBuffers,
}

impl Cluster {
    /// A client of its own, with its driver.
    #[must_use]
    pub fn driver(&self) -> Driver {
        self.driver_since(Instant::now())
    }

    /// As [`driver`](Self::driver), whose time is counted from `start`.
    pub(crate) fn driver_since(&self, start: Instant) -> Driver {
        Driver { buffers: self.buffers, start, ..Driver::new(Client::new(self.client.clone())) }
    }
}

/// What has gone through a driver's sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Connections that were opened.
    pub connections: u64,
    /// Bytes that were read.
    pub bytes_in: u64,
    /// Bytes that were written.
    pub bytes_out: u64,
    /// Reads and writes that moved them.
    pub calls: u64,
    /// Requests that were answered, or have failed.
    pub answers: u64,
}

impl Traffic {
    pub(crate) fn add(&mut self, other: &Self) {
        self.connections += other.connections;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.calls += other.calls;
        self.answers += other.answers;
    }
}

/// Ends a wait of the driver from another thread.
#[derive(Clone, Debug)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    /// Ends the present wait, or else the next one.
    pub fn wake(&self) {
        // It fails only while 2^64 wakes have not been seen, and those do.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }
}

/// An open connection.
struct Socket {
    stream: TcpStream,
    /// Bounded by what the client has in flight.
    outgoing: Outgoing,
    /// The last write found no room.
    is_full: bool,
}

/// A client with its sockets.
pub struct Driver {
    /// The client, to send requests through.
    pub client: Client,
    sockets: BTreeMap<LinkId, Socket>,
    connector: Sender<(LinkId, io::Result<TcpStream>)>,
    connected: Receiver<(LinkId, io::Result<TcpStream>)>,
    waker: Waker,
    buffers: SocketBuffers,
    buffer: Vec<u8>,
    start: Instant,
    traffic: Traffic,
}

impl Driver {
    /// Drives `client`.
    ///
    /// # Panics
    /// The process has no descriptor left.
    pub fn new(client: Client) -> Self {
        let (connector, connected) = channel();
        let wakes = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).expect("a descriptor is left");
        Self {
            client,
            sockets: BTreeMap::new(),
            connector,
            connected,
            waker: Waker(Arc::new(wakes)),
            buffers: SocketBuffers::default(),
            buffer: vec![0; READ_BYTES],
            start: Instant::now(),
            traffic: Traffic::default(),
        }
    }

    /// Time since the driver was made.
    pub fn now(&self) -> Monotonic {
        Monotonic(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// What has gone through the sockets so far.
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// A handle by which another thread ends a wait.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Writes what is to be written, then waits until something comes in, but not beyond `until`.
    pub fn turn(&mut self, until: Option<Monotonic>) {
        let due = self.advance();
        Self::wait_for_any(&mut [self], [due, until].into_iter().flatten().min());
        self.advance();
    }

    /// Has the client look at the clock, and writes what is to be written. Returns when that is to be done again.
    pub(crate) fn advance(&mut self) -> Option<Monotonic> {
        self.client.advance(self.now());
        self.flush();
        self.client.poll_timeout()
    }

    /// Waits until something comes in to one of `drivers`, whose time has one start, but not beyond `deadline`. Takes in what
    /// came, and returns the numbers of those that it came to.
    pub(crate) fn wait_for_any(drivers: &mut [&mut Self], deadline: Option<Monotonic>) -> Vec<usize> {
        let Some(now) = drivers.first().map(|driver| driver.now()) else { return Vec::new() };
        let mut fds = Vec::new();
        for driver in drivers.iter() {
            fds.push(PollFd::new(&*driver.waker.0, PollFlags::IN));
            for socket in driver.sockets.values() {
                let flags = if socket.is_full { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
                fds.push(PollFd::new(&socket.stream, flags));
            }
        }
        let wait = deadline.map(|deadline| Duration::from_nanos(deadline.since_ns(now)));
        // A time that no timespec holds is as good as none.
        let timeout = wait.and_then(|wait| Timespec::try_from(wait).ok());
        if poll(&mut fds, timeout.as_ref()).is_err() {
            // A signal: whoever waits for one looks after every turn.
            return Vec::new();
        }
        let mut flags = fds.iter().map(PollFd::revents);
        let mut ready = Vec::new();
        for (index, driver) in drivers.iter().enumerate() {
            let is_woken = flags.next().is_some_and(|wakes| !wakes.is_empty());
            let sockets = driver.sockets.keys().copied().zip(flags.by_ref());
            let sockets: Vec<_> = sockets.filter(|(_, flags)| !flags.is_empty()).collect();
            if is_woken || !sockets.is_empty() {
                ready.push((index, is_woken, sockets));
            }
        }
        let mut came = Vec::with_capacity(ready.len());
        for (index, is_woken, sockets) in ready {
            if let Some(driver) = drivers.get_mut(index) {
                driver.take_in(is_woken, sockets);
                came.push(index);
            }
        }
        came
    }

    fn take_in(&mut self, is_woken: bool, ready: Vec<(LinkId, PollFlags)>) {
        if is_woken {
            let _ = rustix::io::read(&self.waker.0, &mut [0; 8]);
        }
        while let Ok((link, result)) = self.connected.try_recv() {
            self.take_connected(link, result);
        }
        for (link, flags) in ready {
            if flags.contains(PollFlags::OUT)
                && let Some(socket) = self.sockets.get_mut(&link)
            {
                socket.is_full = false;
            }
            if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                self.receive(link);
            }
        }
    }

    fn take_connected(&mut self, link: LinkId, result: io::Result<TcpStream>) {
        match result {
            Ok(stream) => {
                self.sockets.insert(link, Socket { stream, outgoing: Outgoing::default(), is_full: false });
                self.client.handle_open(link);
                self.traffic.connections += 1;
            }
            Err(error) => self.client.handle_closed(self.now(), link, error.to_string()),
        }
    }

    /// Reads what a socket has.
    fn receive(&mut self, link: LinkId) {
        for _ in 0..READS_MAX {
            // The client may have closed it over what was read last.
            let Some(socket) = self.sockets.get_mut(&link) else { return };
            let length = match socket.stream.read(&mut self.buffer) {
                Ok(0) => return self.lost(link, "the broker closed the connection".to_owned()),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => return self.lost(link, error.to_string()),
            };
            self.traffic.calls += 1;
            self.traffic.bytes_in += length as u64;
            let now = self.now();
            self.client.handle_bytes(now, link, self.buffer.get(..length).unwrap_or_default());
            self.close();
            if length < READ_BYTES {
                return;
            }
        }
    }

    fn lost(&mut self, link: LinkId, reason: String) {
        self.sockets.remove(&link);
        self.client.handle_closed(self.now(), link, reason);
    }

    fn close(&mut self) {
        while let Some(link) = self.client.poll_close() {
            if let Some(socket) = self.sockets.remove(&link) {
                let _ = socket.stream.shutdown(Shutdown::Both);
            }
        }
    }

    /// Opens, closes and writes.
    fn flush(&mut self) {
        self.close();
        while let Some((link, address)) = self.client.poll_connect(self.now()) {
            let (connector, waker, buffers) = (self.connector.clone(), self.waker(), self.buffers);
            thread::spawn(move || {
                // Nobody is there to take it if the command has ended.
                let _ = connector.send((link, connect(&address, buffers)));
                waker.wake();
            });
        }
        while let Some((link, bytes)) = self.client.poll_transmit() {
            if let Some(socket) = self.sockets.get_mut(&link) {
                socket.outgoing.push(bytes);
            }
        }
        let mut lost = Vec::new();
        for (link, socket) in &mut self.sockets {
            if socket.is_full {
                continue;
            }
            match socket.outgoing.write(&mut socket.stream) {
                Ok(written) => {
                    socket.is_full = written.is_full;
                    self.traffic.calls += written.calls;
                    self.traffic.bytes_out += written.bytes as u64;
                }
                Err(error) => lost.push((*link, error.to_string())),
            }
        }
        for (link, reason) in lost {
            self.lost(link, reason);
        }
    }

    /// Waits until the brokers that lead these topics have taken all that was sent to them. Nobody's word is waited for
    /// with acks=0, but records that are still in a socket when it is closed may be lost. An answer to something else that
    /// was asked behind them says that they were taken.
    ///
    /// # Errors
    /// A broker does not answer.
    pub fn wait_until_taken(&mut self, topics: &[String]) -> Result<(), RequestError> {
        let known = topics.iter().filter_map(|topic| self.client.cluster().topic(topic)?.as_ref().ok());
        let leaders: BTreeSet<NodeId> =
            known.flat_map(|topic| topic.partitions.iter().filter_map(|partition| partition.leader)).collect();
        for node in leaders {
            let request = MetadataRequest { topics: Some(Vec::new()), ..MetadataRequest::default() };
            self.call(Target::Node(node), request)?;
        }
        Ok(())
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
        let answer = self.client.poll_answer(now);
        self.traffic.answers += u64::from(answer.is_some());
        answer
    }
}

/// Tries each address that the name stands for.
fn connect(address: &Address, buffers: SocketBuffers) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (address.host.as_str(), address.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(socket) => {
                socket.set_nodelay(true)?;
                socket.set_nonblocking(true)?;
                if let Some(bytes) = buffers.send_bytes {
                    set_socket_send_buffer_size(&socket, bytes)?;
                }
                if let Some(bytes) = buffers.receive_bytes {
                    set_socket_recv_buffer_size(&socket, bytes)?;
                }
                return Ok(socket);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
