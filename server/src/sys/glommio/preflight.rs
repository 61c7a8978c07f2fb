//! What this process needs of the machine, looked at before anything is started, each lack with its remedy.

use std::io;
use std::mem::MaybeUninit;

use io_uring::{IoUring, cqueue, squeue};

use super::check;

/// The oldest kernel whose io_uring has what the socket ring uses (DEFER_TASKRUN came with 6.1).
const KERNEL_MIN: (u32, u32) = (6, 1);
/// Locked memory below which the executor cannot start.
const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;
/// Open files below which a broker is of little use.
const OPEN_FILES_MIN: u64 = 1024;

/// Something that keeps shards from running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, as a sentence without its full stop.
    pub what: String,
    /// What the operator can do about it.
    pub remedy: String,
}

/// Looks whether shards can run here, and raises the limits on open files and locked memory as far as they go.
///
/// # Errors
/// Everything that is wrong, not only the first.
pub fn preflight() -> Result<(), Vec<Problem>> {
    let mut problems = Vec::new();
    match kernel_release() {
        Ok(release) => problems.extend(kernel_problem(&release)),
        Err(error) => tracing::warn!(%error, "the kernel does not tell its release"),
    }
    problems.extend(io_uring_problem());
    match raise(libc::RLIMIT_MEMLOCK) {
        Ok(bytes) => problems.extend(memlock_problem(bytes)),
        Err(error) => tracing::warn!(%error, "the limit on locked memory cannot be raised"),
    }
    // Every connection and every segment is an open file.
    match raise(libc::RLIMIT_NOFILE) {
        Ok(files) => problems.extend(open_files_problem(files)),
        Err(error) => tracing::warn!(%error, "the limit on open files cannot be raised"),
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// What `uname -r` says.
fn kernel_release() -> io::Result<String> {
    let mut names = MaybeUninit::<libc::utsname>::uninit();
    // SAFETY: the kernel writes every field.
    check(unsafe { libc::uname(names.as_mut_ptr()) })?;
    // SAFETY: written above.
    let names = unsafe { names.assume_init() };
    let release: Vec<u8> = names.release.iter().map(|&byte| byte as u8).take_while(|&byte| byte != 0).collect();
    Ok(String::from_utf8_lossy(&release).into_owned())
}

fn kernel_problem(release: &str) -> Option<Problem> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next()?, numbers.next()?);
    (version < KERNEL_MIN).then(|| Problem {
        what: format!(
            "the kernel is {}.{}, and {}.{} is the oldest that works",
            version.0, version.1, KERNEL_MIN.0, KERNEL_MIN.1
        ),
        remedy: "run on a newer kernel".to_owned(),
    })
}

fn io_uring_problem() -> Option<Problem> {
    let mut builder = IoUring::<squeue::Entry, cqueue::Entry>::builder();
    let error = builder.setup_single_issuer().setup_defer_taskrun().build(8).err()?;
    let setting = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    let remedy = match (error.raw_os_error(), setting.trim()) {
        (Some(libc::EPERM), "1") => {
            "run `sysctl kernel.io_uring_disabled=0`, or put the user into the group of `kernel.io_uring_group`"
        }
        (Some(libc::EPERM), "2") => "run `sysctl kernel.io_uring_disabled=0`",
        (Some(libc::EPERM | libc::EACCES), _) => {
            "allow the system calls io_uring_setup, io_uring_enter and io_uring_register; container runtimes forbid \
             them by default (with Docker: `--security-opt seccomp=unconfined` or a profile that lists them)"
        }
        (Some(libc::ENOSYS), _) => "run on a kernel that is built with CONFIG_IO_URING",
        (Some(libc::ENOMEM), _) => "raise the limit on locked memory (`ulimit -l`, LimitMEMLOCK in systemd)",
        _ => "see `man io_uring_setup` for this error",
    };
    Some(Problem { what: format!("io_uring cannot be used: {error}"), remedy: remedy.to_owned() })
}

fn memlock_problem(bytes: u64) -> Option<Problem> {
    (bytes < MEMLOCK_BYTES_MIN).then(|| Problem {
        what: format!(
            "the limit on locked memory is {} KiB, and {} are needed",
            bytes / 1024,
            MEMLOCK_BYTES_MIN / 1024
        ),
        remedy: "raise it: `ulimit -l 8192`, LimitMEMLOCK=8M in systemd, `--ulimit memlock=8388608` with Docker"
            .to_owned(),
    })
}

fn open_files_problem(files: u64) -> Option<Problem> {
    (files < OPEN_FILES_MIN).then(|| Problem {
        what: format!("only {files} files may be open, and {OPEN_FILES_MIN} are the least that is useful"),
        remedy: "raise the hard limit: `ulimit -Hn 100000`, LimitNOFILE=100000 in systemd".to_owned(),
    })
}

/// Raises the soft limit on a resource to the hard one, which it returns.
fn raise(resource: libc::__rlimit_resource_t) -> io::Result<u64> {
    let mut limit = MaybeUninit::uninit();
    // SAFETY: the kernel writes a whole limit.
    check(unsafe { libc::getrlimit(resource, limit.as_mut_ptr()) })?;
    // SAFETY: written above.
    let mut limit = unsafe { limit.assume_init() };
    if limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: the limit lives through the call.
        check(unsafe { libc::setrlimit(resource, &raw const limit) })?;
    }
    Ok(limit.rlim_cur)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_judged_by_its_first_two_numbers() {
        assert_eq!(kernel_problem("6.1.0-generic\n"), None);
        assert_eq!(kernel_problem("6.18.44-fc-v595"), None);
        assert_eq!(kernel_problem("10.0"), None);
        assert_eq!(kernel_problem("of unknown shape"), None);
        for old in ["6.0.19", "5.15.0-100-generic", "4.19"] {
            assert!(kernel_problem(old).is_some(), "{old}");
        }
    }

    #[test]
    fn limits_are_judged_at_their_bounds() {
        assert!(memlock_problem(64 * 1024).is_some());
        assert_eq!(memlock_problem(MEMLOCK_BYTES_MIN), None);
        assert!(open_files_problem(256).is_some());
        assert_eq!(open_files_problem(OPEN_FILES_MIN), None);
    }

    #[test]
    fn this_machine_passes() {
        assert_eq!(preflight(), Ok(()));
    }
}
