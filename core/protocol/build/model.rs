//! What a schema file says.

use std::fmt;

/// An inclusive range of message versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) min: i16,
    pub(crate) max: i16,
}

impl Versions {
    pub(crate) fn contains(self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }

    pub(crate) fn covers(self, other: Versions) -> bool {
        self.min <= other.min && other.max <= self.max
    }

    pub(crate) fn each(self) -> impl Iterator<Item = i16> {
        self.min..=self.max
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max { write!(f, "{}", self.min) } else { write!(f, "{}-{}", self.min, self.max) }
    }
}

/// One message, all versions of it.
pub(crate) struct Message {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) versions: Versions,
    /// First version with compact lengths and tagged fields; `None` if there is none.
    pub(crate) flexible_from: Option<i16>,
    /// The message itself first, then every struct within it.
    pub(crate) structs: Vec<Struct>,
}

/// What a message is for.
pub(crate) enum Kind {
    Request { api: Api },
    Response { api: Api },
    Record { id: i16 },
    Data,
}

/// The API that a request and its response belong to.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) key: i16,
    pub(crate) name: String,
    /// The newest version, if Kafka does not offer it yet.
    pub(crate) unstable: Option<i16>,
}

pub(crate) struct Struct {
    pub(crate) name: String,
    pub(crate) versions: Versions,
    pub(crate) fields: Vec<Field>,
}

pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) ty: Type,
    pub(crate) versions: Versions,
    pub(crate) nullable: Option<Versions>,
    pub(crate) tag: Option<u32>,
    /// As written in the schema; `None` is the type's zero.
    pub(crate) default: Option<String>,
    /// May be dropped silently in versions without it, even with a value.
    pub(crate) ignorable: bool,
    /// Never compact, even in flexible versions.
    pub(crate) classic: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Bool,
    Integer(&'static str),
    Float,
    Uuid,
    String,
    Bytes,
    Struct(String),
    Array(Box<Type>),
}

impl Message {
    pub(crate) fn is_flexible(&self, version: i16) -> bool {
        self.flexible_from.is_some_and(|first| version >= first)
    }

    pub(crate) fn find(&self, name: &str) -> &Struct {
        self.structs.iter().find(|found| found.name == name).expect("the parser has checked every struct name")
    }

    /// The least bytes that a value of `ty` takes in any of `versions`, from 1 on.
    pub(crate) fn bytes_min(&self, ty: &Type, versions: Versions) -> usize {
        let smallest = versions.each().map(|version| self.bytes_min_at(ty, version)).min();
        smallest.unwrap_or(1).max(1)
    }

    fn bytes_min_at(&self, ty: &Type, version: i16) -> usize {
        let flexible = self.is_flexible(version);
        match ty {
            Type::Bool | Type::Integer("i8") => 1,
            Type::Integer("i16" | "u16") => 2,
            Type::Integer("i32" | "u32") => 4,
            Type::Integer(_) | Type::Float => 8,
            Type::Uuid => 16,
            Type::String | Type::Bytes | Type::Array(_) if flexible => 1,
            Type::String => 2,
            Type::Bytes | Type::Array(_) => 4,
            Type::Struct(name) => {
                let fields = self.find(name).fields.iter();
                let present = fields.filter(|field| field.versions.contains(version) && field.tag.is_none());
                let bytes = present.map(|field| match (&field.ty, field.nullable) {
                    (Type::Struct(_), Some(_)) => 1,
                    (ty, _) => self.bytes_min_at(ty, version),
                });
                bytes.sum::<usize>() + usize::from(flexible)
            }
        }
    }
}

impl Struct {
    /// Tagged fields, by tag.
    pub(crate) fn tagged(&self) -> Vec<&Field> {
        let mut fields: Vec<_> = self.fields.iter().filter(|field| field.tag.is_some()).collect();
        fields.sort_by_key(|field| field.tag);
        fields
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Bool => f.write_str("bool"),
            Type::Integer(name) => f.write_str(name),
            Type::Float => f.write_str("f64"),
            Type::Uuid => f.write_str("uuid"),
            Type::String => f.write_str("string"),
            Type::Bytes => f.write_str("bytes"),
            Type::Struct(name) => f.write_str(name),
            Type::Array(element) => write!(f, "[{element}]"),
        }
    }
}
