//! Sockets: listening, accepting, receiving through the ring, sending from the calling task.
//!
//! Receives wait in the ring. Sends are tried at once, because a socket nearly always takes them, and wait in the
//! ring for room only when it does not. Sockets stay in blocking mode: the ring fails an operation on a non-blocking
//! one instead of waiting.

use std::cell::{Cell, RefCell};
use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::task::{Poll, Waker};

use bytes::{Buf, Bytes, BytesMut};
use corelane_core::base::FilePosition;
use corelane_core::config::FetchPath;
use corelane_core::limits;

use super::check;
use super::file::{self, File};
use super::ring::Cargo;
use super::shard::{Operation, Shard};
use super::vectors::Vectors;

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 1024;
/// Bytes handed to the kernel at once, so that one send to a fast reader does not hold the shard.
const SEND_BYTES_MAX: usize = 256 * 1024;
/// A send that would wait fails, and so does one to a peer that has gone.
const SEND_FLAGS: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
/// Bytes after which a send that never had to wait lets other tasks run.
const SEND_BREATH_BYTES: usize = 512 * 1024;

/// A listening socket.
pub struct Listener {
    descriptor: Rc<OwnedFd>,
    address: SocketAddr,
}

/// A connection that belongs to no shard.
pub struct Socket {
    descriptor: OwnedFd,
}

/// A connection of one shard.
#[derive(Clone)]
pub struct Connection(pub(super) Rc<Endpoint>);

/// The socket of a connection and what its receives have to remember.
pub(super) struct Endpoint {
    descriptor: OwnedFd,
    /// Bytes that came for a receive that nobody waited for any more.
    kept: RefCell<BytesMut>,
    /// A receive is in the kernel's hands.
    receiving: Cell<bool>,
    /// Waits for an abandoned receive to end.
    next_receive: RefCell<Option<Waker>>,
    /// The last receive left bytes in the socket.
    pub(super) may_hold_more: Cell<bool>,
    /// So that the above is known, and not only possible.
    has_received: Cell<bool>,
    disconnected: Cell<bool>,
}

impl AsRawFd for Endpoint {
    fn as_raw_fd(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }
}

impl Endpoint {
    /// An abandoned receive has ended with `count` bytes at the end of `buffer`: the next one shall have them. Gives
    /// back who waits for it, to be woken.
    pub(super) fn keep(&self, buffer: &BytesMut, count: usize) -> Option<Waker> {
        self.kept.borrow_mut().extend_from_slice(&buffer[buffer.len() - count..]);
        self.receiving.set(false);
        self.next_receive.take()
    }

    /// Resolves when no receive is in flight.
    async fn idle(&self) {
        std::future::poll_fn(|context| {
            if !self.receiving.get() {
                return Poll::Ready(());
            }
            let old = self.next_receive.replace(Some(context.waker().clone()));
            drop(old);
            Poll::Pending
        })
        .await;
    }

    /// Whether the last receive has left something in the socket, or beside it.
    pub(super) fn holds_more(&self) -> bool {
        self.has_received.get() && (self.may_hold_more.get() || !self.kept.borrow().is_empty())
    }

    fn check_connected(&self) -> io::Result<()> {
        if self.disconnected.get() { Err(io::ErrorKind::NotConnected.into()) } else { Ok(()) }
    }
}

/// Where the kernel writes the address of an accepted peer.
pub(super) struct PeerAddress {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

impl PeerAddress {
    fn new() -> Self {
        // SAFETY: all zeroes is a valid, unspecified address.
        let storage = unsafe { MaybeUninit::<libc::sockaddr_storage>::zeroed().assume_init() };
        Self { storage, len: size_of::<libc::sockaddr_storage>() as libc::socklen_t }
    }

    pub(super) fn as_pointers(&mut self) -> (*mut libc::sockaddr, *mut libc::socklen_t) {
        (std::ptr::from_mut(&mut self.storage).cast(), &raw mut self.len)
    }

    fn get(&self) -> io::Result<SocketAddr> {
        match i32::from(self.storage.ss_family) {
            libc::AF_INET => {
                // SAFETY: (1) the family says that the storage holds a `sockaddr_in`; (2) the storage is large and
                // aligned enough for every kind of address.
                let address = unsafe { &*(&raw const self.storage).cast::<libc::sockaddr_in>() };
                let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
                Ok(SocketAddrV4::new(ip, u16::from_be(address.sin_port)).into())
            }
            libc::AF_INET6 => {
                // SAFETY: as above, for `sockaddr_in6`.
                let address = unsafe { &*(&raw const self.storage).cast::<libc::sockaddr_in6>() };
                let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
                let port = u16::from_be(address.sin6_port);
                Ok(SocketAddrV6::new(ip, port, address.sin6_flowinfo, address.sin6_scope_id).into())
            }
            family => Err(io::Error::other(format!("a peer of address family {family}"))),
        }
    }

    fn from_address(address: SocketAddr) -> Self {
        let mut this = Self::new();
        match address {
            SocketAddr::V4(address) => {
                let raw = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: address.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
                    sin_zero: [0; 8],
                };
                // SAFETY: the storage is large and aligned enough for every kind of address.
                unsafe { (&raw mut this.storage).cast::<libc::sockaddr_in>().write(raw) };
                this.len = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            }
            SocketAddr::V6(address) => {
                let raw = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: address.port().to_be(),
                    sin6_flowinfo: address.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                    sin6_scope_id: address.scope_id(),
                };
                // SAFETY: as above.
                unsafe { (&raw mut this.storage).cast::<libc::sockaddr_in6>().write(raw) };
                this.len = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            }
        }
        this
    }
}

pub(super) fn listen(address: SocketAddr) -> io::Result<Listener> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: a plain call; the descriptor is new and ours.
    let descriptor =
        unsafe { OwnedFd::from_raw_fd(check(libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0))?) };
    set_option(&descriptor, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    if address.is_ipv6() {
        // So that 127.0.0.1 and ::1, or 0.0.0.0 and ::, can be two listeners on one port.
        set_option(&descriptor, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    let mut raw = PeerAddress::from_address(address);
    let (pointer, _) = raw.as_pointers();
    // SAFETY: the address lives through the call and has the given length.
    check(unsafe { libc::bind(descriptor.as_raw_fd(), pointer, raw.len) })?;
    // SAFETY: a plain call on a descriptor that is ours.
    check(unsafe { libc::listen(descriptor.as_raw_fd(), BACKLOG) })?;
    Ok(Listener { address: own_address(&descriptor)?, descriptor: Rc::new(descriptor) })
}

/// The address of a socket's own end.
fn own_address(descriptor: &OwnedFd) -> io::Result<SocketAddr> {
    let mut bound = PeerAddress::new();
    let (pointer, len) = bound.as_pointers();
    // SAFETY: the storage is as large as its length says.
    check(unsafe { libc::getsockname(descriptor.as_raw_fd(), pointer, len) })?;
    bound.get()
}

impl Listener {
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection. Started by the call, not by the first poll, so that it does not borrow the listener.
    pub(super) fn accept(&self, shard: Rc<Shard>) -> impl Future<Output = io::Result<(Socket, SocketAddr)>> + 'static {
        let listener = Rc::clone(&self.descriptor);
        async move {
            let cargo = Cargo::Accept { listener, peer: Box::new(PeerAddress::new()) };
            let (result, cargo) = Operation::start(&shard, cargo).await;
            let Cargo::Accept { peer, .. } = cargo else { unreachable!("an operation gives back its own cargo") };
            let descriptor = result?;
            // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
            let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor as RawFd) };
            let peer = peer.get()?;
            Ok((Socket { descriptor }, peer))
        }
    }
}

pub(super) fn adopt(socket: Socket) -> io::Result<Connection> {
    // Answers are whole when they are sent; waiting for more would only delay them.
    set_option(&socket.descriptor, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    // So that the connection of a machine that went away ends some day, as with Kafka.
    set_option(&socket.descriptor, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
    Ok(Connection(Rc::new(Endpoint {
        descriptor: socket.descriptor,
        kept: RefCell::default(),
        receiving: Cell::new(false),
        next_receive: RefCell::default(),
        may_hold_more: Cell::new(true),
        has_received: Cell::new(false),
        disconnected: Cell::new(false),
    })))
}

/// The connection for another shard: a descriptor of its own for the same socket, so that whoever still holds this one
/// may drop it later.
pub(super) fn release(endpoint: &Endpoint) -> Option<Socket> {
    let is_quiet = !endpoint.receiving.get() && endpoint.kept.borrow().is_empty() && !endpoint.disconnected.get();
    let descriptor = if is_quiet { endpoint.descriptor.try_clone() } else { return None };
    descriptor.ok().map(|descriptor| Socket { descriptor })
}

pub(super) async fn receive(
    shard: Rc<Shard>,
    endpoint: Rc<Endpoint>,
    mut buffer: BytesMut,
    missing: usize,
) -> (io::Result<usize>, BytesMut) {
    endpoint.idle().await;
    let exact = missing >= limits::EXACT_RECEIVE_BYTES_MIN && buffer.capacity() - buffer.len() >= missing;
    let kept = {
        let mut kept = endpoint.kept.borrow_mut();
        let count = if exact { kept.len().min(missing) } else { kept.len() };
        buffer.extend_from_slice(&kept[..count]);
        kept.advance(count);
        count
    };
    if kept > 0 {
        return (Ok(kept), buffer);
    }
    if let Err(error) = endpoint.check_connected() {
        return (Err(error), buffer);
    }
    let cargo = if exact {
        Cargo::ReceiveExact { endpoint: Rc::clone(&endpoint), buffer, missing }
    } else {
        Cargo::Receive { endpoint: Rc::clone(&endpoint), buffer }
    };
    endpoint.receiving.set(true);
    let (result, cargo) = Operation::start(&shard, cargo).await;
    endpoint.receiving.set(false);
    endpoint.has_received.set(true);
    let (Cargo::Receive { buffer, .. } | Cargo::ReceiveExact { buffer, .. }) = cargo else {
        unreachable!("an operation gives back its own cargo")
    };
    let result = match result {
        // Our own end: the socket says "end of stream" after a shutdown.
        Ok(0) => endpoint.check_connected().map(|()| 0),
        result => result.map(|count| count as usize),
    };
    (result, buffer)
}

pub(super) async fn send(shard: Rc<Shard>, endpoint: Rc<Endpoint>, mut slices: Vec<Bytes>) -> io::Result<()> {
    let mut first = 0;
    let mut unbroken = 0;
    loop {
        while slices.get(first).is_some_and(Bytes::is_empty) {
            first += 1;
        }
        let Some(rest) = slices.get_mut(first..).filter(|rest| !rest.is_empty()) else { return Ok(()) };
        match send_some(&endpoint, rest) {
            Ok(mut sent) => {
                unbroken += sent;
                for slice in rest {
                    let part = sent.min(slice.len());
                    slice.advance(part);
                    sent -= part;
                    if sent == 0 {
                        break;
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                writable(&shard, &endpoint).await?;
                unbroken = 0;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if unbroken >= SEND_BREATH_BYTES {
            shard.breathe().await;
            unbroken = 0;
        }
    }
}

/// One attempt to send bytes, without waiting.
fn send_bytes(endpoint: &Endpoint, bytes: &[u8]) -> io::Result<usize> {
    let len = bytes.len().min(SEND_BYTES_MAX);
    // SAFETY: the kernel reads bytes of a slice that lives through the call.
    let sent = unsafe { libc::send(endpoint.as_raw_fd(), bytes.as_ptr().cast(), len, SEND_FLAGS) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// One attempt to send the first slices, without waiting.
fn send_some(endpoint: &Endpoint, slices: &[Bytes]) -> io::Result<usize> {
    if let [only] = slices {
        return send_bytes(endpoint, only);
    }
    let mut vectors = Vectors::of(slices, SEND_BYTES_MAX);
    // SAFETY: all zeroes is an empty message.
    let mut message = unsafe { MaybeUninit::<libc::msghdr>::zeroed().assume_init() };
    message.msg_iov = vectors.as_mut_ptr();
    message.msg_iovlen = vectors.len() as _;
    // SAFETY: (1) the vectors name bytes of slices that live through the call; (2) the kernel only reads them.
    let sent = unsafe { libc::sendmsg(endpoint.as_raw_fd(), &raw const message, SEND_FLAGS) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

pub(super) async fn send_file(
    shard: Rc<Shard>,
    endpoint: Rc<Endpoint>,
    file: File,
    position: FilePosition,
    len: u32,
) -> io::Result<()> {
    let copies = shard.fetch_path == FetchPath::Copy;
    let mut position = position.0;
    let end = position.saturating_add(u64::from(len));
    let mut unbroken = 0;
    while position < end {
        if unbroken >= SEND_BREATH_BYTES {
            shard.breathe().await;
            unbroken = 0;
        }
        let count = usize::try_from(end - position).unwrap_or(usize::MAX).min(SEND_BYTES_MAX);
        let copied = if copies { send_copy_some(&shard, &endpoint, &file, position, count).transpose() } else { None };
        let sent = match copied {
            Some(sent) => sent,
            None => {
                file::make_resident(&shard, &file, position, count).await?;
                send_file_some(&endpoint, &file, position, count)
            }
        };
        match sent {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(sent) => {
                position += sent as u64;
                unbroken += sent;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                writable(&shard, &endpoint).await?;
                unbroken = 0;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// One attempt to send from a file through memory that all connections of the shard share, without waiting for anything;
/// `None` if the page cache does not have the bytes. What the socket does not take is read again.
fn send_copy_some(
    shard: &Shard,
    endpoint: &Endpoint,
    file: &File,
    position: u64,
    count: usize,
) -> io::Result<Option<usize>> {
    let mut passage = shard.passage.borrow_mut();
    passage.clear();
    passage.reserve(SEND_BYTES_MAX);
    match file::read_cached(file, position, count, &mut passage)? {
        Some(0) => Ok(Some(0)),
        Some(_) => send_bytes(endpoint, &passage).map(Some),
        None => Ok(None),
    }
}

/// One attempt to send from a file, without waiting for the socket.
fn send_file_some(endpoint: &Endpoint, file: &File, position: u64, count: usize) -> io::Result<usize> {
    let mut offset = libc::off_t::try_from(position).map_err(io::Error::other)?;
    // sendfile has no flags of its own, so the socket is non-blocking for the length of this call.
    set_nonblocking(endpoint, true)?;
    // SAFETY: both descriptors are open, and the offset lives through the call.
    let sent = unsafe { libc::sendfile(endpoint.as_raw_fd(), file.as_raw_fd(), &raw mut offset, count) };
    let result = usize::try_from(sent).map_err(|_| io::Error::last_os_error());
    set_nonblocking(endpoint, false)?;
    result
}

/// Resolves when the socket has room, or is broken, which the next attempt then says.
async fn writable(shard: &Rc<Shard>, endpoint: &Rc<Endpoint>) -> io::Result<()> {
    Operation::start(shard, Cargo::Writable { endpoint: Rc::clone(endpoint) }).await.0.map(drop)
}

pub(super) fn disconnect(endpoint: &Endpoint) {
    endpoint.disconnected.set(true);
    // SAFETY: a plain call on an open descriptor. It fails only if the peer has gone already.
    unsafe { libc::shutdown(endpoint.as_raw_fd(), libc::SHUT_RDWR) };
}

fn set_nonblocking(descriptor: &impl AsRawFd, on: bool) -> io::Result<()> {
    let on = libc::c_int::from(on);
    // SAFETY: FIONBIO reads one integer.
    check(unsafe { libc::ioctl(descriptor.as_raw_fd(), libc::FIONBIO, &raw const on) }).map(drop)
}

fn set_option(descriptor: &OwnedFd, level: i32, name: i32, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the value lives through the call and has the given length.
    check(unsafe {
        let len = size_of::<libc::c_int>() as libc::socklen_t;
        libc::setsockopt(descriptor.as_raw_fd(), level, name, (&raw const value).cast(), len)
    })
    .map(drop)
}
