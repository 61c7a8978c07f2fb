//! Service level objectives: `p99<5ms,p99.9<20ms,throughput>100MB/s`.

use std::fmt;
use std::str::FromStr;

/// What an objective is about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Metric {
    /// A quantile of the latency, from 0 to 1.
    Quantile(f64),
    /// The mean latency.
    Mean,
    /// The largest latency.
    Max,
    /// Bytes a second.
    Bytes,
    /// Records a second.
    Records,
}

/// One objective: the metric stays below its bound, or above it. Latencies are in microseconds, rates a second.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// As it was written.
    pub text: String,
    /// What it is about.
    pub metric: Metric,
    /// The metric has to be below the bound; else above it.
    pub is_upper: bool,
    /// The bound.
    pub bound: f64,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Objectives(pub Vec<Objective>);

/// What a run came to, for objectives to be held against.
pub trait Measured {
    /// A quantile of the latency in microseconds; none if the run measures none.
    fn latency_us(&self, quantile: f64) -> Option<f64>;
    /// The mean latency in microseconds.
    fn mean_us(&self) -> Option<f64>;
    /// Bytes a second.
    fn bytes_rate(&self) -> f64;
    /// Records a second.
    fn records_rate(&self) -> f64;
}

/// An objective that was missed, and what was measured instead.
#[derive(Clone, Debug, PartialEq)]
pub struct Missed {
    /// The objective.
    pub objective: Objective,
    /// What was measured; none if the run does not measure it.
    pub measured: Option<f64>,
}

impl Objectives {
    /// Those that a run misses. What it does not measure is missed.
    #[must_use]
    pub fn missed(&self, run: &impl Measured) -> Vec<Missed> {
        let check = |objective: &Objective| {
            let measured = match objective.metric {
                Metric::Quantile(quantile) => run.latency_us(quantile),
                Metric::Mean => run.mean_us(),
                Metric::Max => run.latency_us(1.0),
                Metric::Bytes => Some(run.bytes_rate()),
                Metric::Records => Some(run.records_rate()),
            };
            let is_met = measured.is_some_and(|value| match objective.is_upper {
                true => value < objective.bound,
                false => value > objective.bound,
            });
            (!is_met).then(|| Missed { objective: objective.clone(), measured })
        };
        self.0.iter().filter_map(check).collect()
    }
}

impl FromStr for Objectives {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',').map(|each| each.trim().parse()).collect::<Result<_, _>>().map(Self)
    }
}

impl FromStr for Objective {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("`{text}`: {why}; write it as p99<5ms or throughput>100MB/s");
        let at = text.find(['<', '>']).ok_or_else(|| wrong("it has neither < nor >"))?;
        let (name, rest) = text.split_at(at);
        let is_upper = rest.starts_with('<');
        let (name, value) = (name.trim(), rest[1..].trim());
        let unit_at = value.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(value.len());
        let (number, unit) = value.split_at(unit_at);
        let number: f64 = number.parse().map_err(|_| wrong("the bound is no number"))?;
        let metric = match name {
            "avg" | "mean" => Metric::Mean,
            "max" => Metric::Max,
            "throughput" if unit.trim().ends_with("B/s") => Metric::Bytes,
            "throughput" => Metric::Records,
            _ => {
                let percentile = name.strip_prefix('p').and_then(|digits| digits.parse::<f64>().ok());
                let percentile = percentile.filter(|percentile| (0.0..=100.0).contains(percentile));
                Metric::Quantile(percentile.ok_or_else(|| wrong("there are pNN, avg, max and throughput"))? / 100.0)
            }
        };
        let scale = match (metric, unit.trim()) {
            (Metric::Bytes, "B/s") => 1.0,
            (Metric::Bytes, "KB/s") => 1e3,
            (Metric::Bytes, "MB/s") => 1e6,
            (Metric::Bytes, "GB/s") => 1e9,
            (Metric::Bytes, "KiB/s") => 1024.0,
            (Metric::Bytes, "MiB/s") => 1_048_576.0,
            (Metric::Bytes, "GiB/s") => 1_073_741_824.0,
            (Metric::Records, "/s" | "records/s") => 1.0,
            (Metric::Bytes | Metric::Records, _) => {
                return Err(wrong("a throughput is in MB/s, MiB/s or their like, or in records/s"));
            }
            (_, "us" | "µs") => 1.0,
            (_, "ms") => 1e3,
            (_, "s") => 1e6,
            _ => return Err(wrong("a latency is in us, ms or s")),
        };
        Ok(Self { text: text.to_owned(), metric, is_upper, bound: number * scale })
    }
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was missed: ", self.objective.text)?;
        let Some(value) = self.measured else { return f.write_str("this load does not measure it") };
        match self.objective.metric {
            Metric::Quantile(_) | Metric::Mean | Metric::Max => write!(f, "it is {:.3} ms", value / 1e3),
            Metric::Bytes => write!(f, "it is {:.2} MB/s", value / 1e6),
            Metric::Records => write!(f, "it is {value:.1} records/s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Run;

    impl Measured for Run {
        fn latency_us(&self, quantile: f64) -> Option<f64> {
            Some(quantile * 10_000.0)
        }

        fn mean_us(&self) -> Option<f64> {
            None
        }

        fn bytes_rate(&self) -> f64 {
            50e6
        }

        fn records_rate(&self) -> f64 {
            1_000.0
        }
    }

    #[test]
    fn objectives_are_met_or_missed() {
        let missed = |text: &str| text.parse::<Objectives>().unwrap().missed(&Run).len();
        assert_eq!(missed("p50<6ms,p99<10ms,max<10.001ms,throughput>49MB/s,throughput>999records/s"), 0);
        assert_eq!(missed("p50<5ms"), 1, "below is not at");
        assert_eq!(missed("p99.9 > 9.9 ms, p99.9<9.99ms"), 1);
        assert_eq!(missed("throughput>48MiB/s, throughput > 1000 /s"), 2);
        assert_eq!(missed("avg<1s"), 1, "what is not measured is missed");
        let text = "p90<1000us".parse::<Objectives>().unwrap().missed(&Run)[0].to_string();
        assert_eq!(text, "p90<1000us was missed: it is 9.000 ms");
    }

    #[test]
    fn what_is_no_objective_is_refused() {
        for bad in
            ["", "p99", "p99=5ms", "p101<5ms", "p99<5", "p99<5MB/s", "throughput>5", "throughput<5ms", "q<1ms", "p9<x"]
        {
            let error = bad.parse::<Objectives>().unwrap_err();
            assert!(error.contains("write it as"), "{bad}: {error}");
        }
    }
}
