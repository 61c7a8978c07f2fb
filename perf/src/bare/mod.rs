//! A stand-in for a broker, to measure loads against: the least work that a client can be given.
//!
//! **It is no broker.** It keeps nothing over its end, knows no transactions and no access rules, checks little, syncs
//! nothing, and looks at no sequence numbers: a batch that is sent twice is there twice. Every member of a group is told
//! that it is the only one, and what it commits is forgotten. It answers what producers and consumers ask, on one thread
//! that waits for all sockets at once and spins never. What a load reaches against it is the load's own limit on a
//! machine, and what a broker is held against as *bare*.
//!
//! [`Mode`] says what becomes of batches. Everything is bounded: connections, partitions, requests, answers that wait.

mod connection;
mod fetch;
mod group;
mod memory;
mod produce;
mod requests;
#[cfg(test)]
mod tests;
mod topics;

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use corelane_core::protocol::wire::Reader;
use corelane_core::protocol::{ApiKey, KafkaString};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;

use connection::{Connection, End};
use fetch::Poll;
use requests::{Asked, Cluster, decode};
use topics::Topics;

/// Connections at once; one more is closed where it is accepted.
const CONNECTIONS_MAX: usize = 20_000;
/// Events that are taken from the kernel at once.
const EVENTS_MAX: usize = 256;
/// What the kernel calls the listening socket and the end; slots of connections are below.
const LISTENER: u64 = u64::MAX;
const STOP: u64 = u64::MAX - 1;

/// What becomes of batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They are acknowledged and counted. Nothing can be read.
    Discard,
    /// Their checksum is compared, and they are written to a file for each partition in this directory, which means into
    /// the page cache, before they are acknowledged. Files from before are cut to nothing. Nothing can be read.
    Append {
        /// Where the files are; it has to be there.
        directory: PathBuf,
    },
    /// The newest are kept in memory and read from there; a fetch that waits is answered before the produce that ends
    /// its wait.
    Memory {
        /// Bytes of each partition at most, a batch that is longer not counted.
        bytes_max: usize,
    },
}

/// What to be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen, which is also what clients are told; port 0 is any that is free.
    pub address: SocketAddr,
    /// What becomes of batches.
    pub mode: Mode,
    /// Partitions of a topic that exists because somebody named it; at least 1.
    pub partitions: usize,
}

/// The stand-in.
pub struct Bare {
    listener: TcpListener,
    address: SocketAddr,
    epoll: OwnedFd,
    stop: UnixStream,
    stopper: UnixStream,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    /// When fetches that wait are answered at the latest.
    deadlines: BTreeSet<(Instant, usize)>,
    topics: Topics,
    cluster: Cluster,
}

/// Ends a [`Bare`] from elsewhere.
pub struct Stopper(UnixStream);

impl Stopper {
    /// Has [`Bare::run`] return.
    pub fn stop(mut self) {
        // It has ended if nobody reads.
        let _ = self.0.write_all(&[0]);
    }

    /// The socket: one byte written to it stops, as a handler of signals can do.
    #[must_use]
    pub fn into_socket(self) -> UnixStream {
        self.0
    }
}

impl Bare {
    /// Listens.
    ///
    /// # Errors
    /// The address is taken or not of this machine, or the kernel has no more descriptors.
    pub fn bind(settings: &Settings) -> io::Result<Self> {
        let listener = TcpListener::bind(settings.address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (stop, stopper) = UnixStream::pair()?;
        stop.set_nonblocking(true)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        epoll::add(&epoll, &stop, EventData::new_u64(STOP), EventFlags::IN)?;
        let cluster = Cluster {
            host: KafkaString::from(address.ip().to_string()),
            port: i32::from(address.port()),
            next_producer_id: 0,
            members: 0,
        };
        Ok(Self {
            listener,
            address,
            epoll,
            stop,
            stopper,
            connections: Vec::new(),
            free: Vec::new(),
            deadlines: BTreeSet::new(),
            topics: Topics::new(settings.mode.clone(), settings.partitions.max(1)),
            cluster,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A handle that ends it.
    ///
    /// # Errors
    /// The kernel has no more descriptors.
    pub fn stopper(&self) -> io::Result<Stopper> {
        self.stopper.try_clone().map(Stopper)
    }

    /// Serves until it is stopped. `complain` is told of every connection that was closed for what its peer did.
    ///
    /// # Errors
    /// The kernel refuses to wait.
    pub fn run(mut self, mut complain: impl FnMut(&str)) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        loop {
            let now = Instant::now();
            let wait = self.deadlines.first().map(|(deadline, _)| timespec(deadline.saturating_duration_since(now)));
            match epoll::wait(&self.epoll, spare_capacity(&mut events), wait.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in events.drain(..) {
                let (data, flags) = (event.data, event.flags);
                match data.u64() {
                    LISTENER => self.accept(&mut complain)?,
                    STOP => {
                        if matches!(self.stop.read(&mut [0]), Ok(1)) {
                            return Ok(());
                        }
                    }
                    slot => self.handle(usize::try_from(slot).unwrap_or(usize::MAX), flags, &mut complain),
                }
            }
            self.end_waits(&mut complain);
        }
    }

    fn accept(&mut self, complain: &mut impl FnMut(&str)) -> io::Result<()> {
        loop {
            let (socket, peer) = match self.listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            if self.connections.len() - self.free.len() >= CONNECTIONS_MAX {
                complain(&format!("{peer} is connection {CONNECTIONS_MAX} + 1, and closed"));
                continue;
            }
            let slot = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            let Ok(connection) = Connection::new(socket, peer) else {
                self.free.push(slot);
                continue;
            };
            epoll::add(&self.epoll, &connection.socket, EventData::new_u64(slot as u64), EventFlags::IN)?;
            if let Some(place) = self.connections.get_mut(slot) {
                *place = Some(connection);
            }
        }
    }

    /// What the kernel tells of a connection.
    fn handle(&mut self, slot: usize, flags: EventFlags, complain: &mut impl FnMut(&str)) {
        let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_mut) else { return };
        let received = if flags.contains(EventFlags::IN) {
            connection.receive()
        } else if flags.intersects(EventFlags::HUP | EventFlags::ERR) {
            Err(End::Gone)
        } else {
            Ok(())
        };
        match received.and_then(|()| connection.send()) {
            Ok(()) => self.turn(slot, complain),
            Err(end) => self.close(slot, end, complain),
        }
    }

    /// Serves what a connection has sent, and what that makes possible for others: they get theirs first.
    fn turn(&mut self, slot: usize, complain: &mut impl FnMut(&str)) {
        let mut slots = VecDeque::from([slot]);
        while let Some(slot) = slots.pop_front() {
            let mut woken = Vec::new();
            let served = self.serve(slot, &mut woken);
            for waiting in woken {
                if self.answer_wait(waiting, false, complain) {
                    slots.push_back(waiting);
                }
            }
            let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_mut) else { continue };
            // What was answered before a fault is still sent.
            match connection.send().and(served) {
                Ok(()) => {
                    // It stood still for the answers that are gone now, and the kernel will not tell of it again.
                    if connection.has_work() {
                        slots.push_back(slot);
                    }
                    self.watch(slot);
                }
                Err(end) => self.close(slot, end, complain),
            }
        }
    }

    /// Serves all requests that have come whole. Connections that wait for what was produced are in `woken` then.
    fn serve(&mut self, slot: usize, woken: &mut Vec<usize>) -> Result<(), End> {
        let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_mut) else { return Ok(()) };
        if !connection.is_open() {
            return Ok(());
        }
        let mut received = connection.received();
        let mut outcome = Ok(());
        while outcome.is_ok() && connection.is_open() {
            outcome = match received.next_frame() {
                Ok(Some(frame)) => {
                    let mut reader = Reader::new(frame);
                    serve(&mut reader, slot, connection, &mut self.topics, &mut self.cluster, woken)
                }
                Ok(None) => break,
                Err(end) => Err(end),
            };
        }
        if let Some(poll) = &connection.poll {
            self.deadlines.insert((poll.deadline, slot));
        }
        connection.give_back(received);
        outcome
    }

    /// Answers the fetch of a connection that waits, if it can be; true if it was.
    fn answer_wait(&mut self, slot: usize, is_over: bool, complain: &mut impl FnMut(&str)) -> bool {
        let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_mut) else { return false };
        let Some(poll) = &connection.poll else { return false };
        let Some(response) = poll.answer(&mut self.topics, is_over) else {
            poll.watch(&mut self.topics, slot);
            return false;
        };
        self.deadlines.remove(&(poll.deadline, slot));
        let answer = poll.asked.answer(&response);
        connection.poll = None;
        let sent = answer.and_then(|answer| {
            connection.answer(answer);
            connection.send()
        });
        match sent {
            Ok(()) => true,
            Err(end) => {
                self.close(slot, end, complain);
                false
            }
        }
    }

    /// Answers the fetches that have waited long enough.
    fn end_waits(&mut self, complain: &mut impl FnMut(&str)) {
        while let Some((deadline, slot)) = self.deadlines.first().copied()
            && deadline <= Instant::now()
        {
            self.deadlines.pop_first();
            if self.answer_wait(slot, true, complain) {
                self.turn(slot, complain);
            }
        }
    }

    /// Has the kernel tell what the connection now wants to know.
    fn watch(&mut self, slot: usize) {
        let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_mut) else { return };
        let interest = connection.wanted_interest();
        if interest == connection.interest {
            return;
        }
        connection.interest = interest;
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, interest.0);
        flags.set(EventFlags::OUT, interest.1);
        // The socket is open and known to the kernel: nothing can fail but memory for nothing new.
        let _ = epoll::modify(&self.epoll, &connection.socket, EventData::new_u64(slot as u64), flags);
    }

    fn close(&mut self, slot: usize, end: End, complain: &mut impl FnMut(&str)) {
        let Some(connection) = self.connections.get_mut(slot).and_then(Option::take) else { return };
        self.free.push(slot);
        if let Some(poll) = &connection.poll {
            self.deadlines.remove(&(poll.deadline, slot));
        }
        if let End::Fault(what) = end {
            complain(&format!("{} {what}; its connection is closed", connection.peer));
        }
    }
}

/// Serves one request.
fn serve(
    reader: &mut Reader,
    slot: usize,
    connection: &mut Connection,
    topics: &mut Topics,
    cluster: &mut Cluster,
    woken: &mut Vec<usize>,
) -> Result<(), End> {
    let asked = Asked::read(reader)?;
    let answer = match asked.api {
        ApiKey::Produce => match produce::serve(decode(asked, reader)?, topics, woken)? {
            Some(response) => asked.answer(&response)?,
            None => return Ok(()),
        },
        ApiKey::Fetch => {
            let poll = Poll::new(asked, &decode(asked, reader)?, topics);
            match poll.answer(topics, poll.deadline <= Instant::now()) {
                Some(response) => asked.answer(&response)?,
                None => {
                    poll.watch(topics, slot);
                    connection.poll = Some(poll);
                    return Ok(());
                }
            }
        }
        _ => cluster.serve(asked, reader, topics)?,
    };
    connection.answer(answer);
    Ok(())
}

fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX), tv_nsec: i64::from(time.subsec_nanos()) }
}
