//! Runs as a page that needs nothing but itself: what they came to, plots of it, what they were told and where they ran.

use std::fmt::Write;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::comparison::QUANTILES;
use crate::report::{Report, Window};
use crate::run_file::{Run, Settings};
use crate::slo::Measured;

const SIZE: (u32, u32) = (900, 360);
/// A run's colour; the ninth has the first one's again.
const COLOURS: [RGBColor; 8] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 90, 20),
    RGBColor(44, 140, 44),
    RGBColor(180, 40, 50),
    RGBColor(120, 90, 170),
    RGBColor(120, 75, 65),
    RGBColor(200, 90, 170),
    RGBColor(90, 90, 90),
];
/// Where the axis of percentiles ends: one in a million.
const NINES_MAX: f64 = 6.0;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:960px;margin:2em auto;padding:0 1em;color:#222}\
    h1{font-size:1.5em}h2{font-size:1.15em;margin-top:2em}table{border-collapse:collapse;font-variant-numeric:tabular-nums}\
    th,td{padding:.2em .8em;border-bottom:1px solid #ddd;text-align:right}th:first-child,td:first-child{text-align:left}\
    td.text{text-align:left;font-family:ui-monospace,monospace;font-size:.9em}svg{max-width:100%;height:auto}\
    i{display:inline-block;width:.8em;height:.8em;margin-right:.5em;border-radius:2px}";

/// A run and what it is called.
pub type Named<'a> = (&'a str, &'a Run);

/// The page of some runs.
#[must_use]
pub fn page(title: &str, runs: &[Named<'_>]) -> String {
    let mut page = String::new();
    let title = escaped(title);
    // Writing to memory does not fail.
    let _ = write!(
        page,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style><h1>{title}</h1>"
    );
    page.push_str(&figures(runs));
    if runs.iter().any(|(_, run)| !run.counted().latency_us.is_empty()) {
        section(&mut page, "Latency by percentile", plot(|root| by_percentile(root, runs)));
    }
    if runs.iter().any(|(_, run)| run.windows.len() > 1) {
        let throughput = |window: &Window| window.bytes as f64 / 1_048_576.0 / window.seconds.max(f64::MIN_POSITIVE);
        section(&mut page, "Throughput over time", plot(|root| over_time(root, runs, "MB/s", &[&throughput])));
        let p50 = |window: &Window| window.p50_us as f64 / 1e3;
        let p99 = |window: &Window| window.p99_us as f64 / 1e3;
        let max = |window: &Window| window.max_us as f64 / 1e3;
        if runs.iter().any(|(_, run)| run.windows.iter().any(|window| window.max_us > 0)) {
            section(
                &mut page,
                "Latency over time: median (thin), 99th percentile, largest (thick)",
                plot(|root| over_time(root, runs, "ms", &[&p50, &p99, &max])),
            );
        }
    }
    for (name, run) in runs {
        let _ = write!(page, "<h2>{}</h2>", escaped(name));
        let about = vec![
            ("load".to_owned(), run.load.clone()),
            ("corelane".to_owned(), run.version.clone()),
            ("kernel".to_owned(), run.host.kernel.clone()),
            ("processor".to_owned(), format!("{} × {}", run.host.processors, run.host.processor)),
            ("memory".to_owned(), format!("{:.1} GiB", run.host.memory_bytes as f64 / 1_073_741_824.0)),
            ("broker".to_owned(), run.broker.clone()),
        ];
        settings(&mut page, &about, "");
        settings(&mut page, &run.settings, "The load was told");
        settings(&mut page, &run.broker_settings, "The broker was told");
    }
    page.push_str("</html>\n");
    page
}

fn section(page: &mut String, title: &str, content: String) {
    let _ = write!(page, "<h2>{title}</h2>{content}");
}

fn settings(page: &mut String, settings: &Settings, title: &str) {
    if settings.is_empty() {
        return;
    }
    let _ = write!(page, "<h3>{title}</h3><table>");
    for (name, value) in settings {
        let _ = write!(page, "<tr><td>{}<td class=\"text\">{}", escaped(name), escaped(value));
    }
    page.push_str("</table>");
}

fn figures(runs: &[Named<'_>]) -> String {
    let mut table = "<table><tr><th>run<th>records<th>records/s<th>MB/s<th>avg ms".to_owned();
    for (name, _) in QUANTILES {
        let _ = write!(table, "<th>{name}");
    }
    for (index, (name, run)) in runs.iter().enumerate() {
        let report = run.counted();
        let RGBColor(red, green, blue) = colour(index);
        let _ = write!(
            table,
            "<tr><td><i style=\"background:rgb({red},{green},{blue})\"></i>{}<td>{}<td>{:.0}<td>{:.2}",
            escaped(name),
            report.records,
            report.records_rate(),
            report.megabytes_rate()
        );
        if report.latency_us.is_empty() {
            continue;
        }
        let _ = write!(table, "<td>{:.3}", report.mean_ms());
        for (_, quantile) in QUANTILES {
            let _ = write!(table, "<td>{:.3}", report.latency_ms(*quantile));
        }
    }
    table.push_str("</table>");
    table
}

fn colour(index: usize) -> RGBColor {
    COLOURS.get(index % COLOURS.len()).copied().unwrap_or(BLACK)
}

type Drawing<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type DrawingError = Box<dyn std::error::Error>;

/// An image; in place of one that cannot be drawn stands why.
fn plot(draw: impl FnOnce(&Drawing<'_>) -> Result<(), DrawingError>) -> String {
    let mut image = String::new();
    let result = {
        let root = SVGBackend::with_string(&mut image, SIZE).into_drawing_area();
        draw(&root).and_then(|()| Ok(root.present()?))
    };
    match result {
        // The page is text of its own: an image in it has no declaration.
        Ok(()) => image.split_once("?>").map_or(image.clone(), |(_, svg)| svg.to_owned()),
        Err(error) => format!("<p>It cannot be drawn: {}.", escaped(&error.to_string())),
    }
}

/// Percentiles are spread by their nines: 90, 99, 99.9 are as far from each other.
fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile).max(10_f64.powf(-NINES_MAX)).log10()
}

fn by_percentile(root: &Drawing<'_>, runs: &[Named<'_>]) -> Result<(), DrawingError> {
    let reports = || runs.iter().map(|(_, run)| run.counted()).filter(|report| !report.latency_us.is_empty());
    let low_us = reports().map(|report| report.latency_us.min()).min().unwrap_or(1).max(1);
    let high_us = reports().map(|report| report.latency_us.max()).max().unwrap_or(1).max(low_us + 1);
    let (low, high) = (low_us as f64 / 1e3, high_us as f64 / 1e3 * 1.2);
    let nines_shown = reports().map(|report| nines(1.0 - 1.0 / report.latency_us.len() as f64)).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(root)
        .margin(10)
        .x_label_area_size(32)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..nines_shown.min(NINES_MAX), (low..high).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_labels(7)
        .x_label_formatter(&|nines| percentile_text(*nines))
        .y_label_formatter(&|ms| number_text(*ms))
        .x_desc("percentile")
        .y_desc("ms")
        .draw()?;
    for (index, (_, run)) in runs.iter().enumerate() {
        let report = run.counted();
        let points = curve(report);
        chart.draw_series(LineSeries::new(points, colour(index).stroke_width(2)))?;
    }
    Ok(())
}

/// Latencies in milliseconds over the nines of their percentile.
fn curve(report: &Report) -> Vec<(f64, f64)> {
    if report.latency_us.is_empty() {
        return Vec::new();
    }
    let last = nines(1.0 - 1.0 / report.latency_us.len() as f64);
    let steps = 300;
    let at = |step: i32| {
        let nines = last * f64::from(step) / f64::from(steps);
        (nines, report.latency_ms(1.0 - 10_f64.powf(-nines)).max(1e-3))
    };
    (0..=steps).map(at).collect()
}

fn percentile_text(nines: f64) -> String {
    let percentile = 100.0 * (1.0 - 10_f64.powf(-nines));
    // A little less, for what is not exact.
    let digits = (nines - 2.0 - 1e-6).ceil().max(0.0) as usize;
    format!("{percentile:.digits$}")
}

fn number_text(number: f64) -> String {
    let digits = if number >= 10.0 { 0 } else { (1.0 - number.max(1e-6).log10().floor()) as usize };
    let text = format!("{number:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// What is told of a window.
type OfWindow<'a> = &'a dyn Fn(&Window) -> f64;

/// Lines over the seconds of each run, the later ones thicker.
fn over_time(root: &Drawing<'_>, runs: &[Named<'_>], unit: &str, lines: &[OfWindow<'_>]) -> Result<(), DrawingError> {
    let windows = || runs.iter().flat_map(|(_, run)| &run.windows);
    let end = windows().map(|window| window.end_seconds).fold(0.1, f64::max);
    let values = || windows().flat_map(|window| lines.iter().map(move |line| line(window)));
    let high = values().fold(1e-3, f64::max) * 1.1;
    let mut chart = ChartBuilder::on(root)
        .margin(10)
        .x_label_area_size(32)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..end, 0.0..high)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .y_label_formatter(&|value| number_text(*value))
        .x_desc("seconds")
        .y_desc(unit)
        .draw()?;
    for (index, (_, run)) in runs.iter().enumerate() {
        for (width, line) in (1..).zip(lines) {
            let points = run.windows.iter().map(|window| (window.end_seconds, line(window)));
            chart.draw_series(LineSeries::new(points, colour(index).stroke_width(width)))?;
        }
    }
    Ok(())
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_file::tests::sample;

    #[test]
    fn a_page_has_the_plots_and_needs_nothing_else() {
        let (first, second) = (sample(1), sample(40));
        let page = page("one & <two>", &[("first", &first), ("second", &second)]);
        assert!(page.contains("<title>one &amp; &lt;two&gt;</title>"));
        assert_eq!(page.matches("<svg").count(), 3);
        assert_eq!(page.matches("</svg>").count(), 3);
        assert!(!page.contains("<script") && !page.contains("<?xml") && !page.contains("cannot be drawn"));
        let outside = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!outside.contains("http"), "nothing is fetched from elsewhere");
        for text in ["percentile", "99.9", "seconds", "num.partitions", "acks"] {
            assert!(page.contains(text), "{text}");
        }
    }

    #[test]
    fn a_run_without_latencies_has_a_page_too() {
        let mut run = sample(1);
        run.steady = None;
        run.total.latency_us.reset();
        run.windows.clear();
        let page = page("consumer", &[("run", &run)]);
        assert!(!page.contains("<svg") && page.contains("records/s"));
    }

    #[test]
    fn percentiles_are_written_with_the_digits_that_they_need() {
        let text = |quantile| percentile_text(nines(quantile));
        assert_eq!([0.0, 0.9, 0.99, 0.999, 0.9999].map(text), ["0", "90", "99", "99.9", "99.99"]);
        assert_eq!([0.05, 0.1, 1.0, 25.0, 1_000.0].map(number_text), ["0.05", "0.1", "1", "25", "1000"]);
    }
}
