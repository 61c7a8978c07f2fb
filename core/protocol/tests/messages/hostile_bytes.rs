//! Bytes that no honest peer sends: nothing panics, and memory stays in proportion to what was really sent.

use bytes::Bytes;

use corelane_protocol::samples::{Codec, Source, codecs};

const MUTATIONS_PER_VERSION: u64 = 60;

/// The most memory that one decoded byte may cost. An empty compact string is one byte on the wire and four words in
/// memory, and structs of many such fields are what an attacker would send.
const MEMORY_PER_BYTE_MAX: usize = 40;

/// Memory that decoding may take whatever the size: an error, the first elements of a list.
const MEMORY_MAX: usize = 1024;

/// The one that the tests of the whole broker use.
#[path = "../../../../tests/hostile/src/allocation.rs"]
#[allow(dead_code, unreachable_pub)]
mod allocation;

/// Bytes that `action` had allocated at its height, beyond what was there before.
fn peak_of(action: impl FnOnce()) -> usize {
    let before = allocation::Mark::here();
    action();
    before.peak_bytes()
}

#[test]
fn mutated_messages_neither_panic_nor_cost_memory() {
    for codec in codecs() {
        for version in codec.versions.clone() {
            for number in 0..MUTATIONS_PER_VERSION {
                let mut source = Source::of_case(codec.name, version, number);
                let bytes = if number % 8 == 7 { noise(&mut source) } else { mutated(&codec, version, &mut source) };
                judge(&codec, version, bytes);
            }
        }
    }
}

fn judge(codec: &Codec, version: i16, bytes: Bytes) {
    let allowed = bytes.len() * MEMORY_PER_BYTE_MAX + MEMORY_MAX;
    let mut decoded = false;
    let input = bytes.clone();
    let peak = peak_of(|| decoded = (codec.decode)(input, version).is_ok());
    assert!(peak <= allowed, "{} {version}: {peak} bytes of memory for {} bytes: {bytes:?}", codec.name, bytes.len());
    // What decodes must encode, and mean the same when it is decoded again.
    if decoded && let Ok(again) = (codec.recode)(bytes, version) {
        assert_eq!((codec.recode)(again.clone(), version), Ok(again), "{} {version}", codec.name);
    }
}

fn noise(source: &mut Source) -> Bytes {
    let length = source.below(200);
    (0..length).map(|_| source.next_u64() as u8).collect()
}

/// A valid message with one to three places changed.
fn mutated(codec: &Codec, version: i16, source: &mut Source) -> Bytes {
    let mut bytes = (codec.sample)(source, version).to_vec();
    for _ in 0..=source.below(3) {
        let place = source.below(bytes.len() + 1);
        match source.below(5) {
            0 => bytes.truncate(place),
            1 => overwrite(&mut bytes, place, &[source.next_u64() as u8]),
            2 => overwrite(&mut bytes, place, EXTREMES[source.below(EXTREMES.len())]),
            3 => drop(bytes.splice(place..place, EXTREMES[source.below(EXTREMES.len())].iter().copied())),
            _ => {
                let length = source.below(8);
                bytes = [&bytes[..place], &bytes[(place + length).min(bytes.len())..]].concat();
            }
        }
    }
    bytes.into()
}

/// Lengths and counts that someone would try.
const EXTREMES: &[&[u8]] = &[
    &[0x7f, 0xff, 0xff, 0xff],
    &[0x80, 0x00, 0x00, 0x00],
    &[0xff, 0xff, 0xff, 0xff],
    &[0x7f, 0xff],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0x80, 0x80, 0x80, 0x80, 0x08],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0x00],
    &[0x00, 0x00, 0x03, 0xe8],
];

fn overwrite(bytes: &mut [u8], place: usize, with: &[u8]) {
    for (old, new) in bytes.iter_mut().skip(place).zip(with) {
        *old = *new;
    }
}

/// The worst that can be sent: nothing but the smallest elements that there are.
#[test]
fn the_densest_messages_stay_within_the_bound() {
    for codec in codecs() {
        for version in codec.versions.clone() {
            for filler in [0, 1, 2, 3] {
                for length in [64, 4096, 65536] {
                    for claim in [&[0xff, 0xff, 0x03][..], &[0x00, 0x00, 0x3f, 0xff], &[0x7f]] {
                        let bytes: Bytes = claim.iter().copied().chain(std::iter::repeat_n(filler, length)).collect();
                        judge(&codec, version, bytes);
                    }
                }
            }
        }
    }
}
