//! Topics by a pattern of their names.

use std::collections::BTreeSet;

use corelane_perf::driver::Driver;
use regex::Regex;

use crate::admin::Admin;
use crate::failure::Failure;

/// A regular expression for the whole name of a topic.
pub(crate) struct NamePattern(Regex);

impl NamePattern {
    /// An expression as it stands, as Kafka's consumers take `--include`.
    pub(crate) fn of_expression(expression: &str) -> Result<Self, Failure> {
        let regex = Regex::new(&format!("^(?:{expression})$"));
        regex
            .map(Self)
            .map_err(|_| Failure::new(format!("`{expression}` is no regular expression for names of topics")))
    }

    /// Alternatives with commas between them, as Kafka's administrative tools take `--topic`; quotation marks around them
    /// are nothing.
    pub(crate) fn of_list(text: &str) -> Result<Self, Failure> {
        let alternatives = text.trim().replace(',', "|");
        Self::of_expression(alternatives.trim_matches(['"', '\'', ' ']))
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        self.0.is_match(name)
    }
}

/// What `--include` names: the topics that there are now, without internal ones; at least one.
pub(crate) fn included_topics(include: &str, driver: Driver) -> Result<BTreeSet<String>, Failure> {
    let pattern = NamePattern::of_expression(include)?;
    let all = Admin::new(driver).topics(None)?;
    let names = all.into_iter().filter(|topic| !topic.is_internal).filter_map(|topic| topic.name);
    let topics: BTreeSet<String> = names.map(|name| name.to_string()).filter(|name| pattern.matches(name)).collect();
    match topics.is_empty() {
        true => Err(Failure::new(format!("--include {include}: no topic has such a name"))),
        false => Ok(topics),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_for_the_whole_name() {
        let list = NamePattern::of_list("'a.,b'").unwrap();
        assert!(list.matches("ax") && list.matches("b") && !list.matches("axx") && !list.matches("bb"));
        let expression = NamePattern::of_expression("a{1,2}|b").unwrap();
        assert!(expression.matches("aa") && expression.matches("b") && !expression.matches("aaa"));
        assert!(NamePattern::of_list("[").is_err());
    }
}
