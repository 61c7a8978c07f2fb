//! What Kafka's classes say of fields, API keys and error codes is what our schemas and tables say.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use corelane_protocol::{ApiKey, ErrorCode, KafkaString};

use crate::vector_files::read;
use corelane_protocol::samples::{Field, codecs, fields};

/// The lines of a file of facts that begin with `kind`, in words.
fn facts(file: &str, kind: &str) -> Option<Vec<Vec<String>>> {
    let text = String::from_utf8(read(file)?).expect("facts are ASCII");
    let lines = text.lines().map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>());
    Some(lines.filter(|words| words[0] == kind).collect())
}

fn number(word: &str) -> i16 {
    word.parse().expect("a number")
}

#[test]
fn api_keys_and_their_headers_are_kafkas() {
    let (Some(apis), Some(headers)) = (facts("facts-4.3.1.txt", "api"), facts("facts-4.3.1.txt", "header")) else {
        return;
    };
    for words in &apis {
        let api = ApiKey::from_i16(number(&words[1])).expect("known");
        assert_eq!(api.name(), words[2]);
        let newest = (*api.versions().end(), api.newest_stable_version());
        assert_eq!(newest, (number(&words[3]), number(&words[4])), "{words:?}");
    }
    assert_eq!(apis.len(), ApiKey::ALL.len());
    for words in &headers {
        let (api, version) = (ApiKey::from_i16(number(&words[1])).expect("known"), number(&words[2]));
        let ours = (api.request_header_version(version), api.response_header_version(version));
        assert_eq!(ours, (number(&words[3]), number(&words[4])), "{words:?}");
    }
}

#[test]
fn error_codes_are_kafkas() {
    let Some(errors) = facts("facts-4.3.1.txt", "error") else {
        return;
    };
    for words in &errors {
        let error = ErrorCode(number(&words[1]));
        assert_eq!((error.name(), error.is_retriable().to_string().as_str()), (words[2].as_str(), words[3].as_str()));
    }
    assert!(errors.len() > 130, "{} error codes", errors.len());
}

#[test]
fn text_that_is_not_utf8_is_read_as_kafka_reads_it() {
    let Some(texts) = facts("facts-4.3.1.txt", "text") else {
        return;
    };
    let bytes = |hex: &str| {
        let digits = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
        (0..hex.len()).step_by(2).map(digits).collect::<Bytes>()
    };
    for words in &texts {
        let read = KafkaString::from_utf8_lossy(bytes(&words[1]));
        assert_eq!(read.as_bytes()[..], bytes(&words[2])[..], "{words:?}");
    }
    assert!(texts.len() > 100, "{} texts", texts.len());
}

/// Message, struct, and field without underscores.
type Place = (String, String, String);

fn place(words: &[String]) -> Place {
    (words[1].clone(), words[2].clone(), words[3].clone())
}

fn our_fields() -> BTreeMap<Place, Field> {
    let place = |field: &Field| (field.message.to_owned(), field.owner.to_owned(), field.name.replace('_', ""));
    fields().into_iter().map(|field| (place(&field), field)).collect()
}

#[test]
fn fields_are_there_null_dropped_or_refused_in_the_versions_that_kafka_says() {
    let (Some(new), Some(old)) = (facts("facts-4.3.1.txt", "field"), facts("facts-3.9.2.txt", "field")) else {
        return;
    };
    let ours = our_fields();
    let codecs: BTreeMap<_, _> = codecs().into_iter().map(|codec| (codec.name, codec)).collect();
    let mut unjudged = BTreeSet::new();
    for (place, field) in &ours {
        unjudged.extend(field.versions.clone().map(|version| (place.clone(), version)));
    }
    // The older release speaks for the versions and fields that only it knows.
    let new_versions: BTreeSet<_> = new.iter().map(|words| (words[1].clone(), words[4].clone())).collect();
    let new_places: BTreeSet<_> = new.iter().map(|words| place(words)).collect();
    let is_new = |words: &[String]| new_versions.contains(&(words[1].clone(), words[4].clone()));
    let only_old = |words: &[String]| !is_new(words) || !new_places.contains(&place(words));
    for words in new.iter().chain(old.iter().filter(|words| only_old(words))) {
        let version = number(&words[4]);
        if !codecs.get(words[1].as_str()).is_some_and(|codec| codec.versions.contains(&version)) {
            continue; // The vectors know why.
        }
        let Some(field) = ours.get(&place(words)) else {
            // Or had it under an older name.
            let absent = words[5] == "dropped" || words[5] == "refused";
            assert!(absent || is_new(words), "Kafka has a field that we lack: {words:?}");
            continue;
        };
        if !field.owner_versions.contains(&version) {
            continue; // A struct that nothing in this version is made of.
        }
        let nullable = field.nullable.as_ref().is_some_and(|nullable| nullable.contains(&version));
        let state = match (field.versions.contains(&version), nullable, field.ignorable) {
            (true, true, _) => "nullable",
            (true, false, _) => "required",
            (false, _, true) => "dropped",
            (false, _, false) => "refused",
        };
        assert_eq!(words[5], state, "{words:?}");
        unjudged.remove(&(place(words), version));
    }
    assert_eq!(unjudged, BTreeSet::new(), "fields that Kafka does not have");
}

#[test]
fn defaults_are_kafkas() {
    let (Some(new), Some(old)) = (facts("facts-4.3.1.txt", "default"), facts("facts-3.9.2.txt", "default")) else {
        return;
    };
    let mut ours = our_fields();
    for words in new.iter().chain(&old) {
        // The newer release comes first and takes the field away.
        if let Some(field) = ours.remove(&place(words)) {
            if field.default.contains("b\"\"") && words[4] == "null" {
                continue; // Kafka's classes begin with null for records, which its broker never sends; ours with none.
            }
            assert_eq!(words[4], plain(&field.default), "{words:?}");
        }
    }
    assert!(ours.is_empty(), "defaults that Kafka does not have: {:?}", ours.keys());
}

/// A default from its `Debug` form into that of the facts.
fn plain(debug: &str) -> &str {
    let value = debug.strip_prefix("Some(").and_then(|rest| rest.strip_suffix(')')).unwrap_or(debug);
    match value {
        "None" => "null",
        "\"\"" | "[]" | "b\"\"" => "empty",
        "[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]" => "zero",
        value if value.ends_with('}') => "struct",
        value => value,
    }
}
