//! Buffers that a shard lends to the kernel for small receives.
//!
//! A connection that waits for bytes holds no buffer: the kernel takes one of these when bytes arrive, they are
//! copied to the connection's own, and the buffer goes straight back. So thousands of idle connections cost nothing.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use bytes::BytesMut;
use io_uring::Submitter;
use io_uring::types::BufRingEntry;

/// Buffers of a shard; a power of two, as the kernel wants it.
const COUNT: u16 = 128;
/// Bytes of one buffer: many small requests, or half of the smallest exact receive.
const BYTES: usize = 16 * 1024;
/// The kernel wants its ring of buffers on a page of its own.
const PAGE_BYTES: usize = 4096;

pub(super) struct ProvidedBuffers {
    /// `COUNT` entries, shared with the kernel.
    entries: NonNull<BufRingEntry>,
    /// `COUNT` times `BYTES`; a buffer is ours from its completion until it is put back.
    storage: NonNull<u8>,
    tail: u16,
}

impl ProvidedBuffers {
    /// The group under which receives name these buffers.
    pub(super) const GROUP: u16 = 0;

    /// Makes the buffers and registers them with a ring. They must outlive the ring's last operation.
    pub(super) fn register(submitter: &Submitter<'_>) -> io::Result<Self> {
        let mut buffers =
            Self { entries: allocate(entries_layout()).cast(), storage: allocate(storage_layout()), tail: 0 };
        // SAFETY: the entries are a page-aligned allocation of `COUNT` entries, freed by `drop` only, which the ring
        // runs after its last operation.
        unsafe {
            let address = buffers.entries.as_ptr() as u64;
            submitter.register_buf_ring_with_flags(address, COUNT, Self::GROUP, 0)?;
        }
        for id in 0..COUNT {
            buffers.put_back(id);
        }
        Ok(buffers)
    }

    /// Appends the first `count` bytes of buffer `id` to `to` and gives the buffer back to the kernel.
    pub(super) fn take(&mut self, id: u16, count: usize, to: &mut BytesMut) {
        assert!(id < COUNT && count <= BYTES, "the kernel uses the buffers that it was given");
        // SAFETY: (1) the range is inside the storage; (2) the kernel wrote it and handed it over with a completion,
        // and writes there again only after `put_back`; (3) the storage was zeroed, so every byte is initialised.
        to.extend_from_slice(unsafe {
            std::slice::from_raw_parts(self.storage.as_ptr().add(usize::from(id) * BYTES), count)
        });
        self.put_back(id);
    }

    fn put_back(&mut self, id: u16) {
        let index = usize::from(self.tail & (COUNT - 1));
        // SAFETY: (1) `index` is inside the entries; (2) the kernel reads an entry only once the tail has passed it,
        // which the Release store below does after it is written; (3) the tail lies in the first entry's unused
        // field, as the interface defines it, and setting address, length and id leaves that field alone.
        unsafe {
            let entry = &mut *self.entries.as_ptr().add(index);
            entry.set_addr(self.storage.as_ptr().add(usize::from(id) * BYTES) as u64);
            entry.set_len(BYTES as u32);
            entry.set_bid(id);
            self.tail = self.tail.wrapping_add(1);
            let tail = BufRingEntry::tail(self.entries.as_ptr()).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }
}

impl Drop for ProvidedBuffers {
    fn drop(&mut self) {
        // SAFETY: both were allocated with these layouts, and no operation of the ring is left that could use them.
        unsafe {
            dealloc(self.entries.as_ptr().cast(), entries_layout());
            dealloc(self.storage.as_ptr(), storage_layout());
        }
    }
}

fn entries_layout() -> Layout {
    Layout::from_size_align(usize::from(COUNT) * size_of::<BufRingEntry>(), PAGE_BYTES).expect("a fixed size")
}

fn storage_layout() -> Layout {
    Layout::from_size_align(usize::from(COUNT) * BYTES, PAGE_BYTES).expect("a fixed size")
}

fn allocate(layout: Layout) -> NonNull<u8> {
    // SAFETY: neither layout is empty.
    NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
}
