//! Tasks, timers and a virtual clock on one thread, in an order that only the seed decides.
//!
//! The clock stands still while anything can run and then jumps to the next event, so that an hour of timeouts
//! passes in no time and two runs of one seed are the same run.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use corelane_core::base::Monotonic;

use crate::random::Random;
use crate::trace::Trace;

/// Polls and events after which time must have passed, else some task is spinning.
const STEPS_PER_INSTANT_MAX: u64 = 1_000_000;

/// Tasks and events that end together: those of one shard of one process, or the test's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group(pub u32);

impl Group {
    /// The test itself, with its clients; outlives every process.
    pub const TEST: Self = Self(0);
}

/// Why a run ended without a result.
pub struct Stuck {
    /// What went wrong.
    pub reason: String,
    /// Names of the tasks that were still waiting.
    pub waiting: Vec<String>,
    /// The last events.
    pub tail: String,
}

impl fmt::Debug for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nwaiting: {}\ntrace:{}", self.reason, self.waiting.join(", "), self.tail)
    }
}

type TaskId = u64;

struct Task {
    name: String,
    group: Group,
    /// Taken out while it is polled.
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
    waker: Waker,
}

/// Tasks that can run. The only thing here that a waker, which must be `Send`, may touch.
#[derive(Default)]
struct Ready(Mutex<Vec<TaskId>>);

struct TaskWaker {
    id: TaskId,
    ready: Arc<Ready>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut ready = self.ready.0.lock().expect("no panic while it is held");
        if !ready.contains(&self.id) {
            ready.push(self.id);
        }
    }
}

struct Event {
    due_ns: u64,
    /// Drawn, so that events of one instant come in any order.
    tie: u64,
    group: Group,
    act: Box<dyn FnOnce()>,
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    /// The earliest is the greatest, as the heap wants it.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due_ns, other.tie).cmp(&(self.due_ns, self.tie))
    }
}

/// The executor. A clone is another handle on the same.
#[derive(Clone)]
pub struct Executor(Rc<Inner>);

struct Inner {
    now_ns: Cell<u64>,
    next_id: Cell<u64>,
    next_group: Cell<u32>,
    random: RefCell<Random>,
    trace: RefCell<Trace>,
    tasks: RefCell<BTreeMap<TaskId, Task>>,
    ready: Arc<Ready>,
    events: RefCell<BinaryHeap<Event>>,
    /// Runs after each poll and each event: deaths and closed sockets are acted on here, never in the middle of one.
    settle: RefCell<Vec<Rc<dyn Fn()>>>,
}

impl Executor {
    /// An executor without tasks at virtual time 1 s.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Rc::new(Inner {
            now_ns: Cell::new(1_000_000_000),
            next_id: Cell::new(0),
            next_group: Cell::new(Group::TEST.0 + 1),
            random: RefCell::new(Random::new(seed, "executor")),
            trace: RefCell::default(),
            tasks: RefCell::default(),
            ready: Arc::default(),
            events: RefCell::default(),
            settle: RefCell::default(),
        }))
    }

    /// Virtual time.
    #[must_use]
    pub fn now(&self) -> Monotonic {
        Monotonic(self.0.now_ns.get())
    }

    /// A group that nobody has yet.
    #[must_use]
    pub fn group(&self) -> Group {
        let group = self.0.next_group.get();
        self.0.next_group.set(group + 1);
        Group(group)
    }

    /// Adds an event to the trace.
    pub fn trace(&self, event: fmt::Arguments<'_>) {
        self.0.trace.borrow_mut().add(self.0.now_ns.get(), event);
    }

    /// Hash and number of the trace's lines so far.
    #[must_use]
    pub fn trace_hash(&self) -> (u64, u64) {
        let trace = self.0.trace.borrow();
        (trace.hash(), trace.lines())
    }

    /// The trace's last lines.
    #[must_use]
    pub fn trace_tail(&self) -> String {
        self.0.trace.borrow().tail()
    }

    /// Starts a task.
    pub fn spawn(&self, group: Group, name: impl Into<String>, future: impl Future<Output = ()> + 'static) {
        self.add(group, name, future).wake();
    }

    /// Starts a task, and may run it up to its first wait before this returns.
    pub fn spawn_eagerly(&self, group: Group, name: impl Into<String>, future: impl Future<Output = ()> + 'static) {
        let id = self.0.next_id.get();
        let waker = self.add(group, name, future);
        if self.0.random.borrow_mut().chance(500) {
            self.poll(id);
        } else {
            waker.wake();
        }
    }

    fn add(&self, group: Group, name: impl Into<String>, future: impl Future<Output = ()> + 'static) -> Waker {
        let id = self.0.next_id.get();
        self.0.next_id.set(id + 1);
        let waker = Waker::from(Arc::new(TaskWaker { id, ready: Arc::clone(&self.0.ready) }));
        let task = Task { name: name.into(), group, future: Some(Box::pin(future)), waker: waker.clone() };
        self.0.tasks.borrow_mut().insert(id, task);
        waker
    }

    /// Runs `act` once, `delay_ns` from now, unless its group ends before.
    pub fn after(&self, group: Group, delay_ns: u64, act: impl FnOnce() + 'static) {
        let due_ns = self.0.now_ns.get().saturating_add(delay_ns);
        let tie = self.0.random.borrow_mut().bits();
        self.0.events.borrow_mut().push(Event { due_ns, tie, group, act: Box::new(act) });
    }

    /// Resolves at `due`.
    pub fn sleep_until(&self, group: Group, due: Monotonic) -> impl Future<Output = ()> + 'static {
        let executor = self.clone();
        let mut armed: Option<Slot<()>> = None;
        std::future::poll_fn(move |context| {
            if executor.now() >= due {
                return Poll::Ready(());
            }
            let slot = armed.get_or_insert_with(|| {
                let slot = Slot::default();
                let filled = slot.clone();
                executor.after(group, due.since_ns(executor.now()), move || filled.fill(()));
                slot
            });
            slot.poll(context)
        })
    }

    /// Starts a task of the test.
    pub fn spawn_client(&self, name: impl Into<String>, future: impl Future<Output = ()> + 'static) {
        self.spawn(Group::TEST, name, future);
    }

    /// Resolves after some milliseconds, for the test.
    pub fn sleep_ms(&self, ms: u64) -> impl Future<Output = ()> + 'static {
        self.sleep_until(Group::TEST, self.now().plus_ms(ms))
    }

    /// Has `act` run after each poll and each event.
    pub fn settle_with(&self, act: impl Fn() + 'static) {
        self.0.settle.borrow_mut().push(Rc::new(act));
    }

    /// Ends a group's tasks and events.
    pub fn kill(&self, group: Group) {
        self.retain(|other| other != group);
    }

    /// Ends everything; the world would keep itself alive otherwise.
    pub fn clear(&self) {
        self.retain(|_| false);
        self.0.settle.borrow_mut().clear();
    }

    fn retain(&self, keep: impl Fn(Group) -> bool) {
        // What is dropped may reach back into the executor, so nothing is borrowed while it is.
        let tasks: Vec<Task> =
            self.0.tasks.borrow_mut().extract_if(.., |_, task| !keep(task.group)).map(|(_, t)| t).collect();
        let (kept, dropped): (Vec<Event>, Vec<Event>) =
            self.0.events.take().into_iter().partition(|event| keep(event.group));
        self.0.events.borrow_mut().extend(kept);
        drop((tasks, dropped));
    }

    /// Runs the world until `main` has a result, for at most `limit_ns` of virtual time.
    ///
    /// # Errors
    /// If a task panics, if nothing can ever run again, if time runs out or does not pass.
    pub fn run<T: 'static>(&self, limit_ns: u64, main: impl Future<Output = T> + 'static) -> Result<T, Stuck> {
        let result = Slot::default();
        let filled = result.clone();
        self.spawn(Group::TEST, "main", async move { filled.fill(main.await) });
        let end_ns = self.0.now_ns.get().saturating_add(limit_ns);
        let mut steps = 0;
        loop {
            let before = self.0.now_ns.get();
            match catch_unwind(AssertUnwindSafe(|| self.step(end_ns))) {
                Ok(Ok(())) => {}
                Ok(Err(reason)) => return Err(self.stuck(reason)),
                Err(panic) => return Err(self.stuck(format!("panicked: {}", panic_text(&*panic)))),
            }
            if let Some(value) = result.take() {
                return Ok(value);
            }
            steps = if self.0.now_ns.get() == before { steps + 1 } else { 0 };
            if steps > STEPS_PER_INSTANT_MAX {
                return Err(self.stuck("time stands still: some task spins".into()));
            }
        }
    }

    fn stuck(&self, reason: String) -> Stuck {
        let waiting = self.0.tasks.borrow().values().map(|task| format!("{} ({:?})", task.name, task.group)).collect();
        Stuck { reason, waiting, tail: self.trace_tail() }
    }

    fn step(&self, end_ns: u64) -> Result<(), String> {
        let ready = {
            let mut ready = self.0.ready.0.lock().expect("no panic while it is held");
            let due_now = self.0.events.borrow().peek().is_some_and(|event| event.due_ns <= self.0.now_ns.get());
            let mut random = self.0.random.borrow_mut();
            if ready.is_empty() || (due_now && random.chance(500)) {
                None
            } else {
                let chosen = random.index(ready.len());
                Some(ready.swap_remove(chosen))
            }
        };
        if let Some(id) = ready {
            self.poll(id);
        } else {
            let event = self.0.events.borrow_mut().pop().ok_or("deadlock: nothing can run and nothing will happen")?;
            if event.due_ns > end_ns {
                return Err("out of time".into());
            }
            self.0.now_ns.set(self.0.now_ns.get().max(event.due_ns));
            (event.act)();
        }
        let settle = self.0.settle.borrow().clone();
        settle.iter().for_each(|act| act());
        Ok(())
    }

    fn poll(&self, id: TaskId) {
        // Woken after its end is no fault.
        let Some((mut future, waker)) = self.0.tasks.borrow_mut().get_mut(&id).and_then(|task| {
            let future = task.future.take()?;
            Some((future, task.waker.clone()))
        }) else {
            return;
        };
        if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            drop(future);
            self.0.tasks.borrow_mut().remove(&id);
        } else if let Some(task) = self.0.tasks.borrow_mut().get_mut(&id) {
            task.future = Some(future);
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
}

/// Where the result of an operation is laid for the one future that waits for it. A clone is the same slot.
pub struct Slot<T>(Rc<RefCell<SlotState<T>>>);

struct SlotState<T> {
    value: Option<T>,
    waker: Option<Waker>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self(Rc::new(RefCell::new(SlotState { value: None, waker: None })))
    }
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T> Slot<T> {
    /// Lays the value down and wakes who waits.
    pub fn fill(&self, value: T) {
        let mut state = self.0.borrow_mut();
        state.value = Some(value);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    /// The value, if it is there.
    #[must_use]
    pub fn take(&self) -> Option<T> {
        self.0.borrow_mut().value.take()
    }

    /// As a future's poll.
    pub fn poll(&self, context: &mut Context<'_>) -> Poll<T> {
        let mut state = self.0.borrow_mut();
        match state.value.take() {
            Some(value) => Poll::Ready(value),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The value, once it is there.
    pub async fn wait(self) -> T {
        std::future::poll_fn(move |context| self.poll(context)).await
    }
}
