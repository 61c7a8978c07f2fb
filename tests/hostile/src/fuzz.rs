//! Runs a target on samples, on mutations of them and on noise, all from seeds: the same inputs on every machine.
//!
//! A failure names its seed and shows its bytes, from which it becomes a test of its own.

use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use corelane_core::test_support::Random;

use crate::allocation::Mark;

/// Runs as many times more cases as this says; for long runs by hand.
pub const FACTOR_VARIABLE: &str = "CORELANE_FUZZ_FACTOR";

/// Something that is called with bytes.
pub type Call = Box<dyn Fn(&[u8])>;
/// Something that draws an input.
pub type Sample = Box<dyn Fn(&mut Random) -> Vec<u8>>;

/// A function over bytes that must bear whatever they are.
pub struct Target {
    /// What the report calls it.
    pub name: String,
    /// Panics only on a defect.
    pub call: Call,
    /// A well-formed input.
    pub sample: Sample,
    /// Inputs that are tried.
    pub cases: u64,
    /// Bytes of memory that a call may hold at once for each byte of its input,
    pub memory_per_byte_max: usize,
    /// and whatever the input: an error's text, the first elements of a list.
    pub memory_bytes_max: usize,
}

impl Target {
    /// Tries all cases.
    ///
    /// # Panics
    /// On the first that fails.
    pub fn run(&self) {
        let factor = std::env::var(FACTOR_VARIABLE).ok().and_then(|text| text.parse().ok()).unwrap_or(1);
        for seed in 0..self.cases * factor {
            if let Err(fault) = self.check(&self.input(seed)) {
                panic!("{}, seed {seed}: {fault}", self.name);
            }
        }
    }

    /// Tries one input, as a test of a failure that was found once does.
    ///
    /// # Errors
    /// What is wrong, with the bytes.
    pub fn check(&self, input: &[u8]) -> Result<(), String> {
        let mark = Mark::here();
        let outcome = catch_unwind(AssertUnwindSafe(|| (self.call)(input)));
        let peak_bytes = mark.peak_bytes();
        if let Err(panic) = outcome {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word");
            return Err(format!("panicked: {text}\nbytes: {}", hex(input)));
        }
        let allowed_bytes = input.len() * self.memory_per_byte_max + self.memory_bytes_max;
        if peak_bytes > allowed_bytes {
            let bytes = input.len();
            return Err(format!("{peak_bytes} bytes of memory for {bytes} bytes of input\nbytes: {}", hex(input)));
        }
        Ok(())
    }

    /// The input of a seed: one in eight well-formed, one in sixteen noise, the others mutated.
    fn input(&self, seed: u64) -> Vec<u8> {
        let mut random = Random::new(seed);
        match seed % 16 {
            0 | 8 => (self.sample)(&mut random),
            1 => (0..random.below(300)).map(|_| random.next_u64().to_le_bytes()[0]).collect(),
            2 => {
                // The beginning of one input and the end of another.
                let (mut input, other) = ((self.sample)(&mut random), (self.sample)(&mut random));
                input.truncate(random.below(input.len() + 1));
                input.extend_from_slice(&other[random.below(other.len() + 1)..]);
                input
            }
            _ => {
                let mut input = (self.sample)(&mut random);
                mutate(&mut random, &mut input);
                input
            }
        }
    }
}

/// Values that a length may have to do harm: the ends of each width, lengths just beyond what is there, and variable
/// length numbers as large as they get and too long.
const EXTREMES: &[&[u8]] = &[
    &[0x7f, 0xff, 0xff, 0xff],
    &[0x80, 0x00, 0x00, 0x00],
    &[0xff, 0xff, 0xff, 0xff],
    &[0xff, 0xff, 0xff, 0xfe],
    &[0x00, 0x00, 0xff, 0xff],
    &[0x00, 0xff, 0xff, 0xff],
    &[0x40, 0x00, 0x00, 0x00],
    &[0x7f, 0xff],
    &[0x80, 0x00],
    &[0xff, 0xff],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xfe, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80],
    &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0x80, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00],
];

fn mutate(random: &mut Random, input: &mut Vec<u8>) {
    if random.once_in(2) {
        random.mutate(input);
        return;
    }
    for _ in 0..=random.below(3) {
        let place = random.below(input.len());
        let extreme = *random.pick(EXTREMES);
        let room = input.len() - place;
        if random.once_in(3) {
            input.splice(place..place, extreme.iter().copied());
        } else {
            input[place..place + extreme.len().min(room)].copy_from_slice(&extreme[..extreme.len().min(room)]);
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes that a report shows.
///
/// # Panics
/// If it is no such text.
#[must_use]
pub fn from_hex(text: &str) -> Vec<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16).expect("a hexadecimal digit");
    let byte = |pair: &[u8]| u8::try_from(digit(pair[0]) << 4 | digit(pair[1])).expect("two digits");
    text.as_bytes().chunks_exact(2).map(byte).collect()
}
