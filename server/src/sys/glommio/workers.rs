//! Helper threads of a shard, for what would hold it: the device, and long work for the CPU.
//!
//! A job owns all that it uses, so it may outlive whoever waited for it. Its result comes back through the shard's
//! doorbell; the runtime's own blocking pool would deliver it only when the executor looks at its rings, which a busy
//! shard does every 100 ms.
//!
//! Two threads, because a sync may take as long as the device likes: what waits for the device to write goes to the
//! first only, and the second is always there for reads, opens and computing.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use corelane_core::base::ShardId;

use super::mailbox::Doorbell;
use super::panics;

type Job = Box<dyn FnOnce() + Send>;

/// Which threads may run a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lane {
    /// Waits until the device has written, or frees what may be much: one at a time.
    Device,
    /// All else.
    Quick,
}

#[derive(Default)]
struct Queue {
    device: VecDeque<Job>,
    quick: VecDeque<Job>,
    /// Whether the thread of each lane waits for a job.
    idle: [bool; 2],
    closed: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    /// Where the thread of each lane waits.
    changed: [Condvar; 2],
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
            queue: Mutex::default(),
            changed: Default::default(),
            finished: Mutex::default(),
            doorbells,
            shard,
        });
        for lane in [Lane::Device, Lane::Quick] {
            let shared = Arc::clone(&shared);
            let name = format!("corelane-work-{shard}-{}", lane as usize);
            thread::Builder::new().name(name).spawn(move || shared.run(lane))?;
        }
        Ok(Self { shared })
    }

    /// Queues a job under a number that [`finished`](Self::finished) will name.
    pub(super) fn submit<T: Send + 'static>(
        &self,
        lane: Lane,
        number: u64,
        outcome: Outcome<T>,
        job: impl FnOnce() -> T + Send + 'static,
    ) {
        let shared = Arc::clone(&self.shared);
        self.push(
            lane,
            Box::new(move || {
                let value = job();
                *lock(&outcome) = Some(value);
                drop(outcome);
                lock(&shared.finished).push(number);
                shared.doorbells[usize::from(shared.shard.0)].ring();
            }),
        );
    }

    /// Queues a job whose end nobody waits for.
    pub(super) fn run_detached(&self, lane: Lane, job: impl FnOnce() + Send + 'static) {
        self.push(lane, Box::new(job));
    }

    /// Numbers of the jobs that ended since the last call, into `to`.
    pub(super) fn finished(&self, to: &mut Vec<u64>) {
        to.append(&mut lock(&self.shared.finished));
    }

    fn push(&self, lane: Lane, job: Job) {
        let mut queue = lock(&self.shared.queue);
        let waiting = match lane {
            Lane::Device => {
                queue.device.push_back(job);
                Lane::Device
            }
            Lane::Quick => {
                queue.quick.push_back(job);
                if queue.idle[Lane::Quick as usize] { Lane::Quick } else { Lane::Device }
            }
        };
        // It is spoken for: the next job shall not count on it.
        queue.idle[waiting as usize] = false;
        drop(queue);
        self.shared.changed[waiting as usize].notify_one();
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        lock(&self.shared.queue).closed = true;
        self.shared.changed.iter().for_each(Condvar::notify_one);
    }
}

impl Shared {
    fn run(&self, lane: Lane) {
        loop {
            let job = {
                let mut queue = lock(&self.queue);
                loop {
                    let device = if lane == Lane::Device { queue.device.pop_front() } else { None };
                    if let Some(job) = device.or_else(|| queue.quick.pop_front()) {
                        break job;
                    }
                    if queue.closed {
                        return;
                    }
                    queue.idle[lane as usize] = true;
                    queue = self.changed[lane as usize].wait(queue).unwrap_or_else(PoisonError::into_inner);
                    queue.idle[lane as usize] = false;
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
