//! The loads of `corelane perf` against a broker of our own: that they count what they say they do.

#![allow(missing_docs)]

mod support;

use std::time::{Duration, Instant};

use support::{Broker, failure, run};

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

    // Nobody acknowledges these, and none is left behind in a socket.
    broker.ok("topics create", &["unanswered"], b"");
    let unanswered = ["--topic", "unanswered", "--num-records", "20000", "--record-size", "500", "--acks", "0"];
    broker.ok("perf producer", &unanswered, b"");
    assert_eq!(broker.ok("offsets", &["unanswered"], b"").trim(), "unanswered:0:20000");

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
fn many_producers_and_consumers_share_their_load() {
    let broker = Broker::start(&["--override", "group.initial.rebalance.delay.ms=0"]);
    for topic in ["many-a", "many-b"] {
        broker.ok("topics create", &[topic, "--partitions", "2"], b"");
    }
    let sent = ["--topic", "many-a,many-b", "--num-records", "3000", "--record-size", "uniform:0-300", "--json"];
    // On one processor all three have one thread.
    let more = ["--producers", "3", "--keys", "zipf:50,1.1", "--num-headers", "2", "--record-header-key-size", "3"];
    let report = broker.ok("perf producer", &[&sent[..], &more[..], &["--cpus", "0"]].concat(), b"");
    assert_eq!(field(&report, "records"), 3_000.0, "{report}");
    let bytes = field(&report, "bytes");
    assert!((300_000.0..600_000.0).contains(&bytes), "{report}");

    // Every record once, each as it was made; keys of 16 bytes.
    let read = ["--include", "many-.*", "--num-records", "3000", "--consumers", "2", "--check-values", "0", "--json"];
    let read = broker.ok("perf consumer", &read, b"");
    assert_eq!((field(&read, "records"), field(&read, "bytes")), (3_000.0, bytes + 16.0 * 3_000.0), "{read}");
    let wrong = ["--topic", "many-a", "--num-records", "3000", "--check-values", "1"];
    let said = broker.fails("perf consumer", &wrong, b"");
    assert!(said.contains("topic many-a, partition ") && said.contains("with this seed"), "{said}");
    let record = broker.ok("consume", &["--topic", "many-b", "--from-beginning", "--max-messages", "1", "--json"], b"");
    assert!(record.contains("\"headers\"") && record.contains("hhh"), "{record}");

    let nowhere = ["--topic", "many-a", "--num-records", "1", "--record-size", "1", "--cpus", "1000"];
    let said = broker.fails("perf producer", &nowhere, b"");
    assert!(said.contains("processor 1000"), "{said}");
    let none = broker.fails("perf consumer", &["--include", "none-.*", "--num-records", "1"], b"");
    assert!(none.contains("no topic has such a name"), "{none}");
}

#[test]
fn values_come_from_files_and_numbers_too() {
    let broker = Broker::start(&[]);
    broker.ok("topics create", &["given"], b"");
    let file = broker.directory().join("../values");
    std::fs::write(&file, "left,right").unwrap();
    let given = ["--topic", "given", "--num-records", "20", "--payload-file", file.to_str().unwrap()];
    broker.ok("perf producer", &[&given[..], &["--payload-delimiter", ","]].concat(), b"");
    broker.ok("perf producer", &["--topic", "given", "--num-records", "12", "--payload-monotonic"], b"");
    let all = broker.ok("consume", &["--topic", "given", "--from-beginning", "--exit"], b"");
    let lines: Vec<&str> = all.lines().collect();
    assert!(lines[..20].iter().all(|line| ["left", "right"].contains(line)), "{all}");
    assert_eq!(lines[20..], (0..12).map(|number| number.to_string()).collect::<Vec<_>>());
    let both = broker.run("perf producer", &[&given[..], &["--payload-monotonic"]].concat(), b"");
    assert_eq!(both.status.code(), Some(2));
    assert!(String::from_utf8(both.stderr).unwrap().contains("cannot be used with"));
}

/// What `--print-metrics` says.
fn metric(text: &str, name: &str) -> f64 {
    let name = format!("producer-metrics:{name}:{{");
    let line = text.lines().find(|line| line.starts_with(&name)).unwrap_or_else(|| panic!("{name}: {text}"));
    line.rsplit(" : ").next().unwrap().parse().unwrap()
}

#[test]
fn one_record_at_a_time_waits_for_its_acknowledgement_and_for_nothing_else() {
    let broker = Broker::start(&[]);
    broker.ok("topics create", &["single"], b"");
    let load = ["--topic", "single", "--num-records", "200", "--record-size", "10", "--linger-ms", "0"];
    let answers = |more: &[&str]| {
        let text = broker.ok("perf producer", &[&load[..], more, &["--print-metrics"]].concat(), b"");
        assert_eq!(metric(&text, "record-send-total"), 200.0);
        metric(&text, "response-total")
    };
    assert!(answers(&[]) < 200.0);
    let begun = Instant::now();
    assert!(answers(&["--unacknowledged", "1"]) >= 200.0);
    // Whoever looked for what may be sent only now and then would need seconds.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let at_a_rate = ["--unacknowledged", "1", "--throughput", "1000"];
    assert!(answers(&at_a_rate) >= 200.0);
    let none = broker.run("perf producer", &[&load[..], &["--unacknowledged", "0"]].concat(), b"");
    assert_eq!(none.status.code(), Some(2));
    assert!(String::from_utf8(none.stderr).unwrap().contains("--unacknowledged"));
}

#[test]
fn settings_have_kafkas_names() {
    let broker = Broker::start(&[]);
    broker.ok("topics create", &["set"], b"");
    let file = broker.directory().join("../client.properties");
    std::fs::write(&file, "acks=0\nlinger.ms=1\nclient.id=mine\n").unwrap();
    let load = ["--topic", "set", "--num-records", "100", "--record-size", "10"];
    let told = ["--command-config", file.to_str().unwrap(), "--command-property", "acks=1", "compression.type=lz4"];
    let text = broker.ok("perf producer", &[&load[..], &told[..], &["--print-metrics"]].concat(), b"");
    assert_eq!(metric(&text, "record-send-total"), 100.0);
    assert!(metric(&text, "outgoing-byte-total") > 100.0 && metric(&text, "incoming-byte-total") > 10.0, "{text}");
    let segment = broker.directory().join("set-0/00000000000000000000.log");
    let dump = String::from_utf8(run(&["log", "dump", segment.to_str().unwrap()], b"").stdout).unwrap();
    assert!(dump.contains("lz4") || dump.contains("LZ4"), "{dump}");
    for (property, part) in [("acks=7", "0, 1 and all"), ("sasl.mechanism=PLAIN", "does nothing here")] {
        let said = broker.fails("perf producer", &[&load[..], &["--command-property", property]].concat(), b"");
        assert!(said.contains(part), "{property}: {said}");
    }
}

#[test]
fn records_of_transactions_are_committed() {
    let broker = Broker::start(&["--override", "num.partitions=3"]);
    let load = ["--topic", "ledger", "--num-records", "600", "--record-size", "10", "--throughput", "1500"];
    let transactions = ["--transactional-id", "book", "--transaction-duration-ms", "50"];
    let begun = Instant::now();
    let text = broker.ok("perf producer", &[&load[..], &transactions].concat(), b"");
    assert!(text.contains("600 records sent"), "{text}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    // What is committed is read, and between the records is the marker of each of the transactions.
    let committed = ["--topic", "ledger", "--from-beginning", "--exit", "--isolation-level", "read_committed"];
    assert_eq!(broker.ok("consume", &committed, b"").lines().count(), 600);
    let ends = broker.ok("offsets", &["ledger", "--json"], b"");
    let end: f64 = ends.lines().map(|line| field(line, "offset")).sum();
    assert!((602.0..700.0).contains(&end), "{ends}");
    let several =
        ["--topic", "ledger", "--num-records", "400", "--record-size", "10", "--producers", "4", "--threads", "3"];
    let properties = ["--transaction-duration-ms", "20", "--command-property", "transaction.timeout.ms=5000"];
    broker.ok("perf producer", &[&several[..], &properties].concat(), b"");
    for (arguments, part) in [
        (&["--transactional-id", "t", "--acks", "1"][..], "all replicas"),
        (&["--transactional-id", "t", "--command-property", "transaction.timeout.ms=900001"], "transaction failed"),
    ] {
        let said = broker.fails("perf producer", &[&several[..], arguments].concat(), b"");
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
    let none = broker.run("perf producer", &[&several[..], &["--transaction-duration-ms", "0"]].concat(), b"");
    assert_eq!(none.status.code(), Some(2));
}

#[test]
fn runs_are_kept_compared_and_drawn() {
    let broker = Broker::start(&["--override", "num.partitions=3"]);
    let path = |name: &str| broker.directory().join("..").join(name).to_str().unwrap().to_owned();
    let load = ["--topic", "kept", "--num-records", "2000", "--record-size", "50", "--throughput", "2000"];
    for (name, linger) in [("first.run", "0"), ("second.run", "500")] {
        let kept =
            ["--result", &path(name), "--html", &path("one.html"), "--linger-ms", linger, "--batch-size", "1000000"];
        broker.ok("perf producer", &[&load[..], &kept].concat(), b"");
    }
    let page = std::fs::read_to_string(path("one.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("num.partitions"), "{page}");
    let compared = |arguments: &[&str]| {
        let output = run(&[&["perf", "compare"], arguments].concat(), b"");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let text = compared(&[&path("first.run"), &path("second.run"), "--html", &path("two.html")]);
    let row = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {text}"));
    assert!(row("records ").contains("2000.000"), "{text}");
    assert!(row("p50 ms").ends_with(" worse"), "a wait of 500 ms is seen: {text}");
    assert_eq!(row("linger.ms").split_whitespace().collect::<Vec<_>>(), ["linger.ms", "0", "500"]);
    assert_eq!(std::fs::read_to_string(path("two.html")).unwrap().matches("<svg").count(), 3);
    let json = compared(&[&path("first.run"), &path("second.run"), "--json"]);
    assert!(json.lines().any(|line| line.contains("\"p50 ms\"") && field(line, "ratio") > 1.0), "{json}");

    let consumed = ["--topic", "kept", "--num-records", "4000", "--result", &path("read.run")];
    broker.ok("perf consumer", &[&consumed[..], &["--html", &path("read.html")]].concat(), b"");
    let page = std::fs::read_to_string(path("read.html")).unwrap();
    assert_eq!(page.matches("<svg").count(), 1, "throughput over time, and no latencies: {page}");
    let text = compared(&[&path("first.run"), &path("read.run")]);
    assert!(text.contains("producer") && text.contains("consumer") && !text.contains("p50"), "{text}");
    let said = failure(run(&["perf", "compare", &path("first.run"), &path("one.html")], b""));
    assert!(said.contains("no result file"), "{said}");
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
    let fanned = ["--topic", "timed", "--num-records", "50", "--record-size", "20", "--readers", "3", "--json"];
    let report = broker.ok("perf end-to-end", &[&fanned[..], &["--record-key-size", "5", "--progress"]].concat(), b"");
    assert_eq!((field(&report, "records"), field(&report, "bytes")), (150.0, 3_000.0), "{report}");
    let small = broker.fails("perf end-to-end", &["--topic", "timed", "--num-records", "5", "--record-size", "7"], b"");
    assert!(small.contains("Use 8 or more"), "{small}");
    let all = broker.ok("offsets", &["timed"], b"");
    let ends = all.lines().filter_map(|line| line.rsplit(':').next()?.parse::<u64>().ok()).sum::<u64>();
    assert_eq!(ends, 1 + 320 + 320 + 5 + 50, "{all}");
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
