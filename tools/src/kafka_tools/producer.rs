//! kafka-console-producer.sh.

use clap::Parser;
use corelane_core::client::Acks;

use super::{Bootstrap, number, properties, unknown_property};
use crate::arguments::parse_pair;
use crate::failure::Failure;
use crate::produce::{CodecName, HeaderSyntax, LineSyntax, Produce, parse_acks};

/// Send lines of the standard input as records.
#[derive(Debug, Parser)]
#[command(max_term_width = 100)]
pub(super) struct ConsoleProducer {
    #[command(flatten)]
    bootstrap: Bootstrap,
    /// Topic to write to.
    #[arg(long, value_name = "TOPIC")]
    topic: String,
    /// Codec of the batches; gzip if none is named.
    #[arg(long, value_enum, value_name = "CODEC", num_args = 0..=1, default_missing_value = "gzip")]
    compression_codec: Option<CodecName>,
    /// Whose word to wait for: 0, 1 or all.
    #[arg(long, value_name = "0|1|all", value_parser = parse_acks, allow_hyphen_values = true)]
    request_required_acks: Option<Acks>,
    /// How lines are read: parse.key, key.separator, parse.headers, headers.delimiter, headers.separator,
    /// headers.key.separator, null.marker, ignore.error.
    #[arg(long, alias = "property", value_name = "NAME=VALUE", value_parser = parse_pair)]
    reader_property: Vec<(String, String)>,
    /// Properties of the producer: acks, linger.ms, batch.size, compression.type, delivery.timeout.ms, client.id,
    /// enable.idempotence.
    #[arg(long, alias = "producer-property", value_name = "NAME=VALUE", value_parser = parse_pair)]
    command_property: Vec<(String, String)>,
    /// Wait for the word on each line before the next is sent.
    #[arg(long)]
    sync: bool,
    /// Bytes of a batch, before compression.
    #[arg(long, value_name = "BYTES", default_value_t = 16_384)]
    batch_size: usize,
    /// Milliseconds that a batch waits for more lines.
    #[arg(long, value_name = "MS", default_value_t = 1_000)]
    timeout: u64,
}

const PRODUCER_PROPERTIES: &[&str] =
    &["acks", "linger.ms", "batch.size", "compression.type", "delivery.timeout.ms", "client.id", "enable.idempotence"];
const READER_PROPERTIES: &[&str] = &[
    "parse.key",
    "key.separator",
    "parse.headers",
    "headers.delimiter",
    "headers.separator",
    "headers.key.separator",
    "null.marker",
    "ignore.error",
];

impl ConsoleProducer {
    /// Sends the lines.
    pub(super) fn run(&self) -> Result<(), Failure> {
        let mut cluster = self.bootstrap.cluster()?;
        let mut produce = Produce::to_topic(&self.topic);
        produce.syntax = self.syntax()?;
        produce.codec = self.compression_codec.unwrap_or(CodecName::None);
        // A line is waited for, so nothing is gained by waiting for others.
        produce.linger_ms = if self.sync { 0 } else { self.timeout };
        produce.batch_size = if self.sync { 1 } else { self.batch_size };
        produce.in_turn = self.sync;
        let option = "--command-property";
        for (name, value) in properties(&self.command_property) {
            let refused = |why: String| Failure::new(format!("{option}: {name}={value}: {why}"));
            match name {
                "acks" => produce.acks = parse_acks(value).map_err(refused)?,
                "linger.ms" => produce.linger_ms = number(option, name, value)?,
                "batch.size" => produce.batch_size = number(option, name, value)?,
                "delivery.timeout.ms" => produce.delivery_timeout_ms = number(option, name, value)?,
                "compression.type" => {
                    produce.codec = <CodecName as clap::ValueEnum>::from_str(value, false).map_err(refused)?;
                }
                "client.id" => cluster = cluster.client_id(value.to_owned()),
                "enable.idempotence" => {
                    produce.is_idempotent = Some(value.parse().map_err(|_| refused("it is true or false".to_owned()))?);
                }
                _ => return Err(unknown_property(option, name, PRODUCER_PROPERTIES)),
            }
        }
        produce.acks = self.request_required_acks.unwrap_or(produce.acks);
        produce.cluster = cluster;
        produce.run()
    }

    fn syntax(&self) -> Result<LineSyntax, Failure> {
        let mut parses_key = false;
        let mut parses_headers = false;
        let mut key_separator = "\t".to_owned();
        let mut headers =
            HeaderSyntax { delimiter: "\t".to_owned(), separator: ",".to_owned(), key_separator: ":".to_owned() };
        let mut syntax = LineSyntax { requires_parts: true, ..LineSyntax::default() };
        for (name, value) in properties(&self.reader_property) {
            let is_on = || match value {
                "true" => Ok(true),
                "false" => Ok(false),
                _ => Err(Failure::new(format!("--reader-property: {name}={value}: it is true or false"))),
            };
            match name {
                "parse.key" => parses_key = is_on()?,
                "parse.headers" => parses_headers = is_on()?,
                "ignore.error" => syntax.requires_parts = !is_on()?,
                "key.separator" => value.clone_into(&mut key_separator),
                "headers.delimiter" => value.clone_into(&mut headers.delimiter),
                "headers.separator" => value.clone_into(&mut headers.separator),
                "headers.key.separator" => value.clone_into(&mut headers.key_separator),
                "null.marker" => syntax.null_marker = Some(value.to_owned()),
                _ => return Err(unknown_property("--reader-property", name, READER_PROPERTIES)),
            }
        }
        syntax.key_separator = parses_key.then_some(key_separator);
        syntax.headers = parses_headers.then_some(headers);
        Ok(syntax)
    }
}
