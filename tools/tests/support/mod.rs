//! A broker of our own, and the command run against it, for all tests of the command.

#![allow(dead_code, missing_docs)]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

pub(crate) const CORELANE: &str = env!("CARGO_BIN_EXE_corelane");

/// A broker on a port of its own, with its data in a folder that goes with it.
pub(crate) struct Broker {
    process: Child,
    pub(crate) address: String,
    data: tempfile::TempDir,
}

impl Broker {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut process = Command::new(CORELANE)
            .args(["start", "--override", "listeners=PLAINTEXT://127.0.0.1:0"])
            .args(["--override", &format!("log.dirs={}", data.path().join("data").display())])
            .args(["--cores", "1"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let ready = lines.filter(|line| line.starts_with("ready in ")).take(1).collect::<String>();
        let address = ready.split_whitespace().find(|word| word.starts_with("127.0.0.1:")).map(str::to_owned);
        let address = address.unwrap_or_else(|| panic!("the broker says where it listens, not {ready:?}"));
        Self { process, address: address.trim_end_matches(',').to_owned(), data }
    }

    /// Its data directory.
    pub(crate) fn directory(&self) -> PathBuf {
        self.data.path().join("data")
    }

    /// Stops it cleanly; its data stay.
    pub(crate) fn stop(&self) {
        let id = self.process.id();
        assert!(Command::new("kill").args(["-TERM", &id.to_string()]).status().unwrap().success());
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while !self.directory().join(".kafka_cleanshutdown").exists() {
            assert!(std::time::Instant::now() < deadline, "the broker does not stop");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Starts a command against this broker and leaves it running.
    pub(crate) fn spawn(&self, command: &str, arguments: &[&str]) -> Child {
        Command::new(CORELANE)
            .args(command.split_whitespace())
            .args(["--bootstrap-server", &self.address])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap()
    }

    /// Runs Kafka's tool of that name, which is our program under it, and returns status, output and errors.
    pub(crate) fn tool(&self, name: &str, arguments: &[&str], input: &[u8]) -> (Option<i32>, String, String) {
        let link = self.link(name);
        let bootstrap = ["--bootstrap-server", &self.address];
        let output = finish(Command::new(link).args(arguments).args(bootstrap), input);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    /// A link to our program.
    pub(crate) fn link(&self, name: &str) -> PathBuf {
        let link = self.data.path().join(name);
        if !link.exists() {
            std::os::unix::fs::symlink(Path::new(CORELANE), &link).unwrap();
        }
        link
    }

    /// Runs a command against this broker.
    pub(crate) fn run(&self, command: &str, arguments: &[&str], input: &[u8]) -> Output {
        let mut words = command.split_whitespace().collect::<Vec<_>>();
        words.extend(["--bootstrap-server", &self.address]);
        words.extend(arguments);
        run(&words, input)
    }

    /// Runs a command that must succeed, and returns what it printed.
    pub(crate) fn ok(&self, command: &str, arguments: &[&str], input: &[u8]) -> String {
        let output = self.run(command, arguments, input);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command} {arguments:?}: {errors}");
        assert_eq!(errors, "", "{command} {arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that must fail, and returns what it says.
    pub(crate) fn fails(&self, command: &str, arguments: &[&str], input: &[u8]) -> String {
        failure(self.run(command, arguments, input))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn run(words: &[&str], input: &[u8]) -> Output {
    finish(Command::new(CORELANE).args(words), input)
}

fn finish(command: &mut Command, input: &[u8]) -> Output {
    let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = process.stdin.take().unwrap();
    let input = input.to_vec();
    // A command that fails early does not read all of it.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = process.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

pub(crate) fn failure(output: Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}
