//! Starts the shards, one pinned thread each, and joins them.

use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use corelane_core::base::ShardId;
use corelane_core::limits::SHARDS_MAX;
use glommio::{LocalExecutorBuilder, Placement, PoolPlacement};

use super::mailbox::{self, Doorbell, Mailbox, MailboxParts};
use super::ring::Ring;
use super::shard::{Shard, ShardOptions};
use super::watchdog::{Pulse, Watchdog};
use super::workers::Workers;
use super::{GlommioSys, panics, signals};

/// What the executor registers with the kernel for direct reads, which we do not use; its least.
const EXECUTOR_IO_BYTES: usize = 64 * 1024;

/// What all shards of a node share.
struct Node {
    doorbells: Arc<[Doorbell]>,
    pulses: Vec<Arc<Pulse>>,
    /// Shards whose main task has returned.
    returned: AtomicUsize,
    options: ShardOptions,
    stop_signals: Arc<OwnedFd>,
    ask_signals: Arc<OwnedFd>,
}

/// Runs one shard on each of `cores` until the task that `make` gives for each has returned.
///
/// Each shard is a thread named `corelane-shard-N`, pinned to its core. Tasks that still run when all those have
/// returned are dropped at the place where they wait. SIGTERM, SIGINT and SIGUSR1 are blocked in the calling thread and all
/// that it starts, and delivered to [`GlommioSys::stop_requested`] and [`Sys::asked`](crate::sys::Sys::asked). A panic on any shard ends the process with its
/// message.
///
/// # Errors
/// What kept a shard from starting; [`preflight`](super::preflight()) says more about it. No task has run then.
pub fn run_shards<Make, Task>(cores: &[usize], options: ShardOptions, make: Make) -> io::Result<()>
where
    Make: Fn(GlommioSys) -> Task + Send + Clone + 'static,
    Task: Future<Output = ()> + 'static,
{
    if cores.is_empty() || cores.len() > SHARDS_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("a node has 1 to {SHARDS_MAX} shards")));
    }
    signals::block_signals()?;
    let doorbells: Arc<[Doorbell]> = cores.iter().map(|_| Doorbell::new()).collect::<io::Result<Vec<_>>>()?.into();
    let pulses = (0..cores.len()).map(|shard| Arc::new(Pulse::new(ShardId(shard as u16)))).collect::<Vec<_>>();
    let node = Arc::new(Node {
        doorbells: Arc::clone(&doorbells),
        pulses: pulses.clone(),
        returned: AtomicUsize::new(0),
        options,
        stop_signals: Arc::new(signals::descriptor(signals::STOP)?),
        ask_signals: Arc::new(signals::descriptor(signals::ASK)?),
    });

    let (report, reports) = mpsc::channel();
    let mut shards = Vec::new();
    for ((index, &core), parts) in cores.iter().enumerate().zip(mailbox::mailboxes(&doorbells)) {
        let shard = ShardId(index as u16);
        // Started here and not by the shard, whose threads would inherit its one core.
        let workers = Workers::start(shard, Arc::clone(&doorbells))?;
        let (go, gone) = mpsc::channel::<()>();
        let (node, make, report) = (Arc::clone(&node), make.clone(), report.clone());
        let run = move || {
            let run = || run_shard(&node, shard, core, parts, workers, make, &report, &gone);
            if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
                panics::abort(&format!("shard {shard}"), &*panic);
            }
        };
        shards.push((go, thread::Builder::new().name(format!("corelane-shard-{shard}")).spawn(run)?));
    }
    drop(report);
    let started: io::Result<Vec<()>> = reports.iter().take(cores.len()).collect();
    if started.is_ok() {
        let _watchdog = Watchdog::start(pulses)?;
        for (go, _) in &shards {
            let _ = go.send(());
        }
        for (_, thread) in shards {
            let _ = thread.join();
        }
    } else {
        for (go, thread) in shards {
            drop(go);
            let _ = thread.join();
        }
    }
    started.map(drop)
}

/// The life of a shard's thread: makes the executor and the ring, reports, waits for the word to go, and runs.
#[allow(clippy::too_many_arguments, reason = "called once, by the thread's closure")]
fn run_shard<Make, Task>(
    node: &Arc<Node>,
    id: ShardId,
    core: usize,
    parts: MailboxParts,
    workers: Workers,
    make: Make,
    report: &mpsc::Sender<io::Result<()>>,
    gone: &mpsc::Receiver<()>,
) where
    Make: Fn(GlommioSys) -> Task,
    Task: Future<Output = ()> + 'static,
{
    let pulse = Arc::clone(&node.pulses[usize::from(id.0)]);
    let doorbell = &node.doorbells[usize::from(id.0)];
    let made = LocalExecutorBuilder::new(Placement::Fixed(core))
        .name(&format!("corelane-shard-{id}"))
        .io_memory(EXECUTOR_IO_BYTES)
        // Never used, but it cannot be left out; the default is a thread on the shard's own core.
        .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
        .make()
        .map_err(|error| io::Error::other(format!("the executor of shard {id} on core {core}: {error}")))
        .and_then(|executor| Ok((executor, Ring::new(Arc::clone(&doorbell.eventfd))?)));
    let (executor, ring) = match made {
        Ok(made) => made,
        Err(error) => {
            let _ = report.send(Err(error));
            return;
        }
    };
    let _ = report.send(Ok(()));
    if gone.recv().is_err() {
        return;
    }
    pulse.start();
    let shard = Shard::new(id, Mailbox::new(parts), Arc::new(workers), Arc::clone(&pulse), ring, node.options);
    executor.run(async move {
        let (stop_signals, ask_signals) = (Arc::clone(&node.stop_signals), Arc::clone(&node.ask_signals));
        let sys = GlommioSys { shard: shard.clone(), stop_signals, ask_signals };
        let task = make(sys);
        let main_node = Arc::clone(node);
        shard.spawn("main", async move {
            task.await;
            main_node.returned.fetch_add(1, Ordering::AcqRel);
            main_node.doorbells.iter().for_each(|doorbell| mailbox::signal(&doorbell.eventfd));
        });
        let shards = node.doorbells.len();
        let node = Arc::clone(node);
        shard.clone().drive(move || node.returned.load(Ordering::Acquire) == shards).await;
        shard.dismiss().await;
    });
    pulse.sleep();
}
