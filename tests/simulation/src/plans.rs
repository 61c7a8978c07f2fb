//! The cases that are run: a short life to be cut at every point, and longer ones drawn from a seed.

use crate::case::{Case, CrashAt};
use crate::disk::{Crash, Faults, Planted};
use crate::promises::Durability;
use crate::random::Random;
use crate::workload::{Plan, TopicPlan, Way};

/// Virtual time that a short life may take.
const SHORT_LIMIT_MS: u64 = 20_000;
/// Virtual time that a long life may take.
const LONG_LIMIT_MS: u64 = 20 * 60_000;
/// Virtual time that a life of a group may take.
const MEMBERS_LIMIT_MS: u64 = 10 * 60_000;
/// Virtual time that a life of transactions may take.
const TRANSACTIONS_LIMIT_MS: u64 = 60_000;
/// Longest pause of a producer in a long life: several together let the checkpoints come round.
const LONG_PAUSE_MS_MAX: u64 = 30_000;
/// Partitions that are made together.
const WIDE_PARTITIONS: i32 = 8;
/// Segments of a long life hold one batch, two, or more than a producer has in flight.
const LONG_SEGMENTS_MS: [&str; 3] = ["5", "15", "65"];

/// As much happens to the metadata log as can: a snapshot every few changes, which lets go of several segments, as each has
/// one change or two.
pub const RESTLESS_METADATA: [(&str, &str); 4] = [
    ("metadata.log.max.record.bytes.between.snapshots", "1000"),
    ("internal.metadata.log.segment.bytes", "300"),
    ("metadata.max.retention.bytes", "0"),
    ("metadata.max.retention.ms", "0"),
];

fn plain() -> TopicPlan {
    TopicPlan { name: "plain", partitions: 1, durability: Durability::Plain, configs: Vec::new() }
}

fn strict() -> TopicPlan {
    TopicPlan { name: "strict", durability: Durability::Strict, ..plain() }
}

/// Its segments end so many milliseconds of record time after their beginning; the workload's batches are 10 apart.
#[must_use]
pub fn rolling(durability: Durability, segment_ms: &'static str) -> TopicPlan {
    let name = if durability == Durability::Strict { "rolling-strict" } else { "rolling" };
    TopicPlan { name, durability, configs: vec![("segment.ms", segment_ms)], ..plain() }
}

/// A case small enough that a crash at each of its points can be tried.
#[must_use]
pub fn short_life(seed: u64) -> Case {
    let plan = Plan {
        topics: vec![plain(), strict(), rolling(Durability::Strict, "15")],
        producers: vec![
            (("plain", 0), Way::Leader),
            (("plain", 0), Way::Idempotent),
            (("strict", 0), Way::All),
            (("strict", 0), Way::Idempotent),
            (("rolling-strict", 0), Way::Idempotent),
        ],
        batches: 3,
        records_max: 3,
        value_bytes_max: 2000,
        pause_ms_max: 0,
        fetch_wait_ms: 20,
        fetch_sessions: false,
        changes: 0,
        transactions: 0,
        transactions_are_new: true,
        members: 0,
        disk_fails: false,
    };
    Case {
        seed,
        shards: 2,
        plan,
        settings: Vec::new(),
        crashes: Vec::new(),
        tamper: None,
        last_crashes: Vec::new(),
        faults: Faults::default(),
        planted: Planted::Nothing,
        limit_ms: SHORT_LIMIT_MS,
    }
}

/// The same with appends of strict topics into the page cache, and a sync after each; else they go past it.
#[must_use]
pub fn through_the_cache(mut case: Case) -> Case {
    case.settings.push(("corelane.append.engine", "inline"));
    case
}

/// A short life of appends that go past the page cache into segments of one block, so that what is appended after a start
/// nearly always finds its block there.
#[must_use]
pub fn life_in_blocks(seed: u64) -> Case {
    let mut case = short_life(seed);
    case.plan.topics = vec![TopicPlan { configs: vec![("internal.segment.bytes", "4096")], ..strict() }];
    case.plan.producers = vec![(("strict", 0), Way::Idempotent), (("strict", 0), Way::All)];
    case.plan.value_bytes_max = 100;
    case
}

/// A short life in which a topic comes, grows and goes, so that a crash at each of its points can be tried.
#[must_use]
pub fn changing_life(seed: u64) -> Case {
    let mut case = short_life(seed);
    case.plan.topics = vec![strict()];
    case.plan.producers = vec![(("strict", 0), Way::Unanswered)];
    case.plan.fetch_sessions = true;
    case.plan.changes = 3;
    case
}

/// A short life of a topic whose partitions are made together.
#[must_use]
pub fn wide_life(seed: u64) -> Case {
    let mut case = short_life(seed);
    case.plan.topics = vec![TopicPlan { partitions: WIDE_PARTITIONS, ..strict() }];
    case.plan.producers = (0..WIDE_PARTITIONS).map(|index| (("strict", index), Way::All)).collect();
    case.plan.batches = 1;
    case
}

/// A short life of compacted topics, each batch of which is a segment of its own: all that cleaning does is to put segments
/// together, again and again.
#[must_use]
pub fn compacted_life(seed: u64) -> Case {
    let mut case = short_life(seed);
    let configs = vec![
        ("cleanup.policy", "compact"),
        ("segment.ms", "5"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("file.delete.delay.ms", "0"),
    ];
    case.plan.topics = vec![
        TopicPlan { name: "compacted", configs: configs.clone(), ..plain() },
        TopicPlan { name: "compacted-strict", configs, ..strict() },
    ];
    case.plan.producers = vec![(("compacted", 0), Way::Idempotent), (("compacted-strict", 0), Way::Idempotent)];
    case.plan.batches = 4;
    // Long enough for the cleaner to come between two of them, whatever is drawn.
    case.plan.pause_ms_max = 300;
    case.settings = vec![("log.cleaner.backoff.ms", "5")];
    case
}

/// A short life of transactions over two partitions and a group, some of them aborted.
#[must_use]
pub fn transactional_life(seed: u64) -> Case {
    let mut case = short_life(seed);
    case.plan.topics.clear();
    case.plan.producers.clear();
    case.plan.transactions = 4;
    // Few, because each is a folder that is made at the beginning.
    case.settings = vec![("offsets.topic.num.partitions", "1"), ("transaction.state.log.num.partitions", "2")];
    case.limit_ms = TRANSACTIONS_LIMIT_MS;
    case
}

/// Transactions of either kind of client, with kills wherever they fall; all of it is drawn.
#[must_use]
pub fn long_transactional_life(seed: u64) -> Case {
    let mut random = Random::new(seed, "plan of transactions");
    let mut case = transactional_life(seed);
    case.shards = u16::try_from(random.between(1, 3)).expect("is small");
    case.plan.transactions_are_new = random.chance(500);
    case.plan.transactions = i64::try_from(random.between(3, 20)).expect("is small");
    if random.chance(300) {
        case.settings.push(("log.roll.ms", "1"));
    }
    let kill = |random: &mut Random| CrashAt { point: random.between(100, 500), crash: Crash::Kill };
    case.crashes = (0..random.between(1, 4)).map(|_| kill(&mut random)).collect();
    case
}

/// A short life of a group of the consumer protocol, whose members come, go and come back.
#[must_use]
pub fn life_of_members(seed: u64) -> Case {
    let mut case = short_life(seed);
    case.plan.topics.clear();
    case.plan.producers.clear();
    case.plan.members = 3;
    case.settings = vec![("offsets.topic.num.partitions", "1")];
    case.limit_ms = MEMBERS_LIMIT_MS;
    case
}

/// More or fewer members, with kills wherever they fall; all of it is drawn.
#[must_use]
pub fn long_life_of_members(seed: u64) -> Case {
    let mut random = Random::new(seed, "plan of members");
    let mut case = life_of_members(seed);
    case.shards = u16::try_from(random.between(1, 3)).expect("is small");
    case.plan.members = random.index(5) + 1;
    if random.chance(500) {
        case.settings.push(("group.consumer.assignment.interval.ms", "0"));
    }
    if random.chance(300) {
        case.settings.push(("group.consumer.assignors", "range"));
    }
    let kill = |random: &mut Random| CrashAt { point: random.between(50, 300), crash: Crash::Kill };
    case.crashes = (0..random.between(1, 4)).map(|_| kill(&mut random)).collect();
    case
}

/// A longer case out of a seed: topics, producers, pauses, shards, crashes and faults are all drawn.
#[must_use]
pub fn long_life(seed: u64) -> Case {
    let mut random = Random::new(seed, "plan");
    let mut case = short_life(seed);
    case.limit_ms = LONG_LIMIT_MS;
    case.shards = u16::try_from(random.between(1, 3)).expect("is small");
    let plan = &mut case.plan;
    let segment_ms = LONG_SEGMENTS_MS[random.index(LONG_SEGMENTS_MS.len())];
    plan.topics =
        vec![plain(), strict(), rolling(Durability::Plain, segment_ms), rolling(Durability::Strict, segment_ms)];
    plan.topics.retain(|_| random.chance(700));
    if plan.topics.is_empty() {
        plan.topics.push(strict());
    }
    plan.topics.iter_mut().for_each(|topic| topic.partitions = i32::from(random.chance(300)) + 1);
    plan.producers.clear();
    for topic in &plan.topics {
        for index in 0..topic.partitions {
            let producers = if topic.configs.is_empty() { random.between(1, 2) } else { 1 };
            for _ in 0..producers {
                let way = [Way::Leader, Way::All, Way::Idempotent, Way::Unanswered][random.index(4)];
                plan.producers.push(((topic.name, index), way));
            }
        }
    }
    plan.batches = random.index(20) + 1;
    plan.records_max = random.between(1, 20);
    plan.value_bytes_max = [100, 3_000, 40_000][random.index(3)];
    if random.chance(300) {
        plan.pause_ms_max = LONG_PAUSE_MS_MAX;
        plan.fetch_wait_ms = 500;
    }
    plan.fetch_sessions = random.chance(500);
    if random.chance(400) {
        plan.changes = random.index(4) + 1;
    }
    if random.chance(300) {
        case.settings = RESTLESS_METADATA.to_vec();
    }
    if random.chance(500) {
        case = through_the_cache(case);
    }
    let plan = &mut case.plan;
    case.crashes = (0..random.below(4))
        .map(|_| {
            let crash = if random.chance(500) { Crash::Kill } else { Crash::PowerLoss };
            CrashAt { point: random.below(700), crash }
        })
        .collect();
    if random.chance(300) {
        plan.disk_fails = true;
        case.faults = Faults {
            capacity_bytes: random.chance(300).then(|| random.between(1_000, 200_000)),
            failing_write: random.chance(400).then(|| random.below(200)),
            failing_sync: random.chance(400).then(|| random.below(100)),
            failing_directory_sync: random.chance(200).then(|| random.below(60)),
            failing_read: random.chance(300).then(|| random.below(400)),
            failing_reads: random.between(1, 5),
            ..Faults::default()
        };
    }
    case
}
