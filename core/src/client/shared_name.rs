//! Names of topics as parts of keys.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::ops::Deref;
use std::sync::Arc;

/// The name of a topic. Those that were cloned from each other are known to be the same without being read, which is what
/// most comparisons of a producer's keys come to.
#[derive(Clone, Debug)]
pub(super) struct SharedName(Arc<str>);

impl SharedName {
    /// The text, shared as well.
    pub(super) fn into_text(self) -> Arc<str> {
        self.0
    }
}

impl From<&str> for SharedName {
    fn from(name: &str) -> Self {
        Self(Arc::from(name))
    }
}

impl Deref for SharedName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for SharedName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartialEq for SharedName {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for SharedName {}

impl Ord for SharedName {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
    }
}

impl PartialOrd for SharedName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
