//! Records of the internal logs, and data that stands inside other fields, generated from `schema/records/`.
//!
//! Each is a struct that covers all its versions; the structs within it are in a module of its name.

#![allow(clippy::field_reassign_with_default, clippy::single_match)]

mod prelude {
    pub(super) use std::ops::RangeInclusive;

    pub(super) use bytes::Bytes;

    pub(super) use crate::wire::{DecodeError, DecodeErrorKind, EncodeError, KafkaString, Reader, Writer};
    pub(super) use crate::{Message, Record};
}

include!(concat!(env!("OUT_DIR"), "/records.rs"));
