//! How loads send, and what.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use corelane_core::client::{Acks, ProducerOptions};
use corelane_perf::crew::Placement;
use corelane_perf::payload::{Keys, RecordHeaders, RecordSpec, Sizes, Values};
use corelane_perf::run_file::Settings;
use regex::Regex;

use super::properties::Properties;
use crate::failure::Failure;
use crate::produce::{CodecName, parse_acks};

/// How a load sends. What is not given is as with Kafka's Java producer.
#[derive(Args, Debug)]
pub(super) struct SendingArguments {
    /// Codec of the batches (compression.type).
    #[arg(long, short = 'z', value_enum, value_name = "CODEC")]
    codec: Option<CodecName>,
    /// Whose word to wait for: nobody's (0), the leader's (1) or that of all replicas in sync.
    #[arg(long, alias = "producer-acks", value_name = "0|1|all", value_parser = parse_acks, allow_hyphen_values = true)]
    acks: Option<Acks>,
    /// Milliseconds that a batch waits for more records (linger.ms).
    #[arg(long, value_name = "MS")]
    linger_ms: Option<u64>,
    /// Bytes of a batch, before compression (batch.size).
    #[arg(long, value_name = "BYTES")]
    batch_size: Option<usize>,
}

impl SendingArguments {
    /// The options that `properties` and then these flags make of `options`.
    pub(super) fn options(
        &self,
        properties: &mut Properties,
        mut options: ProducerOptions,
    ) -> Result<ProducerOptions, Failure> {
        properties.producer(&mut options)?;
        if let Some(codec) = self.codec {
            if codec.codec() != options.compression.codec {
                options.compression.level = None;
            }
            options.compression.codec = codec.codec();
        }
        options.acks = self.acks.unwrap_or(options.acks);
        options.linger_ms = self.linger_ms.unwrap_or(options.linger_ms);
        options.batch_bytes_max = self.batch_size.unwrap_or(options.batch_bytes_max);
        Ok(options)
    }
}

/// A setting as a result file keeps it.
pub(super) fn setting(name: &str, value: impl ToString) -> (String, String) {
    (name.to_owned(), value.to_string())
}

/// Producer settings as a result file keeps them, under Kafka's names.
pub(super) fn producer_settings(options: &ProducerOptions) -> Settings {
    let acks = match options.acks {
        Acks::None => "0",
        Acks::Leader => "1",
        Acks::All => "all",
    };
    let mut settings = vec![
        setting("acks", acks),
        setting("enable.idempotence", options.is_idempotent && options.acks == Acks::All),
        setting("compression.type", format!("{:?}", options.compression.codec).to_lowercase()),
    ];
    if let Some(level) = options.compression.level {
        settings.push(setting("compression level", level));
    }
    settings.extend([
        setting("linger.ms", options.linger_ms),
        setting("batch.size", options.batch_bytes_max),
        setting("max.request.size", options.request_bytes_max),
        setting("buffer.memory", options.buffer_bytes_max),
        setting("max.in.flight.requests.per.connection", options.in_flight_max),
    ]);
    settings
}

/// What records hold.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("value").required(true).args(["record_size", "payload_file", "payload_monotonic"])))]
pub(super) struct RecordArguments {
    /// Bytes of each record's value: 1024, or uniform:100-2000, or normal:1000,200 (mean and standard deviation).
    #[arg(long, value_name = "SIZE")]
    record_size: Option<Sizes>,
    /// File with values, of which each record gets any.
    #[arg(long, value_name = "FILE")]
    payload_file: Option<PathBuf>,
    /// What stands between the values of --payload-file: a regular expression.
    #[arg(long, value_name = "REGEX", default_value = "\\n")]
    payload_delimiter: String,
    /// Values are numbers, each one larger than the last.
    #[arg(long)]
    payload_monotonic: bool,
    /// Keys of the records: none, sequential:COUNT, uniform:COUNT or zipf:COUNT,EXPONENT.
    #[arg(long, value_name = "KEYS", default_value = "none")]
    keys: Keys,
    /// Bytes of each key, which is a number with zeros in front.
    #[arg(long, value_name = "BYTES", default_value_t = 16, value_parser = parse_key_size)]
    key_size: usize,
    #[command(flatten)]
    headers: HeaderArguments,
    /// What random values and keys begin with: the same seed gives the same ones.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    seed: u64,
}

fn parse_key_size(text: &str) -> Result<usize, String> {
    let size = text.parse().ok().filter(|size| *size <= 32_767);
    size.ok_or_else(|| "it is a number of bytes up to 32767".to_owned())
}

/// Headers of records.
#[derive(Args, Debug)]
pub(super) struct HeaderArguments {
    /// Headers of each record.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    num_headers: usize,
    /// Bytes of each header's name.
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    record_header_key_size: usize,
    /// Bytes of each header's value; -1 is a null.
    #[arg(long, value_name = "BYTES", default_value_t = 0, allow_hyphen_values = true)]
    record_header_size: i64,
}

impl HeaderArguments {
    pub(super) fn headers(&self) -> Result<RecordHeaders, Failure> {
        let value_bytes = match self.record_header_size {
            -1 => None,
            bytes => Some(usize::try_from(bytes).map_err(|_| {
                Failure::new(format!("--record-header-size {bytes}: it is a number of bytes, or -1 for a null"))
            })?),
        };
        Ok(RecordHeaders::new(self.num_headers, self.record_header_key_size, value_bytes))
    }
}

impl RecordArguments {
    /// What records hold.
    pub(super) fn spec(&self) -> Result<RecordSpec, Failure> {
        let values = match (&self.record_size, &self.payload_file) {
            (Some(sizes), _) => Values::Random(*sizes),
            (None, Some(path)) => Values::Given(read_values(path, &self.payload_delimiter)?),
            (None, None) => Values::Monotonic,
        };
        let headers = self.headers.headers()?;
        Ok(RecordSpec { keys: self.keys, key_bytes: self.key_size, values, headers, seed: self.seed })
    }

    /// Them as a result file keeps them.
    pub(super) fn settings(&self) -> Settings {
        let value = match (&self.record_size, &self.payload_file) {
            (Some(sizes), _) => setting("record-size", sizes),
            (None, Some(path)) => setting("payload-file", path.display()),
            (None, None) => setting("payload-monotonic", true),
        };
        let headers = setting("num-headers", self.headers.num_headers);
        vec![value, setting("keys", self.keys), headers, setting("seed", self.seed)]
    }
}

fn read_values(path: &Path, delimiter: &str) -> Result<Vec<Vec<u8>>, Failure> {
    let name = path.display().to_string();
    let delimiter = Regex::new(delimiter)
        .map_err(|_| Failure::new(format!("--payload-delimiter {delimiter}: it is no regular expression")))?;
    let text = std::fs::read_to_string(path).map_err(|error| Failure::from(error).during(&name))?;
    let mut values: Vec<Vec<u8>> = delimiter.split(&text).map(|value| value.as_bytes().to_vec()).collect();
    // As Kafka's tool: what is behind the last delimiter is no value if it is empty.
    while values.last().is_some_and(Vec::is_empty) {
        values.pop();
    }
    if values.is_empty() {
        return Err(Failure::new(format!("{name}: it has no values")));
    }
    Ok(values)
}

/// Where threads run.
#[derive(Args, Debug)]
pub(super) struct PlacementArguments {
    /// Processors to pin the threads of the load to, in turn, as 0,1; by default the system places them.
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',')]
    pub(super) cpus: Vec<usize>,
}

impl PlacementArguments {
    pub(super) fn placement(&self) -> Placement {
        Placement(self.cpus.clone())
    }
}

/// Records a second; none is no limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate(pub(super) Option<f64>);

/// A rate as Kafka's tools take it, where -1 is no limit.
pub(super) fn parse_rate(text: &str) -> Result<Rate, String> {
    match text.parse::<f64>() {
        Ok(-1.0) => Ok(Rate(None)),
        Ok(rate) if rate > 0.0 && rate.is_finite() => Ok(Rate(Some(rate))),
        _ => Err("it is a number of records a second above 0, or -1 for no limit".to_owned()),
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.unwrap_or(-1.0))
    }
}

/// A count of threads.
pub(super) fn parse_threads(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=1_000).contains(count));
    count.ok_or_else(|| "it is a number from 1 to 1000".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_or_none() {
        assert_eq!(parse_rate("-1").unwrap().0, None);
        assert_eq!(parse_rate("5000").unwrap().0, Some(5_000.0));
        assert_eq!(parse_rate("0.5").unwrap().0, Some(0.5));
        for bad in ["0", "-2", "fast", "", "NaN", "inf"] {
            assert!(parse_rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn values_of_a_file_stand_between_delimiters() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("values");
        std::fs::write(&path, "one\ntwo\n\nfour\n\n").unwrap();
        let read = |delimiter| read_values(&path, delimiter).unwrap();
        assert_eq!(read("\\n"), [&b"one"[..], b"two", b"", b"four"]);
        assert_eq!(read("\\n+|o"), [&b""[..], b"ne", b"tw", b"", b"f", b"ur"]);
        assert!(format!("{:?}", read_values(&path, "(").unwrap_err()).contains("regular expression"));
        std::fs::write(&path, "\n\n").unwrap();
        assert!(format!("{:?}", read_values(&path, "\\n").unwrap_err()).contains("no values"));
    }
}
