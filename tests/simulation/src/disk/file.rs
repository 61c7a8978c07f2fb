//! One file: what the page cache shows, what the device holds, and the writes between the two.
//!
//! A loss of power leaves each page at some state that it went through since it was last synced, because the kernel
//! writes pages back when it likes and in any order; the page that was on its way is torn between two of them at
//! sectors. The length is any that the file had. Nothing is ever read that was not written: gaps are zeros.

use bytes::Bytes;

use crate::random::Random;

/// What the kernel writes back at once.
const PAGE_BYTES: usize = 4096;
/// What the device writes at once.
const SECTOR_BYTES: usize = 512;

/// A change of a file that no sync has covered yet.
#[derive(Debug, Clone)]
enum Unsynced {
    Write { position: usize, bytes: Bytes },
    Length(usize),
}

/// How much of what was not synced a loss of power takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// All of it.
    All,
    /// Nothing: everything happened to be written back.
    Nothing,
    /// Pages and sectors at random.
    Some,
}

/// A file's contents.
#[derive(Debug, Default)]
pub struct File {
    cached: Vec<u8>,
    durable: Vec<u8>,
    /// In order, each with the number of the change; a sync covers those below a number.
    unsynced: Vec<(u64, Unsynced)>,
    changes: u64,
}

impl File {
    /// What a reader sees.
    #[must_use]
    pub fn cached(&self) -> &[u8] {
        &self.cached
    }

    /// What would be left if power were lost and nothing had been written back on its own.
    #[must_use]
    pub fn durable(&self) -> &[u8] {
        &self.durable
    }

    /// The number below which all changes so far are.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Writes into the page cache.
    pub fn write(&mut self, position: usize, bytes: &Bytes) {
        if !bytes.is_empty() {
            self.change(Unsynced::Write { position, bytes: bytes.clone() });
        }
    }

    /// Writes past the page cache: on the device when it is done, as is the length. What waited in the page cache for the
    /// same pages has gone there before.
    pub fn write_through(&mut self, position: usize, bytes: &Bytes) {
        let end = position + bytes.len();
        let pages: Vec<usize> = (position..end).step_by(PAGE_BYTES).collect();
        let (gone, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.unsynced).into_iter().partition(|(_, change)| match change {
                Unsynced::Length(_) => true,
                write @ Unsynced::Write { .. } => pages.iter().any(|page| write.touches(*page)),
            });
        gone.iter().for_each(|(_, change)| change.apply(&mut self.durable));
        self.unsynced = kept;
        let write = Unsynced::Write { position, bytes: bytes.clone() };
        write.apply(&mut self.cached);
        write.apply(&mut self.durable);
    }

    /// Such a write is cut short: any of its sectors are on the device.
    pub fn tear_through(&mut self, position: usize, bytes: &Bytes, random: &mut Random) {
        for start in (0..bytes.len()).step_by(SECTOR_BYTES) {
            if random.chance(500) {
                self.write_through(position + start, &bytes.slice(start..bytes.len().min(start + SECTOR_BYTES)));
            }
        }
    }

    /// Sets the length.
    pub fn truncate(&mut self, len: usize) {
        if len != self.cached.len() {
            self.change(Unsynced::Length(len));
        }
    }

    fn change(&mut self, change: Unsynced) {
        change.apply(&mut self.cached);
        self.unsynced.push((self.changes, change));
        self.changes += 1;
    }

    /// Makes the changes below a number durable.
    pub fn sync(&mut self, below: u64) {
        let covered = self.unsynced.partition_point(|(number, _)| *number < below);
        for (_, change) in self.unsynced.drain(..covered) {
            change.apply(&mut self.durable);
        }
    }

    /// A sync of the changes below a number fails: some pages reach the device, the others are marked clean all the
    /// same, so that no later sync writes them.
    pub fn fail_sync(&mut self, below: u64, random: &mut Random) {
        let covered = self.unsynced.partition_point(|(number, _)| *number < below);
        let rest = self.unsynced.split_off(covered);
        self.durable = self.after_power_loss(Loss::Some, random);
        self.unsynced = rest;
    }

    /// Power is lost and back: the file is what the device holds.
    pub fn lose_power(&mut self, loss: Loss, random: &mut Random) {
        self.durable = self.after_power_loss(loss, random);
        self.unsynced.clear();
        self.cached.clone_from(&self.durable);
    }

    fn after_power_loss(&self, loss: Loss, random: &mut Random) -> Vec<u8> {
        match loss {
            Loss::All => self.durable.clone(),
            Loss::Nothing => {
                let mut all = self.durable.clone();
                self.unsynced.iter().for_each(|(_, change)| change.apply(&mut all));
                all
            }
            Loss::Some => self.partly_written_back(random),
        }
    }

    fn partly_written_back(&self, random: &mut Random) -> Vec<u8> {
        let mut lengths = vec![self.durable.len()];
        for (_, change) in &self.unsynced {
            lengths.push(change.length_after(*lengths.last().expect("has the first")));
        }
        let len = self.drawn_length(&lengths, random);
        let mut contents = Vec::with_capacity(len);
        for start in (0..len).step_by(PAGE_BYTES) {
            let page = self.drawn_page(start, random);
            contents.extend_from_slice(&page[..PAGE_BYTES.min(len - start)]);
        }
        contents
    }

    /// One of the lengths that the file had, or a page's end on the way from one to the next.
    fn drawn_length(&self, lengths: &[usize], random: &mut Random) -> usize {
        let chosen = random.index(lengths.len());
        let (len, next) = (lengths[chosen], lengths.get(chosen + 1).copied().unwrap_or(lengths[chosen]));
        let pages = (next / PAGE_BYTES).saturating_sub(len / PAGE_BYTES);
        match random.index(pages + 1) {
            0 => len,
            pages_on => (len / PAGE_BYTES + pages_on) * PAGE_BYTES,
        }
    }

    fn drawn_page(&self, start: usize, random: &mut Random) -> [u8; PAGE_BYTES] {
        let touching: Vec<&Unsynced> =
            self.unsynced.iter().map(|(_, change)| change).filter(|change| change.touches(start)).collect();
        let page_after = |count: usize| {
            let mut page = [0; PAGE_BYTES];
            let durable = self.durable.get(start..).unwrap_or_default();
            let len = durable.len().min(PAGE_BYTES);
            page[..len].copy_from_slice(&durable[..len]);
            touching[..count].iter().for_each(|change| change.apply_to_page(start, &mut page));
            page
        };
        let mut page = page_after(random.index(touching.len() + 1));
        if !touching.is_empty() && random.chance(300) {
            let other = page_after(random.index(touching.len() + 1));
            for sector in (0..PAGE_BYTES).step_by(SECTOR_BYTES) {
                if random.chance(500) {
                    page[sector..sector + SECTOR_BYTES].copy_from_slice(&other[sector..sector + SECTOR_BYTES]);
                }
            }
        }
        page
    }
}

impl Unsynced {
    fn apply(&self, contents: &mut Vec<u8>) {
        match self {
            Self::Write { position, bytes } => {
                let end = position + bytes.len();
                if contents.len() < end {
                    contents.resize(end, 0);
                }
                contents[*position..end].copy_from_slice(bytes);
            }
            Self::Length(len) => contents.resize(*len, 0),
        }
    }

    fn length_after(&self, before: usize) -> usize {
        match self {
            Self::Write { position, bytes } => before.max(position + bytes.len()),
            Self::Length(len) => *len,
        }
    }

    /// Whether it changes bytes of the page at `start`.
    fn touches(&self, start: usize) -> bool {
        match self {
            Self::Write { position, bytes } => *position < start + PAGE_BYTES && position + bytes.len() > start,
            Self::Length(len) => *len < start + PAGE_BYTES,
        }
    }

    fn apply_to_page(&self, start: usize, page: &mut [u8; PAGE_BYTES]) {
        match self {
            Self::Write { position, bytes } => {
                let from = (*position).max(start);
                let to = (position + bytes.len()).min(start + PAGE_BYTES);
                page[from - start..to - start].copy_from_slice(&bytes[from - position..to - position]);
            }
            Self::Length(len) => page[len.saturating_sub(start)..].fill(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_with(durable: &[u8], unsynced: &[(usize, &[u8])]) -> File {
        let mut file = File::default();
        file.write(0, &Bytes::copy_from_slice(durable));
        file.sync(file.changes());
        for (position, bytes) in unsynced {
            file.write(*position, &Bytes::copy_from_slice(bytes));
        }
        file
    }

    #[test]
    fn what_was_synced_survives_and_what_came_during_the_sync_may_not() {
        let mut file = file_with(b"abc", &[(3, b"def")]);
        let below = file.changes();
        file.write(6, &Bytes::from_static(b"ghi"));
        file.sync(below);
        file.lose_power(Loss::All, &mut Random::new(1, "test"));
        assert_eq!(file.cached(), b"abcdef");
    }

    #[test]
    fn each_sector_of_a_torn_file_is_one_that_was_written_and_all_outcomes_occur() {
        let (mut old, mut new, mut torn, mut shorter) = (0, 0, 0, 0);
        for seed in 0..2000 {
            let mut file = file_with(&[1; 8192], &[(0, &[2; 8192]), (8192, &[3; 4096])]);
            file.lose_power(Loss::Some, &mut Random::new(seed, "test"));
            let contents = file.cached();
            assert!([8192, 12288].contains(&contents.len()), "{}", contents.len());
            for (sector, bytes) in contents.chunks(SECTOR_BYTES).enumerate() {
                assert!(bytes.iter().all(|b| *b == bytes[0]), "sectors are whole");
                let possible: &[u8] = if sector < 16 { &[1, 2] } else { &[0, 3] };
                assert!(possible.contains(&bytes[0]), "sector {sector} is {}", bytes[0]);
            }
            let first = &contents[..4096];
            old += usize::from(first.iter().all(|b| *b == 1));
            new += usize::from(first.iter().all(|b| *b == 2));
            torn += usize::from(first.contains(&1) && first.contains(&2));
            shorter += usize::from(contents.len() == 8192);
        }
        assert!([old, new, torn, shorter].iter().all(|count| *count > 100), "{old} {new} {torn} {shorter}");
    }

    #[test]
    fn a_cut_and_regrown_file_shows_no_old_bytes_beyond_the_cut() {
        for seed in 0..200 {
            let mut file = file_with(&[7; 5000], &[]);
            file.truncate(100);
            file.sync(file.changes());
            file.truncate(5000);
            file.lose_power(Loss::Some, &mut Random::new(seed, "test"));
            assert!(file.cached()[100..].iter().all(|b| *b == 0));
        }
    }

    #[test]
    fn after_a_failed_sync_the_next_one_does_not_make_up_for_it() {
        let mut lost = 0;
        for seed in 0..100 {
            let mut file = file_with(b"", &[(0, &[9; 4096])]);
            file.fail_sync(file.changes(), &mut Random::new(seed, "test"));
            file.sync(file.changes());
            assert_eq!(file.cached(), [9; 4096], "the cache still shows it");
            file.lose_power(Loss::Nothing, &mut Random::new(seed, "test"));
            lost += usize::from(file.cached() != [9; 4096]);
        }
        assert!(lost > 20, "{lost}");
    }
}
