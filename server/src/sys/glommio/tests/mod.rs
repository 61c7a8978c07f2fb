//! The real world against real kernels: sockets over loopback, files in a temporary directory, two shards.
//!
//! `cargo test -p corelane-server sys`. Clients are plain blocking threads, so that nothing is tested by itself.

mod files;
mod mail;
mod network;
mod time;
mod watchdog;

use std::future::Future;
use std::sync::mpsc;
use std::time::Duration;

use super::{GlommioSys, ShardOptions, run_shards};

/// Cores for `shards` shards; all on the first if the machine has fewer.
fn cores(shards: usize) -> Vec<usize> {
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    (0..shards).map(|shard| shard % available).collect()
}

/// Runs one task on one shard and gives back what it returned.
fn on_shard<Task, T>(task: impl FnOnce(GlommioSys) -> Task + Send + Clone + 'static) -> T
where
    Task: Future<Output = T> + 'static,
    T: Send + 'static,
{
    on_shard_of(ShardOptions::default(), task)
}

/// The same on a shard that behaves as told.
fn on_shard_of<Task, T>(options: ShardOptions, task: impl FnOnce(GlommioSys) -> Task + Send + Clone + 'static) -> T
where
    Task: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let (sender, receiver) = mpsc::channel();
    run_shards(&cores(1), options, move |sys| {
        let (task, sender) = (task.clone(), sender.clone());
        async move {
            let value = task(sys).await;
            sender.send(value).expect("the test waits for it");
        }
    })
    .expect("a shard starts");
    receiver.recv().expect("the shard has sent it")
}

/// Waits on a shard for something that a test's thread will send.
async fn received<T>(sys: &GlommioSys, receiver: &mpsc::Receiver<T>) -> T {
    use crate::sys::Sys;
    loop {
        match receiver.try_recv() {
            Ok(value) => return value,
            Err(mpsc::TryRecvError::Empty) => sys.sleep_until(sys.now().plus_ms(1)).await,
            Err(mpsc::TryRecvError::Disconnected) => panic!("the other thread has failed"),
        }
    }
}

/// CPU time of the calling thread.
fn thread_cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` lives through the call.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
