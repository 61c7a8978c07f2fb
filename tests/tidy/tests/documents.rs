//! The documents say what the code does, where that can be told by a machine.
//!
//! `CORELANE_REWRITE_DOCS=1 cargo test -p corelane-tidy` writes the tables that are made from the code.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::ops::Range;

use corelane_core::config::{Allowed, BROKER, ConfigType, Definition, Dynamic, Effect, TOPIC};
use corelane_tidy::{files, root};

const CONFIGURATION: &str = "docs/configuration.md";
const COMPATIBILITY: &str = "docs/compatibility.md";
const END: &str = "<!-- end -->";

/// Where in a document the part that a mark begins is.
fn part(document: &str, mark: &str) -> Range<usize> {
    let at = document.find(mark).unwrap_or_else(|| panic!("{mark} is missing"));
    let length =
        |from: usize, what: &str| document[from..].find(what).unwrap_or_else(|| panic!("no {what} after {mark}"));
    let start = at + length(at, "-->\n") + "-->\n".len();
    start..start + length(start, END)
}

fn values(row: &Definition) -> String {
    let kind = format!("{:?}", row.kind).to_lowercase();
    match row.allowed {
        Allowed::Any => kind,
        Allowed::AtLeast(min) => format!("from {min}"),
        Allowed::Between(min, max) => format!("{min} to {max}"),
        Allowed::BetweenOr(min, max, other) => format!("{min} to {max}, or {other}"),
        Allowed::Ratio(min, max) => format!("{min} to {max}"),
        Allowed::OneOf(words) | Allowed::OneOfIgnoringCase(words) if row.kind == ConfigType::List => {
            format!("list of {}", words.join(", "))
        }
        Allowed::OneOf(words) | Allowed::OneOfIgnoringCase(words) => words.join(", "),
        Allowed::NonEmpty => format!("{kind}, not empty if given"),
        Allowed::ThrottledReplicas | Allowed::OffsetReset => panic!("{} acts; say here what it takes", row.name),
    }
}

fn default(row: &Definition) -> String {
    match row.default {
        None => "none".to_owned(),
        Some("") => "empty".to_owned(),
        Some("9223372036854775807") => "2⁶³ − 1".to_owned(),
        Some(text) => format!("`{text}`"),
    }
}

fn acting(table: &[Definition]) -> impl Iterator<Item = &Definition> {
    table.iter().filter(|row| row.effect == Effect::Acts && !row.internal)
}

fn acting_of_brokers() -> String {
    let mut text = "| name | default | values | changes at run time |\n| --- | --- | --- | --- |\n".to_owned();
    for row in acting(BROKER) {
        let changes = if row.dynamic == Dynamic::ClusterWide { "yes" } else { "" };
        let _ = writeln!(text, "| `{}` | {} | {} | {changes} |", row.name, default(row), values(row));
    }
    text
}

fn acting_of_topics() -> String {
    let mut text = "| name | default | values |\n| --- | --- | --- |\n".to_owned();
    for row in acting(TOPIC) {
        let _ = writeln!(text, "| `{}` | {} | {} |", row.name, default(row), values(row));
    }
    text
}

fn idle(table: &[Definition]) -> String {
    let reasons: BTreeSet<&str> = table
        .iter()
        .filter_map(|row| match row.effect {
            Effect::Idle(reason) => Some(reason),
            _ => None,
        })
        .collect();
    let mut text = "| why it does not act | settings |\n| --- | --- |\n".to_owned();
    for reason in reasons {
        let names: Vec<String> = table
            .iter()
            .filter(|row| row.effect == Effect::Idle(reason) && !row.internal)
            .map(|row| format!("`{}`", row.name))
            .collect();
        if !names.is_empty() {
            let _ = writeln!(text, "| {reason} | {} |", names.join(", "));
        }
    }
    text
}

fn default_only(table: &[Definition]) -> String {
    let names: Vec<String> = table
        .iter()
        .filter(|row| row.effect == Effect::DefaultOnly && !row.internal && !row.since_4_4)
        .map(|row| format!("`{}`", row.name))
        .collect();
    format!("{}\n", names.join(", "))
}

#[test]
fn the_tables_of_settings_are_those_of_the_code() {
    let path = root().join(CONFIGURATION);
    let mut document = fs::read_to_string(&path).unwrap();
    for (mark, table) in [
        ("<!-- broker settings that act", acting_of_brokers()),
        ("<!-- broker settings that are accepted", idle(BROKER)),
        ("<!-- broker settings at their default only", default_only(BROKER)),
        ("<!-- topic settings that act", acting_of_topics()),
        ("<!-- topic settings at their default only", default_only(TOPIC)),
    ] {
        let part = part(&document, mark);
        if std::env::var_os("CORELANE_REWRITE_DOCS").is_some() {
            document.replace_range(part, &table);
            fs::write(&path, &document).unwrap();
        } else {
            assert_eq!(document[part], table, "{CONFIGURATION} is out of date; CORELANE_REWRITE_DOCS=1 writes it anew");
        }
    }
}

#[test]
fn the_table_of_apis_is_what_is_served() {
    let document = fs::read_to_string(root().join(COMPATIBILITY)).unwrap();
    let told: Vec<(String, String)> = document[part(&document, "<!-- apis")]
        .lines()
        .skip(2)
        .map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            (cells[2].to_owned(), cells[3].to_owned())
        })
        .collect();
    let code = fs::read_to_string(root().join("server/src/api/mod.rs")).unwrap();
    let (_, list) = code.split_once("SERVED: &[").expect("the list of what is served has moved");
    let (list, _) = list.split_once("];").expect("it ends");
    let served: Vec<(String, String)> = list
        .lines()
        .filter_map(|line| line.trim().strip_prefix("(ApiKey::")?.strip_suffix("),"))
        .map(|entry| {
            let (name, versions) = entry.split_once(", ").expect("a name and a range");
            let (first, last) = versions.split_once("..=").expect("an inclusive range");
            (name.to_owned(), if first == last { first.to_owned() } else { format!("{first}–{last}") })
        })
        .collect();
    assert!(served.len() >= 13, "{served:?}");
    assert_eq!(told, served, "{COMPATIBILITY} and server/src/api/mod.rs differ");
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    for (path, text) in files(&["md"]) {
        let directory = root().join(&path).parent().expect("a file is in a folder").to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            if !link.contains("://") && !file.is_empty() && !directory.join(file).exists() {
                broken.push(format!("{path}: {link}"));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn files_that_the_documents_name_are_there() {
    let mut missing = Vec::new();
    for (path, text) in files(&["md"]) {
        for name in text.split('`').skip(1).step_by(2) {
            let is_path = ["core/", "server/", "tests/", "tools/", "docs/", "perf/", "bench/"]
                .iter()
                .any(|p| name.starts_with(p));
            let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "/_-.".contains(c));
            if is_path && is_plain && !name.contains("NN") && !root().join(name).exists() {
                missing.push(format!("{path}: {name}"));
            }
        }
    }
    assert!(missing.is_empty(), "named and not there:\n{}", missing.join("\n"));
}
