//! One case: a plan of what clients do, a broker that crashes on the way and is started again, and the comparison of
//! what it promised with what is left. A case is its values: the same ones give the same course, to the last byte.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use corelane_core::base::{ShardId, Uuid};
use corelane_core::config::{BrokerConfig, LogLevel, LogLevels, Setting};
use corelane_core::limits::{ANSWER_MEMORY_BYTES_MAX, REQUEST_MEMORY_BYTES_MAX};
use corelane_server::logging::Logging;
use corelane_server::node;
use corelane_server::settings::Settings;
use corelane_server::sys::Sys as _;

use crate::disk::{Crash, Faults, Planted};
use crate::executor::Stuck;
use crate::machine::{Ended, Machine, Process, Simulation};
use crate::promises::{Left, Promises};
use crate::reading::CONNECTION_BROKE;
use crate::signal::Signal;
use crate::workload::{Clients, Plan};

/// Time from a crash to the next start.
const RESTART_MS: u64 = 10;

/// Violations that a report spells out.
const VIOLATIONS_SHOWN_MAX: usize = 10;

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
    /// Settings of the broker, beside those that every case has.
    pub settings: Vec<(&'static str, &'static str)>,
    /// Crashes, one for each process in turn; the one after the last is let be.
    pub crashes: Vec<CrashAt>,
    /// What is done to the machine after the first clean stop, beside the broker.
    pub tamper: Option<fn(&Machine)>,
    /// Crashes after that, for each process in turn.
    pub last_crashes: Vec<CrashAt>,
    /// What the disk does wrong until the first clean stop.
    pub faults: Faults,
    /// The defect that is to be found.
    pub planted: Planted,
    /// Virtual time after which it is stuck.
    pub limit_ms: u64,
}

/// How a case went.
pub struct Report {
    /// Points that the disk passed until the clean stop, crashes included.
    pub points: u64,
    /// Points that it passed after that, until everything had been read once more.
    pub last_points: u64,
    /// Hash and number of the trace's lines.
    pub trace: (u64, u64),
    /// Everything that was wrong; empty is good.
    pub violations: Vec<String>,
    /// How many records were left.
    pub records: usize,
    /// How many of each topic.
    pub records_of: BTreeMap<&'static str, usize>,
    /// How many processes there were up to the first clean stop.
    pub processes: u64,
    /// Reads of the disk by the end of each process.
    pub reads: Vec<u64>,
    /// The point at which the disk first failed to change something.
    pub failed_at: Option<u64>,
    /// Names in the folder of the metadata log at the end.
    pub metadata_files: Vec<String>,
    tail: String,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}, {} shards", self.seed, self.shards)?;
        for CrashAt { point, crash } in &self.crashes {
            write!(f, ", {crash:?} at point {point}")?;
        }
        if self.plan.disk_fails {
            write!(f, ", {:?}", self.faults)?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut violations = self.violations.clone();
        violations.dedup();
        for violation in violations.iter().take(VIOLATIONS_SHOWN_MAX) {
            writeln!(f, "{violation}")?;
        }
        write!(f, "{} violations; trace (hash {:016x}):{}", violations.len(), self.trace.0, self.tail)
    }
}

impl Case {
    /// Runs it.
    #[must_use]
    pub fn run(&self) -> Report {
        let simulation = Simulation::new(self.seed);
        let broker = Broker::new(&simulation, self);
        let course = simulation.run(self.limit_ms, course(broker.clone(), self.clone()));
        let (trace, tail) = (simulation.executor.trace_hash(), simulation.executor.trace_tail());
        let mut report = Report {
            points: broker.stopped_at.get(),
            last_points: broker.machine.points() - broker.stopped_at.get(),
            trace,
            violations: Vec::new(),
            records: 0,
            records_of: BTreeMap::new(),
            processes: broker.stopped_in.get(),
            reads: broker.reads.take(),
            failed_at: broker.machine.failed_at(),
            metadata_files: broker.machine.names("/data/corelane/__cluster_metadata-0"),
            tail,
        };
        match course {
            Ok(left) => {
                report.violations = broker.clients.promises.borrow().check(&left);
                for ((topic, _), records) in &left.records {
                    report.records += records.len();
                    *report.records_of.entry(topic).or_default() += records.len();
                }
            }
            Err(Stuck { reason, waiting, .. }) => {
                report.violations = vec![reason, format!("waiting: {}", waiting.join(", "))];
            }
        }
        report
    }
}

/// How many cases went.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Records that were left, of all cases together.
    pub records: usize,
    /// Crashes that were reached.
    pub crashes: u64,
    /// The cases with violations, in the order in which they were given, and what is to be said of each.
    pub failures: BTreeMap<usize, String>,
}

impl Outcome {
    /// Each failure in two lines, and the first one in full.
    #[must_use]
    pub fn told(&self) -> String {
        let mut told = format!("{} cases fail:\n", self.failures.len());
        for failure in self.failures.values() {
            failure.lines().take(2).for_each(|line| told.extend([line, "\n"]));
        }
        told + "the first:\n" + self.failures.values().next().map_or("", String::as_str)
    }
}

/// Runs cases, as many at once as there are cores.
///
/// # Panics
/// If the simulation itself is broken.
#[must_use]
pub fn run_all(cases: &[Case]) -> Outcome {
    let (next, outcome) = (AtomicUsize::new(0), Mutex::new(Outcome::default()));
    let run = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = cases.get(number) else { return };
            let report = case.run();
            let mut outcome = outcome.lock().expect("no panic while it is held");
            outcome.records += report.records;
            outcome.crashes += report.processes.saturating_sub(1);
            if !report.violations.is_empty() {
                outcome.failures.insert(number, format!("{case}:\n{report}"));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(run);
        }
    });
    outcome.into_inner().expect("no panic while it was held")
}

async fn course(broker: Broker, case: Case) -> Left {
    let executor = broker.clients.network.executor().clone();
    let (clients, finished) = (broker.clients.clone(), broker.clients_done.clone());
    let transactions = case.plan.transactions;
    executor.spawn_client("clients", async move {
        clients.run(case.seed, case.plan).await;
        finished.raise();
    });
    broker.run_until_done(case.crashes).await;
    broker.stopped_at.set(broker.machine.points());
    broker.stopped_in.set(broker.clients.promises.borrow().incarnation());
    if broker.failed.get() {
        return Left::default();
    }

    // Once more, undisturbed, to see what is left.
    broker.machine.let_be();
    broker.machine.set_faults(Faults::default());
    broker.clients_done.lower();
    if let Some(tamper) = case.tamper {
        tamper(&broker.machine);
    }
    let left = Rc::new(RefCell::new(Left::default()));
    let (clients, filled, finished) = (broker.clients.clone(), Rc::clone(&left), broker.clients_done.clone());
    executor.spawn_client("last reader", async move {
        let mut all = clients.read_all(transactions).await;
        // A crash ends its connection; then it begins again.
        while all.faults.iter().any(|fault| fault.contains(CONNECTION_BROKE)) {
            all = clients.read_all(transactions).await;
        }
        filled.replace(all);
        finished.raise();
    });
    broker.run_until_done(case.last_crashes).await;
    left.take()
}

/// The node under test on its machine. A clone is the same node.
#[derive(Clone)]
struct Broker {
    machine: Machine,
    clients: Clients,
    shards: u16,
    settings: Vec<(&'static str, &'static str)>,
    disk_fails: bool,
    /// The clients need it no longer: it is to stop.
    clients_done: Signal,
    /// It could not be started: there is no point in going on.
    failed: Rc<Cell<bool>>,
    stopped_at: Rc<Cell<u64>>,
    stopped_in: Rc<Cell<u64>>,
    /// Reads of the disk by the end of each process.
    reads: Rc<RefCell<Vec<u64>>>,
}

impl Broker {
    fn new(simulation: &Simulation, case: &Case) -> Self {
        let machine = simulation.machine("node");
        machine.make_directory("/data");
        machine.set_faults(case.faults);
        machine.plant(case.planted);
        let mut promises = Promises::default();
        if case.faults.failing_sync.is_some() || case.faults.sync_errors_per_mille > 0 {
            promises.syncs_fail();
        }
        let clients = Clients {
            network: simulation.network.clone(),
            address: SocketAddr::from(([127, 0, 0, 1], 9092)),
            promises: Rc::new(RefCell::new(promises)),
        };
        Self {
            machine,
            clients,
            shards: case.shards,
            settings: case.settings.clone(),
            disk_fails: case.plan.disk_fails,
            clients_done: Signal::default(),
            failed: Rc::default(),
            stopped_at: Rc::default(),
            stopped_in: Rc::default(),
            reads: Rc::default(),
        }
    }

    /// Starts the node, and again after every crash, until it stops cleanly because the clients are done.
    async fn run_until_done(&self, crashes: Vec<CrashAt>) {
        let mut crashes = crashes.into_iter();
        loop {
            if let Some(CrashAt { point, crash }) = crashes.next() {
                self.machine.crash_at(self.machine.points() + point, crash);
            }
            let process = self.start();
            let ended = process.ended().await;
            self.reads.borrow_mut().push(self.machine.reads());
            let crash = match ended {
                Ended::Clean => None,
                Ended::Crashed(crash) => Some(crash),
            };
            self.clients.promises.borrow_mut().ended(crash);
            if self.failed.get() || (crash.is_none() && self.clients_done.is_raised()) {
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
                let (leads, stop) = (sys.shard() == ShardId(0), broker.clients_done.clone());
                let result = node::run(sys, settings, async move { stop.wait().await }, |_ready| {}).await;
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

    fn settings(&self) -> Settings {
        settings(&self.machine, self.clients.address, &self.settings)
    }
}

/// What a node is started with: its data in `/data/corelane`, listening on one address.
///
/// # Panics
/// If one of the settings is not Kafka's or ours.
#[must_use]
pub fn settings(machine: &Machine, address: SocketAddr, further: &[(&str, &str)]) -> Settings {
    let listeners = Setting::built_in("listeners", &format!("PLAINTEXT://{address}"));
    let further = further.iter().map(|(name, value)| Setting::built_in(name, value));
    let all: Vec<Setting> = further.chain([listeners]).collect();
    let (config, _notices) = BrokerConfig::from_settings(&all).expect("is a configuration");
    Settings {
        config,
        data_directory: PathBuf::from("/data/corelane"),
        addresses: vec![vec![address]],
        request_memory_bytes_max: REQUEST_MEMORY_BYTES_MAX,
        answer_memory_bytes_max: ANSWER_MEMORY_BYTES_MAX,
        log: Arc::new(Logging::new(LogLevels::new(LogLevel::Warn, []), |_| {})),
        boot_id: Uuid::from_random(u128::from(machine.boot())).to_string(),
    }
}
