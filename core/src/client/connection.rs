//! One connection to a broker: requests in, bytes out; bytes in, answers out.
//!
//! Versions are agreed on first (ApiVersions); requests that come before that wait. A broker that does not know our
//! version of ApiVersions answers in version 0 with the versions that it has, and is asked again in one of those.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::RangeInclusive;

use bytes::{Bytes, BytesMut};

use super::error::check;
use super::request::{RequestId, Target};
use crate::base::Monotonic;
use crate::limits::CLIENT_FRAME_BYTES_MAX;
use crate::protocol::messages::api_versions_response::FinalizedFeatureKey;
use crate::protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, RequestHeader, ResponseHeader};
use crate::protocol::wire::{DecodeError, EncodeError, Frame, FrameError, KafkaString, Reader, Writer, next_frame};
use crate::protocol::{ApiKey, ErrorCode, Message, Request};

/// A request of any kind, with what is needed to send it once versions are known.
pub(super) trait AnyRequest {
    fn api(&self) -> ApiKey;
    fn write(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError>;
}

impl<R: Request> AnyRequest for R {
    fn api(&self) -> ApiKey {
        R::API
    }
    fn write(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(writer, version)
    }
}

/// A request on its way to a connection.
pub(super) struct Outgoing {
    pub(super) id: RequestId,
    pub(super) target: Target,
    pub(super) request: Box<dyn AnyRequest + Send>,
    /// No version above this, whatever the broker has.
    pub(super) version_max: i16,
    /// The broker sends an answer; it does not to a produce with acks=0.
    pub(super) is_answered: bool,
    /// Given up when not answered by then.
    pub(super) deadline: Monotonic,
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").field("id", &self.id).field("api", &self.request.api()).finish_non_exhaustive()
    }
}

/// The body of an answer, not yet decoded.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Version in which it was asked and answered.
    pub version: i16,
    body: Bytes,
}

impl Answer {
    /// What stands for the answer to a request that has none.
    pub(super) fn none() -> Self {
        Self { version: 0, body: Bytes::new() }
    }

    /// The answer to a request of type `R`.
    ///
    /// # Errors
    /// The bytes are not such an answer.
    pub fn decode<R: Request>(&self) -> Result<R::Response, DecodeError> {
        let mut reader = Reader::new(self.body.clone());
        let response = R::Response::decode(&mut reader, self.version)?;
        reader.finish()?;
        Ok(response)
    }
}

/// Why a connection cannot be used any longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionError {
    /// The bytes are not frames.
    Frame(FrameError),
    /// An answer could not be decoded.
    Decode(DecodeError),
    /// An answer came that nobody waits for, or out of order.
    Unexpected {
        /// Correlation id in the answer.
        correlation_id: i32,
    },
    /// The broker refuses to say which versions it has.
    Versions(ErrorCode),
    /// It could not be made; the system's words.
    Unreachable(String),
    /// It was lost; the system's words.
    Closed(String),
    /// An answer did not come in time.
    TimedOut,
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(error) => write!(f, "the peer does not speak Kafka's protocol ({error})"),
            Self::Decode(error) => write!(f, "an answer is malformed ({error})"),
            Self::Unexpected { correlation_id } => {
                write!(f, "an answer came that was not asked for ({correlation_id})")
            }
            Self::Versions(error) => write!(f, "the broker does not say which versions it serves: {error}"),
            Self::Unreachable(reason) | Self::Closed(reason) => f.write_str(reason),
            Self::TimedOut => f.write_str("no answer in time"),
        }
    }
}

impl std::error::Error for ConnectionError {}

/// What a connection has to say to its owner.
#[derive(Debug)]
pub(super) enum ConnectionEvent {
    /// A request was answered.
    Answered(RequestId, Answer),
    /// A request was handed to the transport and has no answer.
    Sent(RequestId),
    /// The broker does not serve any version of the request that we know.
    Unsupported(RequestId, ApiKey),
    /// The request cannot be written in the version that the broker serves.
    Unwritable(RequestId, EncodeError),
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    /// None for the ApiVersions request of the connection itself.
    id: Option<RequestId>,
    correlation_id: i32,
    api: ApiKey,
    version: i16,
    deadline: Monotonic,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    client_id: KafkaString,
    software_version: &'static str,

    // Sending.
    next_correlation_id: i32,
    waiting: VecDeque<Outgoing>,
    transmit: VecDeque<Bytes>,

    // Receiving.
    receive: BytesMut,
    in_flight: VecDeque<InFlight>,
    events: VecDeque<ConnectionEvent>,

    /// Versions that the broker serves, by key; none until it has said so.
    versions: Option<BTreeMap<i16, RangeInclusive<i16>>>,
    /// Levels of features that the cluster has finalized.
    features: BTreeMap<String, i16>,
}

impl Connection {
    /// A connection whose first bytes ask for the broker's versions, to be known by `deadline`.
    pub(super) fn new(client_id: KafkaString, software_version: &'static str, deadline: Monotonic) -> Self {
        let mut connection = Self {
            client_id,
            software_version,
            next_correlation_id: 0,
            waiting: VecDeque::new(),
            transmit: VecDeque::new(),
            receive: BytesMut::new(),
            in_flight: VecDeque::new(),
            events: VecDeque::new(),
            versions: None,
            features: BTreeMap::new(),
        };
        connection.ask_for_versions(*ApiVersionsRequest::VERSIONS.end(), deadline);
        connection
    }

    fn ask_for_versions(&mut self, version: i16, deadline: Monotonic) {
        let request = ApiVersionsRequest {
            client_software_name: KafkaString::from_static("corelane"),
            client_software_version: KafkaString::from_static(self.software_version),
        };
        // Its fields are two short constants, which every version can carry.
        let written = self.write(&request, None, version, true, deadline);
        debug_assert!(written.is_ok());
    }

    /// Sends `outgoing`, or keeps it until versions are known.
    pub(super) fn send(&mut self, outgoing: Outgoing) {
        self.waiting.push_back(outgoing);
        self.flush_waiting();
    }

    fn flush_waiting(&mut self) {
        if self.versions.is_none() {
            return;
        }
        while let Some(outgoing) = self.waiting.pop_front() {
            let Outgoing { id, request, version_max, is_answered, deadline, .. } = outgoing;
            let Some(version) = self.version_for(&*request, version_max) else {
                self.events.push_back(ConnectionEvent::Unsupported(id, request.api()));
                continue;
            };
            match self.write(&*request, Some(id), version, is_answered, deadline) {
                Ok(()) if is_answered => {}
                Ok(()) => self.events.push_back(ConnectionEvent::Sent(id)),
                Err(error) => self.events.push_back(ConnectionEvent::Unwritable(id, error)),
            }
        }
    }

    /// The highest version that both sides have.
    fn version_for(&self, request: &dyn AnyRequest, version_max: i16) -> Option<i16> {
        let theirs = self.versions.as_ref()?.get(&(request.api() as i16))?;
        let version = request.api().newest_stable_version().min(*theirs.end()).min(version_max);
        (version >= *request.api().versions().start() && version >= *theirs.start()).then_some(version)
    }

    fn write(
        &mut self,
        request: &dyn AnyRequest,
        id: Option<RequestId>,
        version: i16,
        is_answered: bool,
        deadline: Monotonic,
    ) -> Result<(), EncodeError> {
        let correlation_id = self.next_correlation_id;
        let api = request.api();
        let header = RequestHeader {
            request_api_key: api as i16,
            request_api_version: version,
            correlation_id,
            client_id: Some(self.client_id.clone()),
        };
        let mut writer = Writer::frame();
        header.encode(&mut writer, api.request_header_version(version))?;
        request.write(&mut writer, version)?;
        self.transmit.extend(writer.into_frame()?);
        self.next_correlation_id = (correlation_id.wrapping_add(1)) & i32::MAX;
        if is_answered {
            self.in_flight.push_back(InFlight { id, correlation_id, api, version, deadline });
        }
        Ok(())
    }

    /// Level of a feature; 0 if it is not finalized, or the broker has not said anything yet.
    pub(super) fn feature_level(&self, name: &str) -> i16 {
        self.features.get(name).copied().unwrap_or(0)
    }

    /// Takes what is to be written to the socket, in order.
    pub(super) fn poll_transmit(&mut self) -> Option<Bytes> {
        self.transmit.pop_front()
    }

    /// Takes the next event.
    pub(super) fn poll_event(&mut self) -> Option<ConnectionEvent> {
        self.events.pop_front()
    }

    /// When the connection is given up if nothing comes.
    pub(super) fn deadline(&self) -> Option<Monotonic> {
        let waiting = self.waiting.iter().map(|outgoing| outgoing.deadline);
        self.in_flight.iter().map(|request| request.deadline).chain(waiting).min()
    }

    /// Requests that were sent and not answered, and those that were not sent yet; both are lost with the connection.
    pub(super) fn into_unanswered(self) -> (Vec<RequestId>, Vec<Outgoing>) {
        (self.in_flight.into_iter().filter_map(|request| request.id).collect(), self.waiting.into())
    }

    /// Takes bytes from the socket in.
    pub(super) fn handle_bytes(&mut self, bytes: &[u8]) -> Result<(), ConnectionError> {
        self.receive.extend_from_slice(bytes);
        loop {
            match next_frame(&mut self.receive, CLIENT_FRAME_BYTES_MAX).map_err(ConnectionError::Frame)? {
                Frame::Complete(frame) => self.handle_frame(frame)?,
                // Room grows with what comes, not with what a size promises.
                Frame::Incomplete { .. } => return Ok(()),
            }
        }
    }

    fn handle_frame(&mut self, frame: Bytes) -> Result<(), ConnectionError> {
        let correlation_id = frame.first_chunk::<4>().map_or(-1, |bytes| i32::from_be_bytes(*bytes));
        // A request leaves the queue only when it has its answer: on an error it is still owed one.
        let asked = self.in_flight.front().filter(|request| request.correlation_id == correlation_id);
        let Some(&InFlight { id, api, version, deadline, .. }) = asked else {
            return Err(ConnectionError::Unexpected { correlation_id });
        };
        let Some(id) = id else {
            self.handle_versions(&frame, version, deadline)?;
            self.in_flight.pop_front();
            return Ok(());
        };
        let mut reader = Reader::new(frame.clone());
        ResponseHeader::decode(&mut reader, api.response_header_version(version)).map_err(ConnectionError::Decode)?;
        let body = frame.slice(reader.position().min(frame.len())..);
        self.in_flight.pop_front();
        self.events.push_back(ConnectionEvent::Answered(id, Answer { version, body }));
        Ok(())
    }

    /// The answer to ApiVersions always has the oldest header, because its reader cannot know the version yet.
    fn handle_versions(&mut self, frame: &Bytes, version: i16, deadline: Monotonic) -> Result<(), ConnectionError> {
        let body = frame.slice(4..);
        let decode = |version: i16| {
            let mut reader = Reader::new(body.clone());
            ApiVersionsResponse::decode(&mut reader, version)
        };
        // The error code is in the same place in every version; a refusal comes in version 0.
        let refused =
            body.first_chunk::<2>().is_some_and(|code| *code == ErrorCode::UNSUPPORTED_VERSION.0.to_be_bytes());
        let response = decode(if refused { 0 } else { version }).map_err(ConnectionError::Decode)?;
        let versions: BTreeMap<i16, RangeInclusive<i16>> =
            response.api_keys.iter().map(|api| (api.api_key, api.min_version..=api.max_version)).collect();
        if refused && version > 0 {
            let theirs = versions.get(&(ApiKey::ApiVersions as i16)).map_or(0, |range| *range.end());
            self.ask_for_versions(theirs.clamp(0, version - 1), deadline);
            return Ok(());
        }
        check(response.error_code).map_err(ConnectionError::Versions)?;
        let level = |feature: &FinalizedFeatureKey| (feature.name.to_string(), feature.max_version_level);
        self.features = response.finalized_features.iter().map(level).collect();
        self.versions = Some(versions);
        self.flush_waiting();
        Ok(())
    }
}
