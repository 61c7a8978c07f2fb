//! The only concurrent code: a bounded queue from one shard to another, and the bell that wakes a sleeping reader.
//!
//! One thread pushes, one pops; neither ever waits. Built on std's atomics, or under `--cfg loom` on loom's, where
//! the tests below try every interleaving.

use std::mem::MaybeUninit;

use sync::{Arc, AtomicBool, AtomicUsize, Ordering, UnsafeCell, fence};

/// The one place that exchanges std for loom.
mod sync {
    #[cfg(loom)]
    pub(super) use loom::{
        cell::UnsafeCell,
        sync::Arc,
        sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence},
    };
    #[cfg(not(loom))]
    pub(super) use std::sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering, fence},
    };

    /// std's cell with loom's way of reaching into it.
    #[cfg(not(loom))]
    pub(super) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    #[cfg(not(loom))]
    impl<T> UnsafeCell<T> {
        pub(super) fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        pub(super) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
            read(self.0.get())
        }

        pub(super) fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
            write(self.0.get())
        }
    }
}

/// An index on cache lines of its own, so that the two sides do not slow each other down by sharing one.
#[repr(align(128))]
struct Padded(AtomicUsize);

struct Shared<T> {
    /// Messages ever popped; written by the consumer only. Slot `head % capacity` is the next to pop.
    head: Padded,
    /// Messages ever pushed; written by the producer only. `tail - head` slots from `head` on hold a message.
    tail: Padded,
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
}

// SAFETY: (1) a slot is reached by one side at a time: the producer writes slots outside `head..tail`, the consumer
// reads slots inside it, and each index is published with Release after the slot was used and read with Acquire
// before; (2) so a message moves from one thread to the other whole, which `T: Send` allows.
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: as above; the messages are all that it owns.
unsafe impl<T: Send> Send for Shared<T> {}

/// The end that pushes.
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
    tail: usize,
    /// The consumer's index as last seen; it can only have moved on since.
    head_seen: usize,
}

/// The end that pops.
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    head: usize,
    /// The producer's index as last seen; it can only have moved on since.
    tail_seen: usize,
}

/// Makes a queue that holds `capacity` messages.
///
/// Messages that are still in it when both ends are gone are dropped.
///
/// # Panics
/// If `capacity` is not a power of two.
#[must_use]
pub fn ring<T: Send>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    assert!(capacity.is_power_of_two(), "the capacity of a ring is a power of two, not {capacity}");
    let slots = (0..capacity).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect();
    let shared = Arc::new(Shared { head: Padded(AtomicUsize::new(0)), tail: Padded(AtomicUsize::new(0)), slots });
    (Producer { shared: Arc::clone(&shared), tail: 0, head_seen: 0 }, Consumer { shared, head: 0, tail_seen: 0 })
}

impl<T> Shared<T> {
    fn slot(&self, index: usize) -> &UnsafeCell<MaybeUninit<T>> {
        &self.slots[index & (self.slots.len() - 1)]
    }
}

impl<T: Send> Producer<T> {
    /// Puts `message` behind all others.
    ///
    /// # Errors
    /// Gives it back if the queue is full.
    pub fn push(&mut self, message: T) -> Result<(), T> {
        if self.tail.wrapping_sub(self.head_seen) == self.shared.slots.len() && self.room() == 0 {
            return Err(message);
        }
        self.shared.slot(self.tail).with_mut(|slot| {
            // SAFETY: (1) the slot is outside `head..tail`, so the consumer does not touch it until the store below;
            // (2) what was in it was moved out before the consumer published the `head` that we saw with Acquire.
            unsafe { (*slot).write(message) };
        });
        self.tail = self.tail.wrapping_add(1);
        self.shared.tail.0.store(self.tail, Ordering::Release);
        Ok(())
    }

    /// How many more messages it takes now; the consumer can only make it more.
    pub fn room(&mut self) -> usize {
        self.head_seen = self.shared.head.0.load(Ordering::Acquire);
        self.shared.slots.len() - self.tail.wrapping_sub(self.head_seen)
    }
}

impl<T: Send> Consumer<T> {
    /// Takes the oldest message.
    pub fn pop(&mut self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        let message = self.shared.slot(self.head).with(|slot| {
            // SAFETY: (1) the slot is inside `head..tail`, so the producer has written it, seen by the Acquire load
            // of `tail`, and does not touch it until the store below; (2) `head` moves on, so it is read once.
            unsafe { (*slot).assume_init_read() }
        });
        self.head = self.head.wrapping_add(1);
        self.shared.head.0.store(self.head, Ordering::Release);
        Some(message)
    }

    /// Whether there is nothing to pop now; the producer can change that at any time.
    pub fn is_empty(&mut self) -> bool {
        if self.head == self.tail_seen {
            self.tail_seen = self.shared.tail.0.load(Ordering::Acquire);
        }
        self.head == self.tail_seen
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // Both ends are gone, and their Arc made everything that they did visible here.
        let (mut head, tail) = (self.head.0.load(Ordering::Relaxed), self.tail.0.load(Ordering::Relaxed));
        while head != tail {
            self.slot(head).with_mut(|slot| {
                // SAFETY: slots in `head..tail` hold a message, and each is visited once.
                unsafe { (*slot).assume_init_drop() }
            });
            head = head.wrapping_add(1);
        }
    }
}

/// Tells those who publish something whether the one who waits for it has to be woken.
///
/// The waiter: [`arm`](Self::arm), look once more, and sleep only if there is still nothing. The others: publish,
/// [`strike`](Self::strike), and wake the waiter if that says so. Whoever looks second sees what the first one did,
/// so no wake-up is lost, and a waiter that is awake costs the others no system call.
pub struct Bell {
    armed: AtomicBool,
}

impl Default for Bell {
    fn default() -> Self {
        Self::new()
    }
}

impl Bell {
    /// A bell that nobody waits for.
    #[must_use]
    pub fn new() -> Self {
        Self { armed: AtomicBool::new(false) }
    }

    /// Announces that the waiter is about to sleep; it must look for work once more after this.
    pub fn arm(&self) {
        // An exchange, so that it comes after any `strike` that already took the bell down, in every order of events.
        self.armed.swap(true, Ordering::Relaxed);
        // Orders the exchange before the last look; pairs with the fence in `strike`.
        fence(Ordering::SeqCst);
    }

    /// The waiter is awake.
    pub fn disarm(&self) {
        self.armed.store(false, Ordering::Relaxed);
    }

    /// To be called after publishing: whether the caller must wake the waiter. True for one caller per `arm`.
    #[must_use]
    pub fn strike(&self) -> bool {
        // Orders what was published before the load; pairs with the fence in `arm`.
        fence(Ordering::SeqCst);
        self.armed.load(Ordering::Relaxed) && self.armed.swap(false, Ordering::Relaxed)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_in_order_and_a_full_ring_gives_them_back() {
        let (mut producer, mut consumer) = ring(4);
        for lap in 0..5u32 {
            assert_eq!(producer.room(), 4);
            for i in 0..4 {
                assert_eq!(producer.push(lap * 4 + i), Ok(()));
            }
            assert_eq!(producer.room(), 0);
            assert_eq!(producer.push(99), Err(99));
            for i in 0..4 {
                assert_eq!(consumer.pop(), Some(lap * 4 + i));
            }
            assert_eq!(consumer.pop(), None);
        }
    }

    #[test]
    fn what_is_left_is_dropped_with_the_last_end() {
        let counted = std::sync::Arc::new(());
        let (mut producer, mut consumer) = ring(4);
        for _ in 0..3 {
            producer.push(std::sync::Arc::clone(&counted)).unwrap();
        }
        drop(consumer.pop());
        assert_eq!(std::sync::Arc::strong_count(&counted), 3);
        drop(producer);
        assert_eq!(std::sync::Arc::strong_count(&counted), 3, "the consumer can still read them");
        drop(consumer);
        assert_eq!(std::sync::Arc::strong_count(&counted), 1);
    }

    #[test]
    fn two_threads_move_a_million_messages() {
        const COUNT: u64 = if cfg!(miri) { 1_000 } else { 1_000_000 };
        let (mut producer, mut consumer) = ring(64);
        let sender = std::thread::spawn(move || {
            for i in 0..COUNT {
                while producer.push(i).is_err() {
                    std::thread::yield_now();
                }
            }
        });
        let mut expected = 0;
        while expected < COUNT {
            match consumer.pop() {
                Some(i) => {
                    assert_eq!(i, expected);
                    expected += 1;
                }
                None => std::thread::yield_now(),
            }
        }
        sender.join().unwrap();
    }
}

/// Run by `RUSTFLAGS="--cfg loom" cargo test -p corelane-core --release ring`.
#[cfg(all(test, loom))]
mod loom_tests {
    use loom::sync::{Condvar, Mutex};
    use loom::thread;

    use super::*;

    /// What an eventfd does for a shard: a wake-up that is kept until the sleeper takes it.
    struct Eventfd {
        signals: Mutex<u32>,
        changed: Condvar,
    }

    impl Eventfd {
        fn new() -> Self {
            Self { signals: Mutex::new(0), changed: Condvar::new() }
        }

        fn signal(&self) {
            *self.signals.lock().unwrap() += 1;
            self.changed.notify_one();
        }

        fn wait(&self) {
            let mut signals = self.signals.lock().unwrap();
            while *signals == 0 {
                signals = self.changed.wait(signals).unwrap();
            }
            *signals = 0;
        }
    }

    #[test]
    fn ring_moves_every_message_once_and_in_order() {
        loom::model(|| {
            let (mut producer, mut consumer) = ring(2);
            let sender = thread::spawn(move || {
                for i in 0..3u32 {
                    let mut message = Box::new(i);
                    while let Err(back) = producer.push(message) {
                        message = back;
                        thread::yield_now();
                    }
                }
            });
            for expected in 0..3u32 {
                loop {
                    if let Some(message) = consumer.pop() {
                        assert_eq!(*message, expected);
                        break;
                    }
                    thread::yield_now();
                }
            }
            sender.join().unwrap();
        });
    }

    #[test]
    fn ring_dropped_by_either_end_first_drops_each_message_once() {
        loom::model(|| {
            let counted = Arc::new(());
            let (mut producer, mut consumer) = ring(2);
            let other = Arc::clone(&counted);
            let sender = thread::spawn(move || {
                let _ = producer.push(Arc::clone(&other));
                let _ = producer.push(other);
            });
            drop(consumer.pop());
            drop(consumer);
            sender.join().unwrap();
            assert_eq!(Arc::strong_count(&counted), 1);
        });
    }

    /// A lost wake-up leaves the consumer asleep for ever, which loom reports as a deadlock.
    #[test]
    fn ring_consumer_that_sleeps_is_always_woken() {
        loom::model(|| {
            let (mut producer, mut consumer) = ring(2);
            let shared = Arc::new((Bell::new(), Eventfd::new()));
            let theirs = Arc::clone(&shared);
            let sender = thread::spawn(move || {
                for i in 0..2u32 {
                    producer.push(i).unwrap();
                    if theirs.0.strike() {
                        theirs.1.signal();
                    }
                }
            });
            let (bell, eventfd) = (&shared.0, &shared.1);
            let mut received = 0;
            while received < 2 {
                if consumer.pop().is_some() {
                    received += 1;
                    continue;
                }
                bell.arm();
                if consumer.is_empty() {
                    eventfd.wait();
                }
                bell.disarm();
            }
            sender.join().unwrap();
        });
    }

    /// The same in the other direction: a producer that waits for room.
    #[test]
    fn ring_producer_that_waits_for_room_is_always_woken() {
        loom::model(|| {
            let (mut producer, mut consumer) = ring(1);
            let shared = Arc::new((Bell::new(), Eventfd::new()));
            let theirs = Arc::clone(&shared);
            let receiver = thread::spawn(move || {
                let mut received = 0;
                while received < 2 {
                    if consumer.pop().is_some() {
                        received += 1;
                        if theirs.0.strike() {
                            theirs.1.signal();
                        }
                    } else {
                        thread::yield_now();
                    }
                }
            });
            let (bell, eventfd) = (&shared.0, &shared.1);
            for i in 0..2u32 {
                while producer.push(i).is_err() {
                    bell.arm();
                    if producer.room() == 0 {
                        eventfd.wait();
                    }
                    bell.disarm();
                }
            }
            receiver.join().unwrap();
        });
    }
}
