//! What is depended on: `core` on nothing that could do I/O, and everything under licences that were agreed to.

use std::fs;

use corelane_tidy::{dependencies, root};

/// All that `core` may be built on, itself included. Whoever adds a line says in the commit why the crate does no I/O, reads
/// no clock and starts no thread.
const CORE_MAY_USE: &[&str] = &[
    "adler2",
    "bytes",
    "bytestring",
    "cfg-if",
    "corelane-core",
    "corelane-protocol",
    "corelane-ring",
    "crc32c",
    "crc32fast",
    "flate2",
    // The names of C's types, for lz4-sys; nobody else may lean on it, see below.
    "libc",
    "lz4",
    "lz4-sys",
    "lz4_flex",
    "miniz_oxide",
    "regex",
    "regex-automata",
    "regex-syntax",
    "simd-adler32",
    "siphasher",
    "snap",
    "twox-hash",
    "zerocopy",
    "zstd",
    "zstd-safe",
    "zstd-sys",
];

#[test]
fn core_depends_on_nothing_that_reaches_outside() {
    let tree = dependencies(&["--package", "corelane-core", "--edges", "normal,no-proc-macro", "--format", "{p}"]);
    let names: Vec<&str> = tree.iter().filter_map(|line| line.split(' ').next()).collect();
    let foreign: Vec<&&str> = names.iter().filter(|name| !CORE_MAY_USE.contains(name)).collect();
    assert!(foreign.is_empty(), "not on the list of what core may use: {foreign:?}");
    let unused: Vec<&&str> = CORE_MAY_USE.iter().filter(|name| !names.contains(name)).collect();
    assert!(unused.is_empty(), "on the list, and core does not use them: {unused:?}");
}

#[test]
fn dependencies_point_one_way() {
    for (package, never) in [
        ("corelane-protocol", &["corelane-core", "corelane-server", "corelane-tools", "glommio-ng"][..]),
        ("corelane-core", &["corelane-server", "corelane-tools", "glommio-ng", "io-uring"]),
        ("corelane-server", &["corelane-tools"]),
    ] {
        let tree = dependencies(&["--package", package, "--edges", "normal,no-proc-macro", "--format", "{p}"]);
        let wrong = tree.iter().filter(|line| never.contains(&line.split(' ').next().unwrap_or_default()));
        assert_eq!(wrong.collect::<Vec<_>>(), Vec::<&String>::new(), "{package} must not know them");
    }
    let users = ["--package", "corelane-core", "--edges", "normal,no-proc-macro", "--invert", "libc", "--depth", "1"];
    let users = dependencies(&[&users[..], &["--format", "{p}"]].concat());
    let names: Vec<&str> = users.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names, ["libc", "lz4-sys"], "of what core is built on");
}

#[test]
fn every_licence_is_one_that_deny_toml_allows() {
    let rules = fs::read_to_string(root().join("deny.toml")).unwrap();
    let allowed = quoted(rules.lines().find(|line| line.starts_with("allow = ")).expect("deny.toml has a list"));
    let exceptions: Vec<Vec<&str>> = rules.lines().filter(|line| line.contains("crate = ")).map(quoted).collect();
    let tree = dependencies(&["--workspace", "--format", "{p}|{l}"]);
    assert!(tree.len() > 50, "{tree:?}");
    for line in &tree {
        let (package, licence) = line.split_once('|').expect("as asked for");
        let name = package.split(' ').next().unwrap_or_default();
        let mut agreed = allowed.clone();
        agreed.extend(exceptions.iter().filter(|exception| exception[0] == name).flat_map(|e| &e[1..]));
        assert!(is_allowed(licence, &agreed), "{package} is under {licence:?}, and deny.toml allows {agreed:?}");
    }
}

fn quoted(line: &str) -> Vec<&str> {
    line.split('"').skip(1).step_by(2).collect()
}

/// Whether a licence expression can be met: `AND` binds closer than `OR`; a slash is an old form of `OR`.
fn is_allowed(expression: &str, agreed: &[&str]) -> bool {
    let expression = expression.trim().replace('/', " OR ");
    let top = |word: &str| -> Vec<String> {
        let (mut parts, mut depth) = (vec![String::new()], 0);
        for token in expression.replace('(', " ( ").replace(')', " ) ").split_whitespace() {
            depth += i32::from(token == "(") - i32::from(token == ")");
            if depth == 0 && token == word {
                parts.push(String::new());
            } else if let Some(part) = parts.last_mut() {
                part.push_str(token);
                part.push(' ');
            }
        }
        parts
    };
    let (choices, needs) = (top("OR"), top("AND"));
    if choices.len() > 1 {
        return choices.iter().any(|choice| is_allowed(choice, agreed));
    }
    if needs.len() > 1 {
        return needs.iter().all(|need| is_allowed(need, agreed));
    }
    let bare = expression.trim();
    match bare.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
        Some(inner) => is_allowed(inner, agreed),
        None => agreed.contains(&bare.trim_end_matches('+')),
    }
}

#[test]
fn licence_expressions_are_read_as_they_are_meant() {
    let agreed = ["MIT", "Apache-2.0", "Unicode-3.0", "MPL-2.0"];
    for good in
        ["MIT", "GPL-3.0 OR MIT", "Apache-2.0/GPL-3.0", "(MIT OR X) AND Unicode-3.0", "MPL-2.0+", "X AND Y OR MIT"]
    {
        assert!(is_allowed(good, &agreed), "{good}");
    }
    for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR X) AND Y", "X OR MIT AND Y", "Apache-2.0 WITH X"] {
        assert!(!is_allowed(bad, &agreed), "{bad}");
    }
}
