//! The files that Kafka's own classes wrote: `tests/kafka-vectors/make`.

use std::io::Write;
use std::path::PathBuf;

use bytes::{Buf, Bytes};

/// Set where there is no Java: the checks against Kafka's classes are then left out, and say so.
const WITHOUT_JAVA: &str = "CORELANE_TESTS_WITHOUT_JAVA";

/// The content of a vector file, or `None` if this run is meant to do without.
pub(crate) fn read(name: &str) -> Option<Vec<u8>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/.work/vectors").join(name);
    match std::fs::read(&path) {
        Ok(content) => Some(content),
        Err(error) if std::env::var_os(WITHOUT_JAVA).is_some() => {
            // Not `eprintln`, which the test harness keeps to itself unless the test fails.
            let _ = writeln!(std::io::stderr(), "skipped: {name} cannot be read ({error}) and {WITHOUT_JAVA} is set");
            None
        }
        Err(error) => panic!(
            "{}: {error}\nrun tests/kafka-vectors/make first (needs Java and Maven), or set {WITHOUT_JAVA}=1",
            path.display()
        ),
    }
}

/// One value that Kafka serialized.
pub(crate) struct Vector {
    pub(crate) name: String,
    pub(crate) version: i16,
    pub(crate) bytes: Bytes,
}

/// Takes a file of vectors apart; it is ours, so what does not fit panics.
pub(crate) fn parse(content: Vec<u8>) -> Vec<Vector> {
    let mut rest = Bytes::from(content);
    let mut vectors = Vec::new();
    while rest.has_remaining() {
        let name_length = usize::from(rest.get_u16());
        let name = String::from_utf8(rest.split_to(name_length).to_vec()).expect("class names are ASCII");
        let version = rest.get_i16();
        let length = usize::try_from(rest.get_i32()).expect("not negative");
        vectors.push(Vector { name, version, bytes: rest.split_to(length) });
    }
    vectors
}
