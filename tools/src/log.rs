//! The log of the process, on the standard error: what it shows, and how that is changed while a broker runs.

use corelane_core::config::{LogLevel, LogLevels, ROOT_LOGGER};
use corelane_server::logging::{LOGGERS, Logging};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

/// What is logged unless `RUST_LOG` says otherwise: what is wrong, and what somebody has asked for with SIGUSR1.
const LOGGED: &str = "warn,corelane::told=info";

/// Starts the log, and gives what changes it.
pub(crate) fn start() -> Logging {
    let wanted = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
    let wanted = wanted.and_then(|text| match text.parse::<Targets>() {
        Ok(targets) => Some(targets),
        Err(error) => {
            crate::output::note(format!(
                "RUST_LOG={text} is not used: {error}; write it as warn,corelane_server=debug"
            ));
            None
        }
    });
    // The text is ours and is one.
    let targets = wanted.unwrap_or_else(|| LOGGED.parse().unwrap_or_default());
    let levels = levels_of(&targets);
    let (layer, handle) = reload::Layer::new(targets.clone());
    tracing_subscriber::registry()
        .with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr))
        .with(layer)
        .init();
    Logging::new(levels, move |levels| {
        // It fails only when the log is gone, and the process with it.
        let _ = handle.reload(with_levels(&targets, levels));
    })
}

/// The levels that these targets come to for the broker's loggers.
fn levels_of(targets: &Targets) -> LogLevels {
    let level = |logger: &str| {
        let shown = [
            (tracing::Level::TRACE, LogLevel::Trace),
            (tracing::Level::DEBUG, LogLevel::Debug),
            (tracing::Level::INFO, LogLevel::Info),
            (tracing::Level::WARN, LogLevel::Warn),
            (tracing::Level::ERROR, LogLevel::Error),
        ];
        let most = shown.into_iter().find(|(level, _)| targets.would_enable(logger, level));
        most.map_or(LogLevel::Fatal, |(_, level)| level)
    };
    // No target has that name, so it has the level of all that have none.
    LogLevels::new(level(ROOT_LOGGER), LOGGERS.iter().map(|logger| (*logger, level(logger))))
}

fn with_levels(targets: &Targets, levels: &LogLevels) -> Targets {
    levels.all().fold(targets.clone(), |targets, (logger, level)| {
        let filter = match level {
            LogLevel::Fatal => LevelFilter::OFF,
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        };
        if logger == ROOT_LOGGER { targets.with_default(filter) } else { targets.with_target(logger, filter) }
    })
}

#[cfg(test)]
mod tests {
    use corelane_core::config::LogLevelChange;

    use super::*;

    #[test]
    fn levels_come_from_the_targets_and_go_back_there() {
        let targets: Targets =
            "warn,corelane_server::storage=debug,corelane_server::storage::open=trace".parse().unwrap();
        let levels = levels_of(&targets);
        assert_eq!(levels.level(ROOT_LOGGER), Some(LogLevel::Warn));
        assert_eq!(levels.level("corelane_server::api"), Some(LogLevel::Warn));
        assert_eq!(levels.level("corelane_server::storage"), Some(LogLevel::Debug));
        let change = |logger, value| LogLevelChange { logger, operation: 0, value: Some(value) };
        let changes = [change(ROOT_LOGGER, "FATAL"), change("corelane_server::api", "TRACE")];
        let changed = with_levels(&targets, &levels.changed(&changes).unwrap());
        for (target, level, is_shown) in [
            ("elsewhere", tracing::Level::ERROR, false),
            ("corelane_server::connection", tracing::Level::ERROR, false),
            ("corelane_server::api::k00_produce", tracing::Level::TRACE, true),
            ("corelane_server::storage::append", tracing::Level::DEBUG, true),
            ("corelane_server::storage::append", tracing::Level::TRACE, false),
            ("corelane_server::storage::open", tracing::Level::TRACE, true),
        ] {
            assert_eq!(changed.would_enable(target, &level), is_shown, "{target} {level}");
        }
    }
}
