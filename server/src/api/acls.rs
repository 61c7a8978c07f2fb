//! What is said of access control lists by a broker that has no authorizer: every operation is allowed to everybody.

use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::wire::KafkaString;

/// Kafka's words to who would change something.
pub(super) const NOTHING_TO_CHANGE: &str = "No Authorizer is configured.";
/// Kafka's words to who asks.
pub(super) const NOTHING_TO_TELL: &str = "No Authorizer is configured on the broker";

/// Error and message. MirrorMaker leaves access control alone when it hears that.
pub(super) fn refusal(message: &'static str) -> (i16, Option<KafkaString>) {
    (ErrorCode::SECURITY_DISABLED.0, Some(KafkaString::from_static(message)))
}
