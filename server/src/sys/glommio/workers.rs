//! Helper threads of a shard, for what would hold it: the device, and long work for the CPU.
//!
//! A job owns all that it uses, so it may outlive whoever waited for it. Its result comes back through the shard's
//! doorbell; the runtime's own blocking pool would deliver it only when the executor looks at its rings, which a busy
//! shard does every 100 ms.
//!
//! Two lanes, because a cut or a close may take as long as the device likes: what waits for the device to write never takes
//! the thread that is kept for reads, opens and computing. Syncs are not here: the shard's ring begins them all at once.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use corelane_core::base::ShardId;

use super::mailbox::Doorbell;
use super::panics;

/// Threads of each lane, in the order of [`Lane`].
const THREADS: [usize; 2] = [3, 1];

type Job = Box<dyn FnOnce() + Send>;

/// Which threads may run a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lane {
    /// Waits until the device has written, or frees what may be much.
    Device,
    /// All else; the threads of the other lane help out.
    Quick,
}

#[derive(Default)]
struct Queue {
    /// Jobs of each lane.
    jobs: [VecDeque<Job>; 2],
    /// Threads of each lane that wait and that no job counts on yet.
    idle: [usize; 2],
    /// Wake-ups of each lane that no thread has taken yet.
    calls: [usize; 2],
    closed: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    /// Where the threads of each lane wait.
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
            for _ in 0..THREADS[lane as usize] {
                let shared = Arc::clone(&shared);
                // The kernel shows 15 characters of a name.
                let name = format!("corelane-w{shard}");
                thread::Builder::new().name(name).spawn(move || shared.run(lane))?;
            }
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
        queue.jobs[lane as usize].push_back(job);
        let callers: &[Lane] = if lane == Lane::Quick { &[Lane::Quick, Lane::Device] } else { &[Lane::Device] };
        // If all are busy, the first that is done takes it.
        if let Some(&called) = callers.iter().find(|&&lane| queue.idle[lane as usize] > 0) {
            queue.idle[called as usize] -= 1;
            queue.calls[called as usize] += 1;
            drop(queue);
            self.shared.changed[called as usize].notify_one();
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        lock(&self.shared.queue).closed = true;
        self.shared.changed.iter().for_each(Condvar::notify_all);
    }
}

impl Shared {
    fn run(&self, lane: Lane) {
        while let Some(job) = self.next(lane) {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(job)) {
                panics::abort("a helper thread", &*panic);
            }
        }
    }

    /// The next job for a thread of `lane`; waits for one. `None` when there is none and there will be none.
    fn next(&self, lane: Lane) -> Option<Job> {
        let own = lane as usize;
        let mut queue = lock(&self.queue);
        loop {
            let device = if lane == Lane::Device { queue.jobs[own].pop_front() } else { None };
            if let Some(job) = device.or_else(|| queue.jobs[Lane::Quick as usize].pop_front()) {
                return Some(job);
            }
            if queue.closed {
                return None;
            }
            queue.idle[own] += 1;
            while queue.calls[own] == 0 && !queue.closed {
                queue = self.changed[own].wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            queue.calls[own] = queue.calls[own].saturating_sub(1);
        }
    }
}

/// No code panics while it holds one of these locks.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
