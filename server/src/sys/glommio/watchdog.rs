//! Sees shards that do not turn, says which task holds them, and kicks them.
//!
//! A thread of its own looks at a count that each shard moves on with every turn. On a virtual machine a shard may
//! also stand still because somebody else has the CPU; so one is only reported when it has used CPU time since, or is
//! blocked in the kernel, neither of which is true of a thread that merely waits for its turn to run.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use corelane_core::base::ShardId;

use super::workers::lock;

/// How long a shard may take for a turn.
const TURN_MAX: Duration = Duration::from_millis(10);
/// How often shards are looked at while any of them is awake.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// How often they are looked at while all sleep.
const IDLE_LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// At most one report of a shard in this time; the count goes on.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Names of tasks, shared so that the watchdog's thread can read them by number.
static NAMES: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());

/// States of a shard besides "in the task with this number less `FIRST_TASK`".
const ASLEEP: u32 = 0;
const BETWEEN_TASKS: u32 = 1;
const FIRST_TASK: u32 = 2;

/// A shard's view of the names, so that starting a task takes no lock.
#[derive(Default)]
pub(super) struct Names(RefCell<BTreeMap<&'static str, u32>>);

impl Names {
    /// The number of a name.
    pub(super) fn index(&self, name: &'static str) -> u32 {
        *self.0.borrow_mut().entry(name).or_insert_with(|| {
            let mut names = lock(&NAMES);
            let index = names.iter().position(|&known| known == name).unwrap_or_else(|| {
                names.push(name);
                names.len() - 1
            });
            u32::try_from(index).expect("names are constants of the program")
        })
    }
}

/// What a shard shows of itself to the watchdog.
pub(super) struct Pulse {
    shard: ShardId,
    turns: AtomicU64,
    state: AtomicU32,
    /// The kernel's number of the thread and its CPU clock; 0 until it has started.
    thread: AtomicI32,
    cpu_clock: AtomicI32,
    stalls: AtomicU64,
    kicks: AtomicU64,
    /// The driver's, from its first turn to its last.
    driver: Mutex<Option<Waker>>,
}

impl Pulse {
    pub(super) fn new(shard: ShardId) -> Self {
        Self {
            shard,
            turns: AtomicU64::new(0),
            state: AtomicU32::new(ASLEEP),
            thread: AtomicI32::new(0),
            cpu_clock: AtomicI32::new(0),
            stalls: AtomicU64::new(0),
            kicks: AtomicU64::new(0),
            driver: Mutex::new(None),
        }
    }

    /// Called on the shard's thread before its first turn.
    pub(super) fn start(&self) {
        let mut clock = 0;
        // SAFETY: both ask about the calling thread, which exists; `clock` lives through the call.
        unsafe {
            if libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut clock) == 0 {
                self.cpu_clock.store(clock, Ordering::Relaxed);
            }
            self.thread.store(libc::gettid(), Ordering::Relaxed);
        }
    }

    /// The shard looks at its completions, timers and mail.
    pub(super) fn turn(&self) {
        self.turns.store(self.turns.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.state.store(BETWEEN_TASKS, Ordering::Relaxed);
    }

    /// Turns that the shard has made.
    pub(super) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    pub(super) fn enter(&self, name_index: u32) {
        self.state.store(name_index + FIRST_TASK, Ordering::Relaxed);
    }

    pub(super) fn leave(&self) {
        self.state.store(BETWEEN_TASKS, Ordering::Relaxed);
    }

    /// The shard has nothing to do, or has ended.
    pub(super) fn sleep(&self) {
        self.state.store(ASLEEP, Ordering::Relaxed);
    }

    /// How often the shard took longer than [`TURN_MAX`] for a turn.
    pub(super) fn stalls(&self) -> u64 {
        self.stalls.load(Ordering::Relaxed)
    }

    /// How often the watchdog tried to wake the shard.
    #[cfg(test)]
    pub(super) fn kicks(&self) -> u64 {
        self.kicks.load(Ordering::Relaxed)
    }

    /// Called by the driver when it begins, with its waker, and when it ends.
    pub(super) fn set_driver(&self, waker: Option<Waker>) {
        let old = std::mem::replace(&mut *lock(&self.driver), waker);
        drop(old);
    }

    /// Wakes the driver from outside, in case its wake-up was lost, or the executor parked although it was runnable, as it
    /// may when its preemption timer fires at the wrong moment. The runtime itself watches for such wake-ups whenever it
    /// parks; a task of ours that did would first have to run.
    fn kick(&self) {
        self.kicks.fetch_add(1, Ordering::Relaxed);
        if let Some(waker) = &*lock(&self.driver) {
            waker.wake_by_ref();
        }
    }

    fn task(&self) -> &'static str {
        match self.state.load(Ordering::Relaxed) {
            ASLEEP => "none, it sleeps",
            BETWEEN_TASKS => "none, it is between tasks",
            task => lock(&NAMES).get((task - FIRST_TASK) as usize).copied().unwrap_or("unknown"),
        }
    }

    /// CPU time of the shard's thread; `None` if it cannot be told.
    fn cpu_time(&self) -> Option<Duration> {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` lives through the call, which fails if the thread is gone.
        let answer = unsafe { libc::clock_gettime(self.cpu_clock.load(Ordering::Relaxed), &raw mut time) };
        (answer == 0).then(|| Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0)))
    }

    /// Whether the shard's thread waits inside the kernel, as opposed to running or waiting for a CPU.
    fn is_blocked(&self) -> bool {
        let thread = self.thread.load(Ordering::Relaxed);
        let status = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap_or_default();
        // The state follows the name, which is in parentheses and may hold anything.
        status.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next()).is_some_and(|state| state != 'R')
    }
}

/// The watchdog's thread; ends when this is dropped.
pub(super) struct Watchdog {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    pub(super) fn start(pulses: Vec<Arc<Pulse>>) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread =
            thread::Builder::new().name("corelane-watch".to_owned()).spawn(move || watch(&pulses, &stopped))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// When a shard was last seen to move, and what it had used by then.
struct Sighting {
    turns: u64,
    at: Instant,
    cpu_time: Option<Duration>,
    /// Seen blocked the last time.
    blocked: bool,
    counted: bool,
    reported_at: Option<Instant>,
}

fn watch(pulses: &[Arc<Pulse>], stop: &AtomicBool) {
    let mut sightings: Vec<Option<Sighting>> = pulses.iter().map(|_| None).collect();
    while !stop.load(Ordering::Relaxed) {
        let mut any_awake = false;
        for (pulse, sighting) in pulses.iter().zip(&mut sightings) {
            any_awake |= look(pulse, sighting);
        }
        thread::park_timeout(if any_awake { LOOK_INTERVAL } else { IDLE_LOOK_INTERVAL });
    }
}

/// Looks at one shard; whether it is awake.
fn look(pulse: &Pulse, sighting: &mut Option<Sighting>) -> bool {
    let asleep = pulse.state.load(Ordering::Relaxed) == ASLEEP;
    let turns = pulse.turns();
    let now = Instant::now();
    let moved = sighting.as_ref().is_none_or(|last| last.turns != turns);
    if asleep || moved {
        let reported_at = sighting.as_ref().and_then(|last| last.reported_at);
        let cpu_time = if asleep { None } else { pulse.cpu_time() };
        *sighting = Some(Sighting { turns, at: now, cpu_time, blocked: false, counted: false, reported_at });
        return !asleep;
    }
    let last = sighting.as_mut().expect("a shard that was never seen has moved");
    if now - last.at < TURN_MAX {
        return true;
    }
    let used = pulse.cpu_time().unwrap_or_default().saturating_sub(last.cpu_time.unwrap_or_default());
    let blocked = pulse.is_blocked();
    let still_blocked = blocked && last.blocked;
    last.blocked = blocked;
    if !(used >= TURN_MAX || still_blocked) {
        return true;
    }
    // Each time, not only the first: an executor that was woken may park again before the driver has run.
    pulse.kick();
    if std::mem::replace(&mut last.counted, true) {
        return true;
    }
    pulse.stalls.fetch_add(1, Ordering::Relaxed);
    if last.reported_at.is_none_or(|at| now - at >= REPORT_INTERVAL) {
        last.reported_at = Some(now);
        let stood_ms = (now - last.at).as_millis();
        let (shard, task, cpu_ms) = (pulse.shard.0, pulse.task(), used.as_millis());
        tracing::warn!(shard, task, stood_ms, cpu_ms, blocked, "a shard has not turned");
    }
    true
}
