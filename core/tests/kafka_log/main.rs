//! Validation, log arithmetic and file formats, judged by Apache Kafka's own log (`tests/kafka-log/LogJudge.java`), and the old
//! message formats by that of the last release which knew them (`LegacyJudge.java`).

mod files;
mod judge;
mod legacy;
mod our_log;
mod recovery;
mod retention;
mod verdicts;
