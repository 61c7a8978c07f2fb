//! The broker, unchanged, in the simulation, and the connections of clients that do what they like.

use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use corelane_core::base::ShardId;
use corelane_core::config::{BrokerConfig, LogLevel, LogLevels, Setting};
use corelane_core::limits::{ANSWER_MEMORY_BYTES_MAX, REQUEST_MEMORY_BYTES_MAX};
use corelane_core::protocol::messages::RequestHeader;
use corelane_core::protocol::wire::{KafkaString, Writer};
use corelane_core::protocol::{Message, Request};
use corelane_server::logging::Logging;
use corelane_server::node;
use corelane_server::settings::Settings;
use corelane_server::sys::Sys;
use corelane_simulation::client::Link;
use corelane_simulation::machine::{Ended, Simulation};
use corelane_simulation::network::{End, Network};

/// Virtual time that a story may take.
const LIMIT_MS: u64 = 600 * 1000;
/// How often the broker looks whether it is to stop.
const LOOK_MS: u64 = 5;

/// Runs a broker for the time of a story and stops it cleanly behind it.
///
/// # Panics
/// If a task of the broker or the story panics, if the broker does not stop, or if either gets stuck.
pub fn with_broker<F: Future<Output = ()> + 'static>(seed: u64, shards: u16, story: impl FnOnce(Clients) -> F) {
    with_broker_of(seed, shards, ANSWER_MEMORY_BYTES_MAX, story);
}

/// The same, with so much memory for what answers to fetches hold.
///
/// # Panics
/// As [`with_broker`].
pub fn with_broker_of<F: Future<Output = ()> + 'static>(
    seed: u64,
    shards: u16,
    answer_memory_bytes_max: usize,
    story: impl FnOnce(Clients) -> F,
) {
    let simulation = Simulation::new(seed);
    let machine = simulation.machine("node");
    machine.make_directory("/data");
    let address = SocketAddr::from(([127, 0, 0, 1], 9092));
    let settings = Arc::new(Settings { answer_memory_bytes_max, ..settings(address) });
    let stopping = Rc::new(Cell::new(false));
    let stop_asked = Rc::clone(&stopping);
    let process = machine.start(shards, move |sys| {
        let (settings, stopping) = (Arc::clone(&settings), Rc::clone(&stop_asked));
        async move {
            let leads = sys.shard() == ShardId(0);
            let clock = sys.clone();
            let stop = async move {
                while !stopping.get() {
                    clock.sleep_until(clock.now().plus_ms(LOOK_MS)).await;
                }
            };
            let ended = node::run(sys, settings, stop, |_ready| {}).await;
            assert!(!leads || ended.is_ok(), "the node ended: {ended:?}");
        }
    });
    let story = story(Clients { network: simulation.network.clone(), address });
    let told = simulation.run(LIMIT_MS, async move {
        story.await;
        stopping.set(true);
        assert_eq!(process.ended().await, Ended::Clean);
    });
    if let Err(stuck) = told {
        panic!("seed {seed}, {shards} shards: {stuck:?}");
    }
}

fn settings(address: SocketAddr) -> Settings {
    let listeners = Setting::built_in("listeners", &format!("PLAINTEXT://{address}"));
    let (config, _notices) = BrokerConfig::from_settings(&[listeners]).expect("is a configuration");
    Settings {
        config,
        data_directory: PathBuf::from("/data/corelane"),
        addresses: vec![vec![address]],
        request_memory_bytes_max: REQUEST_MEMORY_BYTES_MAX,
        answer_memory_bytes_max: ANSWER_MEMORY_BYTES_MAX,
        log: Arc::new(Logging::new(LogLevels::new(LogLevel::Warn, []), |_| {})),
        boot_id: "boot".into(),
    }
}

/// Where clients come from.
#[derive(Clone)]
pub struct Clients {
    network: Network,
    address: SocketAddr,
}

impl Clients {
    /// A client that keeps to the protocol.
    pub async fn honest(&self) -> Link {
        Link::connect(&self.network, self.address).await
    }

    /// A connection for any bytes.
    pub async fn raw(&self) -> Raw {
        loop {
            match self.network.connect(self.address) {
                Ok(end) => return Raw { clients: self.clone(), end },
                Err(_nobody_yet) => self.sleep_ms(LOOK_MS).await,
            }
        }
    }

    /// Lets virtual time pass.
    pub async fn sleep_ms(&self, ms: u64) {
        self.network.executor().sleep_ms(ms).await;
    }

    /// What `future` comes to if it does so in time.
    pub async fn within_ms<T>(&self, ms: u64, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        let mut late = pin!(self.network.executor().sleep_ms(ms));
        std::future::poll_fn(|context| {
            if let Poll::Ready(value) = future.as_mut().poll(context) {
                return Poll::Ready(Some(value));
            }
            late.as_mut().poll(context).map(|()| None)
        })
        .await
    }

    /// Runs a task beside the story.
    pub fn spawn(&self, name: &str, task: impl Future<Output = ()> + 'static) {
        self.network.executor().spawn_client(name, task);
    }
}

/// A connection for any bytes; closed when it is dropped.
pub struct Raw {
    clients: Clients,
    end: End,
}

impl Raw {
    /// Sends bytes as they are; waits for room in the socket buffers. False if the connection is gone.
    pub async fn send(&self, bytes: impl Into<Bytes>) -> bool {
        self.clients.network.send(self.end.clone(), vec![bytes.into()]).await.is_ok()
    }

    /// Receives until the broker closes the connection.
    ///
    /// # Panics
    /// If it has not within `ms`.
    pub async fn received_until_closed(&self, ms: u64) -> Vec<u8> {
        let mut all = Vec::new();
        let closed = self.clients.within_ms(ms, async {
            while let Some(bytes) = self.receive().await {
                all.extend_from_slice(&bytes);
            }
        });
        let closed = closed.await.is_some();
        assert!(closed, "the connection is still open after {ms} ms");
        all
    }

    /// Some bytes, at least one; `None` when the connection has ended.
    pub async fn receive(&self) -> Option<Bytes> {
        let (received, bytes) = self.clients.network.receive(self.end.clone(), BytesMut::new(), 0).await;
        received.is_ok_and(|count| count > 0).then(|| bytes.freeze())
    }

    /// Ends the connection without a word.
    pub fn reset(&self) {
        self.clients.network.reset(&self.end);
    }

    /// Sends no more, but receives on.
    pub fn finish_sending(&self) {
        self.clients.network.finish_sending(&self.end);
    }
}

/// A whole request, length in front, for a raw connection.
///
/// # Panics
/// If the version cannot carry it.
pub fn frame<R: Request>(version: i16, correlation_id: i32, request: &R) -> Vec<u8> {
    let mut body = Writer::new();
    request.encode(&mut body, version).expect("the version carries the request");
    frame_of(R::API as i16, version, correlation_id, R::API.request_header_version(version), &body.into_bytes())
}

/// A frame with any header and any body.
///
/// # Panics
/// If the body is too large for a frame.
#[must_use]
pub fn frame_of(key: i16, version: i16, correlation_id: i32, header_version: i16, body: &[u8]) -> Vec<u8> {
    let header = RequestHeader {
        request_api_key: key,
        request_api_version: version,
        correlation_id,
        client_id: Some(KafkaString::from_static("hostile")),
    };
    let mut writer = Writer::new();
    header.encode(&mut writer, header_version).expect("is a header");
    let header = writer.into_bytes();
    let size = i32::try_from(header.len() + body.len()).expect("fits in a frame");
    [&size.to_be_bytes(), &header[..], body].concat()
}
