//! Where records come from: lines of the standard input or of files, or files whole, read on a thread of its own.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use corelane_perf::driver::Waker;

use crate::failure::Failure;

/// Lines that are read ahead at once, and how many times that.
const LINES_MAX: usize = 512;
const CHUNKS_MAX: usize = 8;
/// Bytes that are read at once.
const INPUT_BYTES: usize = 64 * 1024;

/// Something to read.
#[derive(Clone, Debug)]
pub(super) enum Source {
    StandardInput,
    File(PathBuf),
}

impl Source {
    /// A file, or the standard input for `-`.
    pub(super) fn of(path: &Path) -> Self {
        if path.as_os_str() == "-" { Self::StandardInput } else { Self::File(path.to_owned()) }
    }

    fn name(&self) -> String {
        match self {
            Self::StandardInput => "standard input".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }

    /// That it can be opened.
    pub(super) fn check(&self) -> Result<(), Failure> {
        match self {
            Self::StandardInput => Ok(()),
            Self::File(path) => File::open(path).map(drop).map_err(|error| Failure::from(error).during(&self.name())),
        }
    }

    fn open(&self) -> io::Result<Box<dyn Read>> {
        Ok(match self {
            Self::StandardInput => Box::new(io::stdin().lock()),
            Self::File(path) => Box::new(File::open(path)?),
        })
    }
}

/// Lines without their ends, in order; or why reading stopped.
pub(super) type Chunk = Result<Vec<Vec<u8>>, Failure>;

/// Reads one source after the other. The channel ends where they do.
pub(super) fn read_lines(waker: Waker, sources: Vec<Source>, whole: bool) -> Receiver<Chunk> {
    let (sender, receiver) = sync_channel(CHUNKS_MAX);
    thread::spawn(move || {
        for source in sources {
            let outcome = source.open().and_then(|input| match whole {
                true => send_whole(input, &sender, &waker),
                false => send_lines(input, &sender, &waker),
            });
            match outcome {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    let _ = sender.send(Err(Failure::from(error).during(&source.name())));
                    break;
                }
            }
        }
        drop(sender);
        waker.wake();
    });
    receiver
}

/// False if nobody wants more.
fn send_whole(mut input: Box<dyn Read>, sender: &SyncSender<Chunk>, waker: &Waker) -> io::Result<bool> {
    let mut content = Vec::new();
    input.read_to_end(&mut content)?;
    let is_wanted = sender.send(Ok(vec![content])).is_ok();
    waker.wake();
    Ok(is_wanted)
}

fn send_lines(input: Box<dyn Read>, sender: &SyncSender<Chunk>, waker: &Waker) -> io::Result<bool> {
    let mut input = BufReader::with_capacity(INPUT_BYTES, input);
    loop {
        let mut lines = Vec::new();
        // What is at hand goes at once: a line typed at a terminal must not wait for the next one.
        while lines.len() < LINES_MAX {
            let mut line = Vec::new();
            if input.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            if line.last() == Some(&b'\n') {
                line.pop();
            }
            lines.push(line);
            if input.buffer().is_empty() {
                break;
            }
        }
        if lines.is_empty() {
            return Ok(true);
        }
        if sender.send(Ok(lines)).is_err() {
            return Ok(false);
        }
        waker.wake();
    }
}
