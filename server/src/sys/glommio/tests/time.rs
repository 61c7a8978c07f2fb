//! Clocks, timers, tasks, jobs and signals.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use corelane_core::base::{Monotonic, ShardId};

use super::{cores, on_shard, thread_cpu_time};
use crate::hop::Mail;
use crate::sys::Sys;
use crate::sys::glommio::workers::Lane;
use crate::sys::glommio::{ShardOptions, StopSignal, run_shards};

#[test]
fn timers_fire_in_order_and_not_early() {
    on_shard(|sys| async move {
        let fired = Rc::new(RefCell::new(Vec::new()));
        let start = sys.now();
        for ms in [30u64, 5, 20, 10, 0, 15, 25, 5] {
            let (sys, fired, due) = (sys.clone(), Rc::clone(&fired), start.plus_ms(ms));
            sys.clone().spawn("timer", async move {
                sys.sleep_until(due).await;
                assert!(sys.now() >= due, "a timer fired early");
                fired.borrow_mut().push(ms);
            });
        }
        sys.sleep_until(start.plus_ms(60)).await;
        assert_eq!(*fired.borrow(), [0, 5, 5, 10, 15, 20, 25, 30]);
    });
}

#[test]
fn an_idle_shard_wakes_for_a_timer_within_a_millisecond_or_so() {
    on_shard(|sys| async move {
        let mut late_us = Vec::new();
        for _ in 0..50 {
            let due = Monotonic(sys.now().0 + 2_300_000);
            sys.sleep_until(due).await;
            late_us.push(sys.now().since_ns(due) / 1000);
        }
        late_us.sort_unstable();
        // One of the better ones, because the machine may be busy with something else most of the time.
        assert!(late_us[5] < 2_000, "late by (us): {late_us:?}");
    });
}

#[test]
fn a_dropped_timer_does_not_hold_the_shard_nor_wake_anybody() {
    on_shard(|sys| async move {
        let mut far = Box::pin(sys.sleep_until(Monotonic(u64::MAX)));
        let polled =
            std::future::poll_fn(|context| std::task::Poll::Ready(far.as_mut().poll(context).is_ready())).await;
        assert!(!polled);
        drop(far);
        sys.sleep_until(Monotonic(0)).await;
    });
}

#[test]
fn breathing_lets_timers_and_other_tasks_run() {
    on_shard(|sys| async move {
        let seen = Rc::new(RefCell::new(0));
        let (other, counted) = (sys.clone(), Rc::clone(&seen));
        sys.spawn("ticker", async move {
            loop {
                other.sleep_until(Monotonic(other.now().0 + 1_000_000)).await;
                *counted.borrow_mut() += 1;
            }
        });
        let end = sys.now().plus_ms(100);
        while sys.now() < end {
            sys.breathe().await;
        }
        let seen = *seen.borrow();
        assert!(seen > 3, "a ticker of 1 ms ran {seen} times in 100 ms beside a task that only breathes");
    });
}

#[test]
fn jobs_run_elsewhere_and_give_back_their_result() {
    on_shard(|sys| async move {
        let here = thread::current().id();
        for i in 0..100 {
            let (there, value) = sys.work(move || (thread::current().id(), i * 2)).await;
            assert!(there != here);
            assert_eq!(value, i * 2);
        }
        // One that nobody waits for still runs.
        let ran = Arc::new(Mutex::new(false));
        let run = Arc::clone(&ran);
        drop(sys.work(move || *run.lock().unwrap() = true));
        let end = sys.now().plus_ms(5_000);
        while !*ran.lock().unwrap() {
            assert!(sys.now() < end);
            sys.sleep_until(sys.now().plus_ms(1)).await;
        }
    });
}

#[test]
fn a_job_that_waits_for_the_device_holds_no_quick_one() {
    on_shard(|sys| async move {
        let slow: Vec<_> =
            (0..6).map(|_| sys.shard.work(Lane::Device, || thread::sleep(Duration::from_millis(100)))).collect();
        let start = Instant::now();
        for _ in 0..50 {
            sys.work(|| ()).await;
        }
        assert!(start.elapsed() < Duration::from_millis(90), "quick jobs took {:?}", start.elapsed());
        for job in slow {
            job.await;
        }
        assert!(start.elapsed() >= Duration::from_millis(200), "one thread is kept for quick jobs");
        assert!(start.elapsed() < Duration::from_millis(500), "jobs for the device run beside each other");
        // With the other thread held, quick jobs run on the device's.
        let held = sys.work(|| thread::sleep(Duration::from_millis(100)));
        let start = Instant::now();
        sys.work(|| ()).await;
        assert!(start.elapsed() < Duration::from_millis(90));
        held.await;
    });
}

#[test]
fn random_bits_differ_and_the_clocks_agree_with_the_systems() {
    on_shard(|sys| async move {
        let drawn: std::collections::BTreeSet<u64> = (0..1000).map(|_| sys.random()).collect();
        assert_eq!(drawn.len(), 1000);
        let ours = sys.wall().0;
        let theirs = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
        assert!((theirs - ours).abs() < 1_000);
    });
}

#[test]
fn idle_shards_use_no_cpu() {
    let used = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&used);
    run_shards(&cores(2), ShardOptions::default(), move |sys| {
        let sink = Arc::clone(&sink);
        async move {
            let listener = sys.listen("127.0.0.1:0".parse().unwrap()).unwrap();
            let other = sys.clone();
            sys.spawn("accept", async move {
                let _ = other.accept(&listener).await;
            });
            // Wakes the other shard once, which must not keep it awake.
            let other = sys.clone();
            sys.spawn("mail", async move {
                loop {
                    let _ = other.mail().await;
                }
            });
            sys.sleep_until(sys.now().plus_ms(20)).await;
            assert!(sys.post(ShardId(1 - sys.shard().0), Mail::Ended).is_ok());
            sys.sleep_until(sys.now().plus_ms(20)).await;
            let start = thread_cpu_time();
            sys.sleep_until(sys.now().plus_ms(2_000)).await;
            let used = thread_cpu_time() - start;
            sink.lock().unwrap().push(used);
        }
    })
    .unwrap();
    for used in used.lock().unwrap().iter() {
        assert!(*used < Duration::from_millis(20), "an idle shard used {used:?} of CPU in 2 s");
    }
}

#[test]
fn a_shard_that_is_told_to_spin_waits_awake_while_pauses_are_short() {
    let counted = Arc::new(Mutex::new(None));
    let sink = Arc::clone(&counted);
    run_shards(&cores(1), ShardOptions { spin: Duration::from_millis(20), ..ShardOptions::default() }, move |sys| {
        let sink = Arc::clone(&sink);
        async move {
            for _ in 0..200 {
                sys.sleep_until(Monotonic(sys.now().0 + 500_000)).await;
            }
            let short = sys.activity();
            for _ in 0..20 {
                sys.sleep_until(sys.now().plus_ms(100)).await;
            }
            *sink.lock().unwrap() = Some((short, sys.activity()));
        }
    })
    .unwrap();
    let (short, long) = counted.lock().unwrap().take().unwrap();
    // Pauses of half a millisecond each, as far as the machine lets the shard run.
    assert!(short.spun_ns > 10_000_000, "{short:?}");
    // A few of the long pauses are begun awake; the rest of the two seconds is slept through.
    let spun_ns = long.spun_ns - short.spun_ns;
    assert!(spun_ns < 300_000_000, "{long:?}");
    assert!(long.cpu_ns - short.cpu_ns < 400_000_000, "{long:?}");
}

#[test]
fn a_stop_signal_is_an_event() {
    on_shard(|sys| async move {
        let other = sys.clone();
        sys.spawn("raise", async move {
            other.sleep_until(other.now().plus_ms(20)).await;
            // To this thread only; the test's process has threads that do not block it.
            // SAFETY: a plain call.
            unsafe { libc::raise(libc::SIGTERM) };
        });
        assert_eq!(sys.stop_requested().await.unwrap(), StopSignal::Terminate);
        // SAFETY: as above.
        unsafe { libc::raise(libc::SIGINT) };
        assert_eq!(sys.stop_requested().await.unwrap(), StopSignal::Interrupt);
    });
}

#[test]
fn a_node_ends_when_the_main_task_of_every_shard_has_returned() {
    let start = Instant::now();
    run_shards(&cores(3), ShardOptions::default(), |sys| async move {
        // Tasks that never end do not keep it.
        let other = sys.clone();
        sys.spawn("for ever", async move {
            other.sleep_until(Monotonic(u64::MAX)).await;
        });
        sys.sleep_until(sys.now().plus_ms(20 * u64::from(sys.shard().0))).await;
    })
    .unwrap();
    assert!(start.elapsed() >= Duration::from_millis(40));
}

#[test]
fn a_node_that_has_ended_holds_no_socket() {
    let (sender, receiver) = std::sync::mpsc::channel();
    run_shards(&cores(2), ShardOptions::default(), move |sys| {
        let sender = sender.clone();
        async move {
            let listener = sys.listen("127.0.0.1:0".parse().unwrap()).unwrap();
            sender.send(sys.local_address(&listener)).unwrap();
            let other = sys.clone();
            sys.spawn("accept", async move {
                let (socket, _) = other.accept(&listener).await.unwrap();
                let connection = other.adopt(socket).unwrap();
                let _ = other.receive(&connection, BytesMut::new(), 0).await;
            });
            sys.sleep_until(sys.now().plus_ms(30)).await;
        }
    })
    .unwrap();
    for address in receiver {
        let refused = std::net::TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    }
}

#[test]
fn a_node_that_cannot_start_says_so() {
    assert!(run_shards(&[], ShardOptions::default(), |_| async {}).is_err());
    assert!(run_shards(&[100_000], ShardOptions::default(), |_| async {}).is_err(), "a core that is not there");
}
