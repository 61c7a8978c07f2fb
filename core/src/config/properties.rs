//! Java's properties format, in which `server.properties` is written, with the place of every setting kept for errors.

use super::broker::ConfigError;
use std::fmt;
use std::sync::Arc;

/// Where a setting was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of a file, counted from 1.
    File {
        /// The file as the user named it.
        path: Arc<str>,
        /// First line of the setting.
        line: u32,
    },
    /// `--override` on the command line.
    Override,
    /// The program itself, where the user said nothing.
    BuiltIn,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Override => f.write_str("--override"),
            Self::BuiltIn => f.write_str("built in"),
        }
    }
}

/// One name and its value, as given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Name, not yet looked up.
    pub name: String,
    /// Value, not yet checked.
    pub value: String,
    /// Where it was given.
    pub place: Place,
}

impl Setting {
    /// A setting that the program makes where the user said nothing.
    #[must_use]
    pub fn built_in(name: &str, value: &str) -> Self {
        Self { name: name.to_owned(), value: value.to_owned(), place: Place::BuiltIn }
    }
}

/// Takes `key=value` of an `--override` apart.
///
/// # Errors
/// The text has no `=` or no name.
pub fn parse_override(text: &str) -> Result<Setting, ConfigError> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok(Setting { name: name.trim().to_owned(), value: value.trim().to_owned(), place: Place::Override })
        }
        _ => Err(ConfigError::new(Place::Override, format!("`{text}` is not of the form name=value"))),
    }
}

/// Parses the text of a properties file; `path` is only for errors.
///
/// The rules are Java's: comments begin with `#` or `!`, a backslash at the end of a line continues it, name and value
/// are parted by `=`, `:` or blanks, and `\t`, `\n`, `\r`, `\f`, `\uXXXX` and `\` before any other character are
/// escapes.
///
/// # Errors
/// Every line that is malformed.
pub fn parse_properties(path: &str, text: &str) -> Result<Vec<Setting>, Vec<ConfigError>> {
    let path: Arc<str> = path.into();
    let mut settings = Vec::new();
    let mut errors = Vec::new();
    for (line, logical) in logical_lines(text) {
        let place = Place::File { path: path.clone(), line };
        match split_setting(&logical) {
            Ok((name, value)) => settings.push(Setting { name, value: value.trim_end().to_owned(), place }),
            Err(message) => errors.push(ConfigError::new(place, message)),
        }
    }
    if errors.is_empty() { Ok(settings) } else { Err(errors) }
}

/// Lines with continuations joined, comments and blank lines left out, each with the number of its first line.
fn logical_lines(text: &str) -> Vec<(u32, String)> {
    let mut lines: Vec<(u32, String)> = Vec::new();
    let mut continued = false;
    for (number, natural) in (1u32..).zip(text.lines()) {
        let content = natural.trim_start_matches([' ', '\t', '\x0c']);
        if !continued && (content.is_empty() || content.starts_with(['#', '!'])) {
            continue;
        }
        let backslashes = content.bytes().rev().take_while(|&b| b == b'\\').count();
        let goes_on = backslashes % 2 == 1;
        let content = if goes_on { &content[..content.len() - 1] } else { content };
        match lines.last_mut() {
            Some((_, line)) if continued => line.push_str(content),
            _ => lines.push((number, content.to_owned())),
        }
        continued = goes_on;
    }
    lines.retain(|(_, line)| !line.is_empty());
    lines
}

fn split_setting(line: &str) -> Result<(String, String), String> {
    let mut escaped = false;
    let mut end = line.len();
    for (i, c) in line.char_indices() {
        if !escaped && matches!(c, '=' | ':' | ' ' | '\t' | '\x0c') {
            end = i;
            break;
        }
        escaped = c == '\\' && !escaped;
    }
    let (name, rest) = line.split_at(end);
    let rest = rest.trim_start_matches([' ', '\t', '\x0c']);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start_matches([' ', '\t', '\x0c']);
    let name = unescape(name)?;
    if name.is_empty() {
        return Err(format!("`{line}` has no name before the `=`"));
    }
    Ok((name, unescape(value)?))
}

fn unescape(text: &str) -> Result<String, String> {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut characters = text.chars();
    let mut buffer = [0u16; 2];
    while let Some(c) = characters.next() {
        if c != '\\' {
            units.extend_from_slice(c.encode_utf16(&mut buffer));
            continue;
        }
        match characters.next() {
            Some('t') => units.push(u16::from(b'\t')),
            Some('n') => units.push(u16::from(b'\n')),
            Some('r') => units.push(u16::from(b'\r')),
            Some('f') => units.push(0x0c),
            Some('u') => {
                let digits: String = characters.by_ref().take(4).collect();
                let unit = (digits.len() == 4).then(|| u16::from_str_radix(&digits, 16).ok()).flatten();
                units.push(unit.ok_or_else(|| format!("`\\u{digits}` is not `\\u` and four hexadecimal digits"))?);
            }
            Some(other) => units.extend_from_slice(other.encode_utf16(&mut buffer)),
            None => {}
        }
    }
    String::from_utf16(&units).map_err(|_| format!("`{text}` has half of a surrogate pair"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse_properties("f", text).unwrap().into_iter().map(|s| (s.name, s.value)).collect()
    }

    #[test]
    fn separators_comments_continuations_and_escapes_are_javas() {
        let cases: &[(&str, &[(&str, &str)])] = &[
            ("a=b", &[("a", "b")]),
            ("a:b", &[("a", "b")]),
            ("a b", &[("a", "b")]),
            ("  a \t=  b c  ", &[("a", "b c")]),
            ("a==b", &[("a", "=b")]),
            ("a = :b", &[("a", ":b")]),
            ("a", &[("a", "")]),
            ("# a=b\n ! c=d\n\n\t\n", &[]),
            ("a=b#c", &[("a", "b#c")]),
            ("a=1\\\n   2,\\\n3\nb=4", &[("a", "12,3"), ("b", "4")]),
            ("a=1\\\\\nb=2", &[("a", "1\\"), ("b", "2")]),
            ("a=1\\\n# not a comment", &[("a", "1# not a comment")]),
            ("a\\=b=c", &[("a=b", "c")]),
            ("a\\ b=c\\td", &[("a b", "c\td")]),
            ("a=\\u0041\\u00e9", &[("a", "A\u{e9}")]),
            ("a=\\ud83d\\ude00", &[("a", "\u{1f600}")]),
            ("a=C:\\\\x", &[("a", "C:\\x")]),
            ("a=\\q", &[("a", "q")]),
            ("a=1\r\nb=2\r\n", &[("a", "1"), ("b", "2")]),
            ("a=1\\", &[("a", "1")]),
        ];
        for (text, expected) in cases {
            let expected: Vec<_> = expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
            assert_eq!(pairs(text), expected, "{text:?}");
        }
    }

    #[test]
    fn every_malformed_line_is_reported_with_its_place() {
        let errors = parse_properties("dir/server.properties", "a=1\n=2\nb=\\\n\\u12g4\n").unwrap_err();
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), 2);
        assert!(texts[0].starts_with("dir/server.properties:2: "), "{}", texts[0]);
        assert!(texts[1].starts_with("dir/server.properties:3: "), "{}", texts[1]);
    }

    #[test]
    fn an_override_needs_a_name_and_an_equals_sign() {
        let setting = parse_override("log.dirs = /x=y").unwrap();
        assert_eq!((setting.name.as_str(), setting.value.as_str()), ("log.dirs", "/x=y"));
        assert_eq!(
            parse_override("log.dirs").unwrap_err().to_string(),
            "--override: `log.dirs` is not of the form name=value"
        );
        assert!(parse_override("=x").is_err());
    }
}
