//! Helper threads of a shard, for what would hold it: the device, and long work for the CPU.
//!
//! A job owns all that it uses, so it may outlive whoever waited for it. Its result comes back through the shard's
//! doorbell; the runtime's own blocking pool would deliver it only when the executor looks at its rings, which a busy
//! shard does every 100 ms.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use corelane_core::base::ShardId;

use super::mailbox::Doorbell;
use super::panics;

/// Threads of a shard that take any job.
const THREADS: usize = 2;

type Job = Box<dyn FnOnce() + Send>;

struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    /// Numbers of the jobs whose result is there and whose shard has not seen it.
    finished: Mutex<Vec<u64>>,
    doorbells: Arc<[Doorbell]>,
    shard: ShardId,
}

/// The helper threads of one shard. They end when the last handle is gone and no job is left.
pub(super) struct Workers {
    shared: Arc<Shared>,
}

/// Where a job leaves its result.
pub(super) type Outcome<T> = Arc<Mutex<Option<T>>>;

impl Workers {
    /// Starts the threads; they are not pinned, nor bound to the CPU of the thread that calls this.
    pub(super) fn start(shard: ShardId, doorbells: Arc<[Doorbell]>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue { jobs: VecDeque::new(), closed: false }),
            changed: Condvar::new(),
            finished: Mutex::default(),
            doorbells,
            shard,
        });
        for thread in 0..THREADS {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name(format!("corelane-work-{shard}-{thread}")).spawn(move || shared.run())?;
        }
        Ok(Self { shared })
    }

    /// Queues a job under a number that [`finished`](Self::finished) will name.
    pub(super) fn submit<T: Send + 'static>(
        &self,
        number: u64,
        outcome: Outcome<T>,
        job: impl FnOnce() -> T + Send + 'static,
    ) {
        let shared = Arc::clone(&self.shared);
        self.push(Box::new(move || {
            let value = job();
            *lock(&outcome) = Some(value);
            drop(outcome);
            lock(&shared.finished).push(number);
            shared.doorbells[usize::from(shared.shard.0)].ring();
        }));
    }

    /// Queues a job whose end nobody waits for.
    pub(super) fn run_detached(&self, job: impl FnOnce() + Send + 'static) {
        self.push(Box::new(job));
    }

    /// Numbers of the jobs that ended since the last call, into `to`.
    pub(super) fn finished(&self, to: &mut Vec<u64>) {
        to.append(&mut lock(&self.shared.finished));
    }

    fn push(&self, job: Job) {
        lock(&self.shared.queue).jobs.push_back(job);
        self.shared.changed.notify_one();
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        lock(&self.shared.queue).closed = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn run(&self) {
        loop {
            let job = {
                let mut queue = lock(&self.queue);
                loop {
                    if let Some(job) = queue.jobs.pop_front() {
                        break job;
                    }
                    if queue.closed {
                        return;
                    }
                    queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
                }
            };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(job)) {
                panics::abort("a helper thread", &panic);
            }
        }
    }
}

/// No code panics while it holds one of these locks.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
