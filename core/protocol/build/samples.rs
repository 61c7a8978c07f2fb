//! Writes what the tests need of every message: how to draw a random value that a version can carry, a list of all
//! messages, and one of all fields with what the schema says of them.

use std::fmt::Write;

use crate::emit::{ident, snake_case};
use crate::model::{Field, Message, Struct, Type, Versions};

/// Implementations of the tests' `Sample` trait, and the functions `codecs` and `fields`.
pub(crate) fn all(messages: &[Message], records: &[Message]) -> String {
    let mut out = String::new();
    let mut list = String::new();
    let mut fields = String::new();
    for (root, group) in [("messages", messages), ("records", records)] {
        for message in group {
            let path = format!("corelane_protocol::{root}::{}", snake_case(&message.name));
            for item in &message.structs {
                sample(&mut out, &path, item);
                for field in &item.fields {
                    fact(&mut fields, message, &path, item, field);
                }
            }
            let _ = writeln!(list, "Codec::of::<corelane_protocol::{root}::{}>(),", message.name);
        }
    }
    let _ = writeln!(
        out,
        "/// Every message and record.\n#[must_use]\npub fn codecs() -> Vec<Codec> {{\nvec![\n{list}]\n}}"
    );
    let _ = writeln!(
        out,
        "/// Every field of every struct.\n#[must_use]\npub fn fields() -> Vec<Field> {{\nvec![\n{fields}]\n}}"
    );
    out
}

fn fact(out: &mut String, message: &Message, path: &str, item: &Struct, field: &Field) {
    let range = |versions: Versions| format!("{}..={}", versions.min, versions.max);
    let _ = writeln!(
        out,
        "        Field {{ message: \"{}\", owner: \"{}\", name: \"{}\", owner_versions: {}, versions: {}, nullable: {}, \
         ignorable: {}, default: format!(\"{{:?}}\", {path}::{}::default().{}) }},",
        message.name,
        item.name,
        field.name,
        range(item.versions),
        range(field.versions),
        field.nullable.map_or("None".to_owned(), |nullable| format!("Some({})", range(nullable))),
        field.ignorable,
        item.name,
        ident(field),
    );
}

fn sample(out: &mut String, path: &str, item: &Struct) {
    let _ = writeln!(out, "#[allow(unused_variables, clippy::field_reassign_with_default, clippy::let_and_return)]");
    let _ = writeln!(out, "impl Sample for {path}::{} {{", item.name);
    let _ = writeln!(out, "fn sample(source: &mut Source, version: i16) -> Self {{");
    let mutable = if item.fields.is_empty() { "" } else { "mut " };
    let _ = writeln!(out, "let {mutable}this = Self::default();");
    for field in &item.fields {
        let (min, max) = (field.versions.min, field.versions.max);
        let _ = writeln!(out, "if ({min}..={max}).contains(&version) {{ this.{} = {}; }}", ident(field), value(field));
    }
    let _ = writeln!(out, "this\n}}\n}}\n");
}

fn value(field: &Field) -> String {
    let drawn =
        if matches!(field.ty, Type::Array(_)) { "source.list(version)" } else { "Sample::sample(source, version)" };
    match field.nullable {
        None => drawn.to_owned(),
        Some(nullable) => {
            let (min, max) = (nullable.min, nullable.max);
            format!("if ({min}..={max}).contains(&version) && source.one_in(4) {{ None }} else {{ Some({drawn}) }}")
        }
    }
}
