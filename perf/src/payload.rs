//! What records hold: keys, values and headers, by distributions and a seed.
//!
//! Random values are slices of one long text, so that none is made for a record. The text is cut into cells, each of
//! which begins with its own number in letters, and a value begins with a cell: whoever knows the seed can tell from the
//! value alone whether it is whole.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use corelane_core::record::Header;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Normal, Zipf};

/// Bytes of a cell.
const CELL_BYTES: usize = 64;
/// Cells at which a value can begin: few enough for the text to stay in a near cache, beyond which to fetch it takes longer
/// than all else that is done for a small record.
const CELLS: usize = 2_048;
/// Letters that number a cell.
const NUMBER_LETTERS: usize = 4;
/// Largest value, which is more than any broker takes.
const VALUE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// How large values are, in bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sizes {
    /// All the same.
    Fixed(usize),
    /// From the first to the second, each as likely as the others.
    Uniform(usize, usize),
    /// With this mean and standard deviation; never below 0.
    Normal(f64, f64),
}

/// Which keys records have. Keys are numbers from 0 on, written with leading zeros.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Keys {
    /// None.
    None,
    /// One after the other, and again from the first.
    Sequential(u64),
    /// Any of so many, each as likely as the others.
    Uniform(u64),
    /// Any of so many, the first the likeliest, by a Zipf distribution of this exponent.
    Zipf(u64, f64),
}

/// Where values come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Capital letters.
    Random(Sizes),
    /// Any of these.
    Given(Vec<Vec<u8>>),
    /// The number of the record, in digits.
    Monotonic,
}

/// Headers that every record has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordHeaders {
    count: usize,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

impl RecordHeaders {
    /// So many headers with names and values of so many bytes; a value of none is a null.
    #[must_use]
    pub fn new(count: usize, key_bytes: usize, value_bytes: Option<usize>) -> Self {
        Self { count, key: vec![b'h'; key_bytes], value: value_bytes.map(|bytes| vec![b'v'; bytes]) }
    }

    /// As a producer takes them.
    #[must_use]
    pub fn list(&self) -> Vec<Header<'_>> {
        vec![Header { key: &self.key, value: self.value.as_deref() }; self.count]
    }
}

/// What records hold.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordSpec {
    /// Their keys.
    pub keys: Keys,
    /// Bytes of each key, at least as many as the largest number needs.
    pub key_bytes: usize,
    /// Their values.
    pub values: Values,
    /// Their headers.
    pub headers: RecordHeaders,
    /// What random numbers begin with.
    pub seed: u64,
}

impl RecordSpec {
    /// Records of `bytes` random letters, without keys and headers.
    #[must_use]
    pub fn of_size(bytes: usize) -> Self {
        Self {
            keys: Keys::None,
            key_bytes: 0,
            values: Values::Random(Sizes::Fixed(bytes)),
            headers: RecordHeaders::default(),
            seed: 0,
        }
    }
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no size; write it as 1024, uniform:100-2000 or normal:1000,200, at most {VALUE_BYTES_MAX}"
            )
        };
        let bytes = |text: &str| text.trim().parse().ok().filter(|bytes| *bytes <= VALUE_BYTES_MAX);
        let sizes = match text.split_once(':') {
            None => bytes(text).map(Self::Fixed),
            Some(("uniform", range)) => range
                .split_once('-')
                .and_then(|(low, high)| Some(Self::Uniform(bytes(low)?, bytes(high)?)))
                .filter(|sizes| matches!(sizes, Self::Uniform(low, high) if low <= high)),
            Some(("normal", parameters)) => parameters.split_once(',').and_then(|(mean, deviation)| {
                let deviation = bytes(deviation)?;
                Some(Self::Normal(bytes(mean)? as f64, deviation as f64))
            }),
            Some(_) => None,
        };
        sizes.ok_or_else(wrong)
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(bytes) => write!(f, "{bytes}"),
            Self::Uniform(low, high) => write!(f, "uniform:{low}-{high}"),
            Self::Normal(mean, deviation) => write!(f, "normal:{mean},{deviation}"),
        }
    }
}

impl Sizes {
    fn draw(self, random: &mut SmallRng) -> usize {
        match self {
            Self::Fixed(bytes) => bytes,
            Self::Uniform(low, high) => random.random_range(low..=high),
            Self::Normal(mean, deviation) => {
                let drawn = Normal::new(mean, deviation).map_or(mean, |normal| normal.sample(random));
                (drawn.max(0.0) as usize).min(VALUE_BYTES_MAX)
            }
        }
    }

    /// Bytes that hardly any value exceeds.
    fn bytes_max(self) -> usize {
        match self {
            Self::Fixed(bytes) | Self::Uniform(_, bytes) => bytes,
            Self::Normal(mean, deviation) => (mean + 8.0 * deviation) as usize,
        }
    }
}

impl FromStr for Keys {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no distribution of keys; write it as none, sequential:COUNT, uniform:COUNT or zipf:COUNT,EXPONENT"
            )
        };
        let count = |text: &str| text.trim().parse().ok().filter(|count| *count > 0);
        let keys = match text.split_once(':') {
            None if text == "none" => Some(Self::None),
            Some(("sequential", keys)) => count(keys).map(Self::Sequential),
            Some(("uniform", keys)) => count(keys).map(Self::Uniform),
            Some(("zipf", parameters)) => parameters.split_once(',').and_then(|(keys, exponent)| {
                let exponent = exponent.trim().parse().ok().filter(|s: &f64| s.is_finite() && *s >= 0.0)?;
                Some(Self::Zipf(count(keys)?, exponent))
            }),
            _ => None,
        };
        keys.ok_or_else(wrong)
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Sequential(count) => write!(f, "sequential:{count}"),
            Self::Uniform(count) => write!(f, "uniform:{count}"),
            Self::Zipf(count, exponent) => write!(f, "zipf:{count},{exponent}"),
        }
    }
}

/// Keys that are ready to be drawn.
enum KeySource {
    None,
    Sequential(u64),
    Uniform(u64),
    Zipf(Zipf<f64>),
}

impl KeySource {
    fn new(keys: Keys) -> Self {
        match keys {
            Keys::None => Self::None,
            Keys::Sequential(count) => Self::Sequential(count.max(1)),
            Keys::Uniform(count) => Self::Uniform(count.max(1)),
            // Without a valid distribution, as with a single key.
            Keys::Zipf(count, exponent) => Zipf::new(count as f64, exponent).map_or(Self::Sequential(1), Self::Zipf),
        }
    }

    /// Number of the key of record `number`.
    fn draw(&self, number: u64, random: &mut SmallRng) -> Option<u64> {
        match self {
            Self::None => None,
            Self::Sequential(count) => Some(number % count),
            Self::Uniform(count) => Some(random.random_range(0..*count)),
            // Its numbers begin with 1.
            Self::Zipf(zipf) => Some((zipf.sample(random) as u64).saturating_sub(1)),
        }
    }
}

/// A key and a value.
pub type KeyAndValue<'a> = (Option<&'a [u8]>, &'a [u8]);

/// Makes the records of one producer.
pub struct RecordMaker {
    values: Values,
    keys: KeySource,
    key_bytes: usize,
    random: SmallRng,
    text: Arc<Text>,
    key: Vec<u8>,
    digits: Vec<u8>,
}

impl RecordMaker {
    /// A maker of records after `spec`, with the text of its seed; those of another `stream` are others.
    #[must_use]
    pub fn new(spec: &RecordSpec, text: Arc<Text>, stream: u64) -> Self {
        Self {
            values: spec.values.clone(),
            keys: KeySource::new(spec.keys),
            key_bytes: spec.key_bytes,
            random: SmallRng::seed_from_u64(spec.seed.wrapping_add(stream.wrapping_mul(0x9e37_79b9_7f4a_7c15))),
            text,
            key: Vec::new(),
            digits: Vec::new(),
        }
    }

    /// Key and value of record `number`.
    pub fn make(&mut self, number: u64) -> KeyAndValue<'_> {
        let Self { values, keys, key_bytes, random, text, key, digits } = self;
        let key = keys.draw(number, random).map(|drawn| {
            write_number(key, drawn, *key_bytes);
            &**key
        });
        let value = match values {
            Values::Random(sizes) => {
                let bytes = sizes.draw(random);
                text.value(random.random_range(0..CELLS), bytes)
            }
            Values::Given(values) if values.is_empty() => &[],
            Values::Given(values) => &values[random.random_range(0..values.len())],
            Values::Monotonic => {
                write_number(digits, number, 0);
                digits
            }
        };
        (key, value)
    }
}

fn write_number(into: &mut Vec<u8>, number: u64, bytes: usize) {
    use std::io::Write;
    into.clear();
    // Writing to memory does not fail.
    let _ = write!(into, "{number:0bytes$}");
}

/// The long text.
pub struct Text(Vec<u8>);

impl Text {
    /// The text for records after `spec`.
    #[must_use]
    pub fn of(spec: &RecordSpec) -> Self {
        let bytes_max = if let Values::Random(sizes) = spec.values { sizes.bytes_max() } else { 0 };
        Self::new(spec.seed, bytes_max)
    }

    /// The text of a seed, with room for values of `bytes_max` behind every cell.
    #[must_use]
    pub fn new(seed: u64, bytes_max: usize) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let cells = CELLS + bytes_max.min(VALUE_BYTES_MAX).div_ceil(CELL_BYTES);
        let mut text = Vec::with_capacity(cells * CELL_BYTES);
        for cell in 0..cells {
            let mut rest = cell;
            for _ in 0..NUMBER_LETTERS {
                text.push(b'A' + (rest % 26) as u8);
                rest /= 26;
            }
            text.extend((NUMBER_LETTERS..CELL_BYTES).map(|_| random.random_range(b'A'..=b'Z')));
        }
        Self(text)
    }

    fn value(&self, cell: usize, bytes: usize) -> &[u8] {
        let start = cell * CELL_BYTES;
        let end = (start + bytes).min(self.0.len());
        &self.0[start..end]
    }

    /// Whether a value is one that a producer with the same seed made. Values of fewer than 4 letters say nothing.
    #[must_use]
    pub fn contains(&self, value: &[u8]) -> bool {
        let Some(letters) = value.first_chunk::<NUMBER_LETTERS>() else {
            return value.iter().all(u8::is_ascii_uppercase);
        };
        let digits = letters.iter().rev().map(|letter| usize::from(letter.wrapping_sub(b'A')));
        let cell = digits.fold(0_usize, |sum, digit| sum * 26 + digit);
        cell < CELLS && self.value(cell, value.len()) == value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maker(spec: &RecordSpec) -> RecordMaker {
        RecordMaker::new(spec, Arc::new(Text::of(spec)), 3)
    }

    #[test]
    fn distributions_are_read_and_written_alike() {
        for text in ["1024", "0", "uniform:10-2000", "normal:1000,200"] {
            assert_eq!(text.parse::<Sizes>().unwrap().to_string(), text);
        }
        for text in ["none", "sequential:5", "uniform:100", "zipf:1000,0.99"] {
            assert_eq!(text.parse::<Keys>().unwrap().to_string(), text);
        }
        for bad in ["", "-1", "uniform:5", "uniform:9-3", "normal:5", "zipf:3", "999999999999"] {
            assert!(bad.parse::<Sizes>().is_err(), "{bad}");
        }
        for bad in ["", "some", "sequential:0", "uniform:x", "zipf:5", "zipf:5,-1", "zipf:5,inf"] {
            assert!(bad.parse::<Keys>().is_err(), "{bad}");
        }
    }

    #[test]
    fn values_have_their_sizes_and_are_known_again() {
        for (sizes, low, high) in [
            ("1000", 1_000, 1_000),
            ("uniform:5-300", 5, 300),
            ("normal:500,100", 0, 1_300),
            ("100000", 100_000, 100_000),
        ] {
            let values = Values::Random(sizes.parse().unwrap());
            let mut maker = maker(&RecordSpec { values, ..RecordSpec::of_size(0) });
            let text = Text::new(0, 100_000);
            let mut different = std::collections::BTreeSet::new();
            for number in 0..200 {
                let (key, value) = maker.make(number);
                assert!(key.is_none());
                assert!((low..=high).contains(&value.len()), "{sizes}: {}", value.len());
                assert!(text.contains(value));
                different.insert(value.to_vec());
                let mut changed = value.to_vec();
                if let Some(last) = changed.last_mut().filter(|_| value.len() > NUMBER_LETTERS) {
                    *last ^= 1;
                    assert!(!text.contains(&changed));
                }
            }
            assert!(different.len() > 180, "{sizes}: {}", different.len());
        }
        assert!(!Text::new(1, 100).contains(Text::new(0, 100).value(5, 100)), "of another seed");
    }

    #[test]
    fn keys_follow_their_distribution() {
        let keys = |keys: &str| {
            let spec = RecordSpec { keys: keys.parse().unwrap(), key_bytes: 4, ..RecordSpec::of_size(1) };
            let mut maker = maker(&spec);
            let key = |number| String::from_utf8(maker.make(number).0.unwrap().to_vec()).unwrap();
            (0..1_000).map(key).collect::<Vec<_>>()
        };
        assert_eq!(keys("sequential:3")[..4], ["0000", "0001", "0002", "0000"]);
        let count = |keys: &[String], key: &str| keys.iter().filter(|each| *each == key).count();
        let uniform = keys("uniform:10");
        assert!((50..150).contains(&count(&uniform, "0000")), "{}", count(&uniform, "0000"));
        let zipf = keys("zipf:10,1.0");
        // Of 10 keys with weights 1, 1/2, ..., the first has 0.34 of all and the last 0.034.
        assert!((280..400).contains(&count(&zipf, "0000")), "{}", count(&zipf, "0000"));
        assert!((10..70).contains(&count(&zipf, "0009")), "{}", count(&zipf, "0009"));
    }

    #[test]
    fn given_values_and_numbers_are_taken_as_they_are() {
        let given = Values::Given(vec![b"one".to_vec(), b"two".to_vec()]);
        let mut given = maker(&RecordSpec { values: given, ..RecordSpec::of_size(0) });
        let all: Vec<Vec<u8>> = (0..50).map(|number| given.make(number).1.to_vec()).collect();
        assert!(all.contains(&b"one".to_vec()) && all.contains(&b"two".to_vec()));
        let mut numbers = maker(&RecordSpec { values: Values::Monotonic, ..RecordSpec::of_size(0) });
        assert_eq!(numbers.make(41).1, b"41");
        let headers = RecordHeaders::new(2, 3, None);
        assert_eq!(headers.list(), vec![Header { key: b"hhh", value: None }; 2]);
    }
}
