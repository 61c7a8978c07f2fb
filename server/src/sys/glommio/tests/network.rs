//! Sockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::mpsc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use bytes::BytesMut;
use corelane_core::base::{FilePosition, ShardId};
use corelane_core::config::FetchPath;

use super::{cores, on_shard, on_shard_of, received};
use crate::hop::{Mail, Origin};
use crate::placement::Handover;
use crate::sys::glommio::{Connection, GlommioSys, ShardOptions, run_shards};
use crate::sys::{OpenMode, Sys};

const LOOPBACK: &str = "127.0.0.1:0";

/// Bytes that tell a shifted, lost or doubled one.
fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        })
        .collect()
}

/// Receives one frame (a length in four bytes, then as many bytes) into an own buffer, as the broker does: small
/// ones through shared buffers, large ones exactly. `None` is the peer's end between two frames.
async fn receive_frame(sys: &GlommioSys, connection: &Connection, pending: &mut BytesMut) -> Option<BytesMut> {
    loop {
        let mut missing = 0;
        if pending.len() >= 4 {
            let len = u32::from_be_bytes(pending[..4].try_into().unwrap()) as usize + 4;
            if pending.len() >= len {
                return Some(pending.split_to(len));
            }
            missing = len - pending.len();
            pending.reserve(missing);
        }
        let (result, buffer) = sys.receive(connection, std::mem::take(pending), missing).await;
        *pending = buffer;
        match result {
            Ok(0) => {
                assert!(pending.is_empty(), "the peer ended inside a frame");
                return None;
            }
            Ok(_) => {}
            Err(error) => panic!("receive: {error}"),
        }
    }
}

async fn echo(sys: GlommioSys, connection: Connection) {
    let mut pending = BytesMut::new();
    while let Some(frame) = receive_frame(&sys, &connection, &mut pending).await {
        sys.send(&connection, vec![frame.freeze()]).await.expect("the client reads");
    }
}

/// An echo server on `shards` shards that hands every other connection to the next shard, while `client` runs.
fn with_echo_server(client: impl FnOnce(SocketAddr) + Send + 'static) {
    let (address_sender, addresses) = mpsc::channel();
    let (stop_sender, stops) = mpsc::channel::<()>();
    let client = thread::spawn(move || {
        client(addresses.recv().unwrap());
        stop_sender.send(()).unwrap();
    });
    let stops = std::sync::Arc::new(std::sync::Mutex::new(Some(stops)));
    run_shards(&cores(1), ShardOptions::default(), move |sys| {
        let address_sender = address_sender.clone();
        let stops = stops.clone();
        async move {
            let listener = sys.listen(LOOPBACK.parse().unwrap()).unwrap();
            address_sender.send(sys.local_address(&listener)).unwrap();
            let acceptor = sys.clone();
            sys.spawn("accept", async move {
                loop {
                    let (socket, peer) = acceptor.accept(&listener).await.unwrap();
                    assert!(peer.ip().is_loopback());
                    let connection = acceptor.adopt(socket).unwrap();
                    acceptor.spawn("echo", echo(acceptor.clone(), connection));
                }
            });
            let stops = stops.lock().unwrap().take().unwrap();
            received(&sys, &stops).await;
        }
    })
    .unwrap();
    client.join().unwrap();
}

fn frame(len: usize, seed: u64) -> Vec<u8> {
    let mut frame = u32::try_from(len).unwrap().to_be_bytes().to_vec();
    frame.extend(pattern(len, seed));
    frame
}

fn exchange(stream: &mut TcpStream, frame: &[u8]) {
    let mut writer = stream.try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || writer.write_all(frame).unwrap());
        let mut back = vec![0; frame.len()];
        stream.read_exact(&mut back).unwrap();
        assert!(back == frame, "a frame of {} bytes came back changed", frame.len());
    });
}

#[test]
fn frames_of_every_size_come_back_unchanged() {
    with_echo_server(|address| {
        let mut stream = TcpStream::connect(address).unwrap();
        for len in [0, 1, 2, 100, 4096, 16 * 1024 - 4, 16 * 1024, 32 * 1024 - 5, 32 * 1024, 32 * 1024 + 1] {
            exchange(&mut stream, &frame(len, len as u64));
        }
        for len in [100 * 1024, 1 << 20, 8 << 20, 3, 1 << 20] {
            exchange(&mut stream, &frame(len, len as u64));
        }
    });
}

#[test]
fn many_connections_send_in_pieces_and_pipelined() {
    with_echo_server(|address| {
        thread::scope(|scope| {
            for client in 0..200u64 {
                scope.spawn(move || {
                    let mut stream = TcpStream::connect(address).unwrap();
                    let frames: Vec<_> =
                        (0..20).map(|i| frame((client as usize * 37 + i * 211) % 5_000, client + i as u64)).collect();
                    let all = frames.concat();
                    let mut writer = stream.try_clone().unwrap();
                    let sent = all.clone();
                    let sender = thread::spawn(move || {
                        for piece in sent.chunks(7 + client as usize * 13) {
                            writer.write_all(piece).unwrap();
                            if client % 20 == 10 {
                                thread::sleep(Duration::from_micros(50));
                            }
                        }
                    });
                    let mut back = vec![0; all.len()];
                    stream.read_exact(&mut back).unwrap();
                    assert!(back == all);
                    sender.join().unwrap();
                });
            }
        });
    });
}

/// Echoes `frames` frames, then hands the connection to the other of two shards with what was received beyond them; whoever
/// sees its end tells `ended`.
async fn echo_and_pass_on(sys: GlommioSys, handover: Box<Handover<GlommioSys>>, ended: mpsc::Sender<()>) {
    const FRAMES: usize = 3;
    let Handover { socket, received: mut pending, origin, received_at, session } = *handover;
    let connection = sys.adopt(socket).unwrap();
    for _ in 0..FRAMES {
        let Some(frame) = receive_frame(&sys, &connection, &mut pending).await else { return ended.send(()).unwrap() };
        sys.send(&connection, vec![frame.freeze()]).await.expect("the client reads");
    }
    let Some(socket) = sys.release(&connection) else {
        panic!("nothing is in progress");
    };
    let handover = Box::new(Handover { socket, received: pending, origin, received_at, session });
    assert!(sys.post(ShardId(1 - sys.shard().0), Mail::Adopt(handover)).is_ok(), "there is room");
}

#[test]
fn a_connection_goes_from_shard_to_shard_and_loses_nothing() {
    let (address_sender, addresses) = mpsc::channel::<SocketAddr>();
    let client = thread::spawn(move || {
        let mut stream = TcpStream::connect(addresses.recv().unwrap()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        for i in 0..200usize {
            exchange(&mut stream, &frame(i * 37 % 5_000, i as u64));
        }
        // What comes at once is received together, and some of it by the shard that does not serve it.
        let all: Vec<u8> = (0..200usize).flat_map(|i| frame(i * 41 % 3_000, i as u64)).collect();
        exchange(&mut stream, &all);
    });
    run_shards(&cores(2), ShardOptions::default(), move |sys| {
        let address_sender = address_sender.clone();
        async move {
            let (ended_sender, ended) = mpsc::channel();
            if sys.shard() == ShardId(0) {
                let listener = sys.listen(LOOPBACK.parse().unwrap()).unwrap();
                address_sender.send(sys.local_address(&listener)).unwrap();
                let (socket, peer) = sys.accept(&listener).await.unwrap();
                let origin = Origin { listener: 0, peer: peer.ip() };
                let handover = Box::new(Handover::new(socket, origin, sys.now()));
                sys.spawn("echo", echo_and_pass_on(sys.clone(), handover, ended_sender.clone()));
            }
            let (mailed, sender) = (sys.clone(), ended_sender.clone());
            sys.spawn("mail", async move {
                loop {
                    match mailed.mail().await.1 {
                        Mail::Adopt(handover) => {
                            mailed.spawn("echo", echo_and_pass_on(mailed.clone(), handover, sender.clone()));
                        }
                        Mail::Exit => sender.send(()).unwrap(),
                        _ => panic!("nothing else is posted"),
                    }
                }
            });
            received(&sys, &ended).await;
            // The other shard ends too; twice is no harm.
            let _ = sys.post(ShardId(1 - sys.shard().0), Mail::Exit);
        }
    })
    .unwrap();
    client.join().unwrap();
}

#[test]
fn a_connection_in_use_is_not_released() {
    on_shard(|sys| async move {
        let (connection, mut client) = pair(&sys).await;
        let received = std::rc::Rc::new(std::cell::Cell::new(0));
        let (receiver, seen) = (sys.clone(), received.clone());
        let receive = sys.receive(&connection, BytesMut::new(), 0);
        sys.spawn("receive", async move {
            seen.set(receive.await.0.unwrap());
            drop(receiver);
        });
        sys.sleep_until(sys.now().plus_ms(5)).await;
        assert!(sys.release(&connection).is_none(), "a receive is in progress");
        client.write_all(b"four").unwrap();
        while received.get() == 0 {
            sys.sleep_until(sys.now().plus_ms(1)).await;
        }
        assert!(sys.release(&connection).is_some());
        sys.disconnect(&connection);
        assert!(sys.release(&connection).is_none(), "it is over");
    });
}

#[test]
fn two_families_listen_on_one_port() {
    on_shard(|sys| async move {
        let four = sys.listen("0.0.0.0:0".parse().unwrap()).unwrap();
        let port = sys.local_address(&four).port();
        let six = sys.listen(SocketAddr::new("::".parse().unwrap(), port)).unwrap();
        assert_eq!(sys.local_address(&six).port(), port);
        let again = sys.listen(SocketAddr::new("0.0.0.0".parse().unwrap(), port));
        assert_eq!(again.err().map(|error| error.kind()), Some(std::io::ErrorKind::AddrInUse));
        let _client = TcpStream::connect(("::1", port)).unwrap();
        let (_, peer) = sys.accept(&six).await.unwrap();
        assert!(peer.is_ipv6());
    });
}

/// A connection on a shard and its peer, a blocking socket of the test.
async fn pair(sys: &GlommioSys) -> (Connection, TcpStream) {
    let listener = sys.listen(LOOPBACK.parse().unwrap()).unwrap();
    let client = TcpStream::connect(sys.local_address(&listener)).unwrap();
    let (socket, peer) = sys.accept(&listener).await.unwrap();
    assert_eq!(peer, client.local_addr().unwrap());
    (sys.adopt(socket).unwrap(), client)
}

#[test]
fn a_slow_reader_waits_for_its_bytes_and_holds_nobody_else() {
    on_shard(|sys| async move {
        let (connection, mut client) = pair(&sys).await;
        let all = bytes::Bytes::from(pattern(20 << 20, 7));
        let slices = (0..20 << 10).map(|i| all.slice(i << 10..(i + 1) << 10)).collect();
        let expected = all.clone();
        let reader = thread::spawn(move || {
            let mut back = vec![0; expected.len()];
            for (i, piece) in back.chunks_mut(1 << 20).enumerate() {
                if i < 10 {
                    thread::sleep(Duration::from_millis(20));
                }
                client.read_exact(piece).unwrap();
            }
            assert!(back == expected);
        });
        let ticks = std::rc::Rc::new(std::cell::Cell::new(0));
        let (ticker, counted) = (sys.clone(), ticks.clone());
        sys.spawn("ticker", async move {
            loop {
                ticker.sleep_until(ticker.now().plus_ms(1)).await;
                counted.set(counted.get() + 1);
            }
        });
        sys.send(&connection, slices).await.unwrap();
        assert!(ticks.get() > 20, "others ran {} times while the send waited", ticks.get());
        drop(connection);
        reader.join().unwrap();
    });
}

#[test]
fn files_are_sent_in_their_place_in_the_stream() {
    for fetch_path in [FetchPath::Copy, FetchPath::Sendfile, FetchPath::Auto] {
        send_files(ShardOptions { fetch_path, ..ShardOptions::default() });
    }
}

fn send_files(options: ShardOptions) {
    let directory = tempfile::tempdir_in(".").unwrap();
    let path = directory.path().canonicalize().unwrap().join("log");
    on_shard_of(options, move |sys| async move {
        let all = bytes::Bytes::from(pattern(6 << 20, 3));
        let file = sys.open(path, OpenMode::CreateNew).await.unwrap();
        sys.write_at(&file, FilePosition(0), vec![all.clone()]).await.unwrap();
        let (connection, mut client) = pair(&sys).await;
        let mut expected = Vec::new();
        for (position, len) in [(0, 6 << 20), (5, 1), (4096, 0), (1 << 20, 3 << 20)] {
            expected.extend(b"head");
            expected.extend(&all[position..position + len]);
        }
        let reader = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            let mut back = vec![0; expected.len()];
            client.read_exact(&mut back).unwrap();
            assert!(back == expected);
            let mut rest = Vec::new();
            client.read_to_end(&mut rest).unwrap();
            assert_eq!(rest, b"");
        });
        for (position, len) in [(0, 6 << 20), (5, 1), (4096, 0), (1 << 20, 3 << 20)] {
            sys.send(&connection, vec![bytes::Bytes::from_static(b"head")]).await.unwrap();
            sys.send_file(&connection, &file, FilePosition(position), len).await.unwrap();
            // The next one has to come from the device.
            sys.sync_data(&file).await.unwrap();
            // SAFETY: a plain call on an open descriptor.
            unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        }
        let beyond = sys.send_file(&connection, &file, FilePosition(6 << 20), 1).await;
        assert_eq!(beyond.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
        drop(connection);
        reader.join().unwrap();
    });
}

#[test]
fn a_peer_that_resets_ends_receives_and_sends() {
    on_shard(|sys| async move {
        for (buffer, missing) in [(BytesMut::new(), 0), (BytesMut::with_capacity(1 << 20), 1 << 20)] {
            let (connection, client) = pair(&sys).await;
            // What is unread when a socket is closed makes the close a reset.
            sys.send(&connection, vec![bytes::Bytes::from_static(b"unread")]).await.unwrap();
            sys.sleep_until(sys.now().plus_ms(5)).await;
            drop(client);
            let (result, _) = sys.receive(&connection, buffer, missing).await;
            assert_eq!(result.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
            let sent = sys.send(&connection, vec![bytes::Bytes::from(pattern(1 << 20, 1))]).await;
            assert!(sent.is_err());
        }
    });
}

#[test]
fn a_disconnect_ends_what_waits_and_the_peer_sees_the_end() {
    on_shard(|sys| async move {
        let (connection, mut client) = pair(&sys).await;
        let (other, ended) = (connection.clone(), std::rc::Rc::new(std::cell::Cell::new(0)));
        for missing in [0, 1 << 20] {
            let (connection, mut client) = pair(&sys).await;
            let waiting = sys.receive(&connection, BytesMut::with_capacity(missing), missing);
            let (cut, ended) = (sys.clone(), ended.clone());
            sys.spawn("receiver", async move {
                let (result, _) = waiting.await;
                assert_eq!(result.unwrap_err().kind(), std::io::ErrorKind::NotConnected);
                ended.set(ended.get() + 1);
            });
            cut.sleep_until(cut.now().plus_ms(5)).await;
            cut.disconnect(&connection);
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
        }
        let sending = sys.send(&other, vec![bytes::Bytes::from(vec![0; 64 << 20])]);
        let counted = ended.clone();
        sys.spawn("sender", async move {
            assert!(sending.await.is_err());
            counted.set(counted.get() + 1);
        });
        sys.sleep_until(sys.now().plus_ms(20)).await;
        sys.disconnect(&connection);
        let end = sys.now().plus_ms(5_000);
        while ended.get() < 3 {
            assert!(sys.now() < end, "something still waits");
            sys.sleep_until(sys.now().plus_ms(1)).await;
        }
        while client.read(&mut vec![0; 1 << 20]).unwrap() > 0 {}
        let (result, _) = sys.receive(&connection, BytesMut::new(), 0).await;
        assert_eq!(result.unwrap_err().kind(), std::io::ErrorKind::NotConnected);
    });
}

/// Polls a future once and drops it.
async fn poll_once_and_drop<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

#[test]
fn dropped_receives_lose_no_byte_and_no_memory() {
    on_shard(|sys| async move {
        let (connection, mut client) = pair(&sys).await;
        let all = pattern(4 << 20, 11);
        let sent = all.clone();
        let writer = thread::spawn(move || {
            for piece in sent.chunks(60_000) {
                client.write_all(piece).unwrap();
                thread::sleep(Duration::from_micros(200));
            }
        });
        let mut back = Vec::<u8>::new();
        let mut dropped = 0;
        let mut step = 0;
        while back.len() < all.len() {
            step += 1;
            let missing = if step % 2 == 0 { 0 } else { 40_000 };
            let receive = |spare| sys.receive(&connection, BytesMut::with_capacity(spare), missing);
            if step % 3 == 0 {
                let dropped_one = poll_once_and_drop(receive(40_000)).await;
                if let Some((result, buffer)) = dropped_one {
                    back.extend(&buffer[..result.unwrap()]);
                } else {
                    dropped += 1;
                    if step % 6 == 0 {
                        // Sometimes the kernel has it, sometimes it was not even submitted.
                        sys.breathe().await;
                    }
                }
                continue;
            }
            let (result, buffer) = receive(40_000).await;
            assert_eq!(result.unwrap(), buffer.len());
            back.extend(&buffer);
        }
        assert!(back == all, "bytes were lost or came twice");
        assert!(dropped > 5, "only {dropped} receives were dropped");
        writer.join().unwrap();
    });
}

#[test]
fn a_dropped_accept_leaves_the_connection_to_the_next_or_closes_it() {
    on_shard(|sys| async move {
        let listener = sys.listen(LOOPBACK.parse().unwrap()).unwrap();
        for _ in 0..10 {
            assert!(poll_once_and_drop(sys.accept(&listener)).await.is_none());
            sys.breathe().await;
        }
        let _client = TcpStream::connect(sys.local_address(&listener)).unwrap();
        sys.accept(&listener).await.unwrap();
    });
}

#[test]
fn more_small_receives_than_shared_buffers() {
    on_shard(|sys| async move {
        let mut pairs = Vec::new();
        for _ in 0..300 {
            pairs.push(pair(&sys).await);
        }
        // All at once, so that the buffers run out within one look at the ring.
        for (i, (_, client)) in pairs.iter_mut().enumerate() {
            client.write_all(&pattern(20_000, i as u64)).unwrap();
        }
        let done = std::rc::Rc::new(std::cell::Cell::new(0));
        for (i, (connection, _)) in pairs.iter().enumerate() {
            let (sys, connection, done) = (sys.clone(), connection.clone(), done.clone());
            sys.clone().spawn("receiver", async move {
                let mut buffer = BytesMut::new();
                while buffer.len() < 20_000 {
                    let (result, back) = sys.receive(&connection, buffer, 0).await;
                    assert!(result.unwrap() > 0);
                    buffer = back;
                }
                assert!(buffer == pattern(20_000, i as u64));
                done.set(done.get() + 1);
            });
        }
        let end = sys.now().plus_ms(10_000);
        while done.get() < 300 {
            assert!(sys.now() < end, "{} of 300 have received", done.get());
            sys.sleep_until(sys.now().plus_ms(1)).await;
        }
    });
}
