//! `corelane start`: reads and checks the settings, then hands over to the server.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use corelane_core::config::{BrokerConfig, ConfigError, Setting, parse_override, parse_properties};

use corelane_server::logging::Logging;
use corelane_server::node::Ready;
use corelane_server::process;

use crate::failure::Failure;

/// Arguments of `corelane start`.
#[derive(Args, Debug)]
pub(crate) struct Start {
    /// Settings under Kafka's names; a server.properties of Apache Kafka is accepted as it is.
    #[arg(long, short = 'c', value_name = "FILE")]
    config: Option<PathBuf>,
    /// A setting that wins over the file; may be given several times.
    #[arg(long, value_name = "NAME=VALUE")]
    r#override: Vec<String>,
    /// Cores to run on: a number of cores, or which ones, as 0,1 or 2-5. All of them by default.
    #[arg(long, value_name = "CORES", value_parser = Cores::parse)]
    cores: Option<Cores>,
}

/// Which cores the shards run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cores {
    /// So many, whichever.
    Count(usize),
    /// These.
    List(Vec<usize>),
}

impl Cores {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is neither a number of cores nor a list like 0,1 or 2-5");
        if let Ok(count) = text.parse::<usize>() {
            // No node runs on no core, so 0 can only be the first one's number.
            return Ok(if count > 0 { Self::Count(count) } else { Self::List(vec![0]) });
        }
        let mut list = Vec::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (usize, usize) =
                (first.trim().parse().map_err(|_| wrong())?, last.trim().parse().map_err(|_| wrong())?);
            if first > last || last - first >= corelane_core::limits::SHARDS_MAX {
                return Err(wrong());
            }
            list.extend(first..=last);
        }
        list.sort_unstable();
        let named = list.len();
        list.dedup();
        if list.is_empty() {
            return Err(wrong());
        }
        if list.len() < named { Err(format!("`{text}` names a core twice")) } else { Ok(Self::List(list)) }
    }
}

impl Start {
    /// Runs a broker until it is told to stop.
    pub(crate) fn run(&self, log: Logging) -> Result<(), Failure> {
        let (config, notices) = BrokerConfig::from_settings(&self.settings()?).map_err(|errors| refused(&errors))?;
        {
            let mut out = std::io::stdout().lock();
            writeln!(out, "corelane {}: data in {}", env!("CARGO_PKG_VERSION"), config.log_dir)?;
            out.flush()?;
            let mut notes = std::io::stderr().lock();
            for notice in notices {
                writeln!(notes, "corelane: {notice}")?;
            }
        }
        serve(config, self.cores.clone(), log)
    }

    /// Every setting, those that win last. Without a file the broker is for this machine alone.
    fn settings(&self) -> Result<Vec<Setting>, Failure> {
        let mut settings = match &self.config {
            Some(path) => {
                let name = path.display().to_string();
                let text =
                    fs::read_to_string(path).map_err(|error| Failure::new(format!("cannot read {name}: {error}")))?;
                parse_properties(&name, &text).map_err(|errors| refused(&errors))?
            }
            None => vec![
                Setting::built_in("listeners", "PLAINTEXT://localhost:9092"),
                Setting::built_in("log.dirs", &default_data_directory()),
            ],
        };
        for text in &self.r#override {
            settings.push(parse_override(text).map_err(|error| refused(&[error]))?);
        }
        Ok(settings)
    }
}

fn refused(errors: &[ConfigError]) -> Failure {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    Failure::new(lines.join("\ncorelane: "))
}

/// Where a user's programs keep their data by the XDG convention, or here if there is no home.
fn default_data_directory() -> String {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = variable("XDG_DATA_HOME").or_else(|| variable("HOME").map(|home| home.join(".local/share")));
    let directory = base.map_or_else(|| PathBuf::from("corelane-data"), |base| base.join("corelane"));
    directory.to_string_lossy().into_owned()
}

/// Hands over to the server.
fn serve(config: BrokerConfig, cores: Option<Cores>, log: Logging) -> Result<(), Failure> {
    let cores = match cores {
        Some(Cores::List(list)) => list,
        Some(Cores::Count(count)) => (0..count).collect(),
        None => (0..std::thread::available_parallelism().map_or(1, usize::from)).collect(),
    };
    let started = std::time::Instant::now();
    let announce = move |ready: Ready| {
        let listening = ready.listening.iter().map(|(name, addresses)| {
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            format!("{name} on {}", addresses.join(" and "))
        });
        let listening: Vec<String> = listening.collect();
        let (partitions, ms) = (ready.partitions, started.elapsed().as_millis());
        // The broker serves whether or not anybody reads this.
        let _ =
            writeln!(std::io::stdout().lock(), "ready in {ms} ms: {}, {partitions} partitions", listening.join(", "));
    };
    process::run(config, &cores, log, announce).map_err(|error| Failure::new(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_a_count_or_a_list() {
        assert_eq!(Cores::parse("2"), Ok(Cores::Count(2)));
        assert_eq!(Cores::parse("0"), Ok(Cores::List(vec![0])));
        assert_eq!(Cores::parse("0,1"), Ok(Cores::List(vec![0, 1])));
        assert_eq!(Cores::parse("3,"), Ok(Cores::List(vec![3])));
        assert_eq!(Cores::parse("6,2-4"), Ok(Cores::List(vec![2, 3, 4, 6])));
        for bad in ["", "x", "1,x", "4-2", "1,1", "0-99999", "-1", ","] {
            assert!(Cores::parse(bad).is_err(), "{bad}");
        }
    }
}
