//! What an operator can do about an error of the data directory, said wherever such an error is.

use std::fmt;
use std::io;

/// An error of the disk, followed by what mends it where that is known.
pub(crate) struct WithRemedy<'a>(pub(crate) &'a io::Error);

impl fmt::Display for WithRemedy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(error) = self;
        let remedy = match error.kind() {
            io::ErrorKind::StorageFull => "; make room on that file system, or name another directory with log.dirs",
            io::ErrorKind::QuotaExceeded => "; raise the quota of this user, or name another directory with log.dirs",
            io::ErrorKind::PermissionDenied => "; give this user the directory, or name another with log.dirs",
            io::ErrorKind::ReadOnlyFilesystem => {
                "; mount that file system for writing, or name another directory with log.dirs"
            }
            _ => "",
        };
        write!(f, "{error}{remedy}")
    }
}
