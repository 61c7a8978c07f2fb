//! Turns the message definitions in `schema/` into Rust: parse, check, emit. The format is described in
//! `schema/README.md`.

use std::path::Path;
use std::{env, fs, process};

#[path = "build/codec.rs"]
mod codec;
#[path = "build/emit.rs"]
mod emit;
#[path = "build/layout.rs"]
mod layout;
#[path = "build/model.rs"]
mod model;
#[path = "build/parse.rs"]
mod parse;
#[path = "build/samples.rs"]
mod samples;

use model::Message;

fn main() {
    println!("cargo::rerun-if-changed=schema");
    println!("cargo::rerun-if-changed=build");
    let messages = parse_folder(Path::new("schema"));
    let records = parse_folder(Path::new("schema/records"));

    let out = env::var("OUT_DIR").unwrap_or_else(|_| fail("OUT_DIR is not set; this is run by cargo"));
    let write = |name: &str, text: String| {
        fs::write(Path::new(&out).join(name), layout::indented(&text))
            .unwrap_or_else(|error| fail(&format!("{name}: {error}")));
    };
    write("messages.rs", emit::modules(&messages));
    write("records.rs", emit::modules(&records));
    write("api_keys.rs", emit::api_keys(&messages));
    write("samples.rs", samples::all(&messages, &records));
}

/// The messages of every `.schema` file in `folder`, by file name.
fn parse_folder(folder: &Path) -> Vec<Message> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| fail(&format!("{}: {error}", folder.display())));
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "schema"));
    paths.sort();
    let mut messages = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).unwrap_or_else(|error| fail(&format!("{}: {error}", path.display())));
        match parse::file(&text) {
            Ok(parsed) => messages.extend(parsed),
            Err(error) => fail(&format!("{}:{}: {}", path.display(), error.line, error.what)),
        }
    }
    messages
}

fn fail(what: &str) -> ! {
    println!("cargo::error={what}");
    process::exit(1)
}
