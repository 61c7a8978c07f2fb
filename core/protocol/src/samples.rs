//! Random values of every message, drawn from a seed, for tests; the part that knows the messages is generated.

// A draw is cut to whatever size is wanted.
#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss
)]

use std::ops::RangeInclusive;

use crate::wire::{DecodeError, Reader, Writer};
use crate::{KafkaString, Message};
use bytes::Bytes;

/// A stream of pseudo-random values (SplitMix64).
pub struct Source(u64);

impl Source {
    /// The stream of one case: the same for the same name, version and number.
    pub fn of_case(name: &str, version: i16, number: u64) -> Self {
        let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325, hash);
        Self(seed ^ (u64::from(version.cast_unsigned()) << 48) ^ number)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, or 0 if there is none.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next_u64() % bound.max(1) as u64) as usize
    }

    /// True once in so many times.
    pub fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    /// A number of any magnitude, and often at the edge of one.
    fn number(&mut self) -> u64 {
        let number = self.next_u64();
        match self.below(4) {
            0 => number % 256,
            1 => u64::MAX >> (number % 64),
            2 => 1 << (number % 64),
            _ => number,
        }
    }

    /// Up to three values.
    pub fn list<T: Sample>(&mut self, version: i16) -> Vec<T> {
        let length = self.below(4);
        (0..length).map(|_| T::sample(self, version)).collect()
    }
}

/// A type with random values that a version can carry.
pub trait Sample: Sized {
    /// The next value.
    fn sample(source: &mut Source, version: i16) -> Self;
}

macro_rules! sample_numbers {
    ($($name:ty)*) => { $(
        impl Sample for $name {
            fn sample(source: &mut Source, _: i16) -> Self {
                source.number() as $name
            }
        }
    )* };
}

sample_numbers!(i8 i16 i32 i64 u16 u32 f64);

impl Sample for bool {
    fn sample(source: &mut Source, _: i16) -> Self {
        source.one_in(2)
    }
}

impl Sample for [u8; 16] {
    fn sample(source: &mut Source, _: i16) -> Self {
        if source.one_in(4) {
            return [0; 16];
        }
        let (high, low) = (u128::from(source.next_u64()), u128::from(source.next_u64()));
        (high << 64 | low).to_be_bytes()
    }
}

impl Sample for KafkaString {
    fn sample(source: &mut Source, _: i16) -> Self {
        let length = if source.one_in(20) { 200 } else { source.below(12) };
        let symbols = ['a', 'Z', '0', '.', '_', '-', 'é', '漢', '😀'];
        (0..length).map(|_| symbols[source.below(symbols.len())]).collect::<String>().into()
    }
}

impl Sample for Bytes {
    fn sample(source: &mut Source, _: i16) -> Self {
        let length = if source.one_in(8) { 1000 + source.below(100) } else { source.below(40) };
        (0..length).map(|_| source.next_u64() as u8).collect()
    }
}

/// What can be done with a message whose type is not known here.
pub struct Codec {
    /// The message's name.
    pub name: &'static str,
    /// Versions that exist.
    pub versions: RangeInclusive<i16>,
    /// A random value, encoded.
    pub sample: fn(&mut Source, i16) -> Bytes,
    /// Decodes, and encodes again what came out.
    pub recode: fn(Bytes, i16) -> Result<Bytes, DecodeError>,
    /// Decodes, and drops what came out.
    pub decode: fn(Bytes, i16) -> Result<(), DecodeError>,
}

impl Codec {
    /// That of a message.
    pub fn of<T: Message + Sample>() -> Self {
        Self {
            name: T::NAME,
            versions: T::VERSIONS,
            sample: |source, version| {
                let value = T::sample(source, version);
                let bytes = encode(&value, version);
                let decoded = decode_all::<T>(bytes.clone(), version);
                assert_eq!(decoded.as_ref(), Ok(&value), "{} version {version}", T::NAME);
                bytes
            },
            recode: |bytes, version| Ok(encode(&decode_all::<T>(bytes, version)?, version)),
            decode: |bytes, version| T::decode(&mut Reader::new(bytes), version).map(drop),
        }
    }
}

/// What a schema says of one field.
pub struct Field {
    /// The message that it is in.
    pub message: &'static str,
    /// The struct around it.
    pub owner: &'static str,
    /// Versions that have that struct.
    pub owner_versions: RangeInclusive<i16>,
    /// Its name.
    pub name: &'static str,
    /// Versions that have it.
    pub versions: RangeInclusive<i16>,
    /// Versions in which it may be absent.
    pub nullable: Option<RangeInclusive<i16>>,
    /// Versions that lack it may drop its value.
    pub ignorable: bool,
    /// What the struct's `Default` has, in the form of `Debug`.
    pub default: String,
}

/// Encodes a message.
///
/// # Panics
/// If the version cannot carry it.
pub fn encode<T: Message>(value: &T, version: i16) -> Bytes {
    let mut writer = Writer::new();
    let result = value.encode(&mut writer, version);
    assert_eq!(result, Ok(()), "{} version {version}", T::NAME);
    let length = writer.len();
    let bytes = writer.into_bytes();
    assert_eq!(bytes.len(), length);
    bytes
}

/// Decodes a message that must be all there is.
///
/// # Errors
/// It is malformed, or something follows it.
pub fn decode_all<T: Message>(bytes: Bytes, version: i16) -> Result<T, DecodeError> {
    let mut reader = Reader::new(bytes);
    let value = T::decode(&mut reader, version)?;
    reader.finish()?;
    Ok(value)
}

include!(concat!(env!("OUT_DIR"), "/samples.rs"));
