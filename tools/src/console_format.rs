//! What kafka-console-consumer.sh prints of a record, by its `print.*` properties.

use std::io::{self, Write};

use corelane_core::record::{Header, TimestampType};

use crate::format::PlacedRecord;

/// Which parts of a record to print and what stands between them; the names are those of the properties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConsoleFormat {
    print_timestamp: bool,
    print_partition: bool,
    print_offset: bool,
    print_epoch: bool,
    print_headers: bool,
    print_key: bool,
    print_value: bool,
    key_separator: String,
    headers_separator: String,
    line_separator: String,
    null_literal: String,
}

impl Default for ConsoleFormat {
    fn default() -> Self {
        Self {
            print_timestamp: false,
            print_partition: false,
            print_offset: false,
            print_epoch: false,
            print_headers: false,
            print_key: false,
            print_value: true,
            key_separator: "\t".to_owned(),
            headers_separator: ",".to_owned(),
            line_separator: "\n".to_owned(),
            null_literal: "null".to_owned(),
        }
    }
}

impl ConsoleFormat {
    /// Sets a property; an error names one that we do not have.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let is_on = || match value {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(format!("{name}={value}: it is true or false")),
        };
        match name {
            "print.timestamp" => self.print_timestamp = is_on()?,
            "print.partition" => self.print_partition = is_on()?,
            "print.offset" => self.print_offset = is_on()?,
            "print.epoch" => self.print_epoch = is_on()?,
            "print.headers" => self.print_headers = is_on()?,
            "print.key" => self.print_key = is_on()?,
            "print.value" => self.print_value = is_on()?,
            "key.separator" => value.clone_into(&mut self.key_separator),
            "headers.separator" => value.clone_into(&mut self.headers_separator),
            "line.separator" => value.clone_into(&mut self.line_separator),
            "null.literal" => value.clone_into(&mut self.null_literal),
            _ => {
                return Err(format!(
                    "{name} is not known; there are print.timestamp, print.partition, print.offset, print.epoch, \
                     print.headers, print.key, print.value, key.separator, headers.separator, line.separator, null.literal"
                ));
            }
        }
        Ok(())
    }

    /// Prints one record.
    pub(crate) fn print(&self, out: &mut impl Write, placed: &PlacedRecord<'_>) -> io::Result<()> {
        let PlacedRecord { partition, offset, timestamp, timestamp_type, epoch, record, .. } = placed;
        let mut parts: Vec<Vec<u8>> = Vec::new();
        if self.print_timestamp {
            let kind = match timestamp_type {
                TimestampType::CreateTime => "CreateTime",
                TimestampType::LogAppendTime => "LogAppendTime",
            };
            parts.push(format!("{kind}:{timestamp}").into_bytes());
        }
        parts.extend(self.print_partition.then(|| format!("Partition:{partition}").into_bytes()));
        parts.extend(self.print_offset.then(|| format!("Offset:{offset}").into_bytes()));
        parts.extend(self.print_epoch.then(|| format!("Epoch:{epoch}").into_bytes()));
        if self.print_headers {
            let header = |Header { key, value }: Header<'_>| {
                let value = value.unwrap_or(self.null_literal.as_bytes());
                [key, b":", value].concat()
            };
            let headers: Vec<Vec<u8>> = record.headers.map(header).collect();
            parts.push(match headers.is_empty() {
                true => b"NO_HEADERS".to_vec(),
                false => headers.join(self.headers_separator.as_bytes()),
            });
        }
        let or_null = |bytes: Option<&[u8]>| bytes.unwrap_or(self.null_literal.as_bytes()).to_vec();
        parts.extend(self.print_key.then(|| or_null(record.key)));
        parts.extend(self.print_value.then(|| or_null(record.value)));
        out.write_all(&parts.join(self.key_separator.as_bytes()))?;
        out.write_all(self.line_separator.as_bytes())
    }
}
