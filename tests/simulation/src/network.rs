//! A network in memory: connections that deliver late, in pieces, and sometimes end without a word.
//!
//! A connection is two pipes. A pipe holds what its sender's kernel took and the receiver has not taken; its bound is
//! the two socket buffers together. Bytes arrive in the order they were sent, each piece some time after it was.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes, BytesMut};
use corelane_core::limits::EXACT_RECEIVE_BYTES_MIN;

use crate::executor::{Executor, Group};
use crate::random::Random;

/// What both socket buffers of one direction hold together.
const PIPE_BYTES_MAX: usize = 256 * 1024;
/// Time a piece is on its way.
const TRAVEL_NS: u64 = 20_000;
/// Connections that wait to be accepted.
const BACKLOG_MAX: usize = 1024;

/// Number of a connection; never reused.
type Id = u64;

/// One end of a connection. A clone is the same end; it is closed with its last clone.
#[derive(Clone, Debug)]
pub struct End(Arc<EndInner>);

#[derive(Debug)]
struct EndInner {
    id: Id,
    /// 0 for the end that connected, 1 for the one that accepted.
    side: usize,
    /// Where dropped ends are noted, because a drop must not borrow the network.
    dropped: Arc<Mutex<Vec<(Id, usize)>>>,
}

impl Drop for EndInner {
    fn drop(&mut self) {
        self.dropped.lock().expect("no panic while it is held").push((self.id, self.side));
    }
}

/// A listening socket; closed when it is dropped.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    dropped: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.dropped.lock().expect("no panic while it is held").push(self.address);
    }
}

/// The network. A clone is another handle on the same.
#[derive(Clone)]
pub struct Network {
    executor: Executor,
    state: Rc<RefCell<State>>,
    dropped_ends: Arc<Mutex<Vec<(Id, usize)>>>,
    dropped_listeners: Arc<Mutex<Vec<SocketAddr>>>,
}

struct State {
    listeners: BTreeMap<SocketAddr, Backlog>,
    connections: BTreeMap<Id, [Pipe; 2]>,
    next_id: Id,
    next_port: u16,
    random: Random,
}

#[derive(Default)]
struct Backlog {
    waiting: VecDeque<(End, SocketAddr)>,
    acceptor: Option<Waker>,
}

/// One direction; the index of its pipe is its sender's side.
#[derive(Default)]
struct Pipe {
    travelling: VecDeque<Bytes>,
    arrived: BytesMut,
    held_bytes: usize,
    /// The sender has ended it; what is in it is still delivered.
    ended: bool,
    /// The connection was reset or this side's receiver is gone: nothing is delivered any more.
    reset: bool,
    /// When the last piece arrives; the next one does not before.
    last_arrival_ns: u64,
    receiver: Option<Waker>,
    sender: Option<Waker>,
    /// An operation was begun and has not completed, whether or not anybody still waits for it.
    receiving: bool,
    sending: bool,
}

impl Pipe {
    fn wake(&mut self) {
        self.receiver.take().into_iter().chain(self.sender.take()).for_each(Waker::wake);
    }
}

impl Network {
    /// A network without sockets.
    #[must_use]
    pub fn new(executor: &Executor, random: Random) -> Self {
        let network = Self {
            executor: executor.clone(),
            state: Rc::new(RefCell::new(State {
                listeners: BTreeMap::new(),
                connections: BTreeMap::new(),
                next_id: 0,
                next_port: 40_000,
                random,
            })),
            dropped_ends: Arc::default(),
            dropped_listeners: Arc::default(),
        };
        let settled = network.clone();
        executor.settle_with(move || settled.settle());
        network
    }

    /// The executor it runs under.
    #[must_use]
    pub fn executor(&self) -> &Executor {
        &self.executor
    }

    /// Acts on what was dropped since.
    fn settle(&self) {
        let dropped = std::mem::take(&mut *self.dropped_listeners.lock().expect("no panic while it is held"));
        for address in dropped {
            self.executor.trace(format_args!("listener {address} closed"));
            let backlog = self.state.borrow_mut().listeners.remove(&address);
            drop(backlog);
        }
        let dropped = std::mem::take(&mut *self.dropped_ends.lock().expect("no panic while it is held"));
        for (id, side) in dropped {
            self.close(id, side);
        }
    }

    /// Listens.
    ///
    /// # Errors
    /// `AddrInUse`.
    pub fn listen(&self, mut address: SocketAddr) -> io::Result<Listener> {
        self.settle();
        let mut state = self.state.borrow_mut();
        if address.port() == 0 {
            address.set_port(state.next_port);
            state.next_port += 1;
        }
        if state.listeners.contains_key(&address) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        state.listeners.insert(address, Backlog::default());
        self.executor.trace(format_args!("listen {address}"));
        Ok(Listener { address, dropped: Arc::clone(&self.dropped_listeners) })
    }

    /// The address with the port that was picked.
    #[must_use]
    pub fn local_address(&self, listener: &Listener) -> SocketAddr {
        listener.address
    }

    /// Connects, as a client does.
    ///
    /// # Errors
    /// `ConnectionRefused` if nobody listens there, or the backlog is full.
    pub fn connect(&self, address: SocketAddr) -> io::Result<End> {
        self.settle();
        let mut state = self.state.borrow_mut();
        let id = state.next_id;
        let peer = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), u16::try_from(50_000 + id % 10_000).unwrap_or(0));
        let backlog = state.listeners.get_mut(&address).ok_or(io::ErrorKind::ConnectionRefused)?;
        if backlog.waiting.len() == BACKLOG_MAX {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let [ours, theirs] =
            [0, 1].map(|side| End(Arc::new(EndInner { id, side, dropped: Arc::clone(&self.dropped_ends) })));
        backlog.waiting.push_back((theirs, peer));
        let acceptor = backlog.acceptor.take();
        state.next_id += 1;
        state.connections.insert(id, Default::default());
        self.executor.trace(format_args!("connection {id} to {address}"));
        acceptor.into_iter().for_each(Waker::wake);
        Ok(ours)
    }

    /// The next connection of a listener.
    pub fn poll_accept(&self, listener: &Listener, context: &mut Context<'_>) -> Poll<io::Result<(End, SocketAddr)>> {
        let mut state = self.state.borrow_mut();
        let Some(backlog) = state.listeners.get_mut(&listener.address) else { return Poll::Pending };
        match backlog.waiting.pop_front() {
            Some(accepted) => Poll::Ready(Ok(accepted)),
            None => {
                backlog.acceptor = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Receives as [`corelane_server::sys::Sys::receive`] describes it.
    ///
    /// # Panics
    /// If a receive is begun while another is not complete: a real socket layer would lose bytes.
    pub async fn receive(&self, end: End, mut buffer: BytesMut, missing: usize) -> (io::Result<usize>, BytesMut) {
        let mut begun = false;
        let received = std::future::poll_fn(|context| {
            let mut state = self.state.borrow_mut();
            let State { connections, random, .. } = &mut *state;
            let pipe = pipe_to(connections, &end);
            assert!(begun || !pipe.receiving, "two receives at once on connection {}", end.0.id);
            begun = true;
            pipe.receiving = true;
            if pipe.reset {
                pipe.receiving = false;
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            if pipe.arrived.is_empty() {
                if pipe.ended && pipe.travelling.is_empty() {
                    pipe.receiving = false;
                    return Poll::Ready(Ok(0));
                }
                pipe.receiver = Some(context.waker().clone());
                return Poll::Pending;
            }
            let spare = buffer.capacity() - buffer.len();
            let mut most = pipe.arrived.len();
            if missing >= EXACT_RECEIVE_BYTES_MIN && spare >= missing {
                most = most.min(missing);
            }
            // A receive takes all that is there or, as often, stops in the middle of it.
            let taken = if random.chance(500) { most } else { random.index(most) + 1 };
            buffer.extend_from_slice(&pipe.arrived.split_to(taken));
            pipe.held_bytes -= taken;
            pipe.receiving = false;
            pipe.sender.take().into_iter().for_each(Waker::wake);
            Poll::Ready(Ok(taken))
        })
        .await;
        (received, buffer)
    }

    /// Whether bytes have arrived that nobody has received.
    #[must_use]
    pub fn holds_more(&self, end: &End) -> bool {
        let mut state = self.state.borrow_mut();
        !pipe_to(&mut state.connections, end).arrived.is_empty()
    }

    /// Whether nothing is in progress at this end.
    #[must_use]
    pub fn is_quiet(&self, end: &End) -> bool {
        let mut state = self.state.borrow_mut();
        !pipe_to(&mut state.connections, end).receiving && !pipe_from(&mut state.connections, end).sending
    }

    /// Sends as [`corelane_server::sys::Sys::send`] describes it.
    ///
    /// # Errors
    /// `BrokenPipe`, if either side has ended the connection.
    ///
    /// # Panics
    /// If a send is begun while another is not complete: their bytes would mix.
    pub async fn send(&self, end: End, slices: Vec<Bytes>) -> io::Result<()> {
        let total: usize = slices.iter().map(Bytes::len).sum();
        let mut slices: VecDeque<Bytes> = slices.into_iter().filter(|slice| !slice.is_empty()).collect();
        self.send_from(end, total, move |most| {
            let Some(slice) = slices.front_mut() else { return Ok(Bytes::new()) };
            let piece = slice.split_to(most.min(slice.len()));
            if slice.is_empty() {
                slices.pop_front();
            }
            Ok(piece)
        })
        .await
    }

    /// Sends so many bytes, which `take` hands out piece by piece, each when the pipe has room for it: until then they
    /// stay where they are. It is told the most that may come, and must give at least a byte.
    ///
    /// # Errors
    /// `BrokenPipe`, if either side has ended the connection; those of `take`.
    ///
    /// # Panics
    /// If a send is begun while another is not complete: their bytes would mix.
    pub async fn send_from(
        &self,
        end: End,
        total: usize,
        mut take: impl FnMut(usize) -> io::Result<Bytes>,
    ) -> io::Result<()> {
        let mut left = total;
        let mut begun = false;
        let sent = std::future::poll_fn(|context| {
            let mut state = self.state.borrow_mut();
            let State { connections, random, .. } = &mut *state;
            let pipe = pipe_from(connections, &end);
            assert!(begun || !pipe.sending, "two sends at once on connection {}", end.0.id);
            begun = true;
            pipe.sending = true;
            while left > 0 {
                if pipe.reset || pipe.ended {
                    pipe.sending = false;
                    return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
                }
                let room = PIPE_BYTES_MAX - pipe.held_bytes;
                if room == 0 {
                    pipe.sender = Some(context.waker().clone());
                    return Poll::Pending;
                }
                let piece = match take(random.index(left.min(room)) + 1) {
                    Ok(piece) => piece,
                    Err(error) => {
                        pipe.sending = false;
                        return Poll::Ready(Err(error));
                    }
                };
                left -= piece.len();
                pipe.held_bytes += piece.len();
                pipe.travelling.push_back(piece);
                let arrival_ns = (self.executor.now().0 + random.latency_ns(TRAVEL_NS)).max(pipe.last_arrival_ns);
                pipe.last_arrival_ns = arrival_ns;
                let (network, id, side) = (self.clone(), end.0.id, end.0.side);
                // The kernel delivers what it took even if the sender dies, so the event is nobody's.
                let delay_ns = arrival_ns - self.executor.now().0;
                self.executor.after(Group::TEST, delay_ns, move || network.arrive(id, side));
            }
            pipe.sending = false;
            Poll::Ready(Ok(()))
        })
        .await;
        self.executor.trace(format_args!("connection {} side {} sent {total} bytes: {sent:?}", end.0.id, end.0.side));
        sent
    }

    fn arrive(&self, id: Id, side: usize) {
        let mut state = self.state.borrow_mut();
        let Some(pipes) = state.connections.get_mut(&id) else { return };
        let pipe = &mut pipes[side];
        if let Some(piece) = pipe.travelling.pop_front() {
            pipe.arrived.extend_from_slice(piece.chunk());
            pipe.receiver.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Ends both directions; what was sent is still delivered, what was not received here is lost.
    pub fn disconnect(&self, end: &End) {
        self.close(end.0.id, end.0.side);
    }

    fn close(&self, id: Id, side: usize) {
        let mut state = self.state.borrow_mut();
        let Some(pipes) = state.connections.get_mut(&id) else { return };
        let gone = pipes[side].ended;
        pipes[side].ended = true;
        pipes[1 - side].reset = true;
        pipes.iter_mut().for_each(Pipe::wake);
        if pipes.iter().all(|pipe| pipe.reset) {
            // Nobody is left to receive: what lies here must not look like memory of the broker.
            for pipe in pipes.iter_mut() {
                (pipe.travelling, pipe.arrived) = (VecDeque::new(), BytesMut::new());
            }
        }
        if !gone {
            self.executor.trace(format_args!("connection {id} closed by side {side}"));
        }
    }

    /// Ends the direction from this end alone, as a client that has said all and still listens.
    pub fn finish_sending(&self, end: &End) {
        let mut state = self.state.borrow_mut();
        let pipe = pipe_from(&mut state.connections, end);
        pipe.ended = true;
        pipe.wake();
        self.executor.trace(format_args!("connection {} side {} has said all", end.0.id, end.0.side));
    }

    /// Ends both directions as a reset does: what is on its way is lost.
    pub fn reset(&self, end: &End) {
        let mut state = self.state.borrow_mut();
        for pipe in state.connections.get_mut(&end.0.id).into_iter().flatten() {
            pipe.reset = true;
            pipe.wake();
        }
        self.executor.trace(format_args!("connection {} reset by side {}", end.0.id, end.0.side));
    }
}

fn pipe_from<'a>(connections: &'a mut BTreeMap<Id, [Pipe; 2]>, end: &End) -> &'a mut Pipe {
    &mut connections.entry(end.0.id).or_default()[end.0.side]
}

fn pipe_to<'a>(connections: &'a mut BTreeMap<Id, [Pipe; 2]>, end: &End) -> &'a mut Pipe {
    &mut connections.entry(end.0.id).or_default()[1 - end.0.side]
}
