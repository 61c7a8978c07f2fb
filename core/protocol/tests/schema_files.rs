//! The schema files themselves: their names, and what the parser says of mistakes.

// What the build script uses beyond parsing stays unused here.
#[allow(dead_code)]
#[path = "../build/model.rs"]
mod model;
#[path = "../build/parse.rs"]
mod parse;

use std::path::Path;

use model::Kind;

#[test]
fn files_are_named_by_key_and_api() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("readable").path();
        let name = path.file_stem().expect("not the root").to_string_lossy().into_owned();
        if path.extension().is_none_or(|extension| extension != "schema") || name == "header" {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("readable");
        let messages = parse::file(&text).unwrap_or_else(|error| panic!("{name}:{}: {}", error.line, error.what));
        let [Kind::Request { api }, Kind::Response { .. }] = [&messages[0].kind, &messages[1].kind] else {
            panic!("{name} does not hold one request and its response");
        };
        let words = name.split_once('_').expect("a key and a name").1;
        assert_eq!(words.replace('_', ""), api.name.to_lowercase());
        assert!(name.starts_with(&format!("k{:02}_", api.key)), "{name} has key {}", api.key);
        files += 1;
    }
    assert!(files > 80, "{files} files");
}

#[test]
fn a_mistake_is_named_with_its_line() {
    let cases = [
        ("    name  string  0+", 1, "begins no block"),
        ("data Thing, versions 0-1, flexible none\n   name  string  0+", 2, "indent by four blanks"),
        ("data Thing, versions 0-1, flexible none\n    name  strng  0+", 2, "`strng` is no type"),
        ("data Thing, versions 0-1, flexible none\n    name  string", 2, "a field is name, type, versions"),
        ("data Thing, versions 0-1, flexible none\n    name  string  0-2", 2, "go beyond"),
        ("data Thing, versions 0-1, flexible none\n    name  string  1-0", 2, "are empty"),
        ("data Thing, versions 0-1, flexible none\n    name  string  0+  nulable", 2, "`nulable` is unknown"),
        ("data Thing, versions 0-1, flexible none\n    name  string  0+\n        x  i8  0+", 2, "only a struct"),
        ("data Thing, versions 0-1, flexible none\n    inner  Inner  0+", 1, "no struct `Inner`"),
        ("data Thing, versions 0-1, flexible none\n    name  string  0+  tag 0", 1, "not flexible"),
        ("data Thing, versions 0-1, flexible 0+\n    name  string  0+  tag 1", 1, "tags are not 0, 1, 2"),
        ("data Thing, versions 0-1, flexible none\n    name  string  0+  default null", 1, "not nullable"),
        ("data Thing, flexible none", 1, "no `versions`"),
        ("# a comment\n\nthing Thing, versions 0, flexible none", 3, "`thing` begins no block"),
        ("request", 1, "no `api` line above"),
    ];
    for (text, line, what) in cases {
        let error = parse::file(text).err().unwrap_or_else(|| panic!("accepted: {text}"));
        assert_eq!(error.line, line, "{text}: {}", error.what);
        assert!(error.what.contains(what), "{text}: {}", error.what);
    }
}
