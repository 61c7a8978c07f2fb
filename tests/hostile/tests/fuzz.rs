//! Whatever the bytes: no panic, no wrong conclusion, and no memory in proportion to a number that somebody made up.

use corelane_hostile::fuzz::{Target, from_hex};
use corelane_hostile::{requests, targets};

#[test]
fn framing() {
    targets::framing().run();
}

#[test]
fn request_header() {
    targets::request_header().run();
}

#[test]
fn every_version_of_every_request() {
    for (key, version) in requests::parsed() {
        targets::request(key, version).run();
    }
}

#[test]
fn batch_validation() {
    targets::batch_validation().run();
}

#[test]
fn legacy_produce() {
    targets::legacy_produce().run();
}

#[test]
fn down_conversion() {
    targets::down_conversion().run();
}

#[test]
fn segment_recovery() {
    targets::segment_recovery().run();
}

#[test]
fn metadata_replay() {
    targets::metadata_replay().run();
}

#[test]
fn properties() {
    targets::properties().run();
}

/// A sample that is refused would mutate into nothing but other refusals.
#[test]
fn samples_are_requests() {
    let mut random = corelane_core::test_support::Random::new(1);
    for (key, version) in requests::parsed() {
        for _ in 0..20 {
            let sample = requests::sample(key, version, &mut random);
            assert_eq!(requests::decode(key, version, sample), Ok(()), "{} {version}", key.name());
        }
    }
}

/// A target with a defect, which is a length of two bytes in front of as many bytes.
fn defective(call: impl Fn(&[u8], usize) + 'static) -> Target {
    Target {
        name: "defective".into(),
        call: Box::new(move |data| {
            let Some((length, rest)) = data.split_first_chunk() else { return };
            call(rest, usize::from(u16::from_be_bytes(*length)));
        }),
        sample: Box::new(|_| vec![0, 3, 1, 2, 3]),
        cases: 1_000,
        memory_per_byte_max: 4,
        memory_bytes_max: 1024,
    }
}

#[test]
#[should_panic(expected = "bytes of memory for")]
fn memory_by_a_number_of_the_client_is_found() {
    defective(|rest, length| drop(Vec::<u8>::with_capacity(length.max(rest.len())))).run();
}

#[test]
#[should_panic(expected = "panicked: range end index")]
fn a_length_beyond_the_end_is_found() {
    defective(|rest, length| assert!(rest[..length].len() == length)).run();
}

#[test]
fn a_sound_target_is_not_accused() {
    defective(|rest, length| drop(rest.get(..length).map(<[u8]>::to_vec))).run();
}

#[test]
fn a_report_becomes_a_test_of_its_own() {
    let target = defective(|rest, length| assert!(rest[..length].len() == length));
    let report = target.check(&[0, 9, 1]).expect_err("nine bytes are not there");
    let hex = report.rsplit("bytes: ").next().expect("shows them");
    assert_eq!(from_hex(hex), [0, 9, 1]);
}
