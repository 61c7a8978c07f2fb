//! Mail between shards.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use corelane_core::base::ShardId;
use corelane_core::limits::MAILBOX_MESSAGES_MAX;

use super::cores;
use crate::hop::{Mail, WatchId};
use crate::sys::Sys;
use crate::sys::glommio::{GlommioSys, ShardOptions, run_shards};

/// A message that can be told from others.
fn mail(number: u64) -> Mail<GlommioSys> {
    Mail::Notice(WatchId(number))
}

async fn next(sys: &GlommioSys) -> (ShardId, u64) {
    match sys.mail().await {
        (from, Mail::Notice(WatchId(number))) => (from, number),
        _ => panic!("another kind of mail"),
    }
}

fn post(sys: &GlommioSys, to: u16, number: u64) {
    assert!(sys.post(ShardId(to), mail(number)).is_ok(), "the ring is full");
}

#[test]
fn a_letter_wakes_a_sleeping_shard_every_time() {
    run_shards(&cores(2), ShardOptions::default(), |sys| async move {
        const ROUNDS: u64 = 5_000;
        if sys.shard() == ShardId(0) {
            let mut ball = 0;
            for round in 0..ROUNDS {
                post(&sys, 1, ball);
                ball = next(&sys).await.1;
                assert_eq!(ball, round + 1);
                if round % 500 == 0 {
                    // Long enough for both to sleep for certain.
                    sys.sleep_until(sys.now().plus_ms(5)).await;
                }
            }
        } else {
            for _ in 0..ROUNDS {
                let (from, ball) = next(&sys).await;
                assert_eq!(from, ShardId(0));
                post(&sys, 0, ball + 1);
            }
        }
    })
    .unwrap();
}

#[test]
fn a_full_ring_gives_mail_back_and_tells_when_there_is_room() {
    const LETTERS: usize = 3 * MAILBOX_MESSAGES_MAX;
    let got = Arc::new(Mutex::new(Vec::new()));
    let receiver = Arc::clone(&got);
    let full = Arc::new(AtomicBool::new(false));
    run_shards(&cores(2), ShardOptions::default(), move |sys| {
        let (got, full) = (Arc::clone(&receiver), Arc::clone(&full));
        async move {
            if sys.shard() == ShardId(0) {
                for number in 0..LETTERS as u64 {
                    let mut message = mail(number);
                    while let Err(back) = sys.post(ShardId(1), message) {
                        if !full.load(Ordering::Relaxed) {
                            assert_eq!(sys.room(ShardId(1)), 0);
                            full.store(true, Ordering::Relaxed);
                        }
                        message = back;
                        sys.room_freed(ShardId(1)).await;
                    }
                }
            } else {
                // Lets the ring fill up before the first letter is taken, and probably again later.
                while !full.load(Ordering::Relaxed) {
                    sys.sleep_until(sys.now().plus_ms(1)).await;
                }
                for i in 0..LETTERS {
                    if i % 700 == 699 {
                        sys.sleep_until(sys.now().plus_ms(30)).await;
                    }
                    let (_, number) = next(&sys).await;
                    got.lock().unwrap().push(number);
                }
            }
        }
    })
    .unwrap();
    assert!(got.lock().unwrap().iter().copied().eq(0..LETTERS as u64), "order or count differs");
}

#[test]
fn several_writers_wait_for_room_and_all_go_on() {
    run_shards(&cores(2), ShardOptions::default(), |sys| async move {
        const WRITERS: usize = 8;
        const EACH: usize = 300;
        if sys.shard() == ShardId(0) {
            let done = std::rc::Rc::new(std::cell::Cell::new(0));
            for _ in 0..WRITERS {
                let (sys, done) = (sys.clone(), done.clone());
                sys.clone().spawn("writer", async move {
                    for _ in 0..EACH {
                        let mut message = mail(0);
                        while let Err(back) = sys.post(ShardId(1), message) {
                            message = back;
                            sys.room_freed(ShardId(1)).await;
                        }
                    }
                    done.set(done.get() + 1);
                });
            }
            while done.get() < WRITERS {
                sys.sleep_until(sys.now().plus_ms(1)).await;
            }
        } else {
            sys.sleep_until(sys.now().plus_ms(20)).await;
            for _ in 0..WRITERS * EACH {
                next(&sys).await;
            }
        }
    })
    .unwrap();
}

#[test]
fn three_shards_write_to_each_other_and_to_themselves() {
    let (sender, receiver) = mpsc::channel();
    run_shards(&cores(3), ShardOptions::default(), move |sys| {
        let sender = sender.clone();
        async move {
            for _ in 0..100 {
                for to in 0..3 {
                    post(&sys, to, 0);
                }
            }
            let mut from_each = [0; 3];
            for _ in 0..300 {
                let (from, _) = next(&sys).await;
                from_each[usize::from(from.0)] += 1;
            }
            sender.send(from_each).unwrap();
        }
    })
    .unwrap();
    assert_eq!(receiver.iter().collect::<Vec<_>>(), [[100; 3]; 3]);
}
