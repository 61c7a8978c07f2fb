//! Reads a schema file, line by line, into the model, and checks that it makes sense.

use crate::model::{Api, Field, Kind, Message, Struct, Type, Versions};

/// A line that is not understood.
pub(crate) struct ParseError {
    /// From 1.
    pub(crate) line: usize,
    pub(crate) what: String,
}

/// A line with content: its number, its depth in steps of four blanks, and its words.
struct Line<'a> {
    number: usize,
    depth: usize,
    text: &'a str,
}

impl Line<'_> {
    fn error(&self, what: impl Into<String>) -> ParseError {
        ParseError { line: self.number, what: what.into() }
    }
}

/// What the first line of a block says.
struct Heading {
    name: String,
    key: Option<i16>,
    versions: Versions,
    flexible_from: Option<i16>,
    unstable: Option<i16>,
}

/// The messages of one file, in its order.
pub(crate) fn file(text: &str) -> Result<Vec<Message>, ParseError> {
    let mut lines = content(text)?.into_iter().peekable();
    let mut messages = Vec::new();
    let mut api: Option<Heading> = None;
    while let Some(line) = lines.next() {
        let mut body = Vec::new();
        while let Some(inner) = lines.next_if(|inner| inner.depth > 0) {
            body.push(inner);
        }
        let word = line.text.split(' ').next().unwrap_or_default();
        match word {
            "api" => api = Some(heading(&line)?),
            "request" | "response" => {
                let heading = api.as_ref().ok_or_else(|| line.error("no `api` line above"))?;
                messages.push(api_message(&line, word, heading, &body)?);
            }
            "record" => {
                let heading = heading(&line)?;
                let id = heading.key.ok_or_else(|| line.error("a record needs its number"))?;
                messages.push(message(&heading.name, Kind::Record { id }, &heading, &body, &line)?);
            }
            "data" => {
                let heading = heading(&line)?;
                messages.push(message(&heading.name, Kind::Data, &heading, &body, &line)?);
            }
            _ => return Err(line.error(format!("`{word}` begins no block"))),
        }
    }
    Ok(messages)
}

fn api_message(line: &Line<'_>, word: &str, heading: &Heading, body: &[Line<'_>]) -> Result<Message, ParseError> {
    let key = heading.key.ok_or_else(|| line.error("an api needs its key"))?;
    let api = Api { key, name: heading.name.clone(), unstable: heading.unstable };
    let (suffix, kind) = match word {
        "request" => ("Request", Kind::Request { api }),
        _ => ("Response", Kind::Response { api }),
    };
    message(&format!("{}{suffix}", heading.name), kind, heading, body, line)
}

/// Lines that are neither blank nor comment.
fn content(text: &str) -> Result<Vec<Line<'_>>, ParseError> {
    let mut lines = Vec::new();
    for (index, raw) in text.lines().enumerate() {
        let raw = raw.split('#').next().unwrap_or_default();
        let indent = raw.len() - raw.trim_start_matches(' ').len();
        let line = Line { number: index + 1, depth: indent / 4, text: raw.trim() };
        if line.text.is_empty() {
            continue;
        }
        if indent % 4 != 0 {
            return Err(line.error("indent by four blanks"));
        }
        lines.push(line);
    }
    Ok(lines)
}

/// `api 0 Produce, versions 0-13, flexible 9+` and its sisters.
fn heading(line: &Line<'_>) -> Result<Heading, ParseError> {
    let mut parts = line.text.split(", ");
    let mut words = parts.next().unwrap_or_default().split(' ').skip(1).peekable();
    let key = words.peek().and_then(|word| word.parse().ok());
    if key.is_some() {
        words.next();
    }
    let name = words.next().ok_or_else(|| line.error("no name"))?.to_owned();
    let mut versions = None;
    let mut flexible = None;
    let mut unstable = None;
    for part in parts {
        match part.split_once(' ') {
            Some(("versions", range)) => versions = Some(parse_versions(line, range, i16::MAX)?),
            Some(("flexible", "none")) => flexible = Some(None),
            Some(("flexible", range)) => flexible = Some(Some(parse_versions(line, range, i16::MAX)?.min)),
            Some(("unstable", version)) => unstable = Some(number(line, version)?),
            _ => return Err(line.error(format!("`{part}` is unknown"))),
        }
    }
    let versions = versions.ok_or_else(|| line.error("no `versions`"))?;
    let flexible_from = flexible.ok_or_else(|| line.error("no `flexible`"))?;
    Ok(Heading { name, key, versions, flexible_from, unstable })
}

fn message(
    name: &str,
    kind: Kind,
    heading: &Heading,
    body: &[Line<'_>],
    line: &Line<'_>,
) -> Result<Message, ParseError> {
    let versions = heading.versions;
    let mut structs = vec![Struct { name: name.to_owned(), versions, fields: Vec::new() }];
    fields(body, 0, versions, &mut structs)?;
    let message = Message { name: name.to_owned(), kind, versions, flexible_from: heading.flexible_from, structs };
    check(&message).map_err(|what| line.error(what))?;
    Ok(message)
}

/// Reads `lines`, all of one depth or deeper, as the fields of `structs[owner]`; nested structs are pushed behind.
fn fields(lines: &[Line<'_>], owner: usize, outer: Versions, structs: &mut Vec<Struct>) -> Result<(), ParseError> {
    let depth = lines.first().map_or(0, |line| line.depth);
    let mut rest = lines;
    while let Some((line, below)) = rest.split_first() {
        if line.depth != depth {
            return Err(line.error("deeper than the line above allows"));
        }
        let length = below.iter().take_while(|inner| inner.depth > depth).count();
        let (inner, behind) = below.split_at(length);
        rest = behind;

        let nested = if let Some(definition) = line.text.strip_prefix("struct ") {
            let mut words = definition.split_whitespace();
            let (name, range) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            Some((name.to_owned(), parse_versions(line, range, outer.max)?))
        } else {
            let field = field(line, outer)?;
            let nested = element(&field.ty).map(|name| (name.to_owned(), field.versions));
            structs[owner].fields.push(field);
            nested.filter(|_| !inner.is_empty())
        };
        match nested {
            Some((name, versions)) => {
                if structs.iter().any(|known| known.name == name) {
                    return Err(line.error(format!("a second struct `{name}`")));
                }
                structs.push(Struct { name, versions, fields: Vec::new() });
                let index = structs.len() - 1;
                fields(inner, index, versions, structs)?;
            }
            None if inner.is_empty() => {}
            None => return Err(line.error("only a struct has fields below it")),
        }
    }
    Ok(())
}

/// `name  type  versions  attribute, attribute`.
fn field(line: &Line<'_>, outer: Versions) -> Result<Field, ParseError> {
    let mut words = line.text.split_whitespace();
    let (Some(name), Some(ty), Some(range)) = (words.next(), words.next(), words.next()) else {
        return Err(line.error("a field is name, type, versions"));
    };
    let versions = parse_versions(line, range, outer.max)?;
    if !outer.covers(versions) {
        return Err(line.error(format!("versions {versions} go beyond those of the struct, {outer}")));
    }
    let mut field = Field {
        name: name.to_owned(),
        ty: parse_type(line, ty)?,
        versions,
        nullable: None,
        tag: None,
        default: None,
        ignorable: false,
        classic: false,
    };
    let attributes = words.collect::<Vec<_>>().join(" ");
    for attribute in attributes.split(", ").filter(|attribute| !attribute.is_empty()) {
        match attribute.split_once(' ') {
            None if attribute == "nullable" => field.nullable = Some(versions),
            None if attribute == "ignorable" => field.ignorable = true,
            None if attribute == "classic" => field.classic = true,
            Some(("nullable", range)) => field.nullable = Some(parse_versions(line, range, versions.max)?),
            Some(("tag", tag)) => field.tag = Some(number(line, tag)?),
            Some(("default", value)) => field.default = Some(value.to_owned()),
            _ => return Err(line.error(format!("`{attribute}` is unknown"))),
        }
    }
    Ok(field)
}

/// `3+`, `0-2` or `5`; an open end is `newest`.
fn parse_versions(line: &Line<'_>, text: &str, newest: i16) -> Result<Versions, ParseError> {
    let versions = if let Some(min) = text.strip_suffix('+') {
        Versions { min: number(line, min)?, max: newest }
    } else if let Some((min, max)) = text.split_once('-') {
        Versions { min: number(line, min)?, max: number(line, max)? }
    } else {
        let only = number(line, text)?;
        Versions { min: only, max: only }
    };
    if versions.min > versions.max {
        return Err(line.error(format!("versions `{text}` are empty")));
    }
    Ok(versions)
}

fn parse_type(line: &Line<'_>, text: &str) -> Result<Type, ParseError> {
    if let Some(element) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return Ok(Type::Array(Box::new(parse_type(line, element)?)));
    }
    Ok(match text {
        "bool" => Type::Bool,
        "i8" => Type::Integer("i8"),
        "i16" => Type::Integer("i16"),
        "i32" => Type::Integer("i32"),
        "i64" => Type::Integer("i64"),
        "u16" => Type::Integer("u16"),
        "u32" => Type::Integer("u32"),
        "f64" => Type::Float,
        "uuid" => Type::Uuid,
        "string" => Type::String,
        // Record batches are bytes to the codec; the name tells the reader what is inside.
        "bytes" | "records" => Type::Bytes,
        name if name.starts_with(|first: char| first.is_ascii_uppercase()) => Type::Struct(name.to_owned()),
        _ => return Err(line.error(format!("`{text}` is no type"))),
    })
}

fn number<T: std::str::FromStr>(line: &Line<'_>, text: &str) -> Result<T, ParseError> {
    text.parse().map_err(|_| line.error(format!("`{text}` is not a number that fits")))
}

/// The struct that a type is made of, if any.
fn element(ty: &Type) -> Option<&str> {
    match ty {
        Type::Struct(name) => Some(name),
        Type::Array(element) => self::element(element),
        _ => None,
    }
}

/// What can only be said of a whole message.
fn check(message: &Message) -> Result<(), String> {
    for owner in &message.structs {
        for field in &owner.fields {
            let place = format!("{}.{}", owner.name, field.name);
            if let Some(name) = element(&field.ty)
                && !message.structs.iter().any(|known| known.name == name)
            {
                return Err(format!("{place}: no struct `{name}`"));
            }
            if field.tag.is_some() && !message.is_flexible(field.versions.min) {
                return Err(format!("{place}: tagged in a version that is not flexible"));
            }
            if field.default.as_deref() == Some("null") && field.nullable.is_none() {
                return Err(format!("{place}: null by default but not nullable"));
            }
        }
        for (index, field) in owner.tagged().iter().enumerate() {
            if field.tag != u32::try_from(index).ok() {
                return Err(format!("{}: tags are not 0, 1, 2, …", owner.name));
            }
        }
    }
    Ok(())
}
