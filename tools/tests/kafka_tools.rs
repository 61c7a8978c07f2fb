//! Our program under the names of Kafka's tools. What it prints is held against theirs in tests/clients/test_command_line.py.

#![allow(missing_docs)]

mod support;

use support::Broker;

#[test]
fn tools_take_the_options_of_kafka() {
    let broker = Broker::start(&["--override", "group.initial.rebalance.delay.ms=0"]);
    let ok = |tool: &str, arguments: &[&str], input: &[u8]| {
        let (status, out, err) = broker.tool(tool, arguments, input);
        assert_eq!(status, Some(0), "{tool} {arguments:?}: {err}");
        out
    };
    assert_eq!(ok("kafka-topics.sh", &["--create", "--topic", "t", "--partitions", "2"], b""), "Created topic t.\n");
    assert_eq!(ok("kafka-topics", &["--list", "--topic", "[tu]"], b""), "t\n");
    let properties = ["--topic", "t", "--property", "parse.key=true", "--property", "key.separator=:"];
    ok("kafka-console-producer.sh", &properties, b"k:1\nk:2\n");
    let printed = ["--topic", "t", "--from-beginning", "--max-messages", "2", "--property", "print.key=true"];
    assert_eq!(ok("kafka-console-consumer", &printed, b""), "k\t1\nk\t2\n");
    let grouped = ["--topic", "t", "--group", "g", "--from-beginning", "--max-messages", "2"];
    assert_eq!(ok("kafka-console-consumer", &grouped, b""), "1\n2\n");
    assert_eq!(ok("kafka-consumer-groups.sh", &["--list"], b""), "g\n");
    assert!(ok("kafka-consumer-groups", &["--describe", "--group", "g"], b"").contains("LOG-END-OFFSET"));
    assert!(ok("kafka-consumer-groups", &["--validate-regex", "o.*"], b"").ends_with("`o.*` is valid.\n"));
    assert!(ok("kafka-get-offsets.sh", &["--topic", "t", "--time", "-2"], b"").starts_with("t:0:0\n"));
    let file = broker.directory().join("../client.properties");
    std::fs::write(&file, "# a comment\nclient.id=me\nsecurity.protocol=PLAINTEXT\n").unwrap();
    let config = ["--list", "--command-config", file.to_str().unwrap()];
    assert!(ok("kafka-topics", &config, b"").contains("t\n"));
    std::fs::write(&file, "security.protocol=SASL_SSL\n").unwrap();
    let (status, _, errors) = broker.tool("kafka-topics", &config, b"");
    assert!(status == Some(1) && errors.contains("security.protocol=SASL_SSL"), "{errors}");
    std::fs::write(&file, "sasl.jaas.config=x\n").unwrap();
    let (status, _, errors) = broker.tool("kafka-topics", &config, b"");
    assert!(status == Some(1) && errors.contains("sasl.jaas.config does nothing here"), "{errors}");
    assert!(ok("kafka-cluster.sh", &["cluster-id"], b"").starts_with("Cluster ID: "));
}

#[test]
fn what_a_tool_does_not_have_is_refused_by_name() {
    let broker = Broker::start(&[]);
    for (tool, arguments, words) in [
        ("kafka-topics.sh", &["--list", "--nonsense"][..], "--nonsense"),
        ("kafka-topics.sh", &[], "--create|--list|--describe|--alter|--delete"),
        ("kafka-console-producer", &["--topic", "t", "--property", "no.such=1"], "no.such"),
        ("kafka-console-producer", &["--topic", "t", "--command-property", "retries=1"], "retries"),
        ("kafka-console-consumer", &["--topic", "t", "--property", "value.deserializer=x"], "value.deserializer"),
        ("kafka-topics.sh", &["--describe", "--topic", "none"], "does not exist as expected"),
        ("kafka-acls.sh", &["--list"], "cannot stand in for kafka-acls"),
    ] {
        let (status, _, errors) = broker.tool(tool, arguments, b"");
        assert!(status == Some(1) && errors.contains(words), "{tool} {arguments:?}: {status:?} {errors}");
    }
}
