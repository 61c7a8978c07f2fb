//! What the parts of a line are.

use clap::Args;

/// How a line becomes a record.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct LineSyntax {
    /// What parts key and value in a line; a line without it has no key. By default lines have no keys.
    #[arg(long, short = 'K', value_name = "TEXT")]
    pub(crate) key_separator: Option<String>,
    /// A key or value that is this text is null.
    #[arg(long, alias = "null-value", value_name = "TEXT")]
    pub(crate) null_marker: Option<String>,
    /// Headers stand at the beginning of a line.
    #[arg(skip)]
    pub(crate) headers: Option<HeaderSyntax>,
    /// A line without one of its parts is an error.
    #[arg(skip)]
    pub(crate) requires_parts: bool,
}

/// How headers stand in a line: `key:value,key:value` and a tab, in Kafka's console producer.
#[derive(Clone, Debug)]
pub(crate) struct HeaderSyntax {
    /// What stands behind the headers.
    pub(crate) delimiter: String,
    /// What stands between two headers.
    pub(crate) separator: String,
    /// What stands between key and value of a header.
    pub(crate) key_separator: String,
}

type HeaderParts<'a> = (&'a [u8], Option<&'a [u8]>);

/// The parts of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parsed<'a> {
    pub(super) headers: Vec<HeaderParts<'a>>,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
}

fn split_at<'a>(line: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = line.windows(separator.len().max(1)).position(|window| window == separator)?;
    Some((line.get(..at)?, line.get(at + separator.len()..)?))
}

impl LineSyntax {
    /// Takes a line apart.
    pub(super) fn parse<'a>(&self, line: &'a [u8]) -> Result<Parsed<'a>, String> {
        let mut rest = line;
        let mut headers = Vec::new();
        if let Some(syntax) = &self.headers {
            match split_at(rest, syntax.delimiter.as_bytes()) {
                Some((front, behind)) => {
                    headers = self.parse_headers(front, syntax)?;
                    rest = behind;
                }
                None if self.requires_parts => {
                    return Err(format!("there is no {:?} behind headers", syntax.delimiter));
                }
                None => {}
            }
        }
        let (key, value) = match &self.key_separator {
            None => (None, rest),
            Some(separator) => match split_at(rest, separator.as_bytes()) {
                Some((key, value)) => (Some(key), value),
                None if self.requires_parts => return Err(format!("there is no {separator:?} behind a key")),
                None => (None, rest),
            },
        };
        Ok(Parsed {
            headers,
            key: key.filter(|key| !self.is_null(key)),
            value: Some(value).filter(|value| !self.is_null(value)),
        })
    }

    fn is_null(&self, bytes: &[u8]) -> bool {
        self.null_marker.as_ref().is_some_and(|marker| bytes == marker.as_bytes())
    }

    fn parse_headers<'a>(&self, text: &'a [u8], syntax: &HeaderSyntax) -> Result<Vec<HeaderParts<'a>>, String> {
        if self.is_null(text) {
            return Ok(Vec::new());
        }
        let mut headers = Vec::new();
        let mut rest = Some(text);
        while let Some(text) = rest {
            let (header, behind) = match split_at(text, syntax.separator.as_bytes()) {
                Some((header, behind)) => (header, Some(behind)),
                None => (text, None),
            };
            match split_at(header, syntax.key_separator.as_bytes()) {
                Some((key, value)) => headers.push((key, Some(value).filter(|value| !self.is_null(value)))),
                None if self.requires_parts => {
                    let header = String::from_utf8_lossy(header);
                    return Err(format!("there is no {:?} in the header `{header}`", syntax.key_separator));
                }
                None => headers.push((header, None)),
            }
            rest = behind;
        }
        Ok(headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_parts_that_it_is_said_to_have() {
        let headers =
            HeaderSyntax { delimiter: "\t".to_owned(), separator: ",".to_owned(), key_separator: ":".to_owned() };
        let mut syntax = LineSyntax {
            key_separator: Some("\t".to_owned()),
            null_marker: Some("NULL".to_owned()),
            headers: Some(headers),
            requires_parts: true,
        };
        let parsed = syntax.parse(b"a:1,b:NULL\tk\tv\tw").unwrap();
        assert_eq!(parsed.headers, [(&b"a"[..], Some(&b"1"[..])), (b"b", None)]);
        assert_eq!((parsed.key, parsed.value), (Some(&b"k"[..]), Some(&b"v\tw"[..])));
        let parsed = syntax.parse(b"NULL\tNULL\tNULL").unwrap();
        assert_eq!(parsed, Parsed { headers: Vec::new(), key: None, value: None });
        for bad in [&b"x"[..], b"a:1\tk", b"a\tk\tv"] {
            assert!(syntax.parse(bad).is_err(), "{bad:?}");
        }
        syntax.requires_parts = false;
        assert_eq!(syntax.parse(b"x").unwrap(), Parsed { headers: Vec::new(), key: None, value: Some(b"x") });
    }
}
