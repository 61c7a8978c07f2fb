//! The coordinator of groups: what a commit and a heartbeat cost it, and how fast it loads its log.

use std::hint::black_box;

use corelane_core::base::{Monotonic, Offset, Timestamp};
use corelane_core::coordinator::{Now, RequestId};
use corelane_core::group::{
    Answer, CommittedOffset, Effect, GroupCoordinator, GroupLoader, GroupSettings, OffsetKey, Request, RequestContext,
    offset_record,
};
use corelane_core::protocol::KafkaString;
use corelane_core::protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use corelane_core::protocol::messages::{HeartbeatRequest, OffsetCommitRequest};
use corelane_core::record::{Batch, BatchBuilder, BatchOptions};
use criterion::{BenchmarkId, Criterion, Throughput};

const START: Now = Now { monotonic: Monotonic(0), wall: Timestamp(1_700_000_000_000) };

/// Records of the log that is loaded, one commit of one partition in each batch, as consumers write them.
const LOADED_RECORDS: usize = 10_000;

pub(crate) fn benches(criterion: &mut Criterion) {
    load(criterion);
    requests(criterion);
}

fn commit_batch(group: usize, partition: i32, offset: i64) -> Batch {
    let key = OffsetKey {
        group: KafkaString::from(format!("application-{group}")),
        topic: "orders".into(),
        partition: corelane_core::base::PartitionIndex(partition),
    };
    let committed = CommittedOffset {
        offset: Offset(offset),
        leader_epoch: corelane_core::base::LeaderEpoch(3),
        metadata: KafkaString::EMPTY,
        committed_at: START.wall,
        expires_at: None,
        topic_id: corelane_core::base::Uuid::ZERO,
    };
    let record = offset_record(&key, &committed).expect("short texts");
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.append(START.wall, Some(&record.key), record.value.as_deref(), &[]);
    builder.build().expect("a small batch")
}

fn load(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("load groups");
    group.throughput(Throughput::Elements(LOADED_RECORDS as u64));
    for offsets in [100, LOADED_RECORDS] {
        let batches: Vec<_> = (0..LOADED_RECORDS)
            .map(|number| commit_batch(number % offsets / 20, (number % 20) as i32, number as i64))
            .collect();
        let load = || {
            let mut loader = GroupLoader::new(GroupSettings::default(), std::sync::Arc::default());
            batches.iter().for_each(|batch| loader.batch(batch).expect("whole batches"));
            loader.finish(START)
        };
        assert_eq!(load().1.offsets, offsets);
        group.bench_function(BenchmarkId::new("commits", offsets), |bencher| bencher.iter(|| black_box(load())));
    }
    group.finish();
}

fn ask(coordinator: &mut GroupCoordinator, request: Request) -> Answer {
    let context = RequestContext { version: 4, client_id: "bench".into(), client_host: "/127.0.0.1".into(), random: 1 };
    let mut effects = coordinator.handle(START, RequestId(1), &context, request);
    loop {
        match effects.remove(0) {
            Effect::Answer(_, answer) => return answer,
            Effect::Append(append) => effects = coordinator.on_append(START, append.id, Ok(Offset(0))),
        }
    }
}

fn requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("group request");
    for groups in [1, 10_000] {
        let (mut coordinator, _) = GroupLoader::new(GroupSettings::default(), std::sync::Arc::default()).finish(START);
        for number in 0..groups {
            ask(&mut coordinator, commit(number));
        }
        assert_eq!(coordinator.group_count(), groups);
        let Answer::OffsetCommit(answer) = ask(&mut coordinator, commit(0)) else { panic!("another answer") };
        assert_eq!(answer.topics[0].partitions[0].error_code, 0);
        group.bench_function(BenchmarkId::new("commit", groups), |bencher| {
            bencher.iter(|| black_box(ask(&mut coordinator, commit(groups / 2))));
        });
        let beat =
            || HeartbeatRequest { group_id: "application-0".into(), member_id: "m".into(), ..Default::default() };
        group.bench_function(BenchmarkId::new("heartbeat", groups), |bencher| {
            bencher.iter(|| black_box(ask(&mut coordinator, Request::Heartbeat(beat()))));
        });
    }
    group.finish();
}

fn commit(group: usize) -> Request {
    let partition = OffsetCommitRequestPartition { committed_offset: 5, ..Default::default() };
    Request::OffsetCommit(OffsetCommitRequest {
        group_id: KafkaString::from(format!("application-{group}")),
        topics: vec![OffsetCommitRequestTopic {
            name: "orders".into(),
            partitions: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    })
}
