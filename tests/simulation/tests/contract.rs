//! The simulated world keeps the contract of `Sys`, which the real one keeps too: each test is a sentence of it.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use corelane_core::base::{FilePosition, ShardId};
use corelane_core::limits::{EXACT_RECEIVE_BYTES_MIN, MAILBOX_MESSAGES_MAX};
use corelane_server::hop::Mail;
use corelane_server::sys::{OpenMode, Sys};
use corelane_simulation::machine::{Ended, Simulation};
use corelane_simulation::network::End;
use corelane_simulation::sys::SimulatedSys;

const SEEDS: u64 = 20;

fn address() -> SocketAddr {
    "127.0.0.1:9092".parse().expect("is one")
}

/// Runs `shard` on each shard of a process until all have ended, for several seeds.
fn on_shards<F: Future<Output = ()> + 'static>(shards: u16, shard: impl Fn(SimulatedSys) -> F) {
    for seed in 0..SEEDS {
        let simulation = Simulation::new(seed);
        let machine = simulation.machine("node");
        machine.make_directory("/data");
        let process = machine.start(shards, &shard);
        let ended = simulation.run(60_000, async move { process.ended().await });
        assert_eq!(ended.expect("ends"), Ended::Clean, "seed {seed}");
    }
}

/// A shard that accepts one connection, and a client that opened it, until both have ended.
fn on_connection<S, C>(shard: impl Fn(SimulatedSys, End) -> S + Clone + 'static, client: impl Fn(Simulated, End) -> C)
where
    S: Future<Output = ()> + 'static,
    C: Future<Output = ()> + 'static,
{
    for seed in 0..SEEDS {
        let simulation = Simulation::new(seed);
        let machine = simulation.machine("node");
        let shard = shard.clone();
        let process = machine.start(1, move |sys| {
            let shard = shard.clone();
            async move {
                let listener = sys.listen(address()).expect("listens");
                let (socket, _peer) = sys.accept(&listener).await.expect("accepts");
                let connection = sys.adopt(socket).expect("adopts");
                shard(sys, connection).await;
            }
        });
        let network = simulation.network.clone();
        simulation.run(10, simulation.executor.sleep_ms(1)).expect("listens meanwhile");
        let end = network.connect(address()).expect("somebody listens");
        let client = client(Simulated(network), end);
        let ended = simulation.run(60_000, async move {
            client.await;
            process.ended().await
        });
        assert_eq!(ended.expect("ends"), Ended::Clean, "seed {seed}");
    }
}

/// The client's side of the network.
struct Simulated(corelane_simulation::network::Network);

fn numbered(len: usize) -> Bytes {
    (0..len).map(|at| u8::try_from(at % 251).expect("is small")).collect::<Vec<_>>().into()
}

#[test]
fn what_is_sent_arrives_in_order_and_its_end_is_a_zero() {
    const LEN: usize = 600_000; // More than a connection holds on its way.
    on_connection(
        |sys, connection| async move {
            let mut buffer = BytesMut::new();
            loop {
                let before = buffer.len();
                let (received, filled) = sys.receive(&connection, buffer, 0).await;
                buffer = filled;
                let count = received.expect("receives");
                assert_eq!(buffer.len(), before + count, "bytes are appended");
                if count == 0 {
                    break;
                }
            }
            assert_eq!(buffer, numbered(LEN));
        },
        |client, end| async move {
            let bytes = numbered(LEN);
            let slices = vec![bytes.slice(..7), Bytes::new(), bytes.slice(7..)];
            client.0.send(end.clone(), slices).await.expect("sends all");
        },
    );
}

#[test]
fn an_exact_receive_never_goes_beyond_the_frame() {
    const MISSING: usize = EXACT_RECEIVE_BYTES_MIN + 5;
    on_connection(
        |sys, connection| async move {
            let mut frame = BytesMut::with_capacity(MISSING);
            while frame.len() < MISSING {
                let missing = MISSING - frame.len();
                let (received, filled) = sys.receive(&connection, frame, missing).await;
                frame = filled;
                assert!(received.expect("receives") > 0);
                assert!(missing < EXACT_RECEIVE_BYTES_MIN || frame.len() <= MISSING);
            }
        },
        |client, end| async move {
            client.0.send(end.clone(), vec![numbered(MISSING * 2)]).await.expect("sends all");
        },
    );
}

#[test]
fn disconnecting_fails_what_is_pending_and_the_peer_gets_what_was_sent() {
    on_connection(
        |sys, connection| async move {
            sys.send(&connection, vec![Bytes::from_static(b"farewell")]).await.expect("sends");
            let failed = Rc::new(RefCell::new(false));
            let pending = sys.receive(&connection, BytesMut::new(), 0);
            let seen = Rc::clone(&failed);
            sys.spawn("receives", async move { *seen.borrow_mut() = pending.await.0.is_err() });
            sys.sleep_until(sys.now().plus_ms(5)).await;
            sys.disconnect(&connection);
            sys.sleep_until(sys.now().plus_ms(5)).await;
            assert!(*failed.borrow(), "the receive is over");
            assert!(sys.send(&connection, vec![Bytes::from_static(b"late")]).await.is_err());
        },
        |client, end| async move {
            let mut buffer = BytesMut::new();
            loop {
                let (received, filled) = client.0.receive(end.clone(), buffer, 0).await;
                buffer = filled;
                if received.expect("the end is no error") == 0 {
                    break;
                }
            }
            assert_eq!(buffer, &b"farewell"[..]);
        },
    );
}

#[test]
fn a_connection_is_released_between_operations_and_outlives_who_released_it() {
    on_connection(
        |sys, connection| async move {
            let first = sys.receive(&connection, BytesMut::with_capacity(4), 4);
            let mut first = Box::pin(first);
            let begun = poll_fn(|context| Poll::Ready(first.as_mut().poll(context))).await;
            if begun.is_pending() {
                assert!(sys.release(&connection).is_none(), "a receive is in progress");
                first.await.0.expect("receives");
            }
            let socket = sys.release(&connection).expect("nothing is in progress");
            drop(connection);
            sys.sleep_until(sys.now().plus_ms(5)).await;
            let connection = sys.adopt(socket).expect("adopts");
            sys.send(&connection, vec![Bytes::from_static(b"there")]).await.expect("is connected");
        },
        |client, end| async move {
            client.0.send(end.clone(), vec![Bytes::from_static(b"x")]).await.expect("sends");
            let mut buffer = BytesMut::new();
            while buffer.len() < 5 {
                let (received, filled) = client.0.receive(end.clone(), buffer, 0).await;
                buffer = filled;
                assert!(received.expect("receives") > 0, "not ended before it has all");
            }
            assert_eq!(buffer, &b"there"[..]);
        },
    );
}

#[test]
fn mail_keeps_its_order_and_its_bound() {
    on_shards(2, |sys| async move {
        let other = ShardId(1 - sys.shard().0);
        if sys.shard() == ShardId(1) {
            // Read late, so that the ring fills.
            sys.sleep_until(sys.now().plus_ms(20)).await;
            for connections in 0..=MAILBOX_MESSAGES_MAX {
                let (from, mail) = sys.mail().await;
                assert_eq!(from, other);
                let Mail::Exit = mail else { panic!("message {connections} is another one") };
            }
            return;
        }
        for _ in 0..MAILBOX_MESSAGES_MAX {
            assert!(sys.post(other, Mail::Exit).is_ok());
        }
        assert_eq!(sys.room(other), 0);
        assert!(sys.post(other, Mail::Exit).is_err(), "a full ring gives the mail back");
        sys.room_freed(other).await;
        assert!(sys.post(other, Mail::Exit).is_ok());
        // The process lives until the other shard has read everything.
    });
}

#[test]
fn files_are_opened_locked_and_written_as_the_modes_say() {
    on_shards(1, |sys| async move {
        let open = |name: &str, mode| sys.open(format!("/data/{name}").into(), mode);
        let kind =
            |result: io::Result<_>| result.map(|_: corelane_simulation::sys::SimulatedFile| ()).map_err(|e| e.kind());
        assert_eq!(kind(open("a", OpenMode::Read).await), Err(io::ErrorKind::NotFound));
        assert_eq!(kind(open("a", OpenMode::Write).await), Err(io::ErrorKind::NotFound));
        let file = open("a", OpenMode::CreateNew).await.expect("is new");
        assert_eq!(kind(open("a", OpenMode::CreateNew).await), Err(io::ErrorKind::AlreadyExists));
        sys.write_at(&file, FilePosition(2), vec![Bytes::from_static(b"x"), Bytes::from_static(b"yz")])
            .await
            .expect("ok");
        assert_eq!(sys.read_at(&file, FilePosition(0), 100).await.expect("reads"), &b"\0\0xyz"[..]);
        assert_eq!(sys.len(&file).expect("has one"), 5);
        let reader = open("a", OpenMode::Read).await.expect("is there");
        assert!(sys.write_at(&reader, FilePosition(0), vec![Bytes::from_static(b"no")]).await.is_err());

        let lock = sys.lock("/data/.lock".into()).await.expect("is free");
        let held = lock.clone();
        drop(lock);
        assert_eq!(kind(sys.lock("/data/.lock".into()).await), Err(io::ErrorKind::WouldBlock));
        drop(held);
        assert_eq!(kind(sys.lock("/data/.lock".into()).await), Ok(()));

        sys.replace_file("/data/a".as_ref(), Bytes::from_static(b"new")).await.expect("replaces");
        assert_eq!(sys.read_file("/data/a".into()).await.expect("reads").expect("is there"), &b"new"[..]);
        assert_eq!(sys.read_file("/data/b".into()).await.expect("reads"), None);
        assert_eq!(sys.list("/data".into()).await.expect("lists").iter().filter(|entry| entry.name == "a").count(), 1);
        assert!(sys.remove_directory("/data".into()).await.is_err(), "is not empty");
    });
}

#[test]
fn an_abandoned_write_finishes_and_time_passes_as_asked() {
    on_shards(1, |sys| async move {
        let file = sys.open("/data/a".into(), OpenMode::Create).await.expect("opens");
        sys.write_at(&file, FilePosition(0), vec![Bytes::from_static(b"first")]).await.expect("writes");
        let truncating = Box::pin(sys.truncate(&file, 2));
        poll_once(truncating).await;
        let due = sys.now().plus_ms(50);
        sys.sleep_until(due).await;
        assert_eq!(sys.now(), due, "the clock goes from event to event");
        assert_eq!(sys.len(&file).expect("has one"), 2, "begun is done, though nobody waited");
    });
}

/// Begins an operation and drops it.
async fn poll_once(mut future: std::pin::Pin<Box<impl Future>>) {
    std::future::poll_fn(|context| {
        let _abandoned = future.as_mut().poll(context);
        std::task::Poll::Ready(())
    })
    .await;
}
