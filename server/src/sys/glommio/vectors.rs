//! What the kernel is told of slices that it is to read one behind the other.

use bytes::Bytes;

/// Slices that one call takes.
const SLICES_MAX: usize = 64;

/// The addresses and lengths of the first slices of a list. Says nothing of how long these live.
pub(super) struct Vectors {
    vectors: [libc::iovec; SLICES_MAX],
    count: usize,
}

impl Vectors {
    /// Those of so many bytes at most, the last one cut short if need be.
    pub(super) fn of<'a>(slices: impl IntoIterator<Item = &'a Bytes>, bytes_max: usize) -> Self {
        let mut this =
            Self { vectors: [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; SLICES_MAX], count: 0 };
        let mut room = bytes_max;
        for (vector, slice) in this.vectors.iter_mut().zip(slices) {
            if room == 0 {
                break;
            }
            vector.iov_base = slice.as_ptr().cast_mut().cast();
            vector.iov_len = slice.len().min(room);
            room -= vector.iov_len;
            this.count += 1;
        }
        this
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut libc::iovec {
        self.vectors.as_mut_ptr()
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }
}
