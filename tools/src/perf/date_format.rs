//! Times as Java's SimpleDateFormat writes them, as far as numbers go.

use std::str::FromStr;

use jiff::Zoned;

/// A format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DateFormat(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// A letter of the format, and the digits that its number has at least.
    Field(char, usize),
}

/// Letters that are known.
const FIELDS: &str = "yMdHmsS";

impl FromStr for DateFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts: Vec<Part> = Vec::new();
        let mut letters = text.chars().peekable();
        let push = |parts: &mut Vec<Part>, letter| match parts.last_mut() {
            Some(Part::Text(text)) => text.push(letter),
            _ => parts.push(Part::Text(String::from(letter))),
        };
        while let Some(letter) = letters.next() {
            if letter == '\'' {
                // Two of them are one; else what stands between is text.
                if letters.next_if_eq(&'\'').is_some() {
                    push(&mut parts, letter);
                    continue;
                }
                loop {
                    match letters.next() {
                        Some('\'') if letters.next_if_eq(&'\'').is_none() => break,
                        Some(letter) => push(&mut parts, letter),
                        None => return Err("a quotation mark is not closed".to_owned()),
                    }
                }
            } else if letter.is_ascii_alphabetic() {
                if !FIELDS.contains(letter) {
                    return Err(format!("the letter {letter} is not known here; there are {FIELDS}"));
                }
                match parts.last_mut() {
                    Some(Part::Field(last, digits)) if *last == letter => *digits += 1,
                    _ => parts.push(Part::Field(letter, 1)),
                }
            } else {
                push(&mut parts, letter);
            }
        }
        if parts.iter().any(|part| matches!(part, Part::Field('M', 3..))) {
            return Err("months are written as numbers here: M or MM".to_owned());
        }
        Ok(Self(parts))
    }
}

impl DateFormat {
    /// A time in its format.
    pub(super) fn write(&self, at: &Zoned) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Field('y', 2) => format!("{:02}", at.year().rem_euclid(100)),
            Part::Field(letter, digits) => {
                let number = match letter {
                    'y' => i32::from(at.year()),
                    'M' => i32::from(at.month()),
                    'd' => i32::from(at.day()),
                    'H' => i32::from(at.hour()),
                    'm' => i32::from(at.minute()),
                    's' => i32::from(at.second()),
                    _ => i32::from(at.millisecond()),
                };
                format!("{number:0digits$}")
            }
        };
        self.0.iter().map(part).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_java_writes_them() {
        let at: Zoned = "2026-03-04T05:06:07.089[UTC]".parse().unwrap();
        let write = |format: &str| format.parse::<DateFormat>().unwrap().write(&at);
        assert_eq!(write("yyyy-MM-dd HH:mm:ss:SSS"), "2026-03-04 05:06:07:089");
        assert_eq!(write("d.M.yy H:m"), "4.3.26 5:6");
        assert_eq!(write("HH'h''s'mm''"), "05h's06'");
        for bad in ["yyyy-MMM", "hh:mm a", "'open"] {
            assert!(bad.parse::<DateFormat>().is_err(), "{bad}");
        }
    }
}
