//! The source files: how long they are, what they are called, what is not left behind in them.

use corelane_tidy::files;

/// Lines above which two things live in one file.
const LINES_MAX: usize = 800;

/// How files end that a program has written; `perf/schema` says which.
const GENERATED: &str = "_generated.rs";

/// Words that say that something is unfinished, or where it was made. In two halves, so that this file has none of them.
const LEFT_BEHIND: &[(&str, &str)] = &[
    ("todo", "!("),
    ("dbg", "!("),
    ("unimplemented", "!("),
    ("TO", "DO"),
    ("FIX", "ME"),
    ("XX", "X:"),
    ("/wo", "rk/"),
    ("/ho", "me/"),
    ("/ro", "ot/"),
];

/// Names that say nothing about what is in a file.
const EMPTY_NAMES: &[&str] = &["util", "utils", "helper", "helpers", "manager", "common", "misc"];

/// Descriptors as such are for `sys::glommio`; whoever else holds one goes past the door.
const DESCRIPTORS: &[&str] = &["std::os::fd", "std::os::unix", "RawFd", "OwnedFd", "BorrowedFd"];

#[test]
fn no_file_is_two() {
    let long: Vec<String> = files(&["rs", "py", "go", "java", "schema"])
        .iter()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(path, lines)| *lines > LINES_MAX && !path.ends_with(GENERATED))
        .map(|(path, lines)| format!("{path}: {lines} lines"))
        .collect();
    assert!(long.is_empty(), "more than {LINES_MAX} lines:\n{}", long.join("\n"));
}

#[test]
fn nothing_is_left_behind() {
    let mut offences = Vec::new();
    for (path, text) in files(&["rs", "py", "go", "java", "schema", "toml", "md", "sh", "xml"]) {
        for (number, line) in (1..).zip(text.lines()) {
            for (first, second) in LEFT_BEHIND {
                if line.contains(&format!("{first}{second}")) {
                    offences.push(format!("{path}:{number}: {}", line.trim()));
                }
            }
        }
    }
    assert!(offences.is_empty(), "left behind:\n{}", offences.join("\n"));
}

#[test]
fn names_say_what_a_file_is_about() {
    let mut empty = Vec::new();
    for (path, _) in files(&["rs", "py", "go", "java"]) {
        let stem = path.rsplit('/').next().and_then(|name| name.split('.').next()).unwrap_or_default();
        if EMPTY_NAMES.contains(&stem.to_ascii_lowercase().as_str()) {
            empty.push(path);
        }
    }
    assert!(empty.is_empty(), "{empty:?}");
}

#[test]
fn descriptors_stay_behind_the_door() {
    let mut offences = Vec::new();
    for (path, text) in files(&["rs"]) {
        let checked = path.starts_with("core/") || path.starts_with("server/src/");
        if !checked || path.starts_with("server/src/sys/glommio/") {
            continue;
        }
        for (number, line) in (1..).zip(text.lines()) {
            if DESCRIPTORS.iter().any(|name| line.contains(name)) {
                offences.push(format!("{path}:{number}: {}", line.trim()));
            }
        }
    }
    assert!(offences.is_empty(), "descriptors outside sys::glommio:\n{}", offences.join("\n"));
}
