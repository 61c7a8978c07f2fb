//! The loads of `corelane perf` against a broker of our own: that they count what they say they do.

#![allow(missing_docs)]

mod support;

use support::Broker;

fn field(json: &str, name: &str) -> f64 {
    let value: serde_json::Value = serde_json::from_str(json).unwrap();
    value[name].as_f64().unwrap_or_else(|| panic!("{name} in {json}"))
}

#[test]
fn loads_count_what_they_move() {
    let broker = Broker::start(&["--override", "group.initial.rebalance.delay.ms=0"]);
    broker.ok("topics create", &["load", "--partitions", "3"], b"");
    let producer = ["--topic", "load", "--num-records", "2000", "--record-size", "100"];
    let report = broker.ok("perf producer", &producer, b"");
    assert!(report.starts_with("2000 records sent, "), "{report}");

    let folder = broker.directory();
    let hgrm = folder.join("../producer.hgrm");
    let warmed = ["--topic", "warm", "--num-records", "500", "--warmup-records", "100", "--record-size", "10"];
    let more = ["--json", "--slo", "p99<60s,throughput>1records/s", "--hgrm", hgrm.to_str().unwrap()];
    let steady = broker.ok("perf producer", &[&warmed[..], &more[..]].concat(), b"");
    assert_eq!((field(&steady, "records"), field(&steady, "bytes")), (400.0, 4_000.0), "{steady}");
    assert!(std::fs::read_to_string(&hgrm).unwrap().contains("Total count    =          400"));
    let text = broker.ok("perf producer", &warmed, b"");
    assert!(text.lines().last().unwrap().starts_with("400 steady state records sent, "), "{text}");
    let output =
        broker.run("perf producer", &[&warmed[..], &["--slo", "p50<0us,max<60s,throughput>1GB/s"]].concat(), b"");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("p50<0us was missed") && said.contains("throughput>1GB/s") && !said.contains("max"),
        "{said}"
    );

    // Twice the same group: the second time begins where the first one ended.
    let consumer = ["--topic", "load", "--group", "readers", "--num-records", "1500", "--json"];
    let read = broker.ok("perf consumer", &consumer, b"");
    assert_eq!((field(&read, "records"), field(&read, "bytes")), (1_500.0, 150_000.0), "{read}");
    let rest = ["--topic", "load", "--group", "readers", "--num-records", "1500", "--timeout", "1000", "--hide-header"];
    let output = broker.run("perf consumer", &rest, b"");
    let (printed, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("1000 records did not come"), "{said}");
    let columns: Vec<&str> = printed.trim().split(", ").collect();
    assert_eq!((columns.len(), columns[4]), (10, "500"), "{printed}");

    let table = broker.ok("perf consumer", &["--topic", "load", "--num-records", "2000"], b"");
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("start.time, end.time, data.consumed.in.MB"), "{table}");
    let nothing = broker.fails("perf consumer", &["--topic", "none", "--num-records", "1"], b"");
    assert!(nothing.contains("topic none"), "{nothing}");
}

#[test]
fn records_are_timed_end_to_end() {
    let broker = Broker::start(&[]);
    broker.ok("topics create", &["timed", "--partitions", "2"], b"");
    // What lies there already is not what is timed.
    broker.ok("produce", &["--topic", "timed"], b"before\n");
    for rate in ["-1", "1000"] {
        let load = [
            "--topic",
            "timed",
            "--num-records",
            "300",
            "--warmup-records",
            "20",
            "--record-size",
            "100",
            "--throughput",
        ];
        let report = broker.ok("perf end-to-end", &[&load[..], &[rate, "--json"]].concat(), b"");
        let (p50, p99, max) = (field(&report, "p50_ms"), field(&report, "p99_ms"), field(&report, "max_ms"));
        assert!(0.0 < p50 && p50 <= p99 && p99 <= max && max < 30_000.0, "{report}");
        assert_eq!(field(&report, "records"), 300.0);
    }
    let text = broker.ok("perf end-to-end", &["--topic", "timed", "--num-records", "5", "--record-size", "8"], b"");
    assert!(
        text.starts_with("Avg latency: ") && text.lines().nth(1).unwrap().starts_with("Percentiles: 50th = "),
        "{text}"
    );
    let small = broker.fails("perf end-to-end", &["--topic", "timed", "--num-records", "5", "--record-size", "7"], b"");
    assert!(small.contains("Use 8 or more"), "{small}");
    let all = broker.ok("offsets", &["timed"], b"");
    let ends = all.lines().filter_map(|line| line.rsplit(':').next()?.parse::<u64>().ok()).sum::<u64>();
    assert_eq!(ends, 1 + 320 + 320 + 5, "{all}");
}

#[test]
fn groups_join_roll_and_leave() {
    let broker = Broker::start(&["--override", "group.initial.rebalance.delay.ms=0"]);
    let load = ["--groups", "4", "--members", "3", "--heartbeat-interval", "100", "--prefix", "many-"];
    let report = broker.ok("perf groups", &load, b"");
    assert!(report.starts_with("4 groups of 3 members are stable\njoined in "), "{report}");
    let groups = broker.ok("groups list", &["--state"], b"");
    assert_eq!(groups.matches("many-").count(), 4, "{groups}");
    assert_eq!(groups.matches("Empty").count(), 4, "all have left: {groups}");
}
