//! Files, locks and the stall guard.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use corelane_core::base::FilePosition;
use corelane_core::log::blocks::{BlockTail, zeros};

use super::{on_shard, on_shard_of};
use crate::sys::glommio::{File, GlommioSys, ShardOptions};
use crate::sys::{OpenMode, Sys};

/// The variable that tells [`lock_holder_process`] that it is one, and what to lock.
const LOCK_PATH: &str = "CORELANE_TEST_LOCK_PATH";

fn bytes(len: usize) -> Bytes {
    (0..len).map(|i| (i / 251 + i) as u8).collect::<Vec<_>>().into()
}

/// Puts a file's pages out of the page cache.
async fn make_cold(sys: &GlommioSys, file: &File) {
    sys.sync_data(file).await.unwrap();
    // SAFETY: a plain call on an open descriptor.
    assert_eq!(unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) }, 0);
}

#[test]
fn what_is_written_is_read_hot_and_cold() {
    let directory = tempfile::tempdir_in(".").unwrap();
    let path = directory.path().canonicalize().unwrap().join("log");
    on_shard(move |sys| async move {
        let file = sys.open(path, OpenMode::CreateNew).await.unwrap();
        let all = bytes(3_000_000);
        let slices = vec![all.slice(..10), Bytes::new(), all.slice(10..1_000_000), all.slice(1_000_000..)];
        sys.write_at(&file, FilePosition(5), slices).await.unwrap();
        assert_eq!(sys.len(&file).unwrap(), 3_000_005);
        for _ in 0..2 {
            assert_eq!(sys.read_at(&file, FilePosition(5), 3_000_000).await.unwrap(), all);
            assert_eq!(
                sys.read_at(&file, FilePosition(1_000_005), 100).await.unwrap(),
                all.slice(1_000_000..1_000_100)
            );
            assert_eq!(sys.read_at(&file, FilePosition(3_000_000), 100).await.unwrap(), all.slice(2_999_995..));
            assert_eq!(sys.read_at(&file, FilePosition(4_000_000), 100).await.unwrap().len(), 0);
            assert_eq!(sys.read_at(&file, FilePosition(3_000_000), usize::MAX >> 1).await.unwrap().len(), 5);
            make_cold(&sys, &file).await;
        }
        // A hole reads as zeroes.
        assert_eq!(sys.read_at(&file, FilePosition(0), 6).await.unwrap(), [0, 0, 0, 0, 0, all[0]][..]);
        // Many small slices in one write.
        let many = (0..1_000).map(|i| all.slice(i * 3..i * 3 + 3)).collect();
        sys.write_at(&file, FilePosition(0), many).await.unwrap();
        assert_eq!(sys.read_at(&file, FilePosition(0), 3_000).await.unwrap(), all.slice(..3_000));
    });
}

#[test]
fn files_and_directories_are_made_listed_renamed_and_removed() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    on_shard(move |sys| async move {
        let missing = sys.open(root.join("missing"), OpenMode::Read).await;
        assert_eq!(missing.err().map(|error| error.kind()), Some(ErrorKind::NotFound));
        assert!(sys.open(root.join("missing"), OpenMode::Write).await.is_err());
        let file = sys.open(root.join("b"), OpenMode::Create).await.unwrap();
        assert_eq!(
            sys.open(root.join("b"), OpenMode::CreateNew).await.err().map(|e| e.kind()),
            Some(ErrorKind::AlreadyExists)
        );
        sys.write_at(&file, FilePosition(0), vec![bytes(10)]).await.unwrap();
        sys.reserve(&file, FilePosition(0), 1 << 20).await.unwrap();
        assert_eq!(sys.len(&file).unwrap(), 10, "reserving does not lengthen");
        sys.writeback(&file, FilePosition(0), 10).await.unwrap();
        sys.sync_data(&file).await.unwrap();
        sys.truncate(&file, 7).await.unwrap();
        sys.create_directory(root.join("a")).await.unwrap();
        sys.create_directory(root.join("a")).await.unwrap();
        assert!(sys.create_directory(root.join("b")).await.is_err(), "a file is there");
        assert!(sys.create_directory(root.join("x/y")).await.is_err(), "no parent");
        let listed = sys.list(root.clone()).await.unwrap();
        let listed: Vec<_> = listed.iter().map(|entry| (entry.name.as_str(), entry.is_directory, entry.len)).collect();
        assert_eq!(listed, [("a", true, 0), ("b", false, 7)]);
        sys.rename(root.join("b"), root.join("a/c")).await.unwrap();
        sys.sync_directory(root.join("a")).await.unwrap();
        assert!(sys.remove_directory(root.join("a")).await.is_err(), "not empty");
        sys.remove_file(root.join("a/c")).await.unwrap();
        sys.remove_directory(root.join("a")).await.unwrap();
        assert!(sys.list(root.clone()).await.unwrap().is_empty());
        assert_eq!(
            sys.read_at(&file, FilePosition(0), 10).await.unwrap(),
            bytes(10).slice(..7),
            "open files outlive their name"
        );
        sys.replace_file(&root.join("small"), Bytes::from_static(b"new")).await.unwrap();
        assert_eq!(sys.read_file(root.join("small")).await.unwrap().unwrap(), "new");
        assert_eq!(sys.read_file(root.join("none")).await.unwrap(), None);
    });
}

#[test]
fn writes_by_the_ring_are_whole() {
    let directory = tempfile::tempdir_in(".").unwrap();
    let path = directory.path().canonicalize().unwrap().join("log");
    let options = ShardOptions { writes_by_ring: true, ..ShardOptions::default() };
    on_shard_of(options, move |sys| async move {
        let file = sys.open(path.clone(), OpenMode::CreateNew).await.unwrap();
        let all = bytes(3_000_000);
        // More slices than one call takes, small and large, some of them empty.
        let mut slices: Vec<Bytes> = (0..300).map(|i| all.slice(i * 1_000..i * 1_000 + 1_000)).collect();
        slices.insert(7, Bytes::new());
        slices.push(all.slice(300_000..));
        sys.write_at(&file, FilePosition(5), slices).await.unwrap();
        assert_eq!(sys.len(&file).unwrap(), 3_000_005);
        assert_eq!(sys.read_at(&file, FilePosition(5), 3_000_000).await.unwrap(), all);
        // Who does not wait for it has it written all the same.
        drop(Box::pin(sys.write_at(&file, FilePosition(0), vec![bytes(5)])));
        let mut left = Box::pin(sys.write_at(&file, FilePosition(0), vec![Bytes::from_static(b"begin")]));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(left.as_mut().poll(&mut context).is_pending(), "the ring has to be entered first");
        drop(left);
        let end = sys.now().plus_ms(5_000);
        while sys.read_at(&file, FilePosition(0), 5).await.unwrap() != b"begin"[..] {
            assert!(sys.now() < end, "it is never written");
            sys.sleep_until(sys.now().plus_ms(1)).await;
        }
        let read_only = sys.open(path, OpenMode::Read).await.unwrap();
        assert!(sys.write_at(&read_only, FilePosition(0), vec![bytes(5)]).await.is_err());
    });
}

#[test]
fn blocks_are_written_past_the_page_cache() {
    let directory = tempfile::tempdir_in(".").unwrap();
    let path = directory.path().canonicalize().unwrap().join("log");
    on_shard(move |sys| async move {
        let file = sys.open(path.clone(), OpenMode::CreateNew).await.unwrap();
        let direct = sys.open(path, OpenMode::Blocks).await.expect("the file system of this folder can do that");
        sys.write_blocks(&direct, FilePosition(0), zeros(1 << 20)).await.unwrap();
        assert_eq!(sys.len(&file).unwrap(), 1 << 20);
        let all = bytes(300_000);
        let mut tail = BlockTail::new(FilePosition(0), &[]).unwrap();
        let mut end = 0;
        for bytes in [1, 10_000, 4_096, 100, 200_000].into_iter().cycle().take_while(|bytes| {
            end += bytes;
            end <= all.len()
        }) {
            let from = tail.end().0 as usize;
            let (position, blocks) = tail.append(&[all.slice(from..from + bytes)]);
            sys.write_blocks(&direct, position, blocks).await.unwrap();
            // A reader has the page cache, which must not show what was there before.
            let read = sys.read_at(&file, FilePosition(0), 1 << 20).await.unwrap();
            let end = tail.end().0 as usize;
            assert_eq!(read[..end], all[..end]);
            assert!(read[end..].iter().all(|byte| *byte == 0));
        }
    });
}

#[test]
fn a_stalling_device_hands_writes_to_a_helper_until_it_is_calm() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    on_shard(move |sys| async move {
        let file = sys.open(path, OpenMode::CreateNew).await.unwrap();
        let guard = &sys.shard.stall_guard;
        let mut position = 0;
        let mut write = async || {
            sys.write_at(&file, FilePosition(position), vec![bytes(100)]).await.unwrap();
            position += 100;
        };
        guard.slowness.set(Duration::from_millis(6));
        write().await;
        assert_eq!(guard.handed_over.get(), 0, "the first slow write is the one that tells");
        write().await;
        write().await;
        assert_eq!(guard.handed_over.get(), 2);
        guard.slowness.set(Duration::ZERO);
        for _ in 0..100 {
            write().await;
        }
        // On a slow machine a real stall may come in between.
        let handed_over = guard.handed_over.get();
        assert!((10..100).contains(&handed_over), "{handed_over}");
        let all = sys.read_at(&file, FilePosition(0), 1 << 20).await.unwrap();
        assert_eq!(all.len(), 103 * 100);
        assert!(all.chunks(100).all(|chunk| chunk == bytes(100)));
    });
}

#[test]
fn a_lock_keeps_other_processes_out_and_respects_javas() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(".lock");
    on_shard(move |sys| async move {
        let held = sys.lock(path.clone()).await.unwrap();
        assert_eq!(lock_from_another_process(&path, false), "refused");
        // Closing another descriptor of the file does not lose it, as it would with a record lock.
        drop(sys.open(path.clone(), OpenMode::Read).await.unwrap());
        sys.work(|| ()).await;
        assert_eq!(sys.lock(path.clone()).await.err().map(|error| error.kind()), Some(ErrorKind::WouldBlock));
        assert_eq!(lock_from_another_process(&path, false), "refused");
        drop(held);
        let end = sys.now().plus_ms(5_000);
        while lock_from_another_process(&path, false) != "held" {
            assert!(sys.now() < end, "the lock ends with its last clone");
        }

        let mut other = spawn_lock_holder(&path, true);
        let mut lines = BufReader::new(other.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("lock: held")));
        assert_eq!(sys.lock(path.clone()).await.err().map(|error| error.kind()), Some(ErrorKind::WouldBlock));
        drop(other.stdin.take());
        assert!(other.wait().unwrap().success());
        sys.lock(path).await.unwrap();
    });
}

fn lock_from_another_process(path: &Path, keep: bool) -> String {
    let output = spawn_lock_holder(path, keep).wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let answer = text.lines().find_map(|line| line.split("lock: ").nth(1));
    answer.unwrap_or_else(|| panic!("no answer in {text}")).to_owned()
}

fn spawn_lock_holder(path: &Path, keep: bool) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sys::glommio::tests::files::lock_holder_process", "--ignored", "--nocapture"])
        .env(LOCK_PATH, path)
        .stdin(if keep { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The other process: locks as Java's `FileChannel.tryLock` does and holds it until its input ends.
#[test]
#[ignore = "a part of the test above, which starts it as a process of its own"]
fn lock_holder_process() {
    let Ok(path) = std::env::var(LOCK_PATH) else { return };
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let whole =
        libc::flock { l_type: libc::F_WRLCK as _, l_whence: libc::SEEK_SET as _, l_start: 0, l_len: 0, l_pid: 0 };
    // SAFETY: the lock description lives through the call.
    let answer = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &raw const whole) };
    let answer = if answer == 0 { "held" } else { "refused" };
    let mut out = std::io::stdout();
    writeln!(out, "lock: {answer}").unwrap();
    out.flush().unwrap();
    let _ = std::io::stdin().read_line(&mut String::new());
}
