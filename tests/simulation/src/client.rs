//! A client's connection, for tests: requests of any version out, answers in.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use corelane_core::protocol::messages::{RequestHeader, ResponseHeader};
use corelane_core::protocol::wire::{Frame, KafkaString, Reader, Writer, next_frame};
use corelane_core::protocol::{ApiKey, Message, Request};

use crate::network::{End, Network};

/// Longest answer that is taken.
const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Wait before a broker that is not there is tried again.
const RETRY_MS: u64 = 3;

/// The connection ended; what was not answered may or may not have been done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost;

/// An open connection with requests in flight.
pub struct Link {
    network: Network,
    end: End,
    next_correlation_id: i32,
    in_flight: VecDeque<(i32, ApiKey, i16)>,
    received: BytesMut,
}

impl Link {
    /// Connects, trying until somebody listens.
    pub async fn connect(network: &Network, address: SocketAddr) -> Self {
        loop {
            match network.connect(address) {
                Ok(end) => {
                    return Self {
                        network: network.clone(),
                        end,
                        next_correlation_id: 0,
                        in_flight: VecDeque::new(),
                        received: BytesMut::new(),
                    };
                }
                Err(_nobody) => network.executor().sleep_ms(RETRY_MS).await,
            }
        }
    }

    /// Requests that were sent and not answered.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Sends a request.
    ///
    /// # Errors
    /// The connection is gone.
    ///
    /// # Panics
    /// If the version cannot carry the request.
    pub async fn send<R: Request>(&mut self, version: i16, request: &R) -> Result<(), Lost> {
        let correlation_id = self.next_correlation_id;
        let header = RequestHeader {
            request_api_key: R::API as i16,
            request_api_version: version,
            correlation_id,
            client_id: Some(KafkaString::from_static("simulation")),
        };
        let mut writer = Writer::frame();
        header.encode(&mut writer, R::API.request_header_version(version)).expect("the header is well-formed");
        request.encode(&mut writer, version).expect("the version carries the request");
        let slices = writer.into_frame().expect("fits in a frame");
        self.next_correlation_id += 1;
        self.in_flight.push_back((correlation_id, R::API, version));
        self.network.send(self.end.clone(), slices).await.map_err(|_| Lost)
    }

    /// Sends a request that the broker does not answer: a Produce with acks=0.
    ///
    /// # Errors
    /// The connection is gone.
    ///
    /// # Panics
    /// If the version cannot carry the request.
    pub async fn send_unanswered<R: Request>(&mut self, version: i16, request: &R) -> Result<(), Lost> {
        let sent = self.send(version, request).await;
        self.in_flight.pop_back();
        sent
    }

    /// The answer to the oldest request, which must be one of type `R`.
    ///
    /// # Errors
    /// The connection is gone.
    ///
    /// # Panics
    /// If what comes is not that answer: the broker is at fault.
    pub async fn answer<R: Request>(&mut self) -> Result<R::Response, Lost> {
        let frame = self.frame().await?;
        let (correlation_id, api, version) = self.in_flight.pop_front().expect("something was asked");
        assert_eq!(api, R::API, "answers are taken in the order of the requests");
        let mut reader = Reader::new(frame);
        // The answer to ApiVersions has the oldest header, because its reader cannot know the version yet.
        let header_version = if api == ApiKey::ApiVersions { 0 } else { api.response_header_version(version) };
        let header = ResponseHeader::decode(&mut reader, header_version).expect("an answer has a header");
        assert_eq!(header.correlation_id, correlation_id, "the broker answers in order");
        let response = R::Response::decode(&mut reader, version).expect("an answer of the version that was asked");
        reader.finish().expect("nothing is behind the answer");
        Ok(response)
    }

    /// Sends a request and waits for its answer; nothing else may be in flight.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn call<R: Request>(&mut self, version: i16, request: &R) -> Result<R::Response, Lost> {
        self.send(version, request).await?;
        self.answer::<R>().await
    }

    async fn frame(&mut self) -> Result<Bytes, Lost> {
        loop {
            let missing = match next_frame(&mut self.received, FRAME_BYTES_MAX).expect("a frame of a sane length") {
                Frame::Complete(frame) => return Ok(frame),
                Frame::Incomplete { missing_bytes } => missing_bytes,
            };
            let buffer = std::mem::take(&mut self.received);
            let (received, buffer) = self.network.receive(self.end.clone(), buffer, missing).await;
            self.received = buffer;
            if !received.is_ok_and(|count| count > 0) {
                return Err(Lost);
            }
        }
    }

    /// Ends the connection without a word, as a client that dies.
    pub fn reset(&self) {
        self.network.reset(&self.end);
    }
}
