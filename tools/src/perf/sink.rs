//! `corelane perf sink`.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use corelane_perf::bare::{Bare, Mode, Settings};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::failure::Failure;

/// Arguments of `corelane perf sink`.
#[derive(Args, Debug)]
pub(super) struct SinkArguments {
    /// Port on 127.0.0.1; 0 is any that is free.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,
    /// What becomes of records.
    #[arg(long, value_enum, default_value_t = SinkMode::Discard)]
    mode: SinkMode,
    /// Partitions of every topic that a client names without having created it.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    partitions: u32,
    /// Where `--mode append` writes a file for each partition. It is made if it is not there; files of the same names are
    /// overwritten.
    #[arg(long, value_name = "FOLDER", required_if_eq("mode", "append"))]
    directory: Option<PathBuf>,
    /// Bytes of each partition that `--mode memory` keeps; older ones go.
    #[arg(long, value_name = "BYTES", default_value_t = 256 << 20)]
    memory_bytes: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SinkMode {
    /// Acknowledge and count: what a producer can reach at most.
    Discard,
    /// Compare checksums and write to files, without a sync, then acknowledge.
    Append,
    /// Keep the newest in memory, for consumers to read.
    Memory,
}

impl SinkArguments {
    /// Serves until SIGTERM or Ctrl-C.
    pub(super) fn run(&self) -> Result<(), Failure> {
        let mode = match self.mode {
            SinkMode::Discard => Mode::Discard,
            SinkMode::Append => {
                // Clap has seen to it that there is one.
                let directory = self.directory.clone().unwrap_or_default();
                let made = std::fs::create_dir_all(&directory);
                made.map_err(|error| Failure::from(error).during(&directory.display().to_string()))?;
                Mode::Append { directory }
            }
            SinkMode::Memory => Mode::Memory { bytes_max: usize::try_from(self.memory_bytes).unwrap_or(usize::MAX) },
        };
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), self.port);
        let partitions = usize::try_from(self.partitions).unwrap_or(1);
        let bare = Bare::bind(&Settings { address, mode, partitions })
            .map_err(|error| Failure::new(format!("cannot listen on {address}: {error}")))?;
        for signal in [SIGTERM, SIGINT] {
            signal_hook::low_level::pipe::register(signal, bare.stopper()?.into_socket())?;
        }
        {
            let mut out = std::io::stdout().lock();
            writeln!(out, "listening on {}", bare.address())?;
            out.flush()?;
        }
        bare.run(|complaint| {
            // Nobody is left to tell if the standard error is closed.
            let _ = writeln!(std::io::stderr().lock(), "corelane: {complaint}");
        })?;
        Ok(())
    }
}
