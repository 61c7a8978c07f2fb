//! Machines, the processes on them, and what a crash does to both.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::{Rc, Weak};

use bytes::Bytes;
use corelane_core::base::{ShardId, Timestamp};
use corelane_server::hop::Mail;

use crate::disk::names::Inode;
use crate::disk::{Crash, Disk, Faults, Planted};
use crate::executor::{Executor, Group, Slot, Stuck};
use crate::mailbox::Mailboxes;
use crate::network::Network;
use crate::random::Random;
use crate::sys::SimulatedSys;

/// A world: one clock, one network, any number of machines.
pub struct Simulation {
    /// Tasks and time.
    pub executor: Executor,
    /// Where the clients connect.
    pub network: Network,
    seed: u64,
    machines: RefCell<Vec<Machine>>,
}

impl Simulation {
    /// The world of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let executor = Executor::new(seed);
        let network = Network::new(&executor, Random::new(seed, "network"));
        Self { executor, network, seed, machines: RefCell::default() }
    }

    /// A new machine with an empty disk.
    #[must_use]
    pub fn machine(&self, name: &str) -> Machine {
        let machine = Machine(Rc::new(MachineInner {
            executor: self.executor.clone(),
            network: self.network.clone(),
            disk: RefCell::new(Disk::new(Random::new(self.seed, &format!("{name} disk")))),
            modified: RefCell::default(),
            random: RefCell::new(Random::new(self.seed, name)),
            processes: RefCell::default(),
            boots: Cell::new(0),
            name: name.into(),
        }));
        // Weak: the executor would keep the machine and the machine the executor alive.
        let settled = Rc::downgrade(&machine.0);
        self.executor.settle_with(move || Machine::settle(&settled));
        self.machines.borrow_mut().push(machine.clone());
        machine
    }

    /// Runs until the test's own task has a result, for at most `limit_ms` of virtual time.
    ///
    /// # Errors
    /// See [`Executor::run`].
    pub fn run<T: 'static>(&self, limit_ms: u64, main: impl Future<Output = T> + 'static) -> Result<T, Stuck> {
        self.executor.run(limit_ms * 1_000_000, main)
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        // Machines, their processes, the processes' mail and the executor's tasks hold each other.
        self.executor.clear();
        for machine in self.machines.take() {
            for process in machine.0.processes.take() {
                drop(process.0.mailboxes.replace(Mailboxes::new(0)));
            }
        }
    }
}

/// A machine. A clone is the same machine.
#[derive(Clone)]
pub struct Machine(pub(crate) Rc<MachineInner>);

pub(crate) struct MachineInner {
    pub(crate) executor: Executor,
    pub(crate) network: Network,
    pub(crate) disk: RefCell<Disk>,
    /// When each file was last written to.
    pub(crate) modified: RefCell<BTreeMap<Inode, Timestamp>>,
    pub(crate) random: RefCell<Random>,
    processes: RefCell<Vec<Process>>,
    boots: Cell<u64>,
    name: String,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All its shards came to their end.
    Clean,
    /// The machine crashed.
    Crashed(Crash),
}

/// A process on a machine. A clone is the same process.
#[derive(Clone)]
pub struct Process(pub(crate) Rc<ProcessInner>);

pub(crate) struct ProcessInner {
    pub(crate) machine: Machine,
    pub(crate) mailboxes: RefCell<Mailboxes<Mail<SimulatedSys>>>,
    /// Disk operations that are under way, which outlive the shard that asked for them.
    pub(crate) operations: Group,
    /// One a shard.
    groups: Vec<Group>,
    /// False from the instant of the crash on, while the task that met it may still be running.
    pub(crate) alive: Cell<bool>,
    /// Shards that came to their end and have not been cleared away.
    finished: RefCell<Vec<ShardId>>,
    running: Cell<usize>,
    ended: Slot<Ended>,
}

impl Machine {
    /// Starts a process. Each shard is one call of `main` with its handle; the shard is over when that future is.
    pub fn start<F: Future<Output = ()> + 'static>(&self, shards: u16, main: impl Fn(SimulatedSys) -> F) -> Process {
        let executor = &self.0.executor;
        let process = Process(Rc::new(ProcessInner {
            machine: self.clone(),
            mailboxes: RefCell::new(Mailboxes::new(shards)),
            operations: executor.group(),
            groups: (0..shards).map(|_| executor.group()).collect(),
            alive: Cell::new(true),
            finished: RefCell::default(),
            running: Cell::new(usize::from(shards)),
            ended: Slot::default(),
        }));
        executor.trace(format_args!("{}: process starts with {shards} shards", self.0.name));
        self.0.processes.borrow_mut().push(process.clone());
        for shard in (0..shards).map(ShardId) {
            let future = main(SimulatedSys::new(&process, shard));
            let finishing = process.clone();
            executor.spawn(process.group(shard), format!("shard {shard}"), async move {
                future.await;
                finishing.0.finished.borrow_mut().push(shard);
            });
        }
        process
    }

    /// Has the machine crash when its disk reaches that point; see [`Disk`].
    pub fn crash_at(&self, point: u64, crash: Crash) {
        self.0.disk.borrow_mut().crash_at(point, crash);
    }

    /// Takes back what was asked of [`crash_at`](Self::crash_at) and was not reached.
    pub fn let_be(&self) {
        self.0.disk.borrow_mut().let_be();
    }

    /// Has the machine crash now.
    pub fn crash(&self, crash: Crash) {
        self.0.disk.borrow_mut().crash_now(crash);
        self.0.processes.borrow().iter().for_each(|process| process.0.alive.set(false));
    }

    /// Points that the disk has passed.
    #[must_use]
    pub fn points(&self) -> u64 {
        self.0.disk.borrow().points()
    }

    /// Reads of the disk so far.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.0.disk.borrow().reads()
    }

    /// The point at which the disk first failed to change something.
    #[must_use]
    pub fn failed_at(&self) -> Option<u64> {
        self.0.disk.borrow().failed_at()
    }

    /// Sets what the disk does wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.0.disk.borrow_mut().faults = faults;
    }

    /// Plants a defect that the test must find.
    pub fn plant(&self, planted: Planted) {
        self.0.disk.borrow_mut().planted = planted;
    }

    /// A number that differs from one boot of the machine to the next: what `/proc/sys/kernel/random/boot_id` is.
    #[must_use]
    pub fn boot(&self) -> u64 {
        self.0.boots.get()
    }

    /// A file as the running system sees it.
    #[must_use]
    pub fn file(&self, path: impl AsRef<std::path::Path>) -> Option<Bytes> {
        self.0.disk.borrow().contents(path.as_ref())
    }

    /// Writes a file, or removes it if there are no contents, durably, as the machine's owner does beside the broker.
    ///
    /// # Panics
    /// If its directory is missing.
    pub fn put(&self, path: impl AsRef<std::path::Path>, contents: Option<Bytes>) {
        self.0.disk.borrow_mut().put(path.as_ref(), contents).expect("its directory is there");
    }

    /// Names in a directory as the running system sees it, sorted; none if it is not there.
    #[must_use]
    pub fn names(&self, path: impl AsRef<std::path::Path>) -> Vec<String> {
        let entries = self.0.disk.borrow().list(path.as_ref()).unwrap_or_default();
        entries.into_iter().map(|entry| entry.name).collect()
    }

    /// Makes a directory, durable, as the machine's owner does before the broker is ever started.
    ///
    /// # Panics
    /// If its parent is missing.
    pub fn make_directory(&self, path: impl AsRef<std::path::Path>) {
        self.0.disk.borrow_mut().make_directory(path.as_ref()).expect("its parent is there");
    }

    fn settle(machine: &Weak<MachineInner>) {
        let Some(machine) = machine.upgrade().map(Machine) else { return };
        if machine.0.disk.borrow().dead().is_some() {
            machine.carry_out_crash();
        }
        let processes = machine.0.processes.borrow().clone();
        for process in processes {
            process.clear_finished();
        }
        machine.0.processes.borrow_mut().retain(|process| process.0.alive.get());
    }

    fn carry_out_crash(&self) {
        let processes = self.0.processes.take();
        for process in &processes {
            process.0.alive.set(false);
            process.0.groups.iter().for_each(|group| self.0.executor.kill(*group));
            self.0.executor.kill(process.0.operations);
            *process.0.mailboxes.borrow_mut() = Mailboxes::new(0);
        }
        let Some(crash) = self.0.disk.borrow_mut().crash() else { return };
        if crash == Crash::PowerLoss {
            self.0.boots.set(self.0.boots.get() + 1);
        }
        self.0.executor.trace(format_args!("{}: {crash:?}", self.0.name));
        processes.iter().for_each(|process| process.0.ended.fill(Ended::Crashed(crash)));
    }
}

impl Process {
    /// The group of one of its shards.
    pub(crate) fn group(&self, shard: ShardId) -> Group {
        self.0.groups[usize::from(shard.0)]
    }

    /// How many shards it has.
    pub(crate) fn shards(&self) -> u16 {
        u16::try_from(self.0.groups.len()).expect("was made from one")
    }

    /// How it ended, once it has. One task may ask.
    pub async fn ended(&self) -> Ended {
        self.0.ended.clone().wait().await
    }

    fn clear_finished(&self) {
        let finished = self.0.finished.take();
        for shard in finished {
            self.0.machine.0.executor.kill(self.group(shard));
            self.0.machine.0.executor.trace(format_args!("{}: shard {shard} is over", self.0.machine.0.name));
            self.0.running.set(self.0.running.get() - 1);
            if self.0.running.get() == 0 {
                self.0.alive.set(false);
                *self.0.mailboxes.borrow_mut() = Mailboxes::new(0);
                self.0.ended.fill(Ended::Clean);
            }
        }
    }
}
