//! Every message and record, in every version: round trips, Kafka's own bytes, and bytes that somebody made up.

mod facts;
mod hostile_bytes;
mod kafka_vectors;
mod round_trips;
mod vector_files;
