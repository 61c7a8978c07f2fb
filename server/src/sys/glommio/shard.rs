//! One shard's state and its driver, the task that everything else on the shard is woken by.
//!
//! The driver takes a turn whenever the tasks that it woke have run: completions, timers, mail, finished jobs. When a
//! turn woke nobody and no task ran since the last one, nothing on this shard can go on, and the driver sleeps in the
//! shard's own ring until a completion, a doorbell or the next timer. So the executor never parks while tasks are
//! runnable, and nothing waits for it to look at its own rings, which it does only between batches of up to 100 ms.
//!
//! One rule follows: wakers of these tasks are woken on their own shard. Other threads reach a shard by mail; only the
//! watchdog wakes the driver itself, of a shard that stands still.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use corelane_core::base::{Monotonic, ShardId};
use corelane_core::config::FetchPath;

use super::mailbox::Mailbox;
use super::ring::{Cargo, Key, Landing, Ring};
use super::spin::Spin;
use super::watchdog::{Names, Pulse};
use super::workers::{Lane, Outcome, Workers, lock};
use super::{clock, file, panics};
use crate::sys::{Activity, LongPolls};

/// Longest sleep of a shard. It only bounds what a mistake costs: no wake-up relies on it.
const SLEEP_MAX: Duration = Duration::from_millis(250);
/// Nanoseconds for which a task may hold its shard without being counted.
const POLL_NS_MAX: u64 = 1_000_000;
/// Times that what the tasks of an ending shard wait for is taken away; one may wait for another.
const DISMISSAL_ROUNDS: u32 = 16;

/// How shards behave.
#[derive(Clone, Copy, Debug, Default)]
pub struct ShardOptions {
    /// For how long a shard that expects something to do soon looks around before it sleeps.
    pub spin: Duration,
    /// Writes into the page cache go through the shard's ring, not by calls of its own.
    pub writes_by_ring: bool,
    /// How files get to sockets.
    pub fetch_path: FetchPath,
}

/// What the tasks of one shard share.
pub(super) struct Shard {
    pub(super) id: ShardId,
    pub(super) mailbox: Mailbox,
    pub(super) workers: Arc<Workers>,
    pub(super) pulse: Arc<Pulse>,
    names: Names,
    pub(super) random: clock::Random,
    pub(super) stall_guard: file::StallGuard,
    /// Writes into the page cache go through the ring too.
    pub(super) writes_by_ring: bool,
    /// How files get to sockets.
    pub(super) fetch_path: FetchPath,
    /// Through which files are copied to sockets; empty but for the length of a call.
    pub(super) passage: RefCell<BytesMut>,
    ring: RefCell<Ring>,
    /// Deadlines, in order; the number tells two at the same instant apart.
    timers: RefCell<BTreeMap<(Monotonic, u64), Waker>>,
    /// Tasks that let others go first.
    breathers: RefCell<Vec<Waker>>,
    /// Tasks that wait for a job of the helper threads, by the job's number.
    jobs: RefCell<BTreeMap<u64, Option<Waker>>>,
    finished: RefCell<Vec<u64>>,
    /// Numbers timers and jobs.
    next_number: Cell<u64>,
    /// Submissions were left to this turn by the last.
    deferred: Cell<bool>,
    spin: Spin,
    /// How often a task was polled.
    polls: Cell<u64>,
    /// When the last poll, or the last turn, ended.
    left_at: Cell<Monotonic>,
    /// Tasks that held the shard for more than [`POLL_NS_MAX`], by name: how often, and the longest time.
    long_polls: RefCell<BTreeMap<&'static str, (u64, u64)>>,
}

impl Shard {
    pub(super) fn new(
        id: ShardId,
        mailbox: Mailbox,
        workers: Arc<Workers>,
        pulse: Arc<Pulse>,
        ring: Ring,
        options: ShardOptions,
    ) -> Rc<Self> {
        Rc::new(Self {
            id,
            mailbox,
            workers,
            pulse,
            names: Names::default(),
            random: clock::Random::default(),
            stall_guard: file::StallGuard::default(),
            writes_by_ring: options.writes_by_ring,
            fetch_path: options.fetch_path,
            passage: RefCell::default(),
            ring: RefCell::new(ring),
            timers: RefCell::default(),
            breathers: RefCell::default(),
            jobs: RefCell::default(),
            finished: RefCell::default(),
            next_number: Cell::new(0),
            deferred: Cell::new(false),
            spin: Spin::new(options.spin),
            polls: Cell::new(0),
            left_at: Cell::new(clock::now()),
            long_polls: RefCell::default(),
        })
    }

    /// Runs a task on this shard's executor.
    pub(super) fn spawn(self: &Rc<Self>, name: &'static str, task: impl Future<Output = ()> + 'static) {
        let shard = Rc::clone(self);
        let name_index = self.names.index(name);
        let watched = async move {
            let mut task = pin!(task);
            poll_fn(|context| {
                shard.polls.set(shard.polls.get() + 1);
                shard.pulse.enter(name_index);
                let polled = catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(context)));
                shard.pulse.leave();
                shard.left(name);
                polled.unwrap_or_else(|panic| panics::abort(&format!("task {name} of shard {}", shard.id), &*panic))
            })
            .await;
        };
        glommio::spawn_local(watched).detach();
    }

    /// A poll of a task has ended. It began when the one before it, or the driver's turn, had ended: between them the
    /// executor does next to nothing, so that one look at the clock is enough.
    fn left(&self, name: &'static str) {
        let now = clock::now();
        let held_ns = now.since_ns(self.left_at.replace(now));
        if held_ns > POLL_NS_MAX {
            let mut long_polls = self.long_polls.borrow_mut();
            let (count, max_ns) = long_polls.entry(name).or_default();
            *count += 1;
            *max_ns = held_ns.max(*max_ns);
        }
    }

    /// What the shard did with its time so far.
    pub(super) fn activity(&self) -> Activity {
        let long_polls = self.long_polls.borrow();
        let received = self.ring.borrow().received();
        let long_polls = long_polls.iter().map(|(&task, &(count, max_ns))| LongPolls { task, count, max_ns });
        Activity {
            cpu_ns: clock::thread_cpu_ns(),
            spun_ns: self.spin.spun_ns(),
            turns: self.pulse.turns(),
            stalls: self.pulse.stalls(),
            received_bytes: received.bytes,
            copied_bytes: received.copied_bytes,
            long_polls: long_polls.collect(),
        }
    }

    /// Drives the shard until `done`.
    pub(super) async fn drive(self: Rc<Self>, done: impl Fn() -> bool) {
        let mut polls_seen = 0;
        let mut slept = false;
        poll_fn(|context| {
            self.pulse.set_driver(Some(context.waker().clone()));
            Poll::Ready(())
        })
        .await;
        poll_fn(|context| {
            if done() {
                self.pulse.set_driver(None);
                return Poll::Ready(());
            }
            self.pulse.turn();
            let ran = std::mem::replace(&mut polls_seen, self.polls.get()) != self.polls.get();
            let woken = self.turn(ran);
            if slept && ran {
                // Nothing wakes a task between the sleep and here, so one was runnable all the while: a waker was
                // woken on another thread, or the driver missed that it woke somebody.
                tracing::error!(shard = self.id.0, "a shard slept although a task could run");
                debug_assert!(false, "a shard slept although a task could run");
            }
            let idle = !woken && !ran;
            slept = idle && !self.spins() && self.sleep();
            let now = clock::now();
            if !idle {
                self.spin.busy(now);
            }
            self.left_at.set(now);
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// Lets go of the tasks that are left. One that waits is kept by its waker and keeps the shard: without this
    /// neither would ever end.
    pub(super) async fn dismiss(&self) {
        let mut rounds = DISMISSAL_ROUNDS;
        poll_fn(|context| {
            self.drop_wakers();
            rounds -= 1;
            if rounds == 0 {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// Drops every waker, so that tasks that wait for nothing else are dropped by the executor.
    fn drop_wakers(&self) {
        let operations = self.ring.borrow_mut().dismiss();
        let timers = self.timers.take();
        let breathers = self.breathers.take();
        let jobs = self.jobs.take();
        drop((operations, timers, breathers, jobs));
        self.mailbox.dismiss();
    }

    /// Looks at everything once; whether any task was woken.
    ///
    /// What only waits to be submitted is left for one turn: mostly the shard has nothing else to do then, and going to
    /// sleep submits it in the same call. To hand writes to a device over at once was tried with strict
    /// topics and was no better.
    fn turn(&self, ran: bool) -> bool {
        let mut ring = self.ring.borrow_mut();
        let waiting = ring.has_submissions();
        if ring.is_due() || (waiting && ran && self.deferred.get()) {
            ring.enter().expect("the shard's own ring can be entered");
            self.deferred.set(false);
        } else {
            self.deferred.set(waiting);
        }
        drop(ring);
        let mut woken = self.land();
        woken |= self.fire_timers();
        woken |= self.mailbox.deliver();
        woken |= self.finish_jobs();
        let breathers = self.breathers.take();
        woken |= !breathers.is_empty();
        breathers.into_iter().for_each(Waker::wake);
        woken
    }

    /// Takes the completions; whether there were any, since each may have woken a task.
    fn land(&self) -> bool {
        let mut any = false;
        loop {
            let landing = self.ring.borrow_mut().next();
            let Some(landing) = landing else { return any };
            any = true;
            finish(landing);
        }
    }

    fn fire_timers(&self) -> bool {
        if self.timers.borrow().is_empty() {
            return false;
        }
        let now = clock::now();
        let mut woken = false;
        loop {
            let due = {
                let mut timers = self.timers.borrow_mut();
                match timers.first_entry() {
                    Some(first) if first.key().0 <= now => first.remove(),
                    _ => return woken,
                }
            };
            due.wake();
            woken = true;
        }
    }

    fn finish_jobs(&self) -> bool {
        let mut finished = self.finished.take();
        self.workers.finished(&mut finished);
        let mut woken = false;
        for number in finished.drain(..) {
            let waker = self.jobs.borrow_mut().get_mut(&number).and_then(Option::take);
            if let Some(waker) = waker {
                waker.wake();
                woken = true;
            }
        }
        self.finished.replace(finished);
        woken
    }

    /// Whether to look around once more instead of going to sleep.
    fn spins(&self) -> bool {
        if !self.spin.is_on() || !self.spin.goes_on(clock::now()) {
            return false;
        }
        let mut ring = self.ring.borrow_mut();
        if ring.has_submissions() {
            ring.enter().expect("the shard's own ring can be entered");
        }
        drop(ring);
        std::hint::spin_loop();
        true
    }

    /// Sleeps in the ring until there is something to look at; whether it did.
    fn sleep(&self) -> bool {
        let doorbell = self.mailbox.doorbell(self.id);
        doorbell.bell.arm();
        // What was published before the bell was armed rang nobody.
        let idle = !self.mailbox.deliver() && !self.finish_jobs();
        if idle {
            let next = self.timers.borrow().first_key_value().map(|((due, _), _)| due.since_ns(clock::now()));
            let timeout = next.map_or(SLEEP_MAX, |ns| Duration::from_nanos(ns).min(SLEEP_MAX));
            self.pulse.sleep();
            self.ring.borrow_mut().wait(timeout).expect("the shard's own ring can be entered");
            self.pulse.turn();
        }
        doorbell.bell.disarm();
        idle
    }

    fn number(&self) -> u64 {
        self.next_number.replace(self.next_number.get() + 1)
    }

    /// Resolves at `due`.
    pub(super) fn sleep_until(self: &Rc<Self>, due: Monotonic) -> Sleep {
        Sleep { shard: Rc::clone(self), due, number: None }
    }

    /// Resolves in the shard's next turn, when completions, timers and mail have been looked at.
    pub(super) fn breathe(self: &Rc<Self>) -> impl Future<Output = ()> + 'static {
        let shard = Rc::clone(self);
        let mut turns = None;
        poll_fn(move |context| {
            let now = shard.pulse.turns();
            if *turns.get_or_insert(now) != now {
                return Poll::Ready(());
            }
            shard.breathers.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
    }

    /// Runs `job` on a helper thread. It runs even if the future is dropped.
    pub(super) fn work<T: Send + 'static>(
        self: &Rc<Self>,
        lane: Lane,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Work<T> {
        let number = self.number();
        let outcome = Outcome::default();
        self.jobs.borrow_mut().insert(number, None);
        self.workers.submit(lane, number, Arc::clone(&outcome), job);
        Work { shard: Rc::clone(self), number, outcome }
    }
}

/// Wakes and drops what a completion left; nothing of the shard is borrowed here, since both may run code of tasks.
fn finish(landing: Landing) {
    if let Some(waker) = landing.waker {
        waker.wake();
    }
    drop(landing.unneeded);
    drop(landing.abandoned);
}

/// An operation of the ring, awaited. Dropped early it goes on by itself until the kernel lets go of it.
pub(super) struct Operation {
    shard: Rc<Shard>,
    key: Option<Key>,
}

impl Operation {
    pub(super) fn start(shard: &Rc<Shard>, cargo: Cargo) -> Self {
        let key = shard.ring.borrow_mut().start(cargo);
        Self { shard: Rc::clone(shard), key: Some(key) }
    }
}

impl Future for Operation {
    type Output = (std::io::Result<u32>, Cargo);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let key = self.key.expect("not polled again after it has resolved");
        let landed = self.shard.ring.borrow_mut().poll(key, context.waker());
        match landed {
            Ok(output) => {
                self.key = None;
                Poll::Ready(output)
            }
            Err(old) => {
                drop(old);
                Poll::Pending
            }
        }
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            let landing = self.shard.ring.borrow_mut().abandon(key);
            finish(landing);
        }
    }
}

/// Resolves at an instant.
pub(super) struct Sleep {
    shard: Rc<Shard>,
    due: Monotonic,
    number: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if clock::now() >= self.due {
            return Poll::Ready(());
        }
        let number = self.number.unwrap_or_else(|| self.shard.number());
        self.number = Some(number);
        let old = self.shard.timers.borrow_mut().insert((self.due, number), context.waker().clone());
        drop(old);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let old = self.shard.timers.borrow_mut().remove(&(self.due, number));
            drop(old);
        }
    }
}

/// A job of the helper threads, awaited.
pub(super) struct Work<T> {
    shard: Rc<Shard>,
    number: u64,
    outcome: Outcome<T>,
}

impl<T> Future for Work<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        // Registered first: a result that comes after the look below is announced to this waker.
        let old = self.shard.jobs.borrow_mut().insert(self.number, Some(context.waker().clone()));
        drop(old);
        match lock(&self.outcome).take() {
            Some(value) => Poll::Ready(value),
            None => Poll::Pending,
        }
    }
}

impl<T> Drop for Work<T> {
    fn drop(&mut self) {
        let old = self.shard.jobs.borrow_mut().remove(&self.number);
        drop(old);
    }
}
