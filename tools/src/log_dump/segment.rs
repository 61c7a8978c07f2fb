//! Batches of a segment or of a snapshot of the metadata log, in the lines of kafka-dump-log.sh.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;
use corelane_core::base::Offset;
use corelane_core::limits::DECOMPRESSED_BATCH_BYTES_MAX;
use corelane_core::record::header::{HEADER_BYTES, LENGTH_PREFIX_BYTES};
use corelane_core::record::{Batch, BatchHeader, TimestampType};
use serde::Serialize;

use super::DumpOptions;
use super::decoder::{Decoder, explain_control};
use crate::failure::Failure;

/// The batches of a file, read one at a time.
pub(super) struct BatchFile {
    file: File,
    length: u64,
    position: u64,
}

impl BatchFile {
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok(Self { file, length, position: 0 })
    }

    /// The batch at `position` and where it lies; none at the end.
    pub(super) fn at(&mut self, position: u64) -> Result<Option<(u64, Batch)>, Failure> {
        self.position = position;
        self.next()
    }

    /// The next batch and where it lies; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Batch)>, Failure> {
        let position = self.position;
        let left = self.length.saturating_sub(position);
        if left == 0 {
            return Ok(None);
        }
        let damaged = |what: String| Failure::new(format!("position {position}: {what}"));
        let mut head = [0; HEADER_BYTES];
        let head_bytes = HEADER_BYTES.min(usize::try_from(left).unwrap_or(HEADER_BYTES));
        let head = head.get_mut(..head_bytes).unwrap_or_default();
        self.file.read_exact_at(head, position)?;
        // Only a length that the file has room for is believed, so damage never takes memory.
        let length = head
            .get(8..LENGTH_PREFIX_BYTES)
            .and_then(|bytes| bytes.first_chunk())
            .map(|bytes| i32::from_be_bytes(*bytes));
        let bytes =
            length.and_then(|length| u64::try_from(length).ok()).map(|length| length + LENGTH_PREFIX_BYTES as u64);
        let Some(bytes) = bytes.filter(|bytes| *bytes <= left) else {
            let says = length.map_or_else(
                || "has no whole length field".to_owned(),
                |length| format!("says that {length} bytes follow"),
            );
            return Err(damaged(format!("what is there {says}, and the file has {left} bytes from there on")));
        };
        let mut content = vec![0; usize::try_from(bytes).unwrap_or(0)];
        self.file.read_exact_at(&mut content, position)?;
        let batch = Batch::split_from(&mut Bytes::from(content)).map_err(|error| damaged(error.to_string()))?;
        self.position = position + bytes;
        Ok(Some((position, batch)))
    }
}

#[derive(Serialize)]
struct BatchRow<'a> {
    file: &'a str,
    position: u64,
    base_offset: i64,
    last_offset: i64,
    count: i32,
    base_sequence: i32,
    last_sequence: i32,
    producer_id: i64,
    producer_epoch: i16,
    leader_epoch: i32,
    is_transactional: bool,
    is_control: bool,
    timestamp_type: &'static str,
    max_timestamp: i64,
    size: usize,
    codec: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    delete_horizon: Option<i64>,
    crc: u32,
    is_valid: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    records: Option<Vec<RecordRow>>,
}

#[derive(Serialize)]
struct RecordRow {
    offset: i64,
    timestamp: i64,
    key_size: i64,
    value_size: i64,
    sequence: i32,
    header_keys: Vec<String>,
    content: String,
}

fn time_name(header: &BatchHeader) -> &'static str {
    match header.attributes().timestamp_type() {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    }
}

fn row<'a>(file: &'a str, position: u64, batch: &Batch) -> BatchRow<'a> {
    let header = batch.header();
    BatchRow {
        file,
        position,
        base_offset: header.base_offset().0,
        last_offset: header.last_offset().0,
        count: header.record_count(),
        base_sequence: header.base_sequence().0,
        last_sequence: if header.base_sequence().0 < 0 { -1 } else { header.last_sequence().0 },
        producer_id: header.producer_id().0,
        producer_epoch: header.producer_epoch().0,
        leader_epoch: header.leader_epoch().0,
        is_transactional: header.attributes().is_transactional(),
        is_control: header.attributes().is_control(),
        timestamp_type: time_name(header),
        max_timestamp: header.max_timestamp().0,
        size: batch.bytes().len(),
        codec: header.attributes().codec().map_or("unknown", |codec| codec.name()),
        delete_horizon: header.attributes().has_delete_horizon().then(|| header.base_timestamp().0),
        crc: header.crc(),
        is_valid: batch.is_crc_valid(),
        records: None,
    }
}

/// Prints the batches of a file; `base` is the offset in its name.
pub(super) fn dump(path: &Path, base: Option<Offset>, options: &DumpOptions, json: bool) -> Result<(), Failure> {
    let file_name = path.display().to_string();
    let decoder = options.decoder(path);
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut batches = BatchFile::open(path)?;
    if let Some(base) = base.filter(|_| !json) {
        writeln!(out, "Log starting offset: {base}")?;
    }
    let mut expected = base;
    let mut damage = None;
    loop {
        let (position, batch) = match batches.next() {
            Ok(Some(found)) => found,
            Ok(None) => break,
            Err(failure) => {
                damage = Some(failure);
                break;
            }
        };
        if options.max_bytes.is_some_and(|max| position + batch.bytes().len() as u64 > max) {
            break;
        }
        let header = *batch.header();
        let mut batch_row = row(&file_name, position, &batch);
        let mut wrong = None;
        if !batch_row.is_valid {
            wrong = Some(format!("position {position}: the checksum of the batch is wrong"));
        } else if expected.is_some_and(|expected| header.base_offset() < expected) {
            wrong = Some(format!("position {position}: the batch begins before the end of the one before it"));
        }
        expected = Some(header.last_offset().plus(1));
        let mut records = Vec::new();
        if options.opens_batches() && wrong.is_none() {
            match open(&batch, decoder) {
                Ok(opened) => records = opened,
                Err(why) => wrong = Some(format!("position {position}: {why}")),
            }
        }
        if json {
            batch_row.records = options.opens_batches().then_some(records);
            serde_json::to_writer(&mut out, &batch_row).map_err(std::io::Error::from)?;
            writeln!(out)?;
        } else {
            print_batch(&mut out, &batch_row)?;
            for record in records.iter().filter(|_| options.opens_batches()) {
                print_record(
                    &mut out,
                    &batch_row,
                    record,
                    options.skip_record_metadata,
                    options.print_data_log || decoder != Decoder::Text,
                )?;
            }
        }
        if let Some(wrong) = wrong {
            damage = Some(Failure::new(wrong));
            // Its length was whole, so what follows can still be read.
            out.flush()?;
        }
    }
    out.flush()?;
    damage.map_or(Ok(()), |failure| {
        Err(failure.remedy("A broker that starts after a crash cuts a log off where it stops being whole; look at a copy before it does."))
    })
}

fn open(batch: &Batch, decoder: Decoder) -> Result<Vec<RecordRow>, String> {
    let header = *batch.header();
    let opened = batch.open(DECOMPRESSED_BATCH_BYTES_MAX).map_err(|error| error.to_string())?;
    let mut rows = Vec::new();
    for record in batch.records(&opened) {
        let record = record.map_err(|error| format!("record {}: {error}", rows.len()))?;
        let content = match header.attributes().is_control() {
            true => explain_control(&record, &opened),
            false => decoder.explain(&record),
        };
        let length = |bytes: Option<&[u8]>| bytes.map_or(-1, |bytes| i64::try_from(bytes.len()).unwrap_or(i64::MAX));
        let sequence = header.base_sequence().0;
        rows.push(RecordRow {
            offset: header.base_offset().plus(record.offset_delta.into()).0,
            timestamp: match header.attributes().timestamp_type() {
                TimestampType::CreateTime => (header.base_timestamp() + record.timestamp_delta_ms).0,
                TimestampType::LogAppendTime => header.max_timestamp().0,
            },
            key_size: length(record.key),
            value_size: length(record.value),
            sequence: if sequence < 0 { -1 } else { sequence.wrapping_add(record.offset_delta) & i32::MAX },
            header_keys: record.headers.map(|header| String::from_utf8_lossy(header.key).into_owned()).collect(),
            content: content.unwrap_or_else(|why| format!("unreadable: {why}")),
        });
    }
    Ok(rows)
}

fn print_batch(out: &mut impl Write, row: &BatchRow<'_>) -> std::io::Result<()> {
    let horizon = row.delete_horizon.map_or("OptionalLong.empty".to_owned(), |at| format!("OptionalLong[{at}]"));
    writeln!(
        out,
        "baseOffset: {} lastOffset: {} count: {} baseSequence: {} lastSequence: {} producerId: {} producerEpoch: {} \
         partitionLeaderEpoch: {} isTransactional: {} isControl: {} deleteHorizonMs: {horizon} position: {} {}: {} \
         size: {} magic: 2 compresscodec: {} crc: {} isvalid: {}",
        row.base_offset,
        row.last_offset,
        row.count,
        row.base_sequence,
        row.last_sequence,
        row.producer_id,
        row.producer_epoch,
        row.leader_epoch,
        row.is_transactional,
        row.is_control,
        row.position,
        row.timestamp_type,
        row.max_timestamp,
        row.size,
        row.codec,
        row.crc,
        row.is_valid
    )
}

fn print_record(
    out: &mut impl Write,
    batch: &BatchRow<'_>,
    record: &RecordRow,
    skip_metadata: bool,
    with_content: bool,
) -> std::io::Result<()> {
    write!(out, "| ")?;
    if !skip_metadata {
        write!(
            out,
            "offset: {} {}: {} keySize: {} valueSize: {} sequence: {} headerKeys: [{}] ",
            record.offset,
            batch.timestamp_type,
            record.timestamp,
            record.key_size,
            record.value_size,
            record.sequence,
            record.header_keys.join(",")
        )?;
    }
    if with_content || batch.is_control {
        write!(out, "{}", record.content)?;
    }
    writeln!(out)
}
