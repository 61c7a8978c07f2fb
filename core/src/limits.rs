//! Every bound of the system, in one place, with the relations between them checked when this compiles.
//!
//! A queue, cache, list or timeout without a name here is a defect. Names end in their unit and `_MAX`.

/// Partitions that one CreateTopics request may ask for in all, as in Kafka.
pub const CREATE_TOPICS_PARTITIONS_MAX: usize = 10_000;

/// Records of one change of the cluster, which are one atomic batch of the metadata log; Kafka's limit too.
pub const METADATA_CHANGE_RECORDS_MAX: usize = 10_000;

/// Bytes of one batch of the metadata log. Kafka's followers of the log reserve as much for each read.
pub const METADATA_BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes of changes that wait for the metadata log's next append; more are refused until some are on disk.
pub const METADATA_QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Records in one batch of a metadata snapshot.
pub const SNAPSHOT_BATCH_RECORDS_MAX: usize = 1_000;

/// Time between two looks whether old snapshots of the metadata log, and the log below them, can go; Kafka's too.
pub const METADATA_CLEAN_INTERVAL_MS: u64 = 60_000;

/// Producer ids that a broker draws at once; as many as Kafka's controller gives out.
pub const PRODUCER_ID_BLOCK: i64 = 1_000;

/// Length of a setting's name or value in bytes: the longest text that Kafka reads back from its metadata log.
pub const CONFIG_TEXT_BYTES_MAX: usize = i16::MAX as usize;

/// Partitions that one DescribeTopicPartitions answer lists (`max.request.partition.size.limit`).
pub const DESCRIBE_PARTITIONS_MAX: usize = 2_000;

/// Batches of one producer that are remembered in a partition to recognise a repeated one.
pub const PRODUCER_BATCHES_MAX: usize = 5;

/// Bytes before the end of a log in which a start after a crash looks for the batches that a producer may repeat and
/// that its snapshot does not list.
pub const PRODUCER_RECALL_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Producers that one partition remembers; one more makes it forget the one that wrote least recently.
pub const PARTITION_PRODUCERS_MAX: usize = 10_000;

/// Length of a topic name in bytes.
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// Bytes that one positioned write of a shard's own to the page cache covers, up to a multiple of them in the file; larger
/// appends are cut.
/// The kernel looks for as much memory in one piece as a write is long, and where free memory is in small pieces it moves
/// others together first, in the middle of the write (decision 0009).
pub const APPEND_BYTES_MAX: usize = 64 * 1024;

/// Bytes that a compressed batch may open to where its records must be seen; more is refused.
pub const DECOMPRESSED_BATCH_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes that a compressed batch with bad timestamps may open to for its records at fault to be named.
pub const FAULT_SEARCH_BYTES_MAX: usize = 1024 * 1024;

/// Bytes up to which messages of format 0 or 1 are converted at once, either way, and not on a helper thread.
pub const LEGACY_INLINE_BYTES_MAX: usize = 4 * 1024;

/// Bytes that stored batches may become in format 0 or 1, where each record has 34 bytes of its own.
pub const LEGACY_CONVERTED_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Records at fault that the answer to one refused batch lists.
pub const RECORD_ERRORS_MAX: usize = 1_000;

/// Messages that a mailbox between two shards holds; a full one stops reading the sockets that feed it.
pub const MAILBOX_MESSAGES_MAX: usize = 1_024;

/// Shards of one node: what a [`ShardId`](crate::base::ShardId) can number and a machine sensibly has.
pub const SHARDS_MAX: usize = 1_024;

/// Requests of one connection that may be in progress; one more is not read until the oldest is answered.
pub const PIPELINE_REQUESTS_MAX: usize = 64;

/// Bytes of batches that are gathered for one write each of their partitions, while more is known to be at hand. Less than
/// what a client usually has on its way, five requests of 128 KiB: else it and the broker wait for each other in turn.
pub const GATHERED_BYTES_MAX: usize = 256 * 1024;

/// Missing bytes from which a frame is received straight into its own buffer instead of through a shared one.
pub const EXACT_RECEIVE_BYTES_MIN: usize = 32 * 1024;

/// Bytes of the largest answer that our own client takes; above what any broker sends with Kafka's bounds.
pub const CLIENT_FRAME_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Time for which our own client goes on asking for a topic that the cluster says is not there.
pub const UNKNOWN_TOPIC_MS_MAX: u64 = 10_000;

/// Bytes that the large requests of all shards together hold in memory while they are received and served.
pub const REQUEST_MEMORY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes that answers to fetches hold in memory until their readers take them; beyond it each gets a little.
pub const ANSWER_MEMORY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Time that a frame waits for its place in the memory budget before its connection is closed.
pub const BUDGET_WAIT_MS_MAX: u64 = 30_000;

/// Bytes of a large frame that must have come before it gets room for all of it.
pub const FRAME_PART_BYTES: usize = 1024 * 1024;

/// Time that a large frame may take beyond its slowest pace while others wait for the memory that it holds,
pub const FRAME_WAIT_MS: u64 = 2_000;

/// and that pace.
pub const FRAME_BYTES_PER_MS_MIN: u64 = 64;

/// Time between two looks whether others have begun to wait.
pub const FRAME_LOOK_MS: u64 = 500;

/// Batches that one write to a partition takes together.
pub const APPEND_GROUP_BATCHES_MAX: usize = 256;

/// Bytes from which a write to a partition takes no further batch.
pub const APPEND_GROUP_BYTES_MAX: usize = 1024 * 1024;

/// Room on the disk that a partition whose write has failed waits for before it takes records again: as much as one
/// write takes.
pub const RESUME_ROOM_BYTES: u64 = APPEND_GROUP_BYTES_MAX as u64;

/// Time between two looks of such a partition whether it can take records again.
pub const RESUME_INTERVAL_MS: u64 = 1_000;

/// Bytes of a block: a write past the page cache begins at the bounds of one and is a number of them.
pub const BLOCK_BYTES: usize = 4 * 1024;

/// Zeros that are put on the device at once, behind a log whose appends go past the page cache.
pub const ZEROED_BYTES: u64 = 1024 * 1024;

/// Zeros that such a log has ahead of it, at least: as many as its segment has bytes,
pub const ZEROED_AHEAD_BYTES_MIN: u64 = 64 * 1024;

/// and at most. With less than half of that more are made.
pub const ZEROED_AHEAD_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Bytes written to a partition after which the device is started on them.
pub const WRITEBACK_BYTES: u64 = 4 * 1024 * 1024;

/// Bytes written to a partition after which they are synced in the background, which moves its recovery point.
pub const UNSYNCED_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Batches at the end of a log whose places its owner remembers.
pub const RECENT_BATCHES_MAX: usize = 16;

/// Index entries that wait in memory before they are written to their files.
pub const UNWRITTEN_INDEX_ENTRIES_MAX: usize = 512;

/// Bytes of an index file that a search reads at once, when it has come near enough: a page.
pub const INDEX_WINDOW_BYTES: u64 = 4 * 1024;

/// Bytes of a segment that a walk over batch headers reads at a time.
pub const WALK_BYTES: usize = 8 * 1024;

/// Bytes of `__consumer_offsets` that are read at once when its groups are loaded, or one batch.
pub const COORDINATOR_LOAD_BYTES: usize = 256 * 1024;

/// Bytes of a segment that a recovery reads at a time.
pub const RECOVERY_CHUNK_BYTES: usize = 1024 * 1024;
/// Bytes of a log that a cleaner looks at at once, if its batches are not larger.
pub const CLEANER_PIECE_BYTES: usize = 1024 * 1024;

/// Logs that a shard opens or closes at the same time, each with some files of its own.
pub const LOGS_AT_ONCE_MAX: usize = 64;

/// Time between two writes of the checkpoint files.
pub const CHECKPOINT_INTERVAL_MS: u64 = 60_000;

/// Time between two looks at what has waited long enough: unsynced records, silent producers.
pub const HOUSEKEEPING_INTERVAL_MS: u64 = 100;

/// Time between two looks for idempotent producers that are silent, in each partition.
pub const PRODUCER_EXPIRY_INTERVAL_MS: u64 = 600_000;

/// Time that requests in progress get to end when the node stops.
pub const STOP_WAIT_MS_MAX: u64 = 5_000;

/// Time that a task may hold a shard before it yields, in microseconds.
pub const TASK_BUDGET_US: u64 = 300;

/// Questions of one connection in a row that all went to one other shard, after which the connection moves there.
pub const MOVE_AFTER_QUESTIONS: u32 = 16;

/// Time over which a shard looks how busy it is.
pub const LOAD_WINDOW_MS: u64 = 1_000;

/// Share of its time, in thousandths, from which on a shard takes no connections over.
pub const BUSY_PERMILLE: u64 = 500;

/// Share of its time, in thousandths, from which on a shard gives connections away to one that is not busy.
pub const OVERLOADED_PERMILLE: u64 = 900;
const _: () = assert!(BUSY_PERMILLE < OVERLOADED_PERMILLE && OVERLOADED_PERMILLE <= 1_000);

/// Connections of one shard.
pub const CONNECTIONS_MAX: usize = 16 * 1024;

/// Groups of one coordinator, which is one partition of `__consumer_offsets`.
pub const GROUPS_MAX: usize = 64 * 1024;

/// Members of one group, whatever `group.max.size` allows.
pub const GROUP_MEMBERS_MAX: usize = 16 * 1024;

/// Committed offsets of one coordinator, those of open transactions and of commits on their way included.
pub const GROUP_OFFSETS_MAX: usize = 256 * 1024;

/// Bytes of groups, members, subscriptions, assignments and offsets that one coordinator holds.
pub const GROUP_STATE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How many times as much state as it may add to a coordinator loads from its log before it gives up: the log holds what
/// was admitted within [`GROUP_STATE_BYTES_MAX`], by this or an earlier release, or by Kafka, which has no such bound.
pub const GROUP_LOAD_FACTOR: usize = 4;

/// Longest part of a client's name or address that a group keeps, in bytes. What is kept must fit into a record and into
/// the answers to others.
pub const CLIENT_NAME_BYTES_MAX: usize = 16 * 1024;

/// What a pattern of topics may take when it is compiled, in bytes. A class of Unicode alone, as `\w`, takes some 45 KiB.
pub const TOPIC_PATTERN_BYTES_MAX: usize = 1024 * 1024;

/// Appends of one coordinator that are on their way; commits are put off while there are so many.
pub const GROUP_APPENDS_MAX: usize = 4 * 1024;

/// Transactional ids of one coordinator, which is one partition of `__transaction_state`.
pub const TRANSACTIONAL_IDS_MAX: usize = 64 * 1024;

/// Bytes of transactional ids and the partitions of their transactions that one coordinator holds.
pub const TRANSACTION_STATE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// As [`GROUP_LOAD_FACTOR`], for [`TRANSACTION_STATE_BYTES_MAX`].
pub const TRANSACTION_LOAD_FACTOR: usize = 4;

/// Changes of transactional ids of one coordinator that are on their way; more are put off while there are so many.
pub const TRANSACTION_APPENDS_MAX: usize = 4 * 1024;

/// Partitions that wait at one coordinator until their transactions can begin; more are told to come again.
pub const TRANSACTION_CLAIMS_MAX: usize = 16 * 1024;

/// Bytes of a batch of `__transaction_state`, whatever its `max.message.bytes` says.
pub const TRANSACTION_BATCH_BYTES_MAX: usize = OFFSETS_BATCH_BYTES_MAX;

/// Time after which a marker that a partition could not take, or a record that could not be written, is tried again.
pub const TRANSACTION_RETRY_MS: u64 = 100;

/// Bytes of one batch of `__consumer_offsets` (Kafka's default of `message.max.bytes`).
pub const OFFSETS_BATCH_BYTES_MAX: usize = 1024 * 1024 + 12;

/// Groups and offsets that one look for expired offsets takes before others get their turn; the last group is looked at
/// whole.
pub const EXPIRY_LOOK_MAX: usize = 4_096;

/// Time after which a new member that waits in JoinGroup is given up: it has no id yet and cannot send heartbeats.
pub const NEW_MEMBER_JOIN_MS_MAX: u64 = 300_000;

const _: () = assert!(ZEROED_BYTES.is_multiple_of(BLOCK_BYTES as u64));
const _: () = assert!(ZEROED_AHEAD_BYTES_MIN.is_multiple_of(BLOCK_BYTES as u64));
const _: () = assert!(ZEROED_AHEAD_BYTES_MIN <= ZEROED_AHEAD_BYTES_MAX);
const _: () = assert!(SHARDS_MAX <= u16::MAX as usize);
const _: () = assert!(METADATA_BATCH_BYTES_MAX <= METADATA_QUEUE_BYTES_MAX);
const _: () = assert!(MAILBOX_MESSAGES_MAX.is_power_of_two());
const _: () = assert!(GROUP_LOAD_FACTOR >= 1);
const _: () = assert!(OFFSETS_BATCH_BYTES_MAX <= GROUP_STATE_BYTES_MAX);
const _: () = assert!(DECOMPRESSED_BATCH_BYTES_MAX < LEGACY_CONVERTED_BYTES_MAX);
