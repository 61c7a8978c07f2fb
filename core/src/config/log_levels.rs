//! Loggers and their levels, as Kafka lets them be described and changed while a broker runs (KIP-412). They last until it
//! is started again.

use std::collections::BTreeMap;
use std::fmt;

use crate::protocol::ErrorCode;

/// The logger that all others inherit from.
pub const ROOT_LOGGER: &str = "root";

/// What a logger writes: what is as bad as its level, and what is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Nothing: the broker ends at what is fatal, and says why on its way.
    Fatal,
    /// What is lost or broken.
    Error,
    /// What somebody should look at.
    Warn,
    /// What happens rarely.
    Info,
    /// What helps to find a mistake.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// In the order of their names, as Kafka lists them.
    const ALL: [Self; 6] = [Self::Debug, Self::Error, Self::Fatal, Self::Info, Self::Trace, Self::Warn];

    /// The level of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.to_string() == name)
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fatal => "FATAL",
            Self::Error => "ERROR",
            Self::Warn => "WARN",
            Self::Info => "INFO",
            Self::Debug => "DEBUG",
            Self::Trace => "TRACE",
        })
    }
}

/// An operation on a logger, by its number in IncrementalAlterConfigs.
#[derive(Clone, Copy, Debug)]
pub struct LogLevelChange<'a> {
    /// The logger.
    pub logger: &'a str,
    /// 0 sets its level, 1 has it inherit again.
    pub operation: i8,
    /// The level to set.
    pub value: Option<&'a str>,
}

/// The loggers of a broker. Names are paths with `::` between their parts; a logger without a level of its own has that of
/// the nearest one above it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLevels {
    root: LogLevel,
    own: BTreeMap<String, Option<LogLevel>>,
}

impl LogLevels {
    /// Loggers and the levels that they begin with, under a root.
    #[must_use]
    pub fn new<'a>(root: LogLevel, loggers: impl IntoIterator<Item = (&'a str, LogLevel)>) -> Self {
        let mut levels = Self { root, own: BTreeMap::new() };
        for (logger, level) in loggers {
            let inherited = levels.inherited(logger);
            levels.own.insert(logger.to_owned(), (level != inherited).then_some(level));
        }
        levels
    }

    /// The level of a logger; none if there is no such logger.
    #[must_use]
    pub fn level(&self, logger: &str) -> Option<LogLevel> {
        match self.own.get(logger) {
            _ if logger == ROOT_LOGGER => Some(self.root),
            None => None,
            Some(Some(level)) => Some(*level),
            Some(None) => Some(self.inherited(logger)),
        }
    }

    fn inherited(&self, logger: &str) -> LogLevel {
        let mut above = logger;
        while let Some((parent, _)) = above.rsplit_once("::") {
            if let Some(Some(level)) = self.own.get(parent) {
                return *level;
            }
            above = parent;
        }
        self.root
    }

    /// Every logger with its level, by name.
    pub fn all(&self) -> impl Iterator<Item = (&str, LogLevel)> {
        let others = self.own.keys().map(|logger| (&**logger, self.level(logger).unwrap_or(self.root)));
        let mut all: Vec<(&str, LogLevel)> = others.chain([(ROOT_LOGGER, self.root)]).collect();
        all.sort_unstable_by_key(|(logger, _)| *logger);
        all.into_iter()
    }

    /// The loggers after all of these changes, or none of them.
    ///
    /// # Errors
    /// Kafka's code for the first that cannot be, and what would be right.
    pub fn changed(&self, changes: &[LogLevelChange<'_>]) -> Result<Self, (ErrorCode, String)> {
        let mut levels = self.clone();
        for (at, LogLevelChange { logger, operation, value }) in changes.iter().enumerate() {
            if changes[..at].iter().any(|earlier| earlier.logger == *logger) {
                let message = format!("the logger {logger} is named more than once");
                return Err((ErrorCode::INVALID_REQUEST, message));
            }
            let unknown = || (ErrorCode::INVALID_CONFIG, format!("Logger {logger} does not exist!"));
            match operation {
                0 => {
                    let name = value.ok_or_else(|| {
                        (ErrorCode::INVALID_REQUEST, format!("Null value not supported for : {logger}"))
                    })?;
                    if levels.level(logger).is_none() {
                        return Err(unknown());
                    }
                    let level = LogLevel::parse(name).ok_or_else(|| {
                        let valid = LogLevel::ALL.map(|level| level.to_string()).join(", ");
                        let message = format!(
                            "Cannot set the log level of {logger} to {name} as it is not a supported log level. \
                             Valid log levels are {valid}"
                        );
                        (ErrorCode::INVALID_CONFIG, message)
                    })?;
                    levels.set(logger, Some(level));
                }
                1 if *logger == ROOT_LOGGER => {
                    let message = "Removing the log level of the root logger is not allowed".to_owned();
                    return Err((ErrorCode::INVALID_REQUEST, message));
                }
                1 if levels.level(logger).is_none() => return Err(unknown()),
                1 => levels.set(logger, None),
                other => {
                    let name = match other {
                        2 => "APPEND".to_owned(),
                        3 => "SUBTRACT".to_owned(),
                        number => number.to_string(),
                    };
                    let message = format!("{name} operation is not allowed for the BROKER_LOGGER resource");
                    return Err((ErrorCode::INVALID_REQUEST, message));
                }
            }
        }
        Ok(levels)
    }

    fn set(&mut self, logger: &str, level: Option<LogLevel>) {
        match level {
            Some(level) if logger == ROOT_LOGGER => self.root = level,
            level => {
                self.own.insert(logger.to_owned(), level);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels() -> LogLevels {
        LogLevels::new(LogLevel::Warn, [("a", LogLevel::Warn), ("a::b", LogLevel::Info), ("c", LogLevel::Warn)])
    }

    fn change<'a>(logger: &'a str, operation: i8, value: Option<&'a str>) -> LogLevelChange<'a> {
        LogLevelChange { logger, operation, value }
    }

    #[test]
    fn loggers_inherit_what_they_were_not_given() {
        let levels = levels();
        let text = |levels: &LogLevels| levels.all().map(|(name, level)| format!("{name}={level}")).collect::<Vec<_>>();
        assert_eq!(text(&levels), ["a=WARN", "a::b=INFO", "c=WARN", "root=WARN"]);
        let levels = levels.changed(&[change("root", 0, Some("ERROR")), change("a", 0, Some("TRACE"))]).unwrap();
        assert_eq!(text(&levels), ["a=TRACE", "a::b=INFO", "c=ERROR", "root=ERROR"]);
        let levels = levels.changed(&[change("a::b", 1, None)]).unwrap();
        assert_eq!(text(&levels), ["a=TRACE", "a::b=TRACE", "c=ERROR", "root=ERROR"]);
        let levels = levels.changed(&[change("a", 1, None)]).unwrap();
        assert_eq!(text(&levels), ["a=ERROR", "a::b=ERROR", "c=ERROR", "root=ERROR"]);
        assert_eq!(levels.level("d"), None);
    }

    #[test]
    fn what_cannot_be_is_refused_as_by_kafka() {
        let levels = levels();
        for (change, code, part) in [
            (change("d", 0, Some("INFO")), 40, "Logger d does not exist!"),
            (change("d", 1, None), 40, "Logger d does not exist!"),
            (change("a", 0, Some("info")), 40, "Valid log levels are DEBUG, ERROR, FATAL, INFO, TRACE, WARN"),
            (change("a", 0, None), 42, "Null value not supported for : a"),
            (change("root", 1, None), 42, "Removing the log level of the root logger"),
            (change("a", 2, Some("INFO")), 42, "APPEND operation is not allowed"),
            (change("a", 3, Some("INFO")), 42, "SUBTRACT operation is not allowed"),
            (change("a", 9, Some("INFO")), 42, "9 operation is not allowed"),
        ] {
            let (found, message) = levels.changed(&[self::change("c", 0, Some("DEBUG")), change]).unwrap_err();
            assert_eq!(found.0, code, "{change:?}");
            assert!(message.contains(part), "{change:?}: {message}");
        }
    }
}
