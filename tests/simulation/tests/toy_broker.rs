//! A broker of thirty lines on the simulated world: append a line, sync, acknowledge. It shows that the crash model
//! forgives no early acknowledgement, that it accuses no honest one, and that one seed is one run.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use corelane_core::base::FilePosition;
use corelane_server::sys::{OpenMode, Sys};
use corelane_simulation::disk::{Crash, Planted};
use corelane_simulation::executor::Stuck;
use corelane_simulation::machine::{Ended, Simulation};
use corelane_simulation::network::{End, Network};
use corelane_simulation::sys::SimulatedSys;

const RECORD_BYTES: usize = 600;
const RECORDS: u8 = 12;

fn address() -> SocketAddr {
    "127.0.0.1:9092".parse().expect("is one")
}

fn path() -> PathBuf {
    "/data/log".into()
}

/// When the toy acknowledges.
#[derive(Clone, Copy, PartialEq)]
enum Ack {
    AfterWrite,
    AfterSync,
}

async fn toy_broker(sys: SimulatedSys, ack: Ack) {
    let file = sys.open(path(), OpenMode::Create).await.expect("opens");
    sys.sync_directory("/data".into()).await.expect("syncs");
    let listener = sys.listen(address()).expect("listens");
    let (socket, _) = sys.accept(&listener).await.expect("accepts");
    let connection = sys.adopt(socket).expect("adopts");
    let mut position = sys.len(&file).expect("has one") / RECORD_BYTES as u64 * RECORD_BYTES as u64;
    let mut buffer = BytesMut::new();
    loop {
        let (received, filled) = sys.receive(&connection, buffer, 0).await;
        buffer = filled;
        if !received.is_ok_and(|count| count > 0) {
            return;
        }
        while buffer.len() >= RECORD_BYTES {
            let record = buffer.split_to(RECORD_BYTES).freeze();
            let ack_bytes = record.slice(..1);
            sys.write_at(&file, FilePosition(position), vec![record]).await.expect("writes");
            position += RECORD_BYTES as u64;
            if ack == Ack::AfterSync {
                sys.sync_data(&file).await.expect("syncs");
            }
            if sys.send(&connection, vec![ack_bytes]).await.is_err() {
                return;
            }
        }
    }
}

async fn toy_client(network: Network, acknowledged: Rc<RefCell<BTreeSet<u8>>>) {
    let connection = loop {
        match network.connect(address()) {
            Ok(connection) => break connection,
            Err(_) => tick(&network).await,
        }
    };
    let records: Vec<Bytes> = (1..=RECORDS).map(|number| Bytes::from(vec![number; RECORD_BYTES])).collect();
    if network.send(connection.clone(), records).await.is_err() {
        return;
    }
    read_acks(&network, connection, &acknowledged).await;
}

async fn tick(network: &Network) {
    network.executor().sleep_ms(1).await;
}

async fn read_acks(network: &Network, connection: End, acknowledged: &RefCell<BTreeSet<u8>>) {
    while acknowledged.borrow().len() < usize::from(RECORDS) {
        let (received, bytes) = network.receive(connection.clone(), BytesMut::new(), 0).await;
        if !received.is_ok_and(|count| count > 0) {
            return;
        }
        acknowledged.borrow_mut().extend(bytes);
    }
}

struct Outcome {
    points: u64,
    hash: u64,
    lost: Vec<u8>,
}

/// One run of the toy with a crash at a point of the disk, if it is reached.
fn run(seed: u64, ack: Ack, planted: Planted, crash: Option<(u64, Crash)>) -> Result<Outcome, Stuck> {
    let simulation = Simulation::new(seed);
    let machine = simulation.machine("toy");
    machine.make_directory("/data");
    machine.plant(planted);
    if let Some((point, crash)) = crash {
        machine.crash_at(point, crash);
    }
    let process = machine.start(1, move |sys| toy_broker(sys, ack));
    let acknowledged = Rc::new(RefCell::new(BTreeSet::new()));
    let (network, seen) = (simulation.network.clone(), Rc::clone(&acknowledged));
    let crashes = crash.is_some();
    simulation.run(60_000, async move {
        if crashes {
            // The client may wait for a broker that died before it listened.
            network.executor().clone().spawn_client("client", toy_client(network, seen));
            process.ended().await;
        } else {
            toy_client(network, seen).await;
            assert_eq!(process.ended().await, Ended::Clean);
        }
    })?;
    simulation.run(60_000, simulation.executor.sleep_ms(1000))?;
    let contents = machine.file(path()).unwrap_or_default();
    let holds = |number: u8| contents.chunks(RECORD_BYTES).any(|record| record == [number; RECORD_BYTES]);
    let lost = acknowledged.borrow().iter().copied().filter(|number| !holds(*number)).collect();
    Ok(Outcome { points: machine.points(), hash: simulation.executor.trace_hash().0, lost })
}

/// Crashes at each point; says at how many of them something acknowledged was lost.
fn runs_with_loss(ack: Ack, planted: Planted, crash: Crash) -> usize {
    let points = run(7, ack, Planted::Nothing, None).expect("ends").points;
    assert!(points > u64::from(RECORDS) * 2, "{points} points are too few to be the whole run");
    (0..points).filter(|point| !run(7, ack, planted, Some((*point, crash))).expect("ends").lost.is_empty()).count()
}

#[test]
fn an_honest_broker_is_not_accused() {
    assert_eq!(runs_with_loss(Ack::AfterWrite, Planted::Nothing, Crash::Kill), 0);
    assert_eq!(runs_with_loss(Ack::AfterSync, Planted::Nothing, Crash::Kill), 0);
    assert_eq!(runs_with_loss(Ack::AfterSync, Planted::Nothing, Crash::PowerLoss), 0);
}

#[test]
fn an_early_acknowledgement_is_found() {
    assert!(runs_with_loss(Ack::AfterWrite, Planted::Nothing, Crash::PowerLoss) > 0);
    assert!(runs_with_loss(Ack::AfterSync, Planted::SyncDoesNothing, Crash::PowerLoss) > 0);
    assert!(runs_with_loss(Ack::AfterWrite, Planted::WriteStaysInProcess, Crash::Kill) > 0);
}

#[test]
fn one_seed_is_one_run_and_another_is_another() {
    let hash = |seed| run(seed, Ack::AfterSync, Planted::Nothing, None).expect("ends").hash;
    assert_eq!(hash(1), hash(1));
    assert_ne!(hash(1), hash(2));
}

#[test]
fn a_deadlock_names_who_waits() {
    let simulation = Simulation::new(1);
    simulation.executor.spawn_client("the one that waits", std::future::pending());
    let stuck = simulation.run(1000, std::future::pending::<()>()).expect_err("nothing can happen");
    assert!(stuck.reason.contains("deadlock"), "{stuck:?}");
    assert!(stuck.waiting.iter().any(|name| name.contains("the one that waits")), "{stuck:?}");
}
