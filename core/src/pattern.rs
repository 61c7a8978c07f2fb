//! Patterns that clients send, in the language of RE2, which is that of Kafka's brokers (KIP-848, KIP-1152).

use regex::{Regex, RegexBuilder, escape};

/// A pattern that matches whole texts, compiled into at most `bytes_max` bytes.
///
/// # Errors
/// What is wrong with it.
pub fn whole_match(pattern: &str, bytes_max: usize) -> Result<Regex, regex::Error> {
    RegexBuilder::new(&format!("^(?:{})$", without_quotes(pattern))).size_limit(bytes_max).build()
}

/// What stands between `\Q` and `\E`, or the end, is meant as it is; the engine here does not know that.
fn without_quotes(pattern: &str) -> String {
    let (mut plain, mut rest) = (String::with_capacity(pattern.len()), pattern);
    while let Some(at) = rest.find('\\') {
        let (before, escaped) = rest.split_at(at);
        plain.push_str(before);
        if let Some(quoted) = escaped.strip_prefix("\\Q") {
            let (text, behind) = quoted.split_once("\\E").unwrap_or((quoted, ""));
            plain.push_str(&escape(text));
            rest = behind;
        } else {
            // The backslash and what it escapes, which may be another one.
            let length = escaped.chars().take(2).map(char::len_utf8).sum();
            let (pair, behind) = escaped.split_at(length);
            plain.push_str(pair);
            rest = behind;
        }
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_taken_away() {
        for (pattern, plain) in [
            ("", ""),
            ("a.b", "a.b"),
            (r"\Qa.b\E", r"a\.b"),
            (r"x\Qa.b\E.\Q*\E+", r"xa\.b.\*+"),
            (r"\Qa.b", r"a\.b"),
            (r"\\Qa", r"\\Qa"),
            (r"\\\Q.\E", r"\\\."),
            (r"a\", r"a\"),
            (r"\Q\E", ""),
            (r"\ä\Q.", r"\ä\."),
        ] {
            assert_eq!(without_quotes(pattern), plain, "{pattern}");
        }
        assert!(whole_match(r"(?i)\Qa.B\E\pL*", 1 << 20).unwrap().is_match("A.bc"));
        assert!(!whole_match(r"\Qa.b\E", 1 << 20).unwrap().is_match("axb"));
        assert!(whole_match(r"a\", 1 << 20).is_err() && whole_match("(", 1 << 20).is_err());
    }
}
