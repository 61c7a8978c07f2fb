//! How a record is printed: a pattern like kcat's, or JSON.

use std::fmt::Write as _;
use std::io::{self, Write};

use corelane_core::base::{LeaderEpoch, Offset, PartitionIndex, Timestamp};
use corelane_core::record::{Header, Record, TimestampType};

use crate::console_format::ConsoleFormat;

/// A record with its place.
pub(crate) struct PlacedRecord<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: PartitionIndex,
    pub(crate) offset: Offset,
    pub(crate) timestamp: Timestamp,
    pub(crate) timestamp_type: TimestampType,
    pub(crate) epoch: LeaderEpoch,
    pub(crate) record: &'a Record<'a>,
}

/// What to print for each record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// The pieces of a pattern, in order.
    Pattern(Vec<Piece>),
    /// One JSON object a line.
    Json,
    /// What Kafka's console consumer prints.
    Console(ConsoleFormat),
}

/// A piece of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(Vec<u8>),
    Topic,
    Partition,
    Offset,
    Timestamp,
    Key,
    KeyLength,
    Value,
    ValueLength,
    Headers,
}

impl Format {
    /// Parses a pattern: `%t` topic, `%p` partition, `%o` offset, `%T` timestamp, `%k` key, `%K` its length, `%s` (or
    /// `%v`) value, `%S` its length, `%h` headers, `%%` a percent sign, and `\n`, `\t`, `\r`, `\0`, `\\`, `\xHH`.
    pub(crate) fn parse(pattern: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut text = Vec::new();
        let mut characters = pattern.chars();
        while let Some(c) = characters.next() {
            let piece = match c {
                '%' => match characters.next() {
                    Some('t') => Piece::Topic,
                    Some('p') => Piece::Partition,
                    Some('o') => Piece::Offset,
                    Some('T') => Piece::Timestamp,
                    Some('k') => Piece::Key,
                    Some('K') => Piece::KeyLength,
                    Some('s' | 'v') => Piece::Value,
                    Some('S') => Piece::ValueLength,
                    Some('h') => Piece::Headers,
                    Some('%') => {
                        text.push(b'%');
                        continue;
                    }
                    Some(other) => return Err(format!("%{other} is none of %t %p %o %T %k %K %s %S %h %%")),
                    None => return Err("a % at the end stands for nothing; write %% for the sign".to_owned()),
                },
                '\\' => {
                    text.push(escape(&mut characters)?);
                    continue;
                }
                c => {
                    let mut buffer = [0; 4];
                    text.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
                    continue;
                }
            };
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
            }
            pieces.push(piece);
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Ok(Self::Pattern(pieces))
    }

    /// Prints one record.
    pub(crate) fn print(&self, out: &mut impl Write, placed: &PlacedRecord<'_>) -> io::Result<()> {
        match self {
            Self::Json => print_json(out, placed),
            Self::Console(format) => format.print(out, placed),
            Self::Pattern(pieces) => pieces.iter().try_for_each(|piece| piece.print(out, placed)),
        }
    }
}

fn escape(characters: &mut std::str::Chars<'_>) -> Result<u8, String> {
    match characters.next() {
        Some('n') => Ok(b'\n'),
        Some('t') => Ok(b'\t'),
        Some('r') => Ok(b'\r'),
        Some('0') => Ok(0),
        Some('\\') => Ok(b'\\'),
        Some('x') => {
            let digits: String = characters.take(2).collect();
            u8::from_str_radix(&digits, 16).map_err(|_| format!("\\x{digits} is not \\x and two hexadecimal digits"))
        }
        Some(other) => Err(format!("\\{other} is none of \\n \\t \\r \\0 \\\\ \\xHH")),
        None => Err("a backslash at the end stands for nothing; write \\\\ for one".to_owned()),
    }
}

impl Piece {
    fn print(&self, out: &mut impl Write, placed: &PlacedRecord<'_>) -> io::Result<()> {
        let PlacedRecord { topic, partition, offset, timestamp, record, .. } = placed;
        let length = |bytes: Option<&[u8]>| bytes.map_or(-1, |bytes| i64::try_from(bytes.len()).unwrap_or(i64::MAX));
        match self {
            Self::Text(text) => out.write_all(text),
            Self::Topic => write!(out, "{topic}"),
            Self::Partition => write!(out, "{partition}"),
            Self::Offset => write!(out, "{offset}"),
            Self::Timestamp => write!(out, "{timestamp}"),
            Self::Key => out.write_all(record.key.unwrap_or_default()),
            Self::KeyLength => write!(out, "{}", length(record.key)),
            Self::Value => out.write_all(record.value.unwrap_or_default()),
            Self::ValueLength => write!(out, "{}", length(record.value)),
            Self::Headers => {
                for (i, Header { key, value }) in record.headers.enumerate() {
                    if i > 0 {
                        out.write_all(b",")?;
                    }
                    out.write_all(key)?;
                    out.write_all(b"=")?;
                    out.write_all(value.unwrap_or(b"NULL"))?;
                }
                Ok(())
            }
        }
    }
}

/// One object: `topic`, `partition`, `offset`, `timestamp`, `key`, `value`, and `headers` as a list of objects with
/// `key` and `value`. Bytes that are not UTF-8 are in `key_hex` or `value_hex` instead.
fn print_json(out: &mut impl Write, placed: &PlacedRecord<'_>) -> io::Result<()> {
    let PlacedRecord { topic, partition, offset, timestamp, record, .. } = placed;
    let mut line = String::from("{\"topic\":");
    push_text(&mut line, topic);
    // Writing to a string does not fail.
    let _ = write!(line, ",\"partition\":{partition},\"offset\":{offset},\"timestamp\":{timestamp},");
    push_bytes(&mut line, "key", record.key);
    line.push(',');
    push_bytes(&mut line, "value", record.value);
    line.push_str(",\"headers\":[");
    for (i, Header { key, value }) in record.headers.enumerate() {
        line.push_str(if i > 0 { ",{" } else { "{" });
        push_bytes(&mut line, "key", Some(key));
        line.push(',');
        push_bytes(&mut line, "value", value);
        line.push('}');
    }
    line.push_str("]}\n");
    out.write_all(line.as_bytes())
}

fn push_bytes(line: &mut String, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => {
            let _ = write!(line, "\"{name}\":null");
        }
        Some((_, Ok(text))) => {
            let _ = write!(line, "\"{name}\":");
            push_text(line, text);
        }
        Some((bytes, Err(_))) => {
            let _ = write!(line, "\"{name}_hex\":\"");
            for byte in bytes {
                let _ = write!(line, "{byte:02x}");
            }
            line.push('"');
        }
    }
}

fn push_text(line: &mut String, text: &str) {
    line.push('"');
    for c in text.chars() {
        match c {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            c if u32::from(c) < 0x20 => {
                let _ = write!(line, "\\u{:04x}", u32::from(c));
            }
            c => line.push(c),
        }
    }
    line.push('"');
}

#[cfg(test)]
mod tests {
    use corelane_core::record::{BatchBuilder, BatchOptions};

    use super::*;

    fn printed(format: &Format, key: Option<&[u8]>, value: Option<&[u8]>) -> String {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        let headers = [Header { key: b"a", value: Some(b"1") }, Header { key: b"b", value: None }];
        builder.append(Timestamp(5), key, value, &headers);
        let batch = builder.build().unwrap();
        let payload = batch.payload();
        let record = batch.records(&payload).next().unwrap().unwrap();
        let mut out = Vec::new();
        let placed = PlacedRecord {
            topic: "t",
            partition: PartitionIndex(2),
            offset: Offset(7),
            timestamp: Timestamp(5),
            timestamp_type: TimestampType::CreateTime,
            epoch: LeaderEpoch(0),
            record: &record,
        };
        format.print(&mut out, &placed).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn patterns_name_what_is_printed() {
        let format = Format::parse("%t/%p/%o@%T %K:%k %S:%s [%h] 100%%\\x41\\n").unwrap();
        assert_eq!(printed(&format, Some(b"k"), Some(b"val")), "t/2/7@5 1:k 3:val [a=1,b=NULL] 100%A\n");
        assert_eq!(printed(&format, None, None), "t/2/7@5 -1: -1: [a=1,b=NULL] 100%A\n");
        for bad in ["%", "%q", "\\", "\\q", "\\xg0"] {
            assert!(Format::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn json_keeps_what_is_text_and_shows_the_rest_in_hexadecimal() {
        assert_eq!(
            printed(&Format::Json, Some(b"\"\\\n\x01"), Some(b"\xff\x00")),
            "{\"topic\":\"t\",\"partition\":2,\"offset\":7,\"timestamp\":5,\"key\":\"\\\"\\\\\\n\\u0001\",\
             \"value_hex\":\"ff00\",\"headers\":[{\"key\":\"a\",\"value\":\"1\"},{\"key\":\"b\",\"value\":null}]}\n"
        );
        assert!(printed(&Format::Json, None, Some(b"")).contains("\"key\":null,\"value\":\"\""));
    }
}
