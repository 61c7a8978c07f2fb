//! Writes the two functions of a struct that read and write its fields.

use std::fmt::Write;

use crate::emit::{default_test, ident};
use crate::model::{Field, Message, Struct, Type, Versions};

/// `read` and `write` of one struct.
pub(crate) fn functions(out: &mut String, message: &Message, item: &Struct) {
    let _ = writeln!(out, "\n#[allow(unused_variables)]\nimpl {} {{", item.name);
    read_function(out, message, item);
    out.push('\n');
    write_function(out, message, item);
    out.push_str("}\n");
}

/// What of the surroundings decides how a field is coded.
struct Context<'a> {
    message: &'a Message,
    item: &'a Struct,
}

impl Context<'_> {
    fn label(&self, field: &Field) -> String {
        format!("\"{}.{}\"", self.item.name, field.name)
    }

    /// The expression for "this version is flexible", of the whole struct.
    fn flexible(&self) -> &'static str {
        let versions = self.item.versions;
        match self.message.flexible_from {
            Some(first) if first <= versions.min => "true",
            Some(first) if first <= versions.max => "flexible",
            _ => "false",
        }
    }

    fn flexible_for(&self, field: &Field) -> &'static str {
        if field.classic { "false" } else { self.flexible() }
    }

    fn declare_flexible(&self, out: &mut String) {
        if let ("flexible", Some(first)) = (self.flexible(), self.message.flexible_from) {
            let _ = writeln!(out, "let flexible = version >= {first};");
        }
    }

    /// The versions of the struct that are flexible.
    fn flexible_versions(&self) -> Versions {
        let Versions { min, max } = self.item.versions;
        Versions { min: self.message.flexible_from.map_or(max, |first| first.max(min)), max }
    }

    /// A condition on `version` that holds within `inner`, given that it is within `outer`; `None` if it always holds.
    fn condition(inner: Versions, outer: Versions) -> Option<String> {
        match (inner.min > outer.min, inner.max < outer.max) {
            (false, false) => None,
            (true, false) => Some(format!("version >= {}", inner.min)),
            (false, true) => Some(format!("version <= {}", inner.max)),
            (true, true) if inner.min == inner.max => Some(format!("version == {}", inner.min)),
            (true, true) => Some(format!("({}..={}).contains(&version)", inner.min, inner.max)),
        }
    }

    /// The opposite of [`condition`](Self::condition).
    fn absence(inner: Versions, outer: Versions) -> Option<String> {
        match (inner.min > outer.min, inner.max < outer.max) {
            (false, false) => None,
            (true, false) => Some(format!("version < {}", inner.min)),
            (false, true) => Some(format!("version > {}", inner.max)),
            (true, true) => Some(format!("!({}..={}).contains(&version)", inner.min, inner.max)),
        }
    }
}

fn read_function(out: &mut String, message: &Message, item: &Struct) {
    let context = Context { message, item };
    out.push_str("fn read(reader: &mut Reader, version: i16) -> Result<Self, DecodeError> {\n");
    context.declare_flexible(out);
    let mutable = if item.fields.is_empty() { "" } else { "mut " };
    let _ = writeln!(out, "let {mutable}this = Self::default();");
    for field in item.fields.iter().filter(|field| field.tag.is_none()) {
        let assignment = format!("this.{} = {};", ident(field), read_field(&context, field));
        match Context::condition(field.versions, item.versions) {
            None => _ = writeln!(out, "{assignment}"),
            Some(condition) => _ = writeln!(out, "if {condition} {{\n{assignment}\n}}"),
        }
    }
    match context.flexible() {
        "false" => {}
        "true" => {
            let _ = writeln!(out, "{}", read_tagged(&context));
        }
        flexible => {
            let _ = writeln!(out, "if {flexible} {{\n{}\n}}", read_tagged(&context));
        }
    }
    out.push_str("Ok(this)\n}\n");
}

fn read_tagged(context: &Context<'_>) -> String {
    let tagged = context.item.tagged();
    if tagged.is_empty() {
        return "reader.tagged_fields(|_, _| Ok(false))?;".into();
    }
    let mut out = String::from("reader.tagged_fields(|tag, reader| {\nmatch tag {\n");
    for field in tagged {
        let tag = field.tag.unwrap_or_default();
        let guard = Context::condition(field.versions, context.flexible_versions());
        let read = format!("this.{} = {}", ident(field), read_field(context, field));
        match guard {
            None => _ = writeln!(out, "{tag} => {read},"),
            Some(guard) => {
                let _ = writeln!(out, "{tag} if {guard} => {read},");
                let error = "return Err(reader.error(DecodeErrorKind::TagNotInVersion { tag }))";
                let _ = writeln!(out, "{tag} => {error},");
            }
        }
    }
    out + "                        _ => return Ok(false),
                    }
                    Ok(true)
                })?;"
}

/// An expression of the field's type.
fn read_field(context: &Context<'_>, field: &Field) -> String {
    let reader = format!("reader.field({})", context.label(field));
    let Some(nullable) = field.nullable else {
        return read_value(context, field, &reader);
    };
    let null_or_value = match &field.ty {
        Type::Struct(name) => {
            let present = if field.tag.is_some() { "unsigned_varint()? != 0" } else { "is_present()?" };
            format!("if {reader}.{present} {{ Some({name}::read(reader, version)?) }} else {{ None }}")
        }
        _ => read_call(context, field, &reader, "nullable_"),
    };
    match Context::condition(nullable, field.versions) {
        None => null_or_value,
        Some(condition) => {
            let value = read_value(context, field, &reader);
            format!("if {condition} {{ {null_or_value} }} else {{ Some({value}) }}")
        }
    }
}

fn read_value(context: &Context<'_>, field: &Field, reader: &str) -> String {
    match &field.ty {
        Type::Struct(name) => format!("{name}::read(reader, version)?"),
        _ => read_call(context, field, reader, ""),
    }
}

fn read_call(context: &Context<'_>, field: &Field, reader: &str, prefix: &str) -> String {
    let flexible = context.flexible_for(field);
    match &field.ty {
        Type::String | Type::Bytes => format!("{reader}.{prefix}{}({flexible})?", method(&field.ty)),
        Type::Array(element) => {
            let bytes_min = context.message.bytes_min(element, field.versions);
            let read = match element.as_ref() {
                Type::Struct(name) => format!("|reader| {name}::read(reader, version)"),
                Type::String | Type::Bytes => format!("|reader| reader.{}({flexible})", method(element)),
                element => format!("Reader::{}", method(element)),
            };
            format!("{reader}.{prefix}array({flexible}, {bytes_min}, {read})?")
        }
        ty => format!("{reader}.{}()?", method(ty)),
    }
}

fn write_function(out: &mut String, message: &Message, item: &Struct) {
    let context = Context { message, item };
    out.push_str("fn write(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {\n");
    context.declare_flexible(out);
    for field in &item.fields {
        if field.tag.is_none() {
            write_untagged(out, &context, field);
        } else if let (Some(absence), false) = (Context::absence(field.versions, item.versions), field.ignorable) {
            let _ = writeln!(out, "if {absence} {{\n{}\n}}", omit(&context, field));
        }
    }
    match context.flexible() {
        "false" => {}
        "true" => write_tagged(out, &context),
        flexible => {
            let _ = writeln!(out, "if {flexible} {{");
            write_tagged(out, &context);
            out.push_str("}\n");
        }
    }
    out.push_str("Ok(())\n}\n");
}

fn write_untagged(out: &mut String, context: &Context<'_>, field: &Field) {
    let write = write_field(context, field);
    let Some(condition) = Context::condition(field.versions, context.item.versions) else {
        let _ = writeln!(out, "{write}");
        return;
    };
    let _ = write!(out, "if {condition} {{\n{write}\n}}");
    let _ = match field.ignorable {
        true => writeln!(out),
        false => writeln!(out, " else {{\n{}\n}}", omit(context, field)),
    };
}

/// A statement that refuses to lose a value in a version without the field.
fn omit(context: &Context<'_>, field: &Field) -> String {
    let default = default_test(field, &format!("self.{}", ident(field)), true);
    format!("writer.field({}).omit({default}, version)?;", context.label(field))
}

/// The count of tagged fields that differ from their default, then these fields by tag.
fn write_tagged(out: &mut String, context: &Context<'_>) {
    let tagged = context.item.tagged();
    if tagged.is_empty() {
        out.push_str("writer.unsigned_varint(0);\n");
        return;
    }
    for field in &tagged {
        let differs = default_test(field, &format!("self.{}", ident(field)), false);
        let condition = match Context::condition(field.versions, context.flexible_versions()) {
            Some(condition) => format!("{condition} && {differs}"),
            None => differs,
        };
        let _ = writeln!(out, "let has_{} = {condition};", field.name);
    }
    let terms: Vec<_> = tagged.iter().map(|field| format!("u32::from(has_{})", field.name)).collect();
    let _ = writeln!(out, "writer.unsigned_varint({});", terms.join(" + "));
    for field in &tagged {
        let _ = writeln!(
            out,
            "                if has_{} {{
                    writer.tagged_field({}, |writer| {{
                        {}
                        Ok(())
                    }})?;
                }}",
            field.name,
            field.tag.unwrap_or_default(),
            write_field(context, field),
        );
    }
}

/// A statement that writes the field.
fn write_field(context: &Context<'_>, field: &Field) -> String {
    let writer = format!("writer.field({})", context.label(field));
    let place = format!("self.{}", ident(field));
    let Some(nullable) = field.nullable else {
        return write_value(context, field, &writer, &place);
    };
    let null_or_value = match &field.ty {
        Type::Struct(_) => {
            let present = format!("{place}.is_some()");
            let presence = match field.tag {
                Some(_) => format!("unsigned_varint(u32::from({present}))"),
                None => format!("presence({present})"),
            };
            format!(
                "writer.{presence};
                if let Some(value) = &{place} {{
                    value.write(writer, version)?;
                }}"
            )
        }
        _ => write_call(context, field, &writer, &format!("{place}.as_ref()"), "nullable_"),
    };
    match Context::condition(nullable, field.versions) {
        None => null_or_value,
        Some(condition) => {
            let value = write_value(context, field, &writer, "value");
            let required = format!("let value = {writer}.required({place}.as_ref())?;");
            format!(
                "if {condition} {{
                    {null_or_value}
                }} else {{
                    {required}
                    {value}
                }}"
            )
        }
    }
}

fn write_value(context: &Context<'_>, field: &Field, writer: &str, place: &str) -> String {
    let borrowed = if place == "value" { place.to_owned() } else { format!("&{place}") };
    match &field.ty {
        Type::Struct(_) => format!("{place}.write(writer, version)?;"),
        Type::Bool | Type::Integer(_) | Type::Float => format!("writer.{}({place});", method(&field.ty)),
        Type::Uuid => format!("writer.uuid({borrowed});"),
        _ => write_call(context, field, writer, &borrowed, ""),
    }
}

fn write_call(context: &Context<'_>, field: &Field, writer: &str, value: &str, prefix: &str) -> String {
    let flexible = context.flexible_for(field);
    match &field.ty {
        Type::Array(element) => {
            let write = match element.as_ref() {
                Type::Struct(_) => "|writer, element| element.write(writer, version)".to_owned(),
                Type::String | Type::Bytes => {
                    format!("|writer, element| writer.{}(element, {flexible})", method(element))
                }
                Type::Uuid => "|writer, element| { writer.uuid(element); Ok(()) }".to_owned(),
                element => format!("|writer, element| {{ writer.{}(*element); Ok(()) }}", method(element)),
            };
            format!("{writer}.{prefix}array({value}, {flexible}, {write})?;")
        }
        ty => format!("{writer}.{prefix}{}({value}, {flexible})?;", method(ty)),
    }
}

/// The method of reader and writer that codes a type.
fn method(ty: &Type) -> &'static str {
    match ty {
        Type::Bool => "bool",
        Type::Integer(name) => name,
        Type::Float => "f64",
        Type::Uuid => "uuid",
        Type::String => "string",
        Type::Bytes => "bytes",
        Type::Struct(_) | Type::Array(_) => unreachable!("these are written by their own functions"),
    }
}
