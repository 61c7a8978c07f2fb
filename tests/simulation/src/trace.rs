//! What happened, in order: a running hash that two runs of one seed must share, and the last lines to read.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::hash::{DefaultHasher, Hasher as _};
use std::io::Write as _;

/// Lines that are kept for the report of a failure.
const TAIL_LINES_MAX: usize = 60;

/// Names a file for the whole trace of each run that follows; to be used with one run.
pub const FILE_VARIABLE: &str = "CORELANE_SIMULATION_TRACE";

/// The events of one run.
#[derive(Debug)]
pub struct Trace {
    hash: DefaultHasher,
    lines: u64,
    tail: VecDeque<String>,
    file: Option<File>,
}

impl Default for Trace {
    fn default() -> Self {
        let file = std::env::var_os(FILE_VARIABLE).map(|path| File::create(path).expect("the trace can be written"));
        Self { hash: DefaultHasher::new(), lines: 0, tail: VecDeque::new(), file }
    }
}

impl Trace {
    /// Adds an event at a virtual time.
    pub fn add(&mut self, now_ns: u64, event: fmt::Arguments<'_>) {
        let line = format!("{:>10}.{:03} µs  {event}", now_ns / 1000, now_ns % 1000);
        self.hash.write(line.as_bytes());
        self.lines += 1;
        if let Some(file) = &mut self.file {
            writeln!(file, "{line}").expect("the trace can be written");
        }
        if self.tail.len() == TAIL_LINES_MAX {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }

    /// Over all lines so far; the same for each run of one build.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash.finish()
    }

    /// How many lines there were.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// The last lines, oldest first.
    #[must_use]
    pub fn tail(&self) -> String {
        self.tail.iter().fold(String::new(), |text, line| text + "\n  " + line)
    }
}
