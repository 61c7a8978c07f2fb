//! What the watchdog sees of a shard that stands still, and that it gets it on.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use corelane_core::base::ShardId;

use super::{on_shard, thread_cpu_time};
use crate::sys::Sys;
use crate::sys::glommio::watchdog::{Pulse, Watchdog};

/// How long a shard that nobody wakes is waited for; it never comes back, so its thread is not joined.
const WOKEN_MAX: Duration = Duration::from_secs(60);

#[test]
fn the_watchdog_counts_shards_that_are_held() {
    on_shard(|sys| async move {
        sys.sleep_until(sys.now().plus_ms(100)).await;
        let before = sys.activity().stalls;
        // By computing, measured in CPU time because the machine may take the CPU away.
        let start = thread_cpu_time();
        while thread_cpu_time() - start < Duration::from_millis(80) {
            std::hint::spin_loop();
        }
        let computing = sys.activity().stalls;
        assert!(computing > before, "80 ms of computing were not seen");
        sys.sleep_until(sys.now().plus_ms(1)).await;
        // By waiting inside a task.
        thread::sleep(Duration::from_millis(120));
        let waiting = sys.activity().stalls;
        assert!(waiting > computing, "120 ms of waiting were not seen");
        sys.sleep_until(sys.now().plus_ms(200)).await;
        assert_eq!(sys.activity().stalls, waiting, "a sleeping shard is not held");
    });
}

#[test]
fn tasks_that_hold_the_shard_are_counted_by_name() {
    on_shard(|sys| async move {
        let count = |task: &str| {
            let long_polls = sys.activity().long_polls;
            long_polls.iter().find(|long| long.task == task).map_or((0, 0), |long| (long.count, long.max_ns))
        };
        let before = count("long").0;
        for (name, ms) in [("long", 3), ("long", 20), ("short", 0)] {
            let (ended, hears) = (Rc::new(Cell::new(false)), sys.clone());
            let ends = Rc::clone(&ended);
            sys.spawn(name, async move {
                thread::sleep(Duration::from_millis(ms));
                ends.set(true);
            });
            while !ended.get() {
                hears.breathe().await;
            }
            // A count is taken when the poll has ended.
            sys.breathe().await;
        }
        let (counted, max_ns) = count("long");
        assert_eq!(counted - before, 2, "{:?}", sys.activity());
        assert!((20_000_000..10_000_000_000).contains(&max_ns), "{max_ns}");
        assert!(sys.activity().cpu_ns > 0 && sys.activity().turns > 2);
    });
}

#[test]
fn a_driver_whose_wake_was_lost_is_woken() {
    const LOST: u32 = 3;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let pulse = Arc::new(Pulse::new(ShardId(0)));
        let _watchdog = Watchdog::start(vec![Arc::clone(&pulse)]).unwrap();
        pulse.start();
        glommio::LocalExecutorBuilder::default().make().unwrap().run(async {
            let mut turns = 0;
            poll_fn(|context| {
                pulse.set_driver((turns < LOST).then(|| context.waker().clone()));
                pulse.turn();
                turns += 1;
                // Nobody else wakes it.
                if turns > LOST { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        });
        let _ = sender.send(pulse.stalls());
    });
    let stalls = receiver.recv_timeout(WOKEN_MAX).expect("a driver that waits for nobody is woken");
    // A kick may come twice before the driver is seen to turn, and then make up for the next lost wake too.
    assert!((1..=u64::from(LOST)).contains(&stalls), "{stalls}");
}

/// glommio (0.9 to 0.12) parks when its preemption timer fires between two of its looks, whoever could run. A queue of
/// tasks that asks for a timer of microseconds makes of that rare mishap a frequent one; only the kick gets the shard on.
#[test]
fn an_executor_that_parked_although_tasks_could_run_is_woken() {
    const KICKS: u64 = 5;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let kicks = on_shard(|sys| async move {
            let queue = glommio::executor().create_task_queue(
                glommio::Shares::default(),
                glommio::Latency::Matters(Duration::from_micros(20)),
                "hasty",
            );
            let ends = Rc::new(Cell::new(false));
            let ended = Rc::clone(&ends);
            let hasty = async move {
                while !ended.get() {
                    glommio::executor().yield_now().await;
                }
            };
            let hasty = glommio::spawn_local_into(hasty, queue).unwrap();
            let start = Instant::now();
            while sys.kicks() < KICKS && start.elapsed() < WOKEN_MAX / 2 {
                sys.breathe().await;
            }
            ends.set(true);
            hasty.await;
            sys.kicks()
        });
        let _ = sender.send(kicks);
    });
    let kicks = receiver.recv_timeout(WOKEN_MAX).expect("an executor that parked is woken");
    assert!(kicks >= KICKS, "the executor parked {kicks} times only: does the runtime still do that?");
}
