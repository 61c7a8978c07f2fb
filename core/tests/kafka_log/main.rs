//! Validation, log arithmetic and file formats, judged by Apache Kafka's own log (`tests/kafka-log/LogJudge.java`).

mod files;
mod judge;
mod our_log;
mod recovery;
mod retention;
mod verdicts;
