//! Mail between shards.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use corelane_core::base::ShardId;
use corelane_core::limits::MAILBOX_MESSAGES_MAX;

use super::cores;
use crate::hop::Mail;
use crate::sys::Sys;
use crate::sys::glommio::{GlommioSys, Socket, run_shards};

/// A message that can be told from others by its descriptor.
fn letter() -> Socket {
    Socket(File::open("/dev/null").unwrap().into())
}

fn mail(socket: Socket) -> Mail<GlommioSys> {
    Mail::Adopt { socket, listener: 0 }
}

async fn next(sys: &GlommioSys) -> (ShardId, Socket) {
    match sys.mail().await {
        (from, Mail::Adopt { socket, .. }) => (from, socket),
        _ => panic!("another kind of mail"),
    }
}

fn post(sys: &GlommioSys, to: u16, letter: Socket) {
    assert!(sys.post(ShardId(to), mail(letter)).is_ok(), "the ring is full");
}

#[test]
fn a_letter_wakes_a_sleeping_shard_every_time() {
    run_shards(&cores(2), |sys| async move {
        const ROUNDS: u64 = 5_000;
        if sys.shard() == ShardId(0) {
            let mut ball = letter();
            for round in 0..ROUNDS {
                post(&sys, 1, ball);
                ball = next(&sys).await.1;
                if round % 500 == 0 {
                    // Long enough for both to sleep for certain.
                    sys.sleep_until(sys.now().plus_ms(5)).await;
                }
            }
        } else {
            for _ in 0..ROUNDS {
                let (from, ball) = next(&sys).await;
                assert_eq!(from, ShardId(0));
                post(&sys, 0, ball);
            }
        }
    })
    .unwrap();
}

#[test]
fn a_full_ring_gives_mail_back_and_tells_when_there_is_room() {
    const LETTERS: usize = 3 * MAILBOX_MESSAGES_MAX;
    let (sent, got) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    let (sender, receiver) = (Arc::clone(&sent), Arc::clone(&got));
    let full = Arc::new(AtomicBool::new(false));
    run_shards(&cores(2), move |sys| {
        let (sent, got, full) = (Arc::clone(&sender), Arc::clone(&receiver), Arc::clone(&full));
        async move {
            if sys.shard() == ShardId(0) {
                for _ in 0..LETTERS {
                    let letter = letter();
                    sent.lock().unwrap().push(letter.0.as_raw_fd());
                    let mut message = mail(letter);
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
                let mut kept = Vec::new();
                // Lets the ring fill up before the first letter is taken, and probably again later.
                while !full.load(Ordering::Relaxed) {
                    sys.sleep_until(sys.now().plus_ms(1)).await;
                }
                for i in 0..LETTERS {
                    if i % 700 == 699 {
                        sys.sleep_until(sys.now().plus_ms(30)).await;
                    }
                    let (_, letter) = next(&sys).await;
                    got.lock().unwrap().push(letter.0.as_raw_fd());
                    kept.push(letter);
                }
            }
        }
    })
    .unwrap();
    assert_eq!(*sent.lock().unwrap(), *got.lock().unwrap(), "order or count differs");
}

#[test]
fn several_writers_wait_for_room_and_all_go_on() {
    run_shards(&cores(2), |sys| async move {
        const WRITERS: usize = 8;
        const EACH: usize = 300;
        if sys.shard() == ShardId(0) {
            let done = std::rc::Rc::new(std::cell::Cell::new(0));
            for _ in 0..WRITERS {
                let (sys, done) = (sys.clone(), done.clone());
                sys.clone().spawn("writer", async move {
                    for _ in 0..EACH {
                        let mut message = mail(letter());
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
    run_shards(&cores(3), move |sys| {
        let sender = sender.clone();
        async move {
            for _ in 0..100 {
                for to in 0..3 {
                    post(&sys, to, letter());
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
