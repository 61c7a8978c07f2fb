//! What the command says of a cluster and changes in it: topics, settings, offsets, records, groups.

#![allow(missing_docs)]

mod support;

use std::time::{Duration, Instant};

use support::Broker;

/// The value of a field in a line of JSON, as it stands there.
fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let (_, behind) = line.split_once(&format!("\"{name}\":")).unwrap_or_else(|| panic!("{line} has no {name}"));
    behind.split([',', '}']).next().unwrap().trim_matches('"')
}

/// A topic of two partitions with numbers 0 to 9 in each.
fn filled(broker: &Broker, topic: &str) {
    broker.ok("topics create", &[topic, "--partitions", "2"], b"");
    let lines: String = (0..10).map(|number| format!("{number}\n")).collect();
    for partition in ["0", "1"] {
        broker.ok("produce", &["-t", topic, "-p", partition], lines.as_bytes());
    }
}

#[test]
fn topics_are_told_as_json() {
    let broker = Broker::start(&[]);
    let created = broker.ok("topics create", &["t", "--partitions", "2", "--config", "flush.ms=5", "--json"], b"");
    assert_eq!(created, "{\"topic\":\"t\",\"outcome\":\"created\"}\n");
    let listed = broker.ok("topics list", &["--json"], b"");
    assert_eq!((field(&listed, "topic"), field(&listed, "partitions")), ("t", "2"));
    let described = broker.ok("topics describe", &["--json"], b"");
    assert!(described.contains("\"configs\":{\"flush.ms\":\"5\"}"), "{described}");
    assert!(described.contains("{\"partition\":1,\"leader\":1,\"replicas\":[1],\"in_sync\":[1]}"), "{described}");
    let output = broker.run("topics delete", &["t", "none"], b"");
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(1), &b"deleted t\n"[..]));
}

#[test]
fn settings_are_described_and_changed() {
    let broker = Broker::start(&[]);
    broker.ok("topics create", &["t"], b"");
    assert_eq!(broker.ok("configs describe", &["-t", "t"], b""), "Dynamic configs for topic t are:\n");
    let changes = ["--entity-type", "topics", "--entity-name", "t", "--add-config", "flush.messages=5,flush.ms=[7]"];
    assert_eq!(broker.ok("configs alter", &changes, b""), "Completed updating config for topic t.\n");
    let described = broker.ok("configs describe", &["-t", "t"], b"");
    assert!(described.contains("\n  flush.messages=5 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:"), "{described}");
    broker.ok("configs alter", &["-t", "t", "--delete-config", "flush.messages"], b"");
    let rows = broker.ok("configs describe", &["-t", "t", "--json"], b"");
    assert_eq!((field(&rows, "name"), field(&rows, "value"), rows.lines().count()), ("flush.ms", "7", 1));
    let all = broker.ok("configs describe", &["--broker", "1", "--all", "--json"], b"");
    assert!(
        all.lines().any(|line| field(line, "name") == "log.dirs" && field(line, "source") == "STATIC_BROKER_CONFIG")
    );

    let group = ["--group", "g", "--add-config", "consumer.session.timeout.ms=50000"];
    assert_eq!(broker.ok("configs alter", &group, b""), "Completed updating config for group g.\n");
    let named = broker.ok("configs describe", &["--entity-type", "groups", "--json"], b"");
    assert_eq!((field(&named, "entity_name"), field(&named, "value"), named.lines().count()), ("g", "50000", 1));

    for (arguments, words) in [
        (&["--group", "g", "--add-config", "consumer.session.timeout.ms=1"][..], "INVALID_CONFIG"),
        (&["--entity-type", "groups", "--entity-default", "--add-config", "a=1"], "no common settings"),
        (&["-t", "t", "--delete-config", "flush.messages"], "not set and so not to be deleted: flush.messages"),
        (&["-t", "t", "--add-config", "no.such=1"], "INVALID_CONFIG"),
        (&["-t", "none", "--add-config", "flush.ms=1"], "UNKNOWN_TOPIC_OR_PARTITION"),
        (&["-t", "t", "--add-config", "flush.ms"], "is not NAME=VALUE"),
        (&["--broker", "7", "--add-config", "a=1"], "there is no broker 7; there are 1"),
        (&["-t", "t"], "--add-config NAME=VALUE or --delete-config NAME"),
        (&["--entity-type", "topics", "--add-config", "a=1"], "name the one thing"),
    ] {
        let error = broker.fails("configs alter", arguments, b"");
        assert!(error.contains(words), "{arguments:?}: {error}");
    }
}

#[test]
fn offsets_are_found_and_records_deleted() {
    let broker = Broker::start(&[]);
    filled(&broker, "t");
    assert_eq!(broker.ok("offsets", &["t"], b""), "t:0:10\nt:1:10\n");
    assert_eq!(broker.ok("offsets", &["t", "--partitions", "1", "--time", "earliest"], b""), "t:1:0\n");
    let deleted = broker.ok("records delete", &["-t", "t", "-p", "1", "-o", "4"], b"");
    assert!(deleted.ends_with("partition: t-1\tlow_watermark: 4\n"), "{deleted}");
    let file = broker.directory().join("../given");
    let given = |text: &str| {
        std::fs::write(&file, text).unwrap();
        ["--offset-json-file".to_owned(), file.display().to_string(), "--json".to_owned()]
    };
    let run = |text: &str| {
        let arguments = given(text);
        broker.run("records delete", &arguments.iter().map(String::as_str).collect::<Vec<_>>(), b"")
    };
    let output = run(r#"{"version":1,"partitions":[{"topic":"t","partition":0,"offset":-1}]}"#);
    assert_eq!(field(&String::from_utf8(output.stdout).unwrap(), "low_watermark"), "10");
    assert_eq!(broker.ok("offsets", &["t", "--time", "-2"], b""), "t:0:10\nt:1:4\n");
    let rows = broker.ok("offsets", &["t", "--time", "latest", "--json"], b"");
    assert_eq!((field(&rows, "partition"), field(&rows, "offset")), ("0", "10"));

    for (text, words) in [
        (r#"{"version":2,"partitions":[]}"#, "version 2 is not known"),
        (r#"{"partitions":[{"topic":"t"}]}"#, "missing field `partition`"),
        (r#"{"partitions":[{"topic":"t","partition":9,"offset":1}]}"#, "UNKNOWN_TOPIC_OR_PARTITION"),
        (r#"{"partitions":[{"topic":"t","partition":1,"offset":99}]}"#, "OFFSET_OUT_OF_RANGE"),
    ] {
        let output = run(text);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && errors.contains(words), "{text}: {errors}");
    }
    assert!(broker.fails("offsets", &["none"], b"").contains("UNKNOWN_TOPIC_OR_PARTITION"));
    assert!(broker.fails("offsets", &["t", "--partitions", "9"], b"").contains("no partition is what was asked for"));
}

#[test]
fn the_cluster_says_what_it_is() {
    let broker = Broker::start(&[]);
    broker.ok("topics create", &["t"], b"");
    let described = broker.ok("cluster describe", &["--json"], b"");
    assert_eq!((field(&described, "controller"), field(&described, "id")), ("1", "1"));
    let versions = broker.ok("cluster api-versions", &["--json"], b"");
    assert!(versions.lines().any(|line| field(line, "api") == "Fetch" && field(line, "usable") == "18"), "{versions}");
    let features = broker.ok("cluster features", &["--json"], b"");
    assert!(
        features
            .lines()
            .any(|line| field(line, "feature") == "metadata.version" && field(line, "finalized_level") == "30")
    );
    let quorum = broker.ok("cluster quorum", &["--replication", "--json"], b"");
    assert_eq!((field(&quorum, "node_id"), field(&quorum, "lag"), field(&quorum, "status")), ("1", "0", "Leader"));
    assert!(broker.ok("cluster quorum", &[], b"").contains("\nLeaderId:               1\n"));
    let directories = broker.ok("cluster log-dirs", &["--topic-list", "t"], b"");
    assert!(directories.contains("{\"partition\":\"t-0\",\"size\":0,"), "{directories}");
    assert!(broker.fails("cluster log-dirs", &["--broker-list", "7"], b"").contains("there is no broker 7"));
}

#[test]
fn a_group_reads_on_where_it_was() {
    let broker = Broker::start(&["--override", "group.initial.rebalance.delay.ms=0"]);
    filled(&broker, "t");
    let how = ["-t", "t", "--group", "g", "--from-beginning", "-f", "%p:%o "];
    let read = |more: &[&str]| broker.ok("consume", &[&how[..], more].concat(), b"");
    let first = read(&["--max-messages", "7"]);
    let rest = read(&["--exit"]);
    let mut all: Vec<&str> = first.split(' ').chain(rest.split(' ')).filter(|place| !place.is_empty()).collect();
    all.sort_unstable();
    let expected: Vec<String> = (0..2).flat_map(|p| (0..10).map(move |o| format!("{p}:{o}"))).collect();
    assert_eq!(all, expected);
    assert_eq!(first.split(' ').count(), 8);
    assert_eq!(read(&["--exit"]), "");
    let error = broker.fails("consume", &["-t", "t", "--group", "g", "--session-timeout-ms", "1"], b"");
    assert!(error.contains("INVALID_SESSION_TIMEOUT"), "{error}");
}

fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_there() {
        assert!(Instant::now() < deadline, "{what} does not come");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn members_share_partitions_and_one_that_is_killed_is_replaced() {
    let broker = Broker::start(&[
        "--override",
        "group.initial.rebalance.delay.ms=0",
        "--override",
        "group.min.session.timeout.ms=1000",
    ]);
    filled(&broker, "t");
    let member = || broker.spawn("consume", &["-t", "t", "-g", "g", "--session-timeout-ms", "2000", "-f", "%p "]);
    let (mut first, mut second) = (member(), member());
    let counts = || -> Vec<String> {
        let output = broker.run("groups describe", &["g", "--members", "--json"], b"");
        let rows = String::from_utf8(output.stdout).unwrap();
        let mut counts: Vec<String> = rows.lines().map(|line| field(line, "partitions").to_owned()).collect();
        counts.sort();
        counts
    };
    wait_for("one partition for each", || counts() == ["1", "1"]);
    let error = broker.fails("groups delete", &["g"], b"");
    assert!(error.contains("NON_EMPTY_GROUP") && error.contains("--members"), "{error}");
    let error = broker.fails("groups reset-offsets", &["g", "--all-topics", "--to-earliest", "--execute"], b"");
    assert!(error.contains("only while it has no members"), "{error}");

    first.kill().unwrap();
    first.wait().unwrap();
    wait_for("both partitions for the one that is left", || counts() == ["2"]);
    broker.ok("produce", &["-t", "t", "-p", "0"], b"x\n");
    broker.ok("produce", &["-t", "t", "-p", "1"], b"x\n");
    let mut read = [0; 4];
    std::io::Read::read_exact(second.stdout.as_mut().unwrap(), &mut read).unwrap();
    read.sort_unstable();
    assert_eq!(&read, b"  01");
    // SIGINT as Ctrl-C sends it: the member commits and leaves at once.
    let status = std::process::Command::new("kill").args(["-INT", &second.id().to_string()]).status().unwrap();
    assert!(status.success());
    assert!(second.wait().unwrap().success());
    assert_eq!(counts(), Vec::<String>::new());
    let lags = broker.ok("groups describe", &["g", "--json"], b"");
    assert!(lags.lines().count() == 2 && lags.lines().all(|line| field(line, "lag") == "0"), "{lags}");
}

#[test]
fn groups_are_listed_moved_and_deleted() {
    let broker = Broker::start(&["--override", "group.initial.rebalance.delay.ms=0"]);
    filled(&broker, "t");
    broker.ok("consume", &["-t", "t", "-g", "g", "--from-beginning", "--exit"], b"");
    assert_eq!(broker.ok("groups list", &[], b""), "g\n");
    let listed = broker.ok("groups list", &["--json"], b"");
    assert_eq!((field(&listed, "group"), field(&listed, "state"), field(&listed, "type")), ("g", "Empty", "classic"));
    assert_eq!(broker.ok("groups list", &["--state", "Stable", "--json"], b""), "");
    assert_eq!(broker.ok("groups list", &["--protocol", "connect"], b"").lines().count(), 1, "the header alone");
    let all = broker.ok("groups list", &["--all"], b"");
    assert_eq!(
        all.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>(),
        ["GROUP TYPE PROTOCOL", "g Classic consumer"]
    );
    assert!(broker.fails("groups list", &["--state", "Tired"], b"").contains("`Tired` is no state"));
    let valid = support::run(&["groups", "validate-regex", r"(?i)or.*\pL"], b"");
    assert!(valid.status.success() && valid.stdout.ends_with(b"is valid.\n"), "{valid:?}");
    let invalid = support::run(&["groups", "validate-regex", "or("], b"");
    assert!(
        !invalid.status.success() && invalid.stderr.starts_with(b"corelane: the regular expression `or(` is"),
        "{invalid:?}"
    );

    let output = broker.run("groups reset-offsets", &["g", "-t", "t:1", "--to-offset", "4"], b"");
    assert!(output.status.success());
    let table = String::from_utf8(output.stdout).unwrap();
    assert_eq!(table.lines().last().unwrap().split_whitespace().collect::<Vec<_>>(), ["g", "t", "1", "4"]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("--execute"));
    let lag = |partition: usize| {
        let rows = broker.run("groups describe", &["g", "--json"], b"").stdout;
        field(String::from_utf8(rows).unwrap().lines().nth(partition).unwrap(), "lag").to_owned()
    };
    assert_eq!(lag(1), "0", "nothing was changed");
    for (arguments, expected) in [
        (&["-t", "t:1", "--to-offset", "4"][..], "6"),
        (&["-t", "t", "--shift-by", "2"], "4"),
        (&["-t", "t", "--shift-by", "-3"], "7"),
        (&["--all-topics", "--to-latest"], "0"),
        (&["--all-topics", "--to-earliest"], "10"),
        (&["-t", "t", "--to-offset", "999"], "0"),
        (&["-t", "t", "--to-datetime", "2020-01-01T00:00:00.000"], "10"),
        (&["-t", "t", "--by-duration", "PT0S"], "0"),
        (&["-t", "t", "--to-current"], "0"),
    ] {
        let output = broker.run("groups reset-offsets", &[&["g", "--execute"], arguments].concat(), b"");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(lag(1), expected, "{arguments:?}");
    }
    let plan = broker.run("groups reset-offsets", &["g", "-t", "t", "--to-offset", "3", "--export"], b"").stdout;
    assert_eq!(plan, b"t,0,3\nt,1,3\n");
    let file = broker.directory().join("../plan");
    std::fs::write(&file, plan).unwrap();
    broker.ok("groups reset-offsets", &["g", "--from-file", file.to_str().unwrap(), "--execute"], b"");
    assert_eq!(lag(0), "7");
    for (arguments, words) in [
        (&["g"][..], "say where to"),
        (&["g", "--to-earliest"], "say which topics"),
        (&["g", "-t", "none", "--to-earliest"], "UNKNOWN_TOPIC_OR_PARTITION"),
        (&["fresh", "-t", "t", "--shift-by", "1"], "has committed no offset"),
    ] {
        let error = broker.fails("groups reset-offsets", arguments, b"");
        assert!(error.contains(words), "{arguments:?}: {error}");
    }

    assert_eq!(broker.ok("groups delete-offsets", &["-g", "g", "-t", "t:0"], b""), "deleted t-0 from g\n");
    assert_eq!(broker.ok("groups delete", &["g"], b""), "deleted g\n");
    assert!(broker.fails("groups describe", &["g"], b"").contains("GROUP_ID_NOT_FOUND"));
    assert!(broker.fails("groups delete", &["g"], b"").contains("GROUP_ID_NOT_FOUND"));
}

#[test]
fn files_are_sent_by_line_or_whole() {
    let broker = Broker::start(&[]);
    broker.ok("topics create", &["t"], b"");
    let file = broker.directory().join("../lines");
    std::fs::write(&file, "one\ntwo\nNIL\n").unwrap();
    let file = file.to_str().unwrap();
    broker.ok("produce", &["-t", "t", "--null-value", "NIL", file], b"");
    broker.ok("produce", &["-t", "t", "--whole-file", file, "-"], b"three\n");
    let read = broker.ok("consume", &["-t", "t", "--from-beginning", "--exit", "-f", "[%S %s]"], b"");
    assert_eq!(read, "[3 one][3 two][-1 ][12 one\ntwo\nNIL\n][6 three\n]");
    let error = broker.fails("produce", &["-t", "t", file, "/no/such"], b"");
    assert!(error.contains("/no/such"), "{error}");
    assert_eq!(broker.ok("offsets", &["t"], b""), "t:0:5\n", "nothing is sent before every file is there");
}

#[test]
fn a_reader_of_a_topic_that_is_deleted_ends() {
    let broker = Broker::start(&["--override", "auto.create.topics.enable=false"]);
    broker.ok("topics create", &["t"], b"");
    broker.ok("produce", &["-t", "t"], b"x\n");
    let mut reader = broker.spawn("consume", &["-t", "t", "--from-beginning", "-f", "%s"]);
    std::io::Read::read_exact(reader.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    broker.ok("topics delete", &["t"], b"");
    assert_eq!(reader.wait().unwrap().code(), Some(1));
}

#[test]
fn completions_are_printed_for_every_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let output = support::run(&["completions", shell], b"");
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && script.contains("reset-offsets"), "{shell}");
    }
}

#[test]
fn transactions_are_told_and_ended() {
    let broker = Broker::start(&[]);
    broker.ok("topics create", &["ledger"], b"");
    let done = ["-t", "ledger", "--num-records", "20", "--record-size", "10", "--transactional-id", "done"];
    broker.ok("perf producer", &done, b"");
    // A producer that dies with a transaction open.
    let load = ["-t", "ledger", "--num-records", "100000", "--record-size", "10", "--throughput", "200"];
    let transaction = ["--transactional-id", "open", "--transaction-duration-ms", "600000"];
    let mut producer = broker.spawn("perf producer", &[&load[..], &transaction].concat());
    let ongoing = ["--state", "Ongoing", "--json"];
    let begun = Instant::now();
    let listed = loop {
        let described = broker.ok("transactions producers", &["ledger", "--json"], b"");
        let open = described.lines().filter(|line| field(line, "transaction_start_offset") != "null");
        if open.count() == 1 {
            break broker.ok("transactions list", &ongoing, b"");
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{described}");
    };
    producer.kill().unwrap();
    producer.wait().unwrap();
    assert_eq!((listed.lines().count(), field(&listed, "transactional_id")), (1, "open"));
    let all = broker.ok("transactions list", &[], b"");
    assert!(all.lines().nth(1).unwrap().starts_with("done ") && all.contains("CompleteCommit"), "{all}");
    let like = broker.ok("transactions list", &["--pattern", "o.*", "--json"], b"");
    assert_eq!((like.lines().count(), field(&like, "producer_id")), (1, field(&listed, "producer_id")));
    assert_eq!(broker.ok("transactions list", &["--duration-ms", "3600000", "--state", "Ongoing", "--json"], b""), "");
    let described = broker.ok("transactions describe", &["open", "done", "--json"], b"");
    let states: Vec<&str> = described.lines().map(|line| field(line, "state")).collect();
    assert_eq!(states, ["Ongoing", "CompleteCommit"]);
    assert!(described.contains("\"partitions\":[\"ledger-0\"]"), "{described}");

    // Its coordinator knows of it, so it does not hang; it can be aborted in one partition all the same.
    assert_eq!(broker.ok("transactions hanging", &["ledger", "--minutes", "0", "--json"], b""), "");
    let open = broker.ok("transactions producers", &["ledger:0", "--json"], b"");
    let open = open.lines().find(|line| field(line, "transaction_start_offset") != "null").unwrap();
    let start = field(open, "transaction_start_offset").to_owned();
    let said = broker.ok("transactions abort", &["ledger:0", "--start-offset", &start], b"");
    assert!(said.contains("is aborted"), "{said}");
    let said = broker.fails("transactions abort", &["ledger:0", "--start-offset", &start], b"");
    assert!(said.contains("no open transaction begins at offset"), "{said}");
    // By its ids, as brokers before Kafka 3.0 need it; what is not open any more is ended all the same.
    let (id, epoch) = (field(open, "producer_id"), field(open, "producer_epoch"));
    let by_ids = ["ledger:0", "--producer-id", id, "--producer-epoch", epoch, "--coordinator-epoch", "0"];
    let said = broker.ok("transactions abort", &by_ids, b"");
    assert!(said.contains(&format!("of producer {id} is aborted")), "{said}");
    for (command, arguments, missing) in
        [("transactions abort", &by_ids[..3], "--producer-epoch"), ("transactions hanging", &[], "TOPIC")]
    {
        let output = broker.run(command, arguments, b"");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains(missing), "{command}: {said}");
    }
    let asked = broker.ok("transactions producers", &["ledger:0", "--broker-id", "1", "--json"], b"");
    assert!(asked.lines().any(|line| field(line, "producer_id") == id), "{asked}");
    assert_eq!(broker.ok("transactions hanging", &["--broker-id", "1", "--minutes", "0", "--json"], b""), "");
    let said = broker.ok("transactions terminate", &["open"], b"");
    assert!(said.contains("nothing is open"), "{said}");
    assert_eq!(broker.ok("transactions list", &ongoing, b""), "");
    let committed = ["-t", "ledger", "--from-beginning", "--exit", "--isolation-level", "read_committed"];
    assert_eq!(broker.ok("consume", &committed, b"").lines().count(), 20);

    for (command, arguments, words) in [
        ("transactions terminate", &["nobody"][..], "TRANSACTIONAL_ID_NOT_FOUND"),
        ("transactions describe", &["nobody"], "`corelane transactions list`"),
        ("transactions list", &["--state", "Sleeping"], "there is no such state"),
        ("transactions list", &["--pattern", "o("], "no regular expression"),
        ("transactions producers", &["none"], "UNKNOWN_TOPIC_OR_PARTITION"),
        ("transactions producers", &["ledger", "--broker-id", "9"], "the cluster has no such broker"),
        ("transactions abort", &["ledger:0,1", "--start-offset", "0"], "is not one partition"),
    ] {
        let said = broker.fails(command, arguments, b"");
        assert!(said.contains(words), "{command} {arguments:?}: {said}");
    }
}
