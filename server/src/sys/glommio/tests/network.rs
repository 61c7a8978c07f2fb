//! Sockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bytes::BytesMut;

use super::{cores, on_shard, received};
use crate::sys::Sys;
use crate::sys::glommio::{Connection, GlommioSys, run_shards};

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
    run_shards(&cores(1), move |sys| {
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
                        for piece in sent.chunks(1 + client as usize * 13) {
                            writer.write_all(piece).unwrap();
                            if client % 10 == 0 {
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

#[test]
fn two_families_listen_on_one_port() {
    on_shard(|sys| async move {
        let four = sys.listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = sys.local_address(&four).port();
        let six = sys.listen(SocketAddr::new("::1".parse().unwrap(), port)).unwrap();
        assert_eq!(sys.local_address(&six).port(), port);
        let again = sys.listen(SocketAddr::new("127.0.0.1".parse().unwrap(), port));
        assert_eq!(again.err().map(|error| error.kind()), Some(std::io::ErrorKind::AddrInUse));
        let _client = TcpStream::connect(("::1", port)).unwrap();
        let (_, peer) = sys.accept(&six).await.unwrap();
        assert!(peer.is_ipv6());
    });
}
