//! The stand-in for a broker as a command: loads run against it, and signals end it.

#![allow(missing_docs)]

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use support::CORELANE;

/// `corelane perf sink` on a port of its own.
struct Sink {
    process: Child,
    address: String,
}

impl Sink {
    fn start(arguments: &[&str]) -> Self {
        let mut process =
            Command::new(CORELANE).args(["perf", "sink"]).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}")).to_owned();
        Self { process, address }
    }

    fn run(&self, words: &[&str]) -> String {
        let output = support::run(&[words, &["--bootstrap-server", &self.address]].concat(), b"");
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const PRODUCER: [&str; 8] = ["perf", "producer", "--topic", "load", "--num-records", "3000", "--record-size", "1000"];

#[test]
fn loads_run_against_it_in_every_mode() {
    let directory = tempfile::tempdir().unwrap();
    let files = directory.path().join("made/for/it");
    for (mode, more) in [
        ("discard", &[][..]),
        ("append", &["--directory", files.to_str().unwrap()]),
        ("memory", &["--memory-bytes", "20000000"]),
    ] {
        let sink = Sink::start(&[&["--mode", mode, "--partitions", "2"], more].concat());
        let report = sink.run(&PRODUCER);
        assert!(report.starts_with("3000 records sent, "), "{mode}: {report}");
        let offsets = sink.run(&["offsets", "load"]);
        let ends: Vec<u64> = offsets.lines().filter_map(|line| line.rsplit(':').next()?.trim().parse().ok()).collect();
        assert_eq!(ends.iter().sum::<u64>(), 3_000, "{mode}: {offsets}");
        if mode == "memory" {
            let read = sink.run(&["consume", "--topic", "load", "--from-beginning", "-n", "3000", "--format", "%S\\n"]);
            assert_eq!(read, "1000\n".repeat(3_000));
            let timed = ["perf", "end-to-end", "--topic", "timed", "--num-records", "50", "--record-size", "100"];
            sink.run(&timed);
            // It is a member of a group, which has nobody else.
            let read = ["perf", "consumer", "--topic", "load", "--num-records", "3000", "--check-values", "0"];
            assert!(sink.run(&read).contains(", 3000, "), "perf consumer reads it all");
        }
    }
    let bytes: u64 = std::fs::read_dir(&files).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes > 3_000_000, "{bytes} bytes in {}", files.display());
}

#[test]
fn signals_end_it_and_what_it_needs_is_asked_for() {
    for signal in ["-TERM", "-INT"] {
        let mut sink = Sink::start(&[]);
        assert!(Command::new("kill").args([signal, &sink.process.id().to_string()]).status().unwrap().success());
        assert!(sink.process.wait().unwrap().success(), "{signal}");
    }
    let output = support::run(&["perf", "sink", "--mode", "append"], b"");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("--directory"));
    let sink = Sink::start(&[]);
    let port = sink.address.rsplit(':').next().unwrap();
    let taken = support::failure(support::run(&["perf", "sink", "--port", port], b""));
    assert!(taken.contains("cannot listen on 127.0.0.1:"), "{taken}");
}
