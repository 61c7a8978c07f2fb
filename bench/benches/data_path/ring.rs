//! A message from one shard to another, without the work of either and without the bell.
//!
//! With two threads the figures are those of two cores that both have time: a thread that finds nothing gives its core
//! away, so on a busy machine they become those of the scheduler.

use std::hint::{black_box, spin_loop};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use corelane_core::limits::MAILBOX_MESSAGES_MAX;
use corelane_core::ring::{Consumer, Producer, ring};
use criterion::{BenchmarkId, Criterion, Throughput};

/// As large as a few words; what the server sends is mostly pointers.
type Message = [u64; 4];

const BURST_MESSAGES: [u64; 2] = [1, 64];
/// Looks at a ring before the core is given away.
const SPINS: u32 = 100;

pub(crate) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring");
    for messages in BURST_MESSAGES {
        let (mut producer, mut consumer) = ring(MAILBOX_MESSAGES_MAX);
        // All the way round more than once, so that each slot was used before.
        for _ in 0..MAILBOX_MESSAGES_MAX + 1 {
            assert_eq!(burst(&mut producer, &mut consumer, messages), sum_to(messages));
        }
        group.throughput(Throughput::Elements(messages));
        group.bench_function(BenchmarkId::new("one thread, burst of", messages), |bencher| {
            bencher.iter(|| burst(&mut producer, &mut consumer, black_box(messages)));
        });
    }
    group.throughput(Throughput::Elements(1));
    let _ = stream(10_000);
    group.bench_function("two threads, stream", |bencher| bencher.iter_custom(stream));
    let _ = round_trips(1_000);
    group.bench_function("two threads, there and back", |bencher| bencher.iter_custom(round_trips));
    group.finish();
}

fn message(number: u64) -> Message {
    [number; 4]
}

fn sum_to(count: u64) -> u64 {
    count * count.saturating_sub(1) / 2
}

fn burst(producer: &mut Producer<Message>, consumer: &mut Consumer<Message>, messages: u64) -> u64 {
    for number in 0..messages {
        assert!(producer.push(message(number)).is_ok(), "the ring has room");
    }
    let mut sum = 0;
    while let Some([number, ..]) = consumer.pop() {
        sum += number;
    }
    sum
}

/// Time until this thread has `count` messages that another one sends as fast as the ring takes them.
fn stream(count: u64) -> Duration {
    let (mut producer, mut consumer) = ring(MAILBOX_MESSAGES_MAX);
    let begin = Arc::new(Barrier::new(2));
    let sender_begins = Arc::clone(&begin);
    let sender = thread::spawn(move || {
        sender_begins.wait();
        (0..count).for_each(|number| push(&mut producer, number));
    });
    begin.wait();
    let started = Instant::now();
    let sum: u64 = (0..count).map(|_| pop(&mut consumer)).sum();
    let elapsed = started.elapsed();
    sender.join().expect("the sender is done");
    assert_eq!((sum, consumer.pop()), (sum_to(count), None));
    elapsed
}

/// Time for `count` messages, each sent when the one before has come back.
fn round_trips(count: u64) -> Duration {
    let (mut there, mut echo_receives) = ring(MAILBOX_MESSAGES_MAX);
    let (mut echo_sends, mut back) = ring(MAILBOX_MESSAGES_MAX);
    let begin = Arc::new(Barrier::new(2));
    let echo_begins = Arc::clone(&begin);
    let echo = thread::spawn(move || {
        echo_begins.wait();
        for _ in 0..count {
            let number = pop(&mut echo_receives);
            push(&mut echo_sends, number);
        }
    });
    begin.wait();
    let started = Instant::now();
    for number in 0..count {
        push(&mut there, number);
        assert_eq!(pop(&mut back), number);
    }
    let elapsed = started.elapsed();
    echo.join().expect("the echo is done");
    elapsed
}

fn push(producer: &mut Producer<Message>, number: u64) {
    until(|| producer.push(message(number)).ok());
}

fn pop(consumer: &mut Consumer<Message>) -> u64 {
    until(|| consumer.pop())[0]
}

fn until<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    loop {
        for _ in 0..SPINS {
            if let Some(outcome) = attempt() {
                return outcome;
            }
            spin_loop();
        }
        thread::yield_now();
    }
}
