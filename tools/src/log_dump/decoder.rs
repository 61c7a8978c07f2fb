//! What the records of internal logs say.

use bytes::Bytes;
use corelane_core::group::decode_log_record;
use corelane_core::metadata::{ControlRecord, decode_record};
use corelane_core::protocol::records::{TransactionLogKey, TransactionLogValue};
use corelane_core::protocol::wire::{DecodeError, Reader};
use corelane_core::protocol::{Message, Record as _};
use corelane_core::record::{ControlType, EndMarker, Record};
use corelane_core::transaction::TransactionState;

/// How keys and values are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decoder {
    /// As text.
    Text,
    /// As records of the metadata log.
    Metadata,
    /// As records of `__consumer_offsets`.
    Offsets,
    /// As records of `__transaction_state`.
    Transactions,
}

impl Decoder {
    /// What a record says, or what is wrong with it.
    pub(super) fn explain(self, record: &Record<'_>) -> Result<String, String> {
        let copied = |bytes: Option<&[u8]>| bytes.map(Bytes::copy_from_slice);
        match self {
            Self::Text => {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let key = record.key.map(|key| format!("key: {} ", text(key))).unwrap_or_default();
                Ok(format!("{key}payload: {}", record.value.map(text).unwrap_or_default()))
            }
            Self::Metadata => {
                let value = copied(record.value).unwrap_or_default();
                decode_record(value).map(|record| format!("payload: {record:?}")).map_err(|error| error.to_string())
            }
            Self::Offsets => decode_log_record(copied(record.key), copied(record.value))
                .map(|record| format!("payload: {record:?}"))
                .map_err(|error| error.to_string()),
            Self::Transactions => explain_transaction(copied(record.key), copied(record.value)),
        }
    }
}

/// What a record of `__transaction_state` says: a transactional id, and how it stands unless it was deleted.
fn explain_transaction(key: Option<Bytes>, value: Option<Bytes>) -> Result<String, String> {
    let named = |part: &'static str| move |error: DecodeError| format!("malformed {part}: {error}");
    let mut key = Reader::new(key.ok_or("it has no key")?);
    let kind = key.field("type").i16().map_err(named("key"))?;
    if kind != TransactionLogKey::ID {
        return Ok(format!("payload: of type {kind}, which is not known"));
    }
    let TransactionLogKey { transactional_id } = TransactionLogKey::decode(&mut key, 0).map_err(named("key"))?;
    let Some(value) = value else { return Ok(format!("key: {transactional_id} payload: deleted")) };
    let mut value = Reader::new(value);
    let version = value.field("version").i16().map_err(named("value"))?;
    let value = TransactionLogValue::decode(&mut value, version).map_err(named("value"))?;
    let state = TransactionState::of_byte(value.transaction_status).map(TransactionState::name);
    Ok(format!("key: {transactional_id} payload: {} {value:?}", state.unwrap_or("in an unknown state")))
}

/// What a record of a control batch says; `payload` is that of its batch.
pub(super) fn explain_control(record: &Record<'_>, payload: &[u8]) -> Result<String, String> {
    let (key, value) = (record.key.unwrap_or_default(), record.value.unwrap_or_default());
    match ControlType::of_key(key) {
        Some(kind @ (ControlType::Abort | ControlType::Commit)) => match EndMarker::parse(payload) {
            Some(marker) => {
                let epoch = marker.coordinator_epoch;
                let kind = if kind == ControlType::Commit { "COMMIT" } else { "ABORT" };
                Ok(format!("endTxnMarker: {kind} coordinatorEpoch: {epoch}"))
            }
            None => Err("its end marker of a transaction is malformed".to_owned()),
        },
        Some(kind) => match ControlRecord::decode(key, value) {
            Ok(record) => Ok(format!("{kind:?}: {record:?}")),
            Err(error) => Err(error.to_string()),
        },
        None => Err("its key names no control record".to_owned()),
    }
}
