//! Writes the Rust of messages: types, defaults, documentation and facts. The codecs are in `codec`.

use std::fmt::Write;

use crate::codec;
use crate::model::{Field, Kind, Message, Struct, Type};

/// One module for each message, which holds its structs, and the message itself re-exported beside it.
pub(crate) fn modules(messages: &[Message]) -> String {
    let mut out = String::new();
    for message in messages {
        let module = snake_case(&message.name);
        let name = &message.name;
        let _ = writeln!(out, "pub use {module}::{name};\n");
        let _ = writeln!(out, "/// [`{name}`] and what it is made of.\npub mod {module} {{");
        out += "#[allow(unused_imports)]\nuse super::prelude::*;\n";
        for item in &message.structs {
            definition(&mut out, message, item);
            codec::functions(&mut out, message, item);
        }
        facts(&mut out, message);
        out += "}\n\n";
    }
    out
}

/// The rows of the table of API keys; `src/api_key.rs` has the macro that makes an enum of them.
pub(crate) fn api_keys(messages: &[Message]) -> String {
    let mut apis: Vec<_> = messages
        .iter()
        .filter_map(|message| match &message.kind {
            Kind::Request { api } => Some((api, message)),
            _ => None,
        })
        .collect();
    apis.sort_by_key(|(api, _)| api.key);
    let mut out = String::from("api_keys! {\n");
    for (api, message) in apis {
        let versions = message.versions;
        let newest_stable = api.unstable.map_or(versions.max, |unstable| unstable - 1);
        let flexible_from = message.flexible_from.unwrap_or(i16::MAX);
        let _ = writeln!(
            out,
            "{} = {}, versions {}..={}, stable to {newest_stable}, flexible from {flexible_from};",
            api.name, api.key, versions.min, versions.max,
        );
    }
    out + "}\n"
}

/// The struct with its fields, and its `Default`.
fn definition(out: &mut String, message: &Message, item: &Struct) {
    let about = match &message.kind {
        _ if item.name != message.name => format!("Part of [`{}`], versions {}.", message.name, item.versions),
        Kind::Request { api } => format!("Request of API {} ({}), versions {}.", api.key, api.name, item.versions),
        Kind::Response { api } => format!("Response of API {} ({}), versions {}.", api.key, api.name, item.versions),
        Kind::Record { id } => format!("Record {id}, versions {}.", item.versions),
        Kind::Data => format!("Versions {}.", item.versions),
    };
    let _ = writeln!(out, "\n/// {about}");
    let all_zero = item.fields.iter().all(default_is_zero);
    let default = if all_zero { ", Default" } else { "" };
    let _ = writeln!(out, "#[derive(Clone, Debug, PartialEq{default})]\npub struct {} {{", item.name);
    for field in &item.fields {
        let _ = writeln!(out, "/// {}\npub {}: {},", about_field(field), ident(field), field_type(field));
    }
    out.push_str("}\n");
    if all_zero {
        return;
    }
    let _ = writeln!(out, "\nimpl Default for {} {{\nfn default() -> Self {{\nSelf {{", item.name);
    for field in &item.fields {
        let _ = writeln!(out, "{}: {},", ident(field), default_value(field));
    }
    out.push_str("}\n}\n}\n");
}

fn about_field(field: &Field) -> String {
    let mut about = format!("`{}`, versions {}", field.ty, field.versions);
    if let Some(nullable) = field.nullable {
        about += &if nullable == field.versions { ", nullable".into() } else { format!(", nullable in {nullable}") };
    }
    if let Some(tag) = field.tag {
        about += &format!(", tag {tag}");
    }
    if let Some(default) = &field.default {
        about += &format!(", default {default}");
    }
    about + "."
}

/// The trait implementations of the message itself.
fn facts(out: &mut String, message: &Message) {
    let (name, versions) = (&message.name, message.versions);
    let api_key = match &message.kind {
        Kind::Request { api } | Kind::Response { api } => format!("Some({})", api.key),
        _ => "None".into(),
    };
    let _ = writeln!(
        out,
        "
    impl Message for {name} {{
        const NAME: &'static str = \"{name}\";
        const API_KEY: Option<i16> = {api_key};
        const VERSIONS: RangeInclusive<i16> = {}..={};
        const FLEXIBLE_FROM: Option<i16> = {:?};

        fn decode(reader: &mut Reader, version: i16) -> Result<Self, DecodeError> {{
            Self::check_decoded_version(reader, version)?;
            Self::read(reader, version)
        }}

        fn encode(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {{
            Self::check_encoded_version(writer, version)?;
            self.write(writer, version)
        }}
    }}",
        versions.min, versions.max, message.flexible_from,
    );
    match &message.kind {
        Kind::Request { api } => {
            let api = &api.name;
            let response = format!("super::{api}Response");
            let _ = writeln!(
                out,
                "
    impl Request for {name} {{
        type Response = {response};
        const API: ApiKey = ApiKey::{api};
    }}"
            );
        }
        Kind::Record { id } => {
            let _ = writeln!(out, "\nimpl Record for {name} {{\nconst ID: i16 = {id};\n}}");
        }
        _ => {}
    }
}

pub(crate) fn ident(field: &Field) -> String {
    match field.name.as_str() {
        "type" | "match" => format!("r#{}", field.name),
        name => name.to_owned(),
    }
}

fn field_type(field: &Field) -> String {
    let ty = rust_type(&field.ty);
    if field.nullable.is_some() { format!("Option<{ty}>") } else { ty }
}

fn rust_type(ty: &Type) -> String {
    match ty {
        Type::Bool => "bool".into(),
        Type::Integer(name) => (*name).into(),
        Type::Float => "f64".into(),
        Type::Uuid => "[u8; 16]".into(),
        Type::String => "KafkaString".into(),
        Type::Bytes => "Bytes".into(),
        Type::Struct(name) => name.clone(),
        Type::Array(element) => format!("Vec<{}>", rust_type(element)),
    }
}

/// Whether the type's own `Default` is the schema's.
fn default_is_zero(field: &Field) -> bool {
    let nullable_and_default = (field.nullable, field.default.as_deref());
    matches!(nullable_and_default, (None, None | Some("0" | "false")) | (Some(_), Some("null")))
}

fn default_value(field: &Field) -> String {
    let value = match (&field.ty, field.default.as_deref()) {
        (_, Some("null")) => return "None".into(),
        (Type::Bool | Type::Integer(_) | Type::Float, Some(value)) => value.to_owned(),
        (_, _) => "Default::default()".into(),
    };
    if field.nullable.is_some() { format!("Some({value})") } else { value }
}

/// An expression that compares `value`, a place of the field's type, with the default: are they the same, or not?
pub(crate) fn default_test(field: &Field, value: &str, same: bool) -> String {
    let (not, equals) = if same { ("", "==") } else { ("!", "!=") };
    let default = field.default.as_deref();
    match &field.ty {
        _ if default == Some("null") => format!("{value}.{}()", if same { "is_none" } else { "is_some" }),
        Type::Struct(name) if field.nullable.is_some() => format!("{value} {equals} Some({name}::default())"),
        _ if field.nullable.is_some() => format!("{not}{value}.as_ref().is_some_and(|value| value.is_empty())"),
        Type::Bool if (default == Some("true")) == same => value.to_owned(),
        Type::Bool => format!("!{value}"),
        Type::Integer(_) => format!("{value} {equals} {}", default.unwrap_or("0")),
        Type::Float => format!("{value} {equals} {}", default.unwrap_or("0.0")),
        Type::Uuid => format!("{value} {equals} [0; 16]"),
        Type::String | Type::Bytes | Type::Array(_) => format!("{not}{value}.is_empty()"),
        Type::Struct(name) => format!("{value} {equals} {name}::default()"),
    }
}

/// `ApiVersions` → `api_versions`; a run of capitals is one word.
pub(crate) fn snake_case(name: &str) -> String {
    let letters: Vec<char> = name.replace("KRaft", "Kraft").chars().collect();
    let mut out = String::new();
    for (index, letter) in letters.iter().enumerate() {
        let after_small = index > 0 && !letters[index - 1].is_uppercase();
        let before_small = letters.get(index + 1).is_some_and(|next| next.is_lowercase());
        if index > 0 && letter.is_uppercase() && (after_small || before_small) {
            out.push('_');
        }
        out.extend(letter.to_lowercase());
    }
    out
}
