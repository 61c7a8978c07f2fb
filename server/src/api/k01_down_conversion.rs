//! Fetch 0 to 3: stored batches as the messages that old clients read.
//!
//! A wrapper takes a codec's time, so that what is large or compressed is converted on a helper thread. What is in
//! memory meanwhile is what was read, opened, and what comes of it: a few times one answer for each helper thread.

use bytes::Bytes;
use corelane_core::base::Offset;
use corelane_core::protocol::ErrorCode;
use corelane_core::record::CodecError;
use corelane_core::record::legacy::{ConversionError, Converted, Format, down};

use crate::sys::Sys;

/// Converts what was read for a client that wants `first_offset` on.
pub(super) async fn convert<S: Sys>(
    sys: &S,
    run: Bytes,
    format: Format,
    first_offset: Offset,
    bytes_max: usize,
) -> Result<Converted, ConversionError> {
    if down::is_quick(&run) {
        return down::down_convert(&run, format, first_offset, bytes_max);
    }
    sys.work(move || down::down_convert(&run, format, first_offset, bytes_max)).await
}

/// The error of the partition.
pub(super) fn error_code(error: ConversionError) -> ErrorCode {
    match error {
        ConversionError::UnknownToOldFormats => ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
        ConversionError::TooLarge | ConversionError::Codec(CodecError::TooLarge { .. }) => ErrorCode::MESSAGE_TOO_LARGE,
        ConversionError::Codec(_) | ConversionError::Record(_) => ErrorCode::CORRUPT_MESSAGE,
    }
}
