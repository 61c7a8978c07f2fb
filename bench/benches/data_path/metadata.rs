//! Who leads a partition: what each partition of each request asks the metadata image.

use std::hint::black_box;

use corelane_core::base::{LeaderEpoch, NodeId, PartitionIndex, TopicId, Uuid};
use corelane_core::metadata::{MetadataImage, MetadataRecord, Partition, Topic, apply, directory};
use criterion::{BenchmarkId, Criterion, Throughput};

use crate::samples::scattered;

/// Questions asked in one timed pass.
const LOOKUPS: usize = 1024;
const TOPIC_COUNTS: [usize; 3] = [10, 1_000, 10_000];
const PARTITIONS: usize = 8;

pub(crate) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("metadata lookup");
    group.throughput(Throughput::Elements(LOOKUPS as u64));
    for topics in TOPIC_COUNTS {
        let image = image_of(topics);
        assert_eq!(image.topic_count(), topics);
        let wanted: Vec<_> = scattered(LOOKUPS, topics).into_iter().zip(scattered(LOOKUPS, PARTITIONS)).collect();
        let epochs: i64 = wanted.iter().map(|(topic, partition)| i64::from(leader_epoch(*topic, *partition).0)).sum();

        let by_name: Vec<_> = wanted.iter().map(|(topic, partition)| (name(*topic), index(*partition))).collect();
        let ask_by_name = |wanted: &[(String, PartitionIndex)]| -> i64 {
            wanted.iter().map(|(name, index)| epoch_of(image.topic(name), *index)).sum()
        };
        assert_eq!(ask_by_name(&by_name), epochs);
        group.bench_function(BenchmarkId::new("by name, topics", topics), |bencher| {
            bencher.iter(|| ask_by_name(black_box(&by_name)));
        });

        let by_id: Vec<_> = wanted.iter().map(|(topic, partition)| (id(*topic), index(*partition))).collect();
        let ask_by_id = |wanted: &[(TopicId, PartitionIndex)]| -> i64 {
            wanted.iter().map(|(id, index)| epoch_of(image.topic_by_id(*id), *index)).sum()
        };
        assert_eq!(ask_by_id(&by_id), epochs);
        group.bench_function(BenchmarkId::new("by id, topics", topics), |bencher| {
            bencher.iter(|| ask_by_id(black_box(&by_id)));
        });
    }
    group.finish();
}

fn epoch_of<T: AsRef<Topic>>(topic: Option<&T>, index: PartitionIndex) -> i64 {
    let partition = topic.and_then(|topic| topic.as_ref().partition(index)).expect("each partition is there");
    i64::from(partition.leader_epoch.0)
}

fn image_of(topics: usize) -> MetadataImage {
    let mut image = MetadataImage::default();
    let mut record = |record| apply(&mut image, &record).expect("records in order");
    for topic in 0..topics {
        record(MetadataRecord::Topic { name: name(topic), id: id(topic) });
        for number in 0..PARTITIONS {
            let partition = Partition {
                replicas: vec![NodeId(1)],
                directories: vec![directory::UNASSIGNED],
                isr: vec![NodeId(1)],
                leader: Some(NodeId(1)),
                leader_epoch: leader_epoch(topic, number),
                ..Partition::default()
            };
            record(MetadataRecord::Partition { topic_id: id(topic), index: index(number), partition });
        }
    }
    image
}

fn name(topic: usize) -> String {
    format!("service-{:02}.events-{topic}", topic % 40)
}

/// Spread as random ids are.
fn id(topic: usize) -> TopicId {
    Uuid::from_random((topic as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
}

fn index(partition: usize) -> PartitionIndex {
    PartitionIndex(partition as i32)
}

/// Another one for each partition, so that a wrong answer shows.
fn leader_epoch(topic: usize, partition: usize) -> LeaderEpoch {
    LeaderEpoch((topic * PARTITIONS + partition) as i32)
}
