//! The topics that somebody has named, and what becomes of their batches.

use std::collections::HashMap;
use std::fs::File;
use std::io::IoSlice;
use std::path::PathBuf;

use bytes::Bytes;
use corelane_core::base::{LeaderEpoch, Offset};
use corelane_core::limits::APPEND_BYTES_MAX;
use corelane_core::metadata::check_topic_name;
use corelane_core::protocol::{ErrorCode, KafkaString};
use corelane_core::record::Batch;
use corelane_core::record::header::STAMP_BYTES;

use super::Mode;
use super::memory::Ring;

/// Partitions of all topics together.
const PARTITIONS_MAX: usize = 100_000;
/// The leadership that every batch is stamped with.
pub(super) const LEADER_EPOCH: i32 = 0;

/// All topics; each has a number from 0 by which parked fetches know it.
pub(super) struct Topics {
    by_name: HashMap<String, usize>,
    list: Vec<Topic>,
    partitions_in_all: usize,
    partitions_by_default: usize,
    mode: Mode,
}

/// A topic.
pub(super) struct Topic {
    /// Its name, a copy.
    pub(super) name: KafkaString,
    /// Its partitions by number.
    pub(super) partitions: Vec<Partition>,
}

/// A partition: where it stands, and who waits for more.
pub(super) struct Partition {
    next_offset: i64,
    store: Store,
    /// Slots of connections whose fetch waits for more; some may have gone on since.
    pub(super) waiting: Vec<usize>,
}

enum Store {
    Nothing,
    File { path: PathBuf, file: Option<File>, position: u64 },
    Memory(Ring),
}

impl Topics {
    pub(super) fn new(mode: Mode, partitions_by_default: usize) -> Self {
        Self { by_name: HashMap::new(), list: Vec::new(), partitions_in_all: 0, partitions_by_default, mode }
    }

    /// The number of a topic, which exists from now on if it did not.
    ///
    /// # Errors
    /// The name is none, or there is no room for more partitions.
    pub(super) fn named(&mut self, name: &str) -> Result<usize, ErrorCode> {
        match self.by_name.get(name) {
            Some(number) => Ok(*number),
            None => self.create(name, self.partitions_by_default),
        }
    }

    /// Makes a topic.
    ///
    /// # Errors
    /// It exists, its name is none, or there is no room for so many partitions.
    pub(super) fn create(&mut self, name: &str, partitions: usize) -> Result<usize, ErrorCode> {
        check_topic_name(name).map_err(|_| ErrorCode::INVALID_TOPIC_EXCEPTION)?;
        if self.by_name.contains_key(name) {
            return Err(ErrorCode::TOPIC_ALREADY_EXISTS);
        }
        if partitions == 0 || self.partitions_in_all.saturating_add(partitions) > PARTITIONS_MAX {
            return Err(ErrorCode::INVALID_PARTITIONS);
        }
        let store = |index: usize| match &self.mode {
            Mode::Discard => Store::Nothing,
            Mode::Append { directory } => {
                Store::File { path: directory.join(format!("{name}-{index}")), file: None, position: 0 }
            }
            Mode::Memory { bytes_max } => Store::Memory(Ring::new(*bytes_max)),
        };
        let partition = |index| Partition { next_offset: 0, store: store(index), waiting: Vec::new() };
        let partitions: Vec<Partition> = (0..partitions).map(partition).collect();
        self.partitions_in_all += partitions.len();
        let number = self.list.len();
        self.list.push(Topic { name: KafkaString::copied(name), partitions });
        self.by_name.insert(name.to_owned(), number);
        Ok(number)
    }

    /// The topic of that number.
    pub(super) fn get(&self, number: usize) -> Option<&Topic> {
        self.list.get(number)
    }

    /// A partition of the topic of that number.
    pub(super) fn partition(&mut self, number: usize, index: i32) -> Result<&mut Partition, ErrorCode> {
        let topic = self.list.get_mut(number);
        let partition =
            topic.zip(usize::try_from(index).ok()).and_then(|(topic, index)| topic.partitions.get_mut(index));
        partition.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    }

    /// How many there are; their numbers are those below.
    pub(super) fn count(&self) -> usize {
        self.list.len()
    }
}

impl Partition {
    /// The offset that the next record gets.
    pub(super) fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// The first offset that can be read: the next one where nothing is kept.
    pub(super) fn first_offset(&self) -> i64 {
        match &self.store {
            Store::Memory(ring) => ring.first_offset().unwrap_or(self.next_offset),
            Store::Nothing | Store::File { .. } => self.next_offset,
        }
    }

    /// Gives a batch its offset and keeps it as the mode says. Gives the offset.
    ///
    /// # Errors
    /// It is not exactly one batch, its checksum is wrong where that is looked at, or the file cannot be written.
    pub(super) fn append(&mut self, mut records: Bytes) -> Result<i64, ErrorCode> {
        let batch = Batch::split_from(&mut records).map_err(|_| ErrorCode::CORRUPT_MESSAGE)?;
        let count = i64::from(batch.header().last_offset_delta()) + 1;
        if !records.is_empty() || count <= 0 {
            return Err(ErrorCode::INVALID_RECORD);
        }
        let base_offset = self.next_offset;
        let mut header = *batch.header();
        header.set_position(Offset(base_offset), LeaderEpoch(LEADER_EPOCH));
        let front = header.bytes().get(..STAMP_BYTES).unwrap_or_default();
        let rest = batch.bytes().get(STAMP_BYTES..).unwrap_or_default();
        match &mut self.store {
            Store::Nothing => {}
            Store::File { path, file, position } => {
                if !batch.is_crc_valid() {
                    return Err(ErrorCode::CORRUPT_MESSAGE);
                }
                let file = match file {
                    Some(file) => file,
                    None => file.insert(File::create(path).map_err(|_| ErrorCode::KAFKA_STORAGE_ERROR)?),
                };
                write_at(file, front, rest, *position).map_err(|_| ErrorCode::KAFKA_STORAGE_ERROR)?;
                *position += batch.bytes().len() as u64;
            }
            Store::Memory(ring) => ring.append(base_offset, front, rest),
        }
        self.next_offset += count;
        Ok(base_offset)
    }

    /// Whole batches from `offset` on; none if it is the next one.
    ///
    /// # Errors
    /// Nothing is kept there, or will ever be.
    pub(super) fn read(&self, offset: i64, bytes_max: usize) -> Result<Bytes, ErrorCode> {
        match &self.store {
            _ if offset == self.next_offset => Ok(Bytes::new()),
            Store::Memory(ring) if offset < self.next_offset => ring.read(offset, bytes_max),
            _ => Err(ErrorCode::OFFSET_OUT_OF_RANGE),
        }
    }
}

/// Both pieces, one behind the other, in calls as long as a broker's.
fn write_at(file: &File, front: &[u8], rest: &[u8], position: u64) -> std::io::Result<()> {
    let mut done = 0;
    while done < front.len() + rest.len() {
        let place = position + done as u64;
        let room = APPEND_BYTES_MAX - (place % APPEND_BYTES_MAX as u64) as usize;
        let front_left = front.get(done..).unwrap_or_default();
        let rest_left = rest.get(done.saturating_sub(front.len())..).unwrap_or_default();
        let (now, _) = front_left.split_at(front_left.len().min(room));
        let (then, _) = rest_left.split_at(rest_left.len().min(room - now.len()));
        match rustix::io::pwritev(file, &[IoSlice::new(now), IoSlice::new(then)], place)? {
            0 => return Err(std::io::ErrorKind::WriteZero.into()),
            written => done += written,
        }
    }
    Ok(())
}
