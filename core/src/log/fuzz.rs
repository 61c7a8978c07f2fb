//! Fuzz targets over the files of a log: whatever the bytes, no panic, and what recovery keeps is good.

use crate::base::{FilePosition, Offset, Timestamp};
use crate::log::index::{IndexBuilder, IndexOptions, OffsetIndex, TimeIndex};
use crate::log::read_plan::{HeaderWalk, ReadLimits, find_offset};
use crate::log::recovery::{ScanEnd, ScanStep, SegmentScan};
use crate::log::{
    CleanShutdown, LeaderEpochs, MetaProperties, OffsetCheckpoint, PartitionDirectory, PartitionMetadata,
    ProducerStates, SegmentFile,
};

const OPTIONS: IndexOptions = IndexOptions { interval_bytes: 300, file_bytes_max: 4_096 };

/// Treats `data` as a folder after a crash: two bytes for the sizes of index files and of reads, the index files, and
/// the segment.
///
/// # Panics
/// If a scan does not end, keeps what a second one would not, or if the same bytes in other pieces give another end.
pub fn fuzz_recovery(data: &[u8]) {
    let Some((&[index_bytes, chunk_bytes], rest)) = data.split_first_chunk() else { return };
    let (index, log) = rest.split_at(rest.len().min(usize::from(index_bytes)));
    let chunk_bytes = usize::from(chunk_bytes).max(1);
    let all = (Offset(i64::MIN), Offset(i64::MIN));

    let (end, whole) = scan(log, all, chunk_bytes, &[]);
    assert_eq!((end, whole.good_end()), at_once(log, all));
    let good = log.get(..length(whole.good_end())).expect("the good part is a part");
    let (again, second) = scan(good, all, chunk_bytes, &[]);
    assert_eq!((again, second.next_offset()), (ScanEnd::Whole, whole.next_offset()));

    // Headers alone reach at least as far, and a damaged index is found out or does no harm.
    let (_, headers) = scan(log, (Offset(i64::MIN), Offset(i64::MAX)), chunk_bytes, &[]);
    assert!(headers.good_end() >= whole.good_end());
    let _ = scan(log, (Offset(i64::MAX), Offset(0)), chunk_bytes, index);
    let rebuilt = second.into_index();
    walk_reads(good, &rebuilt);
    read_texts(rest);
}

fn scan(log: &[u8], depth: (Offset, Offset), chunk_bytes: usize, index: &[u8]) -> (ScanEnd, SegmentScan) {
    let mut scan = SegmentScan::new(Offset(0), size(log), depth, OPTIONS, (index, index));
    let mut producers = ProducerStates::new();
    let mut steps = 0;
    loop {
        match scan.step() {
            ScanStep::Done(end) => return (end, scan),
            ScanStep::Read { position, bytes_min } => {
                let rest = log.get(length(position)..).expect("only what is in the file is read");
                let chunk = rest.get(..chunk_bytes.max(bytes_min)).unwrap_or(rest);
                scan.feed(chunk, |header, marker| {
                    producers.replay(header, marker);
                });
            }
        }
        steps += 1;
        assert!(steps <= log.len() + 2, "each step goes on by a byte at least");
    }
}

fn at_once(log: &[u8], depth: (Offset, Offset)) -> (ScanEnd, FilePosition) {
    let (end, scan) = scan(log, depth, log.len(), &[]);
    (end, scan.good_end())
}

fn size(log: &[u8]) -> FilePosition {
    FilePosition(u64::try_from(log.len()).unwrap_or(u64::MAX))
}

fn length(position: FilePosition) -> usize {
    usize::try_from(position.0).unwrap_or(usize::MAX)
}

/// Every batch of a good log is found by its last offset from where the index says, and reads end with a batch.
fn walk_reads(log: &[u8], index: &IndexBuilder) {
    let mut ends = vec![FilePosition(0)];
    for batch in HeaderWalk::new(log, FilePosition(0)).flatten() {
        let start = index.offsets().walk_start(batch.last_offset);
        assert!(start <= batch.position);
        let found = find_offset(log.get(length(start)..).unwrap_or_default(), start, batch.last_offset);
        assert!(matches!(found, Ok(crate::log::read_plan::Walked::Found(found)) if found == batch));
        ends.push(batch.end);
    }
    for bytes_max in [0, 100, 1_000, u64::MAX] {
        for readable_end in [Offset(0), Offset(3), Offset(i64::MAX)] {
            let limits = ReadLimits { start: FilePosition(0), bytes_max, readable_end, is_first_batch_whole: true };
            let from = limits.walk_start(index.offsets());
            let end = limits.find_end(log.get(length(from)..).unwrap_or_default(), from);
            if let Ok(crate::log::read_plan::Walked::Found(end)) = end {
                assert!(ends.contains(&end));
            }
        }
    }
}

/// The small files, from bytes that are none of them.
fn read_texts(data: &[u8]) {
    let _ = ProducerStates::from_snapshot(data, Offset(0)).map(|states| states.to_snapshot());
    let offsets = OffsetIndex::new(Offset(0), data);
    let times = TimeIndex::new(Offset(0), data);
    let _ = (offsets.walk_start(Offset(5)), times.walk_start(Timestamp(5)));
    let mut builder = IndexBuilder::resume(OPTIONS, offsets, times);
    builder.truncate_to(Offset(7));
    let text = String::from_utf8_lossy(data);
    let _ = OffsetCheckpoint::parse(&text);
    let _ = LeaderEpochs::parse(&text);
    let _ = MetaProperties::parse(&text);
    let _ = PartitionMetadata::parse(&text);
    let _ = CleanShutdown::parse(&text);
    let _ = SegmentFile::parse(&text).map(|file| file.name());
    let _ = PartitionDirectory::parse(&text).map(|directory| directory.name());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::LeaderEpoch;
    use crate::test_support::{Random, random_batch, random_options, with_producer};

    #[test]
    fn mutated_folders_never_panic_and_only_good_batches_stay() {
        for seed in 0..20_000 {
            let mut random = Random::new(seed);
            let mut data = vec![u8::try_from(random.below(40)).unwrap(), u8::try_from(random.below(256)).unwrap()];
            data.extend((0..data[0]).map(|_| *random.pick(&[0, 1, 80, 200, 255])));
            let mut next = Offset(0);
            for sequence in 0..i32::try_from(random.below(6)).unwrap() {
                let options = with_producer(random_options(&mut random, next), 1, 0, sequence);
                let batch = random_batch(&mut random, options, 4, Timestamp(1_000)).stamped(next, LeaderEpoch(2));
                next = batch.header().last_offset().plus(1);
                data.extend_from_slice(batch.bytes());
            }
            if seed % 8 != 0 {
                random.mutate(&mut data);
            }
            fuzz_recovery(&data);
        }
    }
}
