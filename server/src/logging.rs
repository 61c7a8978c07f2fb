//! What the broker's log shows, and how that is changed while it runs.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use corelane_core::config::{LogLevelChange, LogLevels};
use corelane_core::protocol::ErrorCode;

/// The loggers that a broker has besides the root: parts of this crate, by their paths.
pub const LOGGERS: &[&str] = &[
    crate::shard::TOLD,
    "corelane_server",
    "corelane_server::api",
    "corelane_server::connection",
    "corelane_server::controller",
    "corelane_server::coordination",
    "corelane_server::node",
    "corelane_server::process",
    "corelane_server::shard",
    "corelane_server::snapshots",
    "corelane_server::storage",
    "corelane_server::sys",
];

/// The levels of a process, and what makes them act. One for all shards: nothing on the way of a record asks it.
pub struct Logging {
    levels: Mutex<LogLevels>,
    apply: Box<dyn Fn(&LogLevels) + Send + Sync>,
}

impl Logging {
    /// Loggers that begin with these levels; `apply` makes others act.
    pub fn new(levels: LogLevels, apply: impl Fn(&LogLevels) + Send + Sync + 'static) -> Self {
        Self { levels: Mutex::new(levels), apply: Box::new(apply) }
    }

    /// The levels as they are now.
    pub(crate) fn levels(&self) -> LogLevels {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes all of these changes, or none; with `validate_only`, only says whether they can be.
    ///
    /// # Errors
    /// What cannot be, with Kafka's code.
    pub(crate) fn change(
        &self,
        changes: &[LogLevelChange<'_>],
        validate_only: bool,
    ) -> Result<(), (ErrorCode, String)> {
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = levels.changed(changes)?;
        if !validate_only {
            (self.apply)(&changed);
            *levels = changed;
        }
        Ok(())
    }
}

impl fmt::Debug for Logging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logging").field("levels", &self.levels()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// One that stands for nothing would be set without effect.
    #[test]
    fn every_logger_is_a_part_of_this_crate() {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        for logger in LOGGERS.iter().filter(|logger| **logger != crate::shard::TOLD && **logger != "corelane_server") {
            let name = logger.strip_prefix("corelane_server::").unwrap_or_else(|| panic!("{logger}"));
            let is_there = sources.join(format!("{name}.rs")).exists() || sources.join(name).is_dir();
            assert!(is_there, "{logger} names no module");
        }
    }
}
