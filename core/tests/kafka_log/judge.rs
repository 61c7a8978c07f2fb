//! Kafka's log as a child process that takes a line and answers one.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use corelane_core::base::{Offset, Timestamp};

/// Set where there is no Java: the checks against Kafka's classes are then left out, and say so.
const WITHOUT_JAVA: &str = "CORELANE_TESTS_WITHOUT_JAVA";

/// What became of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// First and last offset, and the append time, −1 where the topic keeps the producer's.
    Stored(i64, i64, i64),
    /// Error code, and the indexes of the records at fault.
    Refused(i16, Vec<i32>),
}

/// A running judge.
pub(crate) struct Judge {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    folder: PathBuf,
}

impl Judge {
    /// Starts one with an empty folder of its own, or `None` if this run is meant to do without.
    pub(crate) fn start(name: &str) -> Option<Self> {
        let work = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests");
        let libs = work.join(".work/kafka/libs");
        if !libs.exists() {
            assert!(
                std::env::var_os(WITHOUT_JAVA).is_some(),
                "run tests/kafka/fetch first (needs Java and Maven), or set {WITHOUT_JAVA}=1"
            );
            // Not `eprintln`, which the test harness keeps to itself unless the test fails.
            let _ = writeln!(std::io::stderr(), "skipped: no Kafka in {} and {WITHOUT_JAVA} is set", libs.display());
            return None;
        }
        let folder = work.join(".work/log-judge").join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder for the judge");
        let mut child = Command::new("java")
            .args(["-Xmx512M", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-cp"])
            .arg(libs.join("*"))
            .arg(format!("-Dlog4j2.configurationFile={}", work.join("kafka/log4j2.properties").display()))
            .arg("-Dkafka.log.level=OFF")
            .arg(work.join("kafka-log/LogJudge.java"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("java runs");
        let input = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        Some(Self { child, input, output, folder })
    }

    /// Opens a new log; gives its folder.
    pub(crate) fn open(&mut self, name: &str, configs: &[(&str, String)]) -> PathBuf {
        let directory = self.folder.join(format!("{name}-0"));
        std::fs::create_dir_all(&directory).expect("a folder for the log");
        assert_eq!(self.ask(&line_of("open", &directory, configs)), "opened");
        directory
    }

    /// Opens a log as after a crash before anything was synced; gives its end.
    pub(crate) fn recover(&mut self, directory: &Path, configs: &[(&str, String)]) -> Offset {
        let answer = self.ask(&line_of("recover", directory, configs));
        let end = answer.strip_prefix("recovered ").and_then(|end| end.parse().ok());
        Offset(end.unwrap_or_else(|| panic!("the judge says {answer}")))
    }

    /// Appends what a Produce request of `version` carries.
    pub(crate) fn append(&mut self, now: Timestamp, epoch: i32, version: i16, records: &[u8]) -> Outcome {
        let mut line = format!("append {now} {epoch} {version} ");
        for byte in records {
            let _ = write!(line, "{byte:02x}");
        }
        let answer = self.ask(&line);
        let words: Vec<&str> = answer.split(' ').collect();
        let number = |at: usize| words[at].parse::<i64>().expect("a number");
        match words[0] {
            "stored" => Outcome::Stored(number(1), number(2), number(3)),
            "refused" => {
                let indexes = words.get(2).map_or("", |word| word).split(',');
                let indexes = indexes.filter(|index| !index.is_empty()).map(|index| index.parse().expect("an index"));
                Outcome::Refused(i16::try_from(number(1)).expect("a code"), indexes.collect())
            }
            other => panic!("the judge says {other}"),
        }
    }

    /// Deletes the segments that may go; gives the log start and the first offsets of the segments that stay.
    pub(crate) fn retain(&mut self, now: Timestamp, high_watermark: Offset, log_start: Offset) -> (i64, Vec<i64>) {
        let answer = self.ask(&format!("retain {now} {high_watermark} {log_start}"));
        let words: Vec<&str> = answer.split(' ').collect();
        let ["kept", start, bases] = words[..] else { panic!("the judge says {answer}") };
        let bases = bases.split(',').map(|base| base.parse().expect("an offset"));
        (start.parse().expect("an offset"), bases.collect())
    }

    /// Closes the log as a clean stop does.
    pub(crate) fn close(&mut self) {
        assert_eq!(self.ask("close"), "closed");
    }

    fn ask(&mut self, line: &str) -> String {
        writeln!(self.input, "{line}").expect("the judge listens");
        let mut answer = String::new();
        self.output.read_line(&mut answer).expect("the judge answers");
        assert!(!answer.is_empty(), "the judge has ended on {}", &line[..line.len().min(200)]);
        answer.trim_end().to_owned()
    }
}

fn line_of(command: &str, directory: &Path, configs: &[(&str, String)]) -> String {
    let mut line = format!("{command} {}", directory.display());
    for (name, value) in configs {
        let _ = write!(line, " {name}={value}");
    }
    line
}

impl Drop for Judge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The files of a folder, by name.
pub(crate) fn files_of(directory: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(directory).expect("the folder is there").map(|entry| entry.expect("an entry"));
    let read = |entry: std::fs::DirEntry| {
        let content = std::fs::read(entry.path()).expect("a file");
        (entry.file_name().into_string().expect("an ASCII name"), content)
    };
    entries.map(read).collect()
}
