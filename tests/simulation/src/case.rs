//! One case: a plan of what clients do, a broker that crashes on the way and is started again, and the comparison of
//! what it promised with what is left. A case is its values: the same ones give the same course, to the last byte.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use corelane_core::base::{ShardId, Uuid};
use corelane_core::config::{BrokerConfig, Setting};
use corelane_core::limits::{ANSWER_MEMORY_BYTES_MAX, REQUEST_MEMORY_BYTES_MAX};
use corelane_server::node;
use corelane_server::settings::Settings;
use corelane_server::sys::Sys;

use crate::disk::{Crash, Faults, Planted};
use crate::executor::Stuck;
use crate::machine::{Ended, Machine, Process, Simulation};
use crate::promises::{Left, Promises};
use crate::workload::{Clients, Plan};

/// Virtual time that any case may take.
const LIMIT_MS: u64 = 20 * 1000;
/// Time from a crash to the next start.
const RESTART_MS: u64 = 10;
/// How often the test looks whether the clients are done.
const LOOK_MS: u64 = 5;

/// A crash, so many points of the disk after the machine was last started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrashAt {
    /// The point; see [`Disk`](crate::disk::Disk).
    pub point: u64,
    /// Its kind.
    pub crash: Crash,
}

/// All that decides a course of events.
#[derive(Debug, Clone)]
pub struct Case {
    /// Order, durations, what survives.
    pub seed: u64,
    /// Shards of the node.
    pub shards: u16,
    /// What clients do.
    pub plan: Plan,
    /// Crashes, one for each process in turn; the one after the last is let be.
    pub crashes: Vec<CrashAt>,
    /// What the disk does wrong until the first clean stop.
    pub faults: Faults,
    /// The defect that is to be found.
    pub planted: Planted,
}

/// How a case went.
pub struct Report {
    /// Points that the disk passed until the clean stop, crashes included.
    pub points: u64,
    /// Hash and number of the trace's lines.
    pub trace: (u64, u64),
    /// Everything that was wrong; empty is good.
    pub violations: Vec<String>,
    /// How many records were left.
    pub records: usize,
    /// How many processes there were up to the first clean stop.
    pub processes: u64,
    tail: String,
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\ntrace (hash {:x}):{}", self.violations.join("\n"), self.trace.0, self.tail)
    }
}

impl Case {
    /// Runs it.
    #[must_use]
    pub fn run(&self) -> Report {
        let simulation = Simulation::new(self.seed);
        let broker = Broker::new(&simulation, self);
        let course = simulation.run(LIMIT_MS, course(broker.clone(), self.clone()));
        let (trace, tail) = (simulation.executor.trace_hash(), simulation.executor.trace_tail());
        let mut report = Report {
            points: broker.stopped_at.get(),
            trace,
            violations: Vec::new(),
            records: 0,
            processes: broker.stopped_in.get(),
            tail,
        };
        match course {
            Ok(left) => {
                report.violations = broker.clients.promises.borrow().check(&left);
                report.records = left.records.values().map(Vec::len).sum();
            }
            Err(Stuck { reason, waiting, .. }) => {
                report.violations = vec![reason, format!("waiting: {}", waiting.join(", "))];
            }
        }
        report
    }
}

async fn course(broker: Broker, case: Case) -> Left {
    let executor = broker.clients.network.executor().clone();
    let running = broker.clone();
    executor.spawn_client("supervisor", async move { running.keep_running(case.crashes).await });
    let done = Rc::new(Cell::new(false));
    let (clients, finished) = (broker.clients.clone(), Rc::clone(&done));
    executor.spawn_client("clients", async move {
        clients.run(case.seed, case.plan).await;
        finished.set(true);
    });
    while !done.get() && !broker.failed.get() {
        executor.sleep_ms(LOOK_MS).await;
    }
    broker.stopping.set(true);
    while !broker.ended.get() {
        executor.sleep_ms(LOOK_MS).await;
    }
    broker.stopped_at.set(broker.machine.points());
    broker.stopped_in.set(broker.clients.promises.borrow().incarnation());
    if broker.failed.get() {
        return Left::default();
    }

    // Once more, undisturbed, to see what is left.
    broker.machine.set_faults(Faults::default());
    broker.stopping.set(false);
    broker.ended.set(false);
    let running = broker.clone();
    executor.spawn_client("supervisor", async move { running.keep_running(Vec::new()).await });
    let left = Rc::new(RefCell::new(None));
    let (clients, filled) = (broker.clients.clone(), Rc::clone(&left));
    executor.spawn_client("last reader", async move {
        let all = clients.read_all().await;
        *filled.borrow_mut() = Some(all);
    });
    while left.borrow().is_none() && !broker.failed.get() {
        executor.sleep_ms(LOOK_MS).await;
    }
    broker.stopping.set(true);
    while !broker.ended.get() {
        executor.sleep_ms(LOOK_MS).await;
    }
    left.take().unwrap_or_default()
}

/// The node under test on its machine. A clone is the same node.
#[derive(Clone)]
struct Broker {
    machine: Machine,
    clients: Clients,
    shards: u16,
    disk_fails: bool,
    stopping: Rc<Cell<bool>>,
    /// No process runs, and none will be started.
    ended: Rc<Cell<bool>>,
    /// It could not be started: there is no point in going on.
    failed: Rc<Cell<bool>>,
    stopped_at: Rc<Cell<u64>>,
    stopped_in: Rc<Cell<u64>>,
}

impl Broker {
    fn new(simulation: &Simulation, case: &Case) -> Self {
        let machine = simulation.machine("node");
        machine.make_directory("/data");
        machine.set_faults(case.faults);
        machine.plant(case.planted);
        let clients = Clients {
            network: simulation.network.clone(),
            address: SocketAddr::from(([127, 0, 0, 1], 9092)),
            promises: Rc::new(RefCell::new(Promises::default())),
        };
        Self {
            machine,
            clients,
            shards: case.shards,
            disk_fails: case.plan.disk_fails,
            stopping: Rc::default(),
            ended: Rc::default(),
            failed: Rc::default(),
            stopped_at: Rc::default(),
            stopped_in: Rc::default(),
        }
    }

    /// Starts the node again after every crash, until it stops cleanly because it was told to.
    async fn keep_running(&self, crashes: Vec<CrashAt>) {
        let mut crashes = crashes.into_iter();
        loop {
            if let Some(CrashAt { point, crash }) = crashes.next() {
                self.machine.crash_at(self.machine.points() + point, crash);
            }
            let process = self.start();
            let ended = process.ended().await;
            let crash = match ended {
                Ended::Clean => None,
                Ended::Crashed(crash) => Some(crash),
            };
            self.clients.promises.borrow_mut().ended(crash);
            if self.failed.get() || (crash.is_none() && self.stopping.get()) {
                self.ended.set(true);
                return;
            }
            self.clients.network.executor().sleep_ms(RESTART_MS).await;
        }
    }

    fn start(&self) -> Process {
        let settings = Arc::new(self.settings());
        let broker = self.clone();
        self.machine.start(self.shards, move |sys| {
            let (settings, broker) = (Arc::clone(&settings), broker.clone());
            async move {
                let (leads, stop) = (sys.shard() == ShardId(0), broker.stop(sys.clone()));
                let result = node::run(sys, settings, stop, |_ready| {}).await;
                match result {
                    Err(error) if leads && broker.disk_fails => {
                        // A disk that fails is a reason not to start or not to stop cleanly; it is mended then.
                        broker.machine.set_faults(Faults::default());
                        broker.note(format_args!("the node ended: {error}"));
                    }
                    Err(error) if leads => {
                        broker.clients.promises.borrow_mut().violation(format!("the node ended: {error}"));
                        broker.failed.set(true);
                    }
                    _ => {}
                }
            }
        })
    }

    fn note(&self, what: fmt::Arguments<'_>) {
        self.clients.network.executor().trace(what);
    }

    fn stop(&self, sys: impl Sys) -> impl Future<Output = ()> + 'static {
        let stopping = Rc::clone(&self.stopping);
        async move {
            while !stopping.get() {
                sys.sleep_until(sys.now().plus_ms(LOOK_MS)).await;
            }
        }
    }

    fn settings(&self) -> Settings {
        let listeners = Setting::built_in("listeners", &format!("PLAINTEXT://{}", self.clients.address));
        let (config, _notices) = BrokerConfig::from_settings(&[listeners]).expect("is a configuration");
        Settings {
            config,
            data_directory: PathBuf::from("/data/corelane"),
            addresses: vec![vec![self.clients.address]],
            request_memory_bytes_max: REQUEST_MEMORY_BYTES_MAX,
            answer_memory_bytes_max: ANSWER_MEMORY_BYTES_MAX,
            boot_id: Uuid::from_random(u128::from(self.machine.boot())).to_string(),
        }
    }
}
