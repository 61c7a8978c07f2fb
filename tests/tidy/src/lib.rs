//! The tree as the checks see it: its root, its files, what cargo says about its dependencies.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders that are made by builds and tests.
const MADE: &[&str] = &["target", ".git", ".work", ".venv", "__pycache__", ".pytest_cache", "node_modules"];

/// The root of the workspace.
///
/// # Panics
/// This package has moved.
#[must_use]
pub fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    assert!(root.join("Cargo.lock").exists(), "this package has moved");
    root
}

/// Every file below the root with one of these extensions, by its path from there, sorted, and its text. Files that are
/// not UTF-8 are left out.
///
/// # Panics
/// The tree cannot be read, or has hardly anything in it.
#[must_use]
pub fn files(extensions: &[&str]) -> Vec<(String, String)> {
    let root = root();
    let mut found = Vec::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(root.join(&directory)).expect("the tree can be read") {
            let entry = entry.expect("the tree can be read");
            let path = directory.join(entry.file_name());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if !MADE.iter().any(|made| entry.file_name() == *made) {
                    pending.push(path);
                }
            } else if path.extension().is_some_and(|e| extensions.iter().any(|wanted| e == *wanted))
                && let (Some(name), Ok(text)) = (path.to_str(), fs::read_to_string(entry.path()))
            {
                found.push((name.to_owned(), text));
            }
        }
    }
    assert!(found.len() > 5, "only {} files with {extensions:?}", found.len());
    found.sort();
    found
}

/// What `cargo tree` prints with these arguments, a line for each package; ordinary dependencies on Linux only.
///
/// # Panics
/// Cargo fails.
#[must_use]
pub fn dependencies(arguments: &[&str]) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--prefix", "none"])
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("cargo can be run");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    // What is printed a second time has a mark.
    let packages = text.lines().map(|line| line.trim_end_matches(" (*)").to_owned());
    let mut lines: Vec<String> = packages.filter(|line| !line.is_empty()).collect();
    lines.sort();
    lines.dedup();
    lines
}
