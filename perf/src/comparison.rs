//! Two runs side by side.

use crate::report::Report;
use crate::run_file::{Run, Settings};
use crate::slo::Measured;

/// A figure of two runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// What it is, with its unit.
    pub name: &'static str,
    /// Of the first run.
    pub first: f64,
    /// Of the second run.
    pub second: f64,
    /// Less of it is better.
    pub is_cost: bool,
}

impl Figure {
    /// The second as a multiple of the first; none if there is no first.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        (self.first > 0.0).then(|| self.second / self.first)
    }
}

/// What differs between two runs, beside what they measured: name, and the value of each.
pub type Difference = (String, Option<String>, Option<String>);

/// Two runs.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// What both measured.
    pub figures: Vec<Figure>,
    /// What they were told, and where they ran, as far as it is not the same.
    pub differences: Vec<Difference>,
}

/// Sets two runs side by side, by what counts of each.
#[must_use]
pub fn compare(first: &Run, second: &Run) -> Comparison {
    let figure = |name, is_cost, of: &dyn Fn(&Report) -> f64| {
        let (first, second) = (of(first.counted()), of(second.counted()));
        Figure { name, first, second, is_cost }
    };
    let mut figures = vec![
        figure("records", false, &|report| report.records as f64),
        figure("records/s", false, &Measured::records_rate),
        figure("MB/s", false, &Report::megabytes_rate),
    ];
    if !first.counted().latency_us.is_empty() && !second.counted().latency_us.is_empty() {
        figures.push(figure("avg ms", true, &Report::mean_ms));
        for (name, quantile) in QUANTILES {
            figures.push(figure(name, true, &|report| report.latency_ms(*quantile)));
        }
    }
    let host = |run: &Run| {
        vec![
            ("kernel".to_owned(), run.host.kernel.clone()),
            ("processor".to_owned(), run.host.processor.clone()),
            ("processors".to_owned(), run.host.processors.to_string()),
            ("memory".to_owned(), run.host.memory_bytes.to_string()),
        ]
    };
    let kind = |run: &Run| {
        vec![
            ("load".to_owned(), run.load.clone()),
            ("version".to_owned(), run.version.clone()),
            ("broker".to_owned(), run.broker.clone()),
        ]
    };
    let broker = |run: &Run| -> Settings {
        run.broker_settings.iter().map(|(name, value)| (format!("broker {name}"), value.clone())).collect()
    };
    let mut differences = differences_of(&kind(first), &kind(second));
    differences.extend(differences_of(&first.settings, &second.settings));
    differences.extend(differences_of(&broker(first), &broker(second)));
    differences.extend(differences_of(&host(first), &host(second)));
    Comparison { figures, differences }
}

/// Quantiles that are told, by the names they are told under.
pub const QUANTILES: &[(&str, f64)] =
    &[("p50 ms", 0.5), ("p95 ms", 0.95), ("p99 ms", 0.99), ("p99.9 ms", 0.999), ("p99.99 ms", 0.9999), ("max ms", 1.0)];

fn differences_of(first: &Settings, second: &Settings) -> Vec<Difference> {
    let value = |settings: &Settings, name: &str| {
        settings.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone())
    };
    let mut names: Vec<&String> = first.iter().chain(second).map(|(name, _)| name).collect();
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(*name));
    names
        .into_iter()
        .map(|name| (name.clone(), value(first, name), value(second, name)))
        .filter(|(_, first, second)| first != second)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_file::tests::sample;

    #[test]
    fn figures_are_set_side_by_side_with_what_else_differs() {
        let (first, mut second) = (sample(1), sample(2));
        second.settings.push(("linger.ms".to_owned(), "5".to_owned()));
        let Comparison { figures, differences } = compare(&first, &second);
        let figure = |name: &str| figures.iter().find(|figure| figure.name == name).unwrap();
        assert_eq!(figure("records/s").ratio(), Some(1.0));
        let p50 = figure("p50 ms");
        assert!(p50.is_cost && (p50.ratio().unwrap() - 2.0).abs() < 0.01, "{p50:?}");
        assert_eq!(
            differences,
            [
                ("linger.ms".to_owned(), None, Some("5".to_owned())),
                ("broker num.partitions".to_owned(), Some("1".to_owned()), Some("2".to_owned())),
            ]
        );
    }

    #[test]
    fn a_load_without_latencies_is_compared_by_its_rates() {
        let mut first = sample(1);
        first.steady = None;
        first.total.latency_us.reset();
        let names: Vec<&str> = compare(&first, &sample(1)).figures.iter().map(|figure| figure.name).collect();
        assert_eq!(names, ["records", "records/s", "MB/s"]);
    }
}
