//! Counts what a thread has allocated, so that a test can say how much memory a few bytes from outside may cost.
//!
//! Memory of C libraries is not seen; of the codecs only zstd is one, and its window has a bound of its own.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
    static CALLS: Cell<usize> = const { Cell::new(0) };
    static TAKEN: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, which counts for each thread what is live and what was the most.
struct Counting;

// SAFETY: (1) every call is passed on to the system's allocator unchanged, so its promises hold. (2) Counting touches
// only cells of this thread that need no initialization and no destructor, so it neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: (1).
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: (1).
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: (1).
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both are live while the content moves.
        count(size, 0);
        count(0, layout.size());
        // SAFETY: (1).
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(more: usize, less: usize) {
    CALLS.set(CALLS.get() + usize::from(more > 0));
    TAKEN.set(TAKEN.get().wrapping_add(more));
    // Memory of other threads may be freed here, so the count can go below where it was.
    let live = LIVE.get().wrapping_add(more).wrapping_sub(less);
    LIVE.set(live);
    if live.cast_signed() > PEAK.get().cast_signed() {
        PEAK.set(live);
    }
}

/// A moment from which on this thread's allocations are looked at.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    live_bytes: usize,
    calls: usize,
    taken_bytes: usize,
}

impl Mark {
    /// Begins here. There is one peak a thread: an earlier mark then says no more than what came after this one.
    #[must_use]
    pub fn here() -> Self {
        let live_bytes = LIVE.get();
        PEAK.set(live_bytes);
        Self { live_bytes, calls: CALLS.get(), taken_bytes: TAKEN.get() }
    }

    /// The most bytes that were live at once since, beyond those of the beginning.
    #[must_use]
    pub fn peak_bytes(self) -> usize {
        PEAK.get().wrapping_sub(self.live_bytes)
    }

    /// Bytes that are live now beyond those of the beginning; 0 if there are fewer.
    #[must_use]
    pub fn kept_bytes(self) -> usize {
        usize::try_from(LIVE.get().wrapping_sub(self.live_bytes).cast_signed()).unwrap_or(0)
    }

    /// How often memory was allocated, or moved, since.
    #[must_use]
    pub fn allocations(self) -> usize {
        CALLS.get() - self.calls
    }

    /// Bytes that were allocated since, whether they are live or not.
    #[must_use]
    pub fn allocated_bytes(self) -> usize {
        TAKEN.get().wrapping_sub(self.taken_bytes)
    }
}
