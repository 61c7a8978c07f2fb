//! `corelane perf compare`.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use corelane_perf::comparison::{Comparison, compare};
use corelane_perf::html;
use corelane_perf::run_file::Run;
use serde::Serialize;

use super::outcome::write_file;
use crate::failure::Failure;
use crate::output::{line, print_json, table};

/// Arguments of `corelane perf compare`.
#[derive(Args, Debug)]
pub(super) struct CompareArguments {
    /// Result files, as --result writes them. The first is what the others are compared with.
    #[arg(value_name = "FILE", required = true, num_args = 2..)]
    files: Vec<PathBuf>,
    /// Write a page with all of them there.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print each figure as a JSON object.
    #[arg(long, short = 'J')]
    json: bool,
}

#[derive(Serialize)]
struct Row<'a> {
    first: &'a str,
    second: &'a str,
    figure: &'static str,
    first_value: f64,
    second_value: f64,
    ratio: Option<f64>,
}

impl CompareArguments {
    /// Reads the files and prints what they came to, side by side.
    pub(super) fn run(&self) -> Result<(), Failure> {
        let runs = self.files.iter().map(|path| Ok((shown(path), read(path)?))).collect::<Result<Vec<_>, Failure>>()?;
        let Some(((first_name, first), others)) = runs.split_first() else { return Ok(()) };
        for (number, (name, run)) in others.iter().enumerate() {
            let comparison = compare(first, run);
            if self.json {
                print_json(comparison.figures.iter().map(|figure| Row {
                    first: first_name,
                    second: name,
                    figure: figure.name,
                    first_value: figure.first,
                    second_value: figure.second,
                    ratio: figure.ratio(),
                }))?;
                continue;
            }
            if number > 0 {
                line("")?;
            }
            print(first_name, name, &comparison)?;
        }
        let Some(path) = &self.html else { return Ok(()) };
        let named: Vec<(&str, &Run)> = runs.iter().map(|(name, run)| (name.as_str(), run)).collect();
        write_file(path, html::page("corelane perf compare", &named).as_bytes())
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn read(path: &Path) -> Result<Run, Failure> {
    let bytes = fs::read(path).map_err(|error| Failure::from(error).during(&shown(path)))?;
    Run::decode(&bytes).map_err(|error| Failure::new(format!("{}: {error}", shown(path))))
}

fn print(first: &str, second: &str, comparison: &Comparison) -> Result<(), Failure> {
    let row = |figure: &corelane_perf::comparison::Figure| {
        let ratio = figure.ratio().map_or_else(String::new, |ratio| {
            let is_worse = if figure.is_cost { ratio > 1.0 } else { ratio < 1.0 };
            format!("{ratio:.3}{}", if is_worse { " worse" } else { "" })
        });
        vec![figure.name.to_owned(), format!("{:.3}", figure.first), format!("{:.3}", figure.second), ratio]
    };
    let rows: Vec<Vec<String>> = comparison.figures.iter().map(row).collect();
    for each in table(&["FIGURE", first, second, "RATIO"], &[], &rows) {
        line(each)?;
    }
    if comparison.differences.is_empty() {
        return Ok(());
    }
    line("")?;
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let rows: Vec<Vec<String>> = comparison
        .differences
        .iter()
        .map(|(name, first, second)| vec![name.clone(), text(first), text(second)])
        .collect();
    for each in table(&["DIFFERENCE", first, second], &[], &rows) {
        line(each)?;
    }
    Ok(())
}
