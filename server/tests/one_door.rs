//! The broker reaches the outside world through `server::sys` and in no other way, and `unsafe` has its homes.
//!
//! Else a simulation would not be one: whatever went past the door would happen for real, or not in the order of its
//! seed.

use std::fs;
use std::path::{Path, PathBuf};

/// What only `server::sys::glommio` may name.
const OUTSIDE: &[&str] = &[
    "libc::",
    "io_uring",
    "glommio::",
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "std::thread",
    "std::process",
    "std::env",
    "Instant",
    "SystemTime",
    "RandomState",
    "HashMap::new",
    "HashSet::new",
];

/// Who may all the same, and why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("server/src/process.rs", "glommio::", "starts the shards"),
    ("server/src/process.rs", "std::fs", "reads the kernel's boot id before there are shards"),
    ("core/ring/src/lib.rs", "std::thread", "in its tests"),
];

/// Where `unsafe` may be.
const UNSAFE_HOMES: &[&str] = &["server/src/sys/glommio/", "core/ring/src/", "perf/src/run_file/run_generated.rs"];

/// All Rust files under a directory of the workspace, by their path in it.
fn sources(root: &Path, directory: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut pending = vec![PathBuf::from(directory)];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(root.join(&directory)).unwrap() {
            let entry = entry.unwrap();
            let path = directory.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((path.to_str().unwrap().to_owned(), fs::read_to_string(entry.path()).unwrap()));
            }
        }
    }
    assert!(!found.is_empty(), "{directory} has moved");
    found
}

/// Lines of code: no comments, and nothing from the unit tests at the end of a file on.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    lines.take_while(|(_, line)| !line.starts_with("#[cfg(test)]")).filter(|(_, line)| !line.trim().starts_with("//"))
}

#[test]
fn nothing_but_sys_reaches_the_outside_world() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut offences = Vec::new();
    for (path, text) in sources(root, "server/src").into_iter().chain(sources(root, "core/src")) {
        if path.starts_with("server/src/sys/glommio/") {
            continue;
        }
        for (number, line) in code(&text) {
            for &name in OUTSIDE.iter().filter(|name| line.contains(**name)) {
                let excepted = EXCEPTIONS.iter().any(|(file, what, _)| *file == path && *what == name);
                if !excepted {
                    offences.push(format!("{path}:{number}: {name}: {}", line.trim()));
                }
            }
        }
    }
    assert!(offences.is_empty(), "past the one door:\n{}", offences.join("\n"));
}

#[test]
fn unsafe_code_stays_in_its_homes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut offences = Vec::new();
    for directory in ["server/src", "core/src", "core/ring/src", "core/protocol/src", "perf/src", "tools/src"] {
        for (path, text) in sources(root, directory) {
            if UNSAFE_HOMES.iter().any(|home| path.starts_with(home)) {
                continue;
            }
            // The keyword is followed by one of these; in the text of a message it is followed by something else.
            let forms = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe trait", "unsafe extern", "#[unsafe("];
            let lines = code(&text).filter(|(_, line)| forms.iter().any(|form| line.contains(form)));
            offences.extend(lines.map(|(number, line)| format!("{path}:{number}: {}", line.trim())));
        }
    }
    assert!(offences.is_empty(), "unsafe away from home:\n{}", offences.join("\n"));
}
