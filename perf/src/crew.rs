//! The threads of a load: where they run, and one who looks at all of them at even times.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::report::{Report, Window};

/// Time between two looks at what the threads have done, which is what plots show.
const SAMPLE: Duration = Duration::from_millis(500);
/// Nanoseconds by which a wait may be too long; the system's own 50 µs would be seen in latencies.
const TIMER_SLACK_NS: NonZeroU64 = NonZeroU64::MIN;

/// Processors that a set of them has room for.
const CPUS_MAX: usize = 1_024;

/// The processors that threads of a load are pinned to, in turn; none is wherever the system puts them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement(pub Vec<usize>);

/// A thread cannot run where it was told to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacementError {
    /// The processor.
    pub cpu: usize,
    /// The system's words.
    pub reason: String,
}

impl fmt::Display for PlacementError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a thread cannot be pinned to processor {}: {}", self.cpu, self.reason)
    }
}

impl Placement {
    /// Makes the calling thread number `index` of a load.
    ///
    /// # Errors
    /// It cannot be pinned.
    pub fn settle(&self, index: usize) -> Result<(), PlacementError> {
        // Where it is refused, waits are as long as they were.
        let _ = rustix::thread::set_current_timer_slack(Some(TIMER_SLACK_NS));
        let Some(&cpu) = self.0.get(index % self.0.len().max(1)) else { return Ok(()) };
        if cpu >= CPUS_MAX {
            return Err(PlacementError { cpu, reason: format!("there are at most {CPUS_MAX}") });
        }
        affinity::set_thread_affinity([cpu]).map_err(|error| PlacementError { cpu, reason: error.to_string() })
    }
}

/// What a thread of a load shares with the one who looks.
pub(crate) struct Slot<'a> {
    /// Number of the thread.
    pub(crate) index: usize,
    report: &'a Mutex<Report>,
    is_over: &'a AtomicBool,
}

impl Slot<'_> {
    /// Counts a record.
    pub(crate) fn add(&self, bytes: usize, latency: Duration) {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).add(bytes, latency);
    }

    /// Counts records without latencies.
    pub(crate) fn count(&self, records: u64, bytes: u64) {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        report.records += records;
        report.bytes += bytes;
    }

    /// Another thread has failed: what this one still does is for nothing.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}

/// What the threads have done over time.
#[derive(Clone, Debug)]
pub struct Course {
    /// All of it; its time goes from the start of the threads to the end of the last.
    pub total: Report,
    /// Piece by piece.
    pub windows: Vec<Window>,
}

/// Looks at a load while it runs.
pub(crate) struct Watch<F> {
    begun: Instant,
    looked: Instant,
    course: Course,
    interval: Duration,
    /// What was done since the last interim report.
    pending: Report,
    interim: F,
}

impl<F: FnMut(&Report)> Watch<F> {
    /// Calls `interim` every `interval` with what was done since.
    pub(crate) fn new(interval: Duration, interim: F) -> Self {
        let now = Instant::now();
        let course = Course { total: Report::new(), windows: Vec::new() };
        Self { begun: now, looked: now, course, interval, pending: Report::new(), interim }
    }

    /// When to look next.
    pub(crate) fn due(&self) -> Instant {
        self.looked + SAMPLE.min(self.interval)
    }

    /// Takes in what was done since the last look.
    pub(crate) fn look(&mut self, mut done: Report) {
        let now = Instant::now();
        done.seconds = (now - self.looked).as_secs_f64();
        self.looked = now;
        self.course.total.append(&done);
        self.course.windows.push(Window::of(&done, (now - self.begun).as_secs_f64()));
        self.pending.append(&done);
        if self.pending.seconds >= self.interval.as_secs_f64() {
            (self.interim)(&self.pending);
            self.pending = Report::new();
        }
    }

    /// The load has ended.
    pub(crate) fn end(mut self, rest: Report) -> Course {
        self.look(rest);
        self.course
    }
}

/// Has `count` threads do `work`, which is given as long as none of them fails; gives what each of them returned.
pub(crate) fn run<T: Send, E: Send + From<PlacementError>>(
    placement: &Placement,
    count: usize,
    mut watch: Watch<impl FnMut(&Report)>,
    work: impl Fn(&Slot<'_>) -> Result<T, E> + Sync,
) -> Result<(Course, Vec<T>), E> {
    let reports: Vec<Mutex<Report>> = (0..count).map(|_| Mutex::new(Report::new())).collect();
    let is_over = AtomicBool::new(false);
    let take = || {
        let mut sum = Report::new();
        for report in &reports {
            let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
            if !report.is_empty() {
                sum.merge(&report);
                report.clear();
            }
        }
        sum
    };
    thread::scope(|scope| {
        let (sender, ended) = channel();
        for (index, report) in reports.iter().enumerate() {
            let (sender, is_over, work) = (sender.clone(), &is_over, &work);
            scope.spawn(move || {
                let slot = Slot { index, report, is_over };
                let result = placement.settle(index).map_err(E::from).and_then(|()| work(&slot));
                // Whoever looks has gone if another thread has failed.
                let _ = sender.send(result);
            });
        }
        // The channel ends with the last thread, also one that panicked.
        drop(sender);
        let mut results = Vec::new();
        loop {
            match ended.recv_timeout(watch.due().saturating_duration_since(Instant::now())) {
                Ok(Ok(result)) => results.push(result),
                Ok(Err(error)) => {
                    is_over.store(true, Ordering::Relaxed);
                    return Err(error);
                }
                Err(RecvTimeoutError::Timeout) => watch.look(take()),
                Err(RecvTimeoutError::Disconnected) => return Ok((watch.end(take()), results)),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Failed(String);

    impl From<PlacementError> for Failed {
        fn from(error: PlacementError) -> Self {
            Self(error.to_string())
        }
    }

    #[test]
    fn what_all_threads_do_is_counted_once() {
        let mut interims = 0;
        let watch = Watch::new(Duration::from_millis(20), |report: &Report| interims += report.records);
        let (course, results) = run(&Placement::default(), 3, watch, |slot| {
            for _ in 0..100 {
                slot.add(10, Duration::from_micros(50));
                thread::sleep(Duration::from_millis(1));
            }
            Ok::<_, Failed>(slot.index)
        })
        .unwrap();
        assert_eq!(results.iter().sum::<usize>(), 3);
        assert_eq!((course.total.records, course.total.bytes), (300, 3_000));
        assert_eq!(course.windows.iter().map(|window| window.records).sum::<u64>(), 300);
        assert!(course.windows.len() > 3 && course.total.seconds >= 0.1, "{course:?}");
        assert!((200..=300).contains(&interims), "{interims}");
    }

    #[test]
    fn one_that_fails_ends_all() {
        let watch = Watch::new(Duration::from_secs(1), |_: &Report| ());
        let result = run(&Placement::default(), 2, watch, |slot| {
            if slot.index == 1 {
                return Err(Failed("no".to_owned()));
            }
            while !slot.is_over() {
                thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        });
        assert_eq!(result.unwrap_err(), Failed("no".to_owned()));
    }

    #[test]
    fn a_processor_that_is_not_there_is_named() {
        for cpu in [1_023, 100_000] {
            let watch = Watch::new(Duration::from_secs(1), |_: &Report| ());
            let error = run(&Placement(vec![cpu]), 1, watch, |_| Ok::<(), Failed>(())).unwrap_err();
            assert!(error.0.contains(&format!("processor {cpu}:")), "{error:?}");
        }
        let watch = Watch::new(Duration::from_secs(1), |_: &Report| ());
        let on = |_: &Slot<'_>| Ok::<_, Failed>(affinity::get_thread_affinity().unwrap());
        assert_eq!(run(&Placement(vec![0]), 2, watch, on).unwrap().1, vec![vec![0]; 2]);
    }
}
