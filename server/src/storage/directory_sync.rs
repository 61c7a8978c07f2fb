//! Syncs of a directory by group commit: one is in flight, and all who ask meanwhile share the next.
//!
//! Thousands of partitions that are made at once have their folders' names in one directory.

use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};

use crate::local::Turn;
use crate::sys::Sys;

/// A directory whose names are made to survive a loss of power.
pub(crate) struct DirectorySync {
    path: PathBuf,
    turn: Turn,
    /// How often it was asked for.
    asked: Cell<u64>,
    /// Those who asked up to this number are covered by a sync that began after they did.
    covered: Cell<u64>,
}

impl DirectorySync {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, turn: Turn::default(), asked: Cell::new(0), covered: Cell::new(0) }
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns once a sync has succeeded that began after this call.
    ///
    /// # Errors
    /// That of the sync. It covers nobody; whoever shares it tries again.
    pub(crate) async fn sync<S: Sys>(&self, sys: &S) -> io::Result<()> {
        let mine = self.asked.get() + 1;
        self.asked.set(mine);
        let _turn = self.turn.take().await;
        if self.covered.get() >= mine {
            return Ok(());
        }
        let covers = self.asked.get();
        sys.sync_directory(self.path.clone()).await?;
        self.covered.set(covers);
        Ok(())
    }
}
