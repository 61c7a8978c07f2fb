//! What a command can fail with, worded for the person at the terminal: what is wrong, and how to mend it.

use std::fmt;
use std::io;

use corelane_core::client::{ConnectionError, ErrorCode, RequestError};

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Whoever read the output has gone; no failure of ours.
    OutputClosed,
    /// Anything else.
    Because {
        /// What is wrong.
        what: String,
        /// How to mend it, if that can be said.
        remedy: Option<String>,
    },
}

impl Failure {
    /// A failure that needs no more than to be named.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self::Because { what: what.into(), remedy: None }
    }

    /// The same with advice.
    pub(crate) fn remedy(self, remedy: impl Into<String>) -> Self {
        match self {
            Self::OutputClosed => self,
            Self::Because { what, .. } => Self::Because { what, remedy: Some(remedy.into()) },
        }
    }

    /// The same, with what was being done in front.
    pub(crate) fn during(self, doing: &str) -> Self {
        match self {
            Self::OutputClosed => self,
            Self::Because { what, remedy } => Self::Because { what: format!("{doing}: {what}"), remedy },
        }
    }

    /// What a broker says about a topic.
    pub(crate) fn of_topic(topic: &str, code: ErrorCode, message: &str) -> Self {
        let text = if message.is_empty() { code.message() } else { message };
        let failure = Self::new(format!("topic {topic}: {text} ({})", code.name()));
        match code {
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => failure.remedy(format!(
                "Create it with `corelane topics create {topic}`, or see what there is with `corelane topics list`."
            )),
            ErrorCode::TOPIC_ALREADY_EXISTS => failure.remedy("With --if-not-exists this is no error."),
            ErrorCode::INVALID_REPLICATION_FACTOR => {
                failure.remedy("A cluster of one broker can keep one replica: leave --replication-factor out.")
            }
            _ => failure,
        }
    }
}

/// The first of several failures; the others are told at once.
pub(crate) fn first_of(failures: Vec<Failure>) -> Result<(), Failure> {
    let mut failures = failures.into_iter();
    let Some(first) = failures.next() else { return Ok(()) };
    for failure in failures {
        crate::output::note(format!("corelane: {failure}"));
    }
    Err(first)
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutputClosed => f.write_str("the output is closed"),
            Self::Because { what, remedy: None } => f.write_str(what),
            Self::Because { what, remedy: Some(remedy) } => write!(f, "{what}\n{remedy}"),
        }
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        let unreachable = match &error {
            RequestError::Connection { address, error: ConnectionError::Unreachable(_) } => Some(address.clone()),
            _ => None,
        };
        let failure = Self::new(error.to_string());
        match unreachable {
            Some(address) => failure.remedy(format!(
                "Is a broker running at {address}? Start one with `corelane start`, or name another with \
                 --bootstrap-server host:port."
            )),
            None => failure,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::OutputClosed } else { Self::new(error.to_string()) }
    }
}
