//! One question to a cluster, as a command asks it: finds out whom to ask, and asks again where the broker's error says
//! that a moment later, or somebody else, will do.
//!
//! A request whose answer was lost is not repeated: it may have acted, and a second CreateTopics would then be refused.

use super::cluster::{Client, SendOptions};
use super::connection::Answer;
use super::error::check;
use super::metadata::Address;
use super::request::{RequestError, RequestId, Target};
use crate::base::{Monotonic, NodeId};
use crate::protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use crate::protocol::{ErrorCode, KafkaString, Request};

/// Last version of FindCoordinator that asks for one coordinator; every broker since 0.10 serves it.
const FIND_ONE_VERSION_MAX: i16 = 3;

/// Who can answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Any broker.
    Any,
    /// The controller; any broker passes such requests on.
    Controller,
    /// This broker, whose address is known.
    Node(NodeId),
    /// The coordinator of this group, which is looked for first.
    Group(String),
    /// The coordinator of this transactional id, which is looked for first.
    Transaction(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// To be sent at that time.
    Due(Monotonic),
    /// The coordinator is being looked for.
    Finding(RequestId),
    /// The request is under way.
    Asked(RequestId),
}

/// One request, until it has an answer.
#[derive(Debug)]
pub struct AdminCall<R: Request> {
    request: R,
    destination: Destination,
    /// The error that the whole answer is about, if it has one.
    verdict: fn(&R::Response) -> ErrorCode,
    version_max: i16,
    /// No new attempt begins after this.
    deadline: Monotonic,
    coordinator: Option<NodeId>,
    state: State,
}

/// How a call ended: an answer, which may hold errors, or none.
pub type AdminResult<R> = Result<<R as Request>::Response, RequestError>;

impl<R: Request + Send + 'static> AdminCall<R> {
    /// A call that is due at once and begins no new attempt after `deadline`. `verdict` finds the error in an answer that
    /// may make it worth asking again.
    pub fn new(
        destination: Destination,
        request: R,
        deadline: Monotonic,
        verdict: fn(&R::Response) -> ErrorCode,
    ) -> Self {
        let state = State::Due(Monotonic::default());
        Self { request, destination, verdict, version_max: i16::MAX, deadline, coordinator: None, state }
    }

    /// The same with no version above this, for an API whose older versions say the same more simply.
    #[must_use]
    pub fn version_max(self, version_max: i16) -> Self {
        Self { version_max, ..self }
    }

    /// Sends what is due by `now`.
    pub fn advance(&mut self, now: Monotonic, client: &mut Client) {
        let State::Due(at) = self.state else { return };
        if at > now {
            return;
        }
        let target = match (&self.destination, self.coordinator) {
            (Destination::Any, _) => Target::Any,
            (Destination::Controller, _) => Target::Controller,
            (Destination::Node(node), _) => Target::Node(*node),
            (Destination::Group(_) | Destination::Transaction(_), Some(node)) => Target::Node(node),
            (Destination::Group(group), None) => {
                self.state = State::Finding(find_coordinator(now, client, group));
                return;
            }
            (Destination::Transaction(id), None) => {
                self.state = State::Finding(find_coordinator_of(now, client, TRANSACTION, id));
                return;
            }
        };
        let options = SendOptions { version_max: self.version_max, ..SendOptions::default() };
        self.state = State::Asked(client.send_with(now, target, self.request.clone(), options));
    }

    /// When [`advance`](Self::advance) is to be called if no answer comes before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Monotonic> {
        match self.state {
            State::Due(at) => Some(at),
            State::Finding(_) | State::Asked(_) => None,
        }
    }

    /// Takes an answer. Yields how the call ended, once it has.
    ///
    /// # Errors
    /// The answer belongs to somebody else.
    pub fn handle_answer(
        &mut self,
        now: Monotonic,
        client: &mut Client,
        id: RequestId,
        result: Result<Answer, RequestError>,
    ) -> Result<Option<AdminResult<R>>, Result<Answer, RequestError>> {
        match self.state {
            State::Finding(asked) if asked == id => Ok(self.handle_coordinator(now, client, result)),
            State::Asked(asked) if asked == id => Ok(self.handle_own(now, client, result)),
            _ => Err(result),
        }
    }

    fn handle_coordinator(
        &mut self,
        now: Monotonic,
        client: &mut Client,
        result: Result<Answer, RequestError>,
    ) -> Option<AdminResult<R>> {
        match learn_coordinator(client, result) {
            Ok(node) => {
                self.coordinator = Some(node);
                self.state = State::Due(now);
                None
            }
            Err(error @ RequestError::Refused { code, .. }) => self.again(now, client, code).then_some(Err(error)),
            Err(error) => Some(Err(error)),
        }
    }

    fn handle_own(
        &mut self,
        now: Monotonic,
        client: &mut Client,
        result: Result<Answer, RequestError>,
    ) -> Option<AdminResult<R>> {
        let response = match result.and_then(|answer| answer.decode::<R>().map_err(RequestError::Malformed)) {
            Ok(response) => response,
            Err(error) => return Some(Err(error)),
        };
        let code = (self.verdict)(&response);
        self.again(now, client, code).then_some(Ok(response))
    }

    /// Plans another attempt if `code` asks for one and there is time; true if the call has ended.
    fn again(&mut self, now: Monotonic, client: &Client, code: ErrorCode) -> bool {
        let passes = matches!(
            code,
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
                | ErrorCode::COORDINATOR_NOT_AVAILABLE
                | ErrorCode::NOT_COORDINATOR
                | ErrorCode::CONCURRENT_TRANSACTIONS
                | ErrorCode::NOT_CONTROLLER
                | ErrorCode::LEADER_NOT_AVAILABLE
        );
        let at = now.plus_ms(client.config().retry_backoff_ms);
        if !passes || at > self.deadline {
            return true;
        }
        if !matches!(code, ErrorCode::COORDINATOR_LOAD_IN_PROGRESS | ErrorCode::CONCURRENT_TRANSACTIONS) {
            self.coordinator = None;
        }
        self.state = State::Due(at);
        false
    }
}

/// Kinds of what is coordinated.
const GROUP: i8 = 0;
pub(super) const TRANSACTION: i8 = 1;

/// Asks any broker who coordinates a group.
pub(super) fn find_coordinator(now: Monotonic, client: &mut Client, group: &str) -> RequestId {
    find_coordinator_of(now, client, GROUP, group)
}

/// Asks any broker who coordinates something of this kind.
pub(super) fn find_coordinator_of(now: Monotonic, client: &mut Client, key_type: i8, key: &str) -> RequestId {
    let key = KafkaString::copied(key);
    let request = FindCoordinatorRequest { key, key_type, ..FindCoordinatorRequest::default() };
    let options = SendOptions { version_max: FIND_ONE_VERSION_MAX, ..SendOptions::default() };
    client.send_with(now, Target::Any, request, options)
}

/// Takes the answer to [`find_coordinator`], so that the coordinator can be asked.
pub(super) fn learn_coordinator(
    client: &mut Client,
    result: Result<Answer, RequestError>,
) -> Result<NodeId, RequestError> {
    let decode = |answer: Answer| answer.decode::<FindCoordinatorRequest>().map_err(RequestError::Malformed);
    let FindCoordinatorResponse { error_code, error_message, node_id, host, port, .. } = result.and_then(decode)?;
    let refused =
        |code| RequestError::Refused { code, message: error_message.map_or_else(String::new, |m| m.to_string()) };
    check(error_code).map_err(refused)?;
    let node = NodeId(node_id);
    let port = u16::try_from(port).map_err(|_| RequestError::UnknownNode(node))?;
    client.learn_broker(node, Address { host: host.to_string(), port });
    Ok(node)
}
