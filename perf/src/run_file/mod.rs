//! A run that is kept: what it came to, what it was told, and where. The file is a FlatBuffer by `schema/run.fbs`.

#[allow(dead_code, missing_docs, unreachable_pub, clippy::all, clippy::pedantic, clippy::undocumented_unsafe_blocks)]
#[rustfmt::skip]
mod run_generated;

use std::fmt;

use flatbuffers::{FlatBufferBuilder, ForwardsUOffset, InvalidFlatbuffer, Vector, WIPOffset};

use crate::host::Host;
use crate::report::{Report, Window};
use run_generated as file;

/// Version of this program, which goes into each file.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Names with values.
pub type Settings = Vec<(String, String)>;

/// A run of a load.
#[derive(Clone, Debug)]
pub struct Run {
    /// What kind of load: producer, consumer or end-to-end.
    pub load: String,
    /// Version of the program that put it on.
    pub version: String,
    /// When it began, in milliseconds since 1970.
    pub started_ms: i64,
    /// The machine that the load ran on.
    pub host: Host,
    /// What the load was told.
    pub settings: Settings,
    /// The broker that it asked first, as `host:port`.
    pub broker: String,
    /// What that broker is set to, where it differs from its defaults.
    pub broker_settings: Settings,
    /// All of it.
    pub total: Report,
    /// What came after the warm-up; none if there was none.
    pub steady: Option<Report>,
    /// Piece by piece.
    pub windows: Vec<Window>,
}

/// Why bytes are no run.
#[derive(Clone, Debug)]
pub enum RunFileError {
    /// It is a file of another kind.
    OfAnotherKind,
    /// It begins as a run, and is damaged.
    Damaged(InvalidFlatbuffer),
}

impl fmt::Display for RunFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OfAnotherKind => f.write_str("it is no result file of corelane perf"),
            Self::Damaged(error) => {
                let text = error.to_string();
                write!(f, "it is damaged: {}", text.lines().next().unwrap_or_default().trim_end_matches(['.', ' ']))
            }
        }
    }
}

impl std::error::Error for RunFileError {}

impl Run {
    /// A run of this program on this machine.
    #[must_use]
    pub fn here(load: &str, started_ms: i64, total: Report, steady: Option<Report>, windows: Vec<Window>) -> Self {
        Self {
            load: load.to_owned(),
            version: VERSION.to_owned(),
            started_ms,
            host: Host::here(),
            settings: Settings::new(),
            broker: String::new(),
            broker_settings: Settings::new(),
            total,
            steady,
            windows,
        }
    }

    /// What counts: the steady state if there was a warm-up.
    #[must_use]
    pub fn counted(&self) -> &Report {
        self.steady.as_ref().unwrap_or(&self.total)
    }

    /// The bytes of the file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut builder = FlatBufferBuilder::new();
        let kernel = builder.create_string(&self.host.kernel);
        let processor = builder.create_string(&self.host.processor);
        let host = file::HostArgs {
            kernel: Some(kernel),
            processor: Some(processor),
            processors: self.host.processors,
            memory_bytes: self.host.memory_bytes,
        };
        let host = file::Host::create(&mut builder, &host);
        let windows: Vec<file::Window> = self.windows.iter().map(encode_window).collect();
        let run = file::RunArgs {
            load: Some(builder.create_string(&self.load)),
            version: Some(builder.create_string(&self.version)),
            started_ms: self.started_ms,
            host: Some(host),
            settings: Some(encode_settings(&mut builder, &self.settings)),
            broker: Some(builder.create_string(&self.broker)),
            broker_settings: Some(encode_settings(&mut builder, &self.broker_settings)),
            total: Some(encode_report(&mut builder, &self.total)),
            steady: self.steady.as_ref().map(|report| encode_report(&mut builder, report)),
            windows: Some(builder.create_vector(&windows)),
        };
        let run = file::Run::create(&mut builder, &run);
        file::finish_run_buffer(&mut builder, run);
        builder.finished_data().to_vec()
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// They are no run.
    pub fn decode(bytes: &[u8]) -> Result<Self, RunFileError> {
        // The mark stands behind the first four bytes.
        if bytes.get(4..8) != Some(file::RUN_IDENTIFIER.as_bytes()) {
            return Err(RunFileError::OfAnotherKind);
        }
        let run = file::root_as_run(bytes).map_err(RunFileError::Damaged)?;
        let host = run.host().map(|host| Host {
            kernel: host.kernel().unwrap_or_default().to_owned(),
            processor: host.processor().unwrap_or_default().to_owned(),
            processors: host.processors(),
            memory_bytes: host.memory_bytes(),
        });
        Ok(Self {
            load: run.load().to_owned(),
            version: run.version().to_owned(),
            started_ms: run.started_ms(),
            host: host.unwrap_or_default(),
            settings: decode_settings(run.settings()),
            broker: run.broker().unwrap_or_default().to_owned(),
            broker_settings: decode_settings(run.broker_settings()),
            total: run.total().map_or_else(Report::new, |summary| decode_report(&summary)),
            steady: run.steady().map(|summary| decode_report(&summary)),
            windows: run.windows().iter().flat_map(|windows| windows.iter()).map(decode_window).collect(),
        })
    }
}

type Offsets<'a, T> = WIPOffset<Vector<'a, ForwardsUOffset<T>>>;

fn encode_settings<'a>(builder: &mut FlatBufferBuilder<'a>, settings: &Settings) -> Offsets<'a, file::Setting<'a>> {
    let mut encoded = Vec::with_capacity(settings.len());
    for (name, value) in settings {
        let (name, value) = (Some(builder.create_string(name)), Some(builder.create_string(value)));
        encoded.push(file::Setting::create(builder, &file::SettingArgs { name, value }));
    }
    builder.create_vector(&encoded)
}

fn decode_settings(settings: Option<Vector<'_, ForwardsUOffset<file::Setting<'_>>>>) -> Settings {
    let each = settings.iter().flat_map(|settings| settings.iter());
    each.map(|setting| (setting.name().to_owned(), setting.value().to_owned())).collect()
}

fn encode_report<'a>(builder: &mut FlatBufferBuilder<'a>, report: &Report) -> WIPOffset<file::Summary<'a>> {
    let latencies = report.latency_us.iter_recorded();
    let latencies: Vec<file::Bucket> =
        latencies.map(|step| file::Bucket::new(step.value_iterated_to(), step.count_at_value())).collect();
    let latencies = Some(builder.create_vector(&latencies));
    let Report { records, bytes, seconds, .. } = *report;
    file::Summary::create(builder, &file::SummaryArgs { records, bytes, seconds, latencies })
}

fn decode_report(summary: &file::Summary<'_>) -> Report {
    let mut report = Report::new();
    report.records = summary.records();
    report.bytes = summary.bytes();
    report.seconds = summary.seconds();
    for bucket in summary.latencies().iter().flat_map(|latencies| latencies.iter()) {
        report.latency_us.saturating_record_n(bucket.value_us(), bucket.count());
    }
    report
}

fn encode_window(window: &Window) -> file::Window {
    let Window { end_seconds, seconds, records, bytes, p50_us, p99_us, max_us } = *window;
    file::Window::new(end_seconds, seconds, records, bytes, p50_us, p99_us, max_us)
}

fn decode_window(window: &file::Window) -> Window {
    Window {
        end_seconds: window.end_seconds(),
        seconds: window.seconds(),
        records: window.records(),
        bytes: window.bytes(),
        p50_us: window.p50_us(),
        p99_us: window.p99_us(),
        max_us: window.max_us(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use super::*;

    /// A run whose latencies are `ms`, 2 ms, ... milliseconds.
    pub(crate) fn sample(ms: u64) -> Run {
        let mut total = Report::new();
        (1..=1_000).for_each(|n| total.add(100, Duration::from_micros(n * ms)));
        total.seconds = 2.0;
        let windows =
            (1..=4).map(|n| Window { end_seconds: f64::from(n) * 0.5, seconds: 0.5, ..Window::of(&total, 0.0) });
        let windows = windows.collect();
        Run {
            settings: vec![("topic".to_owned(), "t".to_owned()), ("acks".to_owned(), "all".to_owned())],
            broker: "localhost:9092".to_owned(),
            broker_settings: vec![("num.partitions".to_owned(), ms.to_string())],
            ..Run::here("producer", 1_000 * ms as i64, total.clone(), Some(total), windows)
        }
    }

    #[test]
    fn a_run_is_read_as_it_was_written() {
        let run = sample(3);
        let read = Run::decode(&run.encode()).unwrap();
        assert_eq!((&read.load, &read.version, read.started_ms), (&run.load, &run.version, 3_000));
        assert_eq!((&read.host, &read.settings, &read.broker), (&run.host, &run.settings, &run.broker));
        assert_eq!((&read.broker_settings, &read.windows), (&run.broker_settings, &run.windows));
        assert_eq!((read.total.records, read.total.bytes, read.total.seconds), (1_000, 100_000, 2.0));
        for quantile in [0.0, 0.5, 0.99, 0.9999, 1.0] {
            assert_eq!(read.total.latency_ms(quantile), run.total.latency_ms(quantile), "{quantile}");
        }
        assert!(read.steady.is_some());
        assert!(Run::decode(&Run { steady: None, ..run }.encode()).unwrap().steady.is_none());
    }

    #[test]
    fn what_is_no_run_is_refused() {
        let whole = sample(1).encode();
        for bytes in [&b""[..], b"1234", b"{\"topic\":\"t\"}", &whole[4..]] {
            assert!(matches!(Run::decode(bytes), Err(RunFileError::OfAnotherKind)), "{bytes:?}");
        }
        for length in 8..whole.len().min(400) {
            let error = Run::decode(&whole[..length]).unwrap_err();
            assert!(error.to_string().starts_with("it is damaged: "), "{error}");
        }
        // Any other damage is either found or harmless.
        for at in 8..whole.len().min(2_000) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0xff;
            let _ = Run::decode(&damaged);
        }
    }
}
