//! Kafka's log as a child process that takes a line and answers one; two of them, because what Kafka 4 dropped is asked
//! of the last release before it.

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

/// A running program that takes a line and answers one.
struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    folder: PathBuf,
}

/// A running judge.
pub(crate) struct Judge(Process);

/// A running judge of the old message formats.
pub(crate) struct LegacyJudge(Process);

impl Process {
    /// Starts a program of tests/kafka-log with an empty folder of its own, or `None` if this run is meant to do without.
    fn start(name: &str, program: &str, kafka: &str, fetch: &str) -> Option<Self> {
        let work = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests");
        let libs = work.join(".work").join(kafka).join("libs");
        if !libs.exists() {
            assert!(
                std::env::var_os(WITHOUT_JAVA).is_some(),
                "run {fetch} first (needs Java and Maven), or set {WITHOUT_JAVA}=1"
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
            .arg(work.join("kafka-log").join(program))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("java runs");
        let input = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        Some(Self { child, input, output, folder })
    }

    fn ask(&mut self, line: &str) -> String {
        writeln!(self.input, "{line}").expect("the judge listens");
        let mut answer = String::new();
        self.output.read_line(&mut answer).expect("the judge answers");
        assert!(!answer.is_empty(), "the judge has ended on {}", &line[..line.len().min(200)]);
        answer.trim_end().to_owned()
    }

    /// Has the program open a new log; gives its folder.
    fn open(&mut self, name: &str, configs: &[(&str, String)]) -> PathBuf {
        let directory = self.folder.join(format!("{name}-0"));
        std::fs::create_dir_all(&directory).expect("a folder for the log");
        assert_eq!(self.ask(&line_of("open", &directory, configs)), "opened");
        directory
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Judge {
    /// Starts one, or `None` if this run is meant to do without.
    pub(crate) fn start(name: &str) -> Option<Self> {
        Process::start(name, "LogJudge.java", "kafka", "tests/kafka/fetch").map(Self)
    }

    /// Opens a new log; gives its folder.
    pub(crate) fn open(&mut self, name: &str, configs: &[(&str, String)]) -> PathBuf {
        self.0.open(name, configs)
    }

    /// Opens a log as after a crash before anything was synced; gives its end.
    pub(crate) fn recover(&mut self, directory: &Path, configs: &[(&str, String)]) -> Offset {
        let answer = self.0.ask(&line_of("recover", directory, configs));
        let end = answer.strip_prefix("recovered ").and_then(|end| end.parse().ok());
        Offset(end.unwrap_or_else(|| panic!("the judge says {answer}")))
    }

    /// Appends what a Produce request of `version` carries.
    pub(crate) fn append(&mut self, now: Timestamp, epoch: i32, version: i16, records: &[u8]) -> Outcome {
        let line = format!("append {now} {epoch} {version} {}", hex(records));
        let answer = self.0.ask(&line);
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
        let answer = self.0.ask(&format!("retain {now} {high_watermark} {log_start}"));
        let words: Vec<&str> = answer.split(' ').collect();
        let ["kept", start, bases] = words[..] else { panic!("the judge says {answer}") };
        let bases = bases.split(',').map(|base| base.parse().expect("an offset"));
        (start.parse().expect("an offset"), bases.collect())
    }

    /// Closes the log as a clean stop does.
    pub(crate) fn close(&mut self) {
        assert_eq!(self.0.ask("close"), "closed");
    }
}

/// Timestamp, key and value of a record that a client sends.
pub(crate) type Sent = (i64, Option<Vec<u8>>, Option<Vec<u8>>);

/// What Kafka says of bytes in an old format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// What it makes of them; what was appended begins at that offset.
    Bytes(i64, Vec<u8>),
    /// Error code.
    Refused(i16),
}

impl LegacyJudge {
    /// Starts one, or `None` if this run is meant to do without.
    pub(crate) fn start(name: &str) -> Option<Self> {
        let fetch = "KAFKA_VERSION=3.9.2 tests/kafka/fetch";
        Process::start(name, "LegacyJudge.java", "kafka-3.9.2", fetch).map(Self)
    }

    /// Opens a new log.
    pub(crate) fn open(&mut self, name: &str, configs: &[(&str, String)]) {
        self.0.open(name, configs);
    }

    /// Appends what a Produce 0 to 2 carries.
    pub(crate) fn append(&mut self, now: Timestamp, records: &[u8]) -> Verdict {
        verdict(&self.0.ask(&format!("append {now} {}", hex(records))))
    }

    /// Converts batches for a client of format `magic` that wants `from` on.
    pub(crate) fn down(&mut self, magic: u8, from: Offset, batches: &[u8]) -> Verdict {
        verdict(&self.0.ask(&format!("down {magic} {from} {}", hex(batches))))
    }

    /// What a client reads: offset, timestamp, timestamp type, key and value of each record.
    pub(crate) fn read(&mut self, messages: &[u8]) -> String {
        self.0.ask(&format!("read {}", hex(messages)))
    }

    /// What a client of format `magic` sends.
    pub(crate) fn write(&mut self, magic: u8, codec: &str, records: &[Sent]) -> Vec<u8> {
        let mut line = format!("write {magic} {codec} 0 0");
        let text = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or("-".to_owned(), |bytes| hex(bytes));
        for (timestamp, key, value) in records {
            let _ = write!(line, " {timestamp}:{}:{}", text(key), text(value));
        }
        match verdict(&self.0.ask(&line)) {
            Verdict::Bytes(_, bytes) => bytes,
            Verdict::Refused(code) => panic!("the judge cannot write: {code}"),
        }
    }
}

fn verdict(answer: &str) -> Verdict {
    let words: Vec<&str> = answer.split(' ').collect();
    let bytes = |at: usize| from_hex(words.get(at).copied().unwrap_or_default());
    match words[0] {
        "stored" => Verdict::Bytes(words[1].parse().expect("an offset"), bytes(3)),
        "messages" => Verdict::Bytes(-1, bytes(1)),
        "refused" => Verdict::Refused(words[1].parse().expect("a code")),
        other => panic!("the judge says {other}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn from_hex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(byte).collect()
}

fn line_of(command: &str, directory: &Path, configs: &[(&str, String)]) -> String {
    let mut line = format!("{command} {}", directory.display());
    for (name, value) in configs {
        let _ = write!(line, " {name}={value}");
    }
    line
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
