//! Directories: which names the running system sees, and which of them a loss of power leaves.
//!
//! A name that was made, renamed or removed is certain to be so after a loss of power only once its directory was
//! synced. Before that, what is left is either a prefix of all such changes (a file system with one journal, as
//! ext4 and XFS have it) or of those of each directory by itself (the least that POSIX promises): drawn each time.
//! A rename is never seen half done.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path};

use crate::random::Random;

/// Number of a file or directory; never reused.
pub type Inode = u64;

/// The directory that is always there.
pub const ROOT: Inode = 0;

type Entries = BTreeMap<String, Inode>;

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The directory.
    pub directory: Inode,
    /// The name in it.
    pub name: String,
}

/// A change of names that a loss of power may undo.
#[derive(Debug, Clone)]
enum Unsynced {
    Set(Name, Inode),
    Remove(Name),
    Rename { from: Name, to: Name, inode: Inode },
}

/// All directories.
#[derive(Debug)]
pub struct Names {
    cached: BTreeMap<Inode, Entries>,
    durable: BTreeMap<Inode, Entries>,
    /// In order, with the number of the change.
    unsynced: Vec<(u64, Unsynced)>,
    changes: u64,
    next: Inode,
}

impl Default for Names {
    fn default() -> Self {
        let root = BTreeMap::from([(ROOT, Entries::new())]);
        Self { cached: root.clone(), durable: root, unsynced: Vec::new(), changes: 0, next: ROOT + 1 }
    }
}

impl Names {
    /// The file or directory at a path.
    ///
    /// # Errors
    /// `NotFound`, or `NotADirectory` if a file stands in the way.
    pub fn find(&self, path: &Path) -> io::Result<Inode> {
        let mut inode = ROOT;
        for component in path.components() {
            match component {
                Component::RootDir => {}
                Component::Normal(name) => {
                    let entries = self.cached.get(&inode).ok_or(io::ErrorKind::NotADirectory)?;
                    let name = name.to_str().ok_or(io::ErrorKind::InvalidInput)?;
                    inode = *entries.get(name).ok_or(io::ErrorKind::NotFound)?;
                }
                _ => return Err(io::ErrorKind::InvalidInput.into()),
            }
        }
        Ok(inode)
    }

    /// A path's directory, which must exist, and its last name, which need not.
    ///
    /// # Errors
    /// Those of [`find`](Self::find), or `InvalidInput` for the root.
    pub fn place(&self, path: &Path) -> io::Result<Name> {
        if !path.is_absolute() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let directory = self.find(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
        if !self.is_directory(directory) {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let name = path.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Name { directory, name: name.into() })
    }

    /// What a name stands for.
    #[must_use]
    pub fn get(&self, name: &Name) -> Option<Inode> {
        self.cached.get(&name.directory)?.get(&name.name).copied()
    }

    /// Whether it is a directory.
    #[must_use]
    pub fn is_directory(&self, inode: Inode) -> bool {
        self.cached.contains_key(&inode)
    }

    /// The names in a directory.
    ///
    /// # Errors
    /// `NotADirectory`.
    pub fn list(&self, directory: Inode) -> io::Result<&BTreeMap<String, Inode>> {
        self.cached.get(&directory).ok_or_else(|| io::ErrorKind::NotADirectory.into())
    }

    /// Names a new file, or directory.
    pub fn make(&mut self, name: Name, is_directory: bool) -> Inode {
        let inode = self.next;
        self.next += 1;
        if is_directory {
            self.cached.insert(inode, Entries::new());
            self.durable.insert(inode, Entries::new());
        }
        self.change(Unsynced::Set(name, inode));
        inode
    }

    /// Removes a name. The caller has seen that it is a file or an empty directory.
    pub fn remove(&mut self, name: Name) {
        self.change(Unsynced::Remove(name));
    }

    /// Renames, replacing what `to` was.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn rename(&mut self, from: Name, to: Name) -> io::Result<()> {
        let inode = self.get(&from).ok_or(io::ErrorKind::NotFound)?;
        if from != to {
            self.change(Unsynced::Rename { from, to, inode });
        }
        Ok(())
    }

    fn change(&mut self, change: Unsynced) {
        change.apply(&mut self.cached);
        self.unsynced.push((self.changes, change));
        self.changes += 1;
    }

    /// The number below which all changes so far are.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Makes a directory's changes below a number durable, with whatever must come with them.
    pub fn sync(&mut self, directory: Inode, below: u64) {
        let last = self.unsynced.iter().rposition(|(number, change)| *number < below && change.is_in(directory));
        let Some(last) = last else { return };
        // A rename out of or into another directory is only there whole, so that one's earlier changes come too.
        let mut directories = BTreeSet::from([directory]);
        loop {
            let before = directories.len();
            for (_, change) in self.unsynced[..=last].iter().rev() {
                if directories.iter().any(|directory| change.is_in(*directory)) {
                    directories.extend(change.directories());
                }
            }
            if directories.len() == before {
                break;
            }
        }
        let mut rest = Vec::new();
        for (place, (number, change)) in self.unsynced.drain(..).enumerate() {
            if place <= last && number < below && directories.iter().any(|directory| change.is_in(*directory)) {
                change.apply(&mut self.durable);
            } else {
                rest.push((number, change));
            }
        }
        self.unsynced = rest;
    }

    /// Power is lost and back: names are those that the device holds and a drawn part of the rest.
    pub fn lose_power(&mut self, random: &mut Random) {
        let journal = random.chance(500);
        let kept = random.index(self.unsynced.len() + 1);
        let mut stopped = BTreeSet::new();
        for (place, (_, change)) in std::mem::take(&mut self.unsynced).into_iter().enumerate() {
            let keep = if journal {
                place < kept
            } else {
                random.chance(600) && !change.directories().any(|directory| stopped.contains(&directory))
            };
            if keep {
                change.apply(&mut self.durable);
            } else {
                stopped.extend(change.directories());
            }
        }
        self.cached.clone_from(&self.durable);
    }
}

impl Unsynced {
    fn apply(&self, directories: &mut BTreeMap<Inode, Entries>) {
        let mut set = |name: &Name, inode: Option<Inode>| {
            let entries = directories.entry(name.directory).or_default();
            match inode {
                Some(inode) => entries.insert(name.name.clone(), inode),
                None => entries.remove(&name.name),
            };
        };
        match self {
            Self::Set(name, inode) => set(name, Some(*inode)),
            Self::Remove(name) => set(name, None),
            Self::Rename { from, to, inode } => {
                set(from, None);
                set(to, Some(*inode));
            }
        }
    }

    fn directories(&self) -> impl Iterator<Item = Inode> {
        let (first, second) = match self {
            Self::Set(name, _) | Self::Remove(name) => (name.directory, name.directory),
            Self::Rename { from, to, .. } => (from.directory, to.directory),
        };
        [first, second].into_iter()
    }

    fn is_in(&self, directory: Inode) -> bool {
        self.directories().any(|other| other == directory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(directory: Inode, name: &str) -> Name {
        Name { directory, name: name.into() }
    }

    #[test]
    fn a_synced_name_survives_and_an_unsynced_one_may_not() {
        let (mut survived, mut lost) = (0, 0);
        for seed in 0..100 {
            let mut names = Names::default();
            let synced = names.make(name(ROOT, "synced"), false);
            names.sync(ROOT, names.changes());
            names.make(name(ROOT, "unsynced"), false);
            names.lose_power(&mut Random::new(seed, "test"));
            assert_eq!(names.find(Path::new("/synced")).unwrap(), synced);
            match names.find(Path::new("/unsynced")) {
                Ok(_) => survived += 1,
                Err(_) => lost += 1,
            }
        }
        assert!(survived > 10 && lost > 10, "{survived} {lost}");
    }

    #[test]
    fn a_rename_leaves_the_old_or_the_new_and_never_neither() {
        for seed in 0..200 {
            let mut names = Names::default();
            let old = names.make(name(ROOT, "checkpoint"), false);
            names.sync(ROOT, names.changes());
            let new = names.make(name(ROOT, "checkpoint.tmp"), false);
            names.rename(name(ROOT, "checkpoint.tmp"), name(ROOT, "checkpoint")).unwrap();
            names.lose_power(&mut Random::new(seed, "test"));
            let found = names.find(Path::new("/checkpoint")).unwrap();
            assert!(found == old || found == new);
            if found == new {
                assert!(names.find(Path::new("/checkpoint.tmp")).is_err(), "the rename was seen half done");
            }
        }
    }

    #[test]
    fn a_synced_file_in_an_unsynced_directory_can_be_lost() {
        let lost = (0..100)
            .filter(|seed| {
                let mut names = Names::default();
                let directory = names.make(name(ROOT, "topic-0"), true);
                names.make(name(directory, "0.log"), false);
                names.sync(directory, names.changes());
                names.lose_power(&mut Random::new(*seed, "test"));
                names.find(Path::new("/topic-0/0.log")).is_err()
            })
            .count();
        assert!(lost > 10, "{lost}");
    }
}
