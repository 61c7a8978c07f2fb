//! Settings of clients under Kafka's names, from the command line and from files. One that does nothing here is refused
//! by its name.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use corelane_core::client::{Address, ConsumerOptions, IsolationLevel, MemberOptions, ProducerOptions, StartOffset};
use corelane_core::record::Codec;
use corelane_perf::driver::{Cluster, SocketBuffers};

use crate::arguments::{ClusterArguments, parse_pair, read_properties};
use crate::failure::Failure;
use crate::produce::parse_acks;

/// Settings of the client.
#[derive(Args, Debug)]
pub(super) struct PropertyArguments {
    /// Settings of the client under Kafka's names, such as linger.ms=10 batch.size=32768.
    #[arg(long, alias = "producer-props", value_name = "NAME=VALUE", num_args = 1.., value_parser = parse_pair)]
    command_property: Vec<(String, String)>,
    /// A file with such settings. Those of --command-property come before them.
    #[arg(long, value_name = "FILE", aliases = ["producer.config", "consumer.config"])]
    command_config: Option<PathBuf>,
    /// Print what has gone through the client in the end, under the names of Kafka's metrics.
    #[arg(long)]
    pub(super) print_metrics: bool,
}

impl PropertyArguments {
    /// All of them.
    pub(super) fn read(&self) -> Result<Properties, Failure> {
        let mut properties = Properties::default();
        if let Some(path) = &self.command_config {
            for (name, value) in read_properties(path).map_err(|failure| failure.during("--command-config"))? {
                properties.given.insert(name, (value, "--command-config"));
            }
        }
        for (name, value) in &self.command_property {
            properties.given.insert(name.clone(), (value.clone(), "--command-property"));
        }
        Ok(properties)
    }
}

/// Settings that nobody has taken yet.
#[derive(Debug, Default)]
pub(super) struct Properties {
    /// Value, and where it stands, by name.
    given: BTreeMap<String, (String, &'static str)>,
    /// Names that somebody has asked for.
    known: Vec<&'static str>,
}

impl Properties {
    fn take<T>(&mut self, name: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, Failure> {
        self.known.push(name);
        let Some((value, origin)) = self.given.remove(name) else { return Ok(None) };
        let wrong = |why| Failure::new(format!("{origin}: {name}={value}: {why}"));
        parse(value.trim()).map(Some).map_err(wrong)
    }

    /// Takes a number, which is at least `min`.
    fn number<T: FromStr + PartialOrd + std::fmt::Display>(
        &mut self,
        name: &'static str,
        min: T,
        into: &mut T,
    ) -> Result<(), Failure> {
        let parse = |text: &str| {
            text.parse().ok().filter(|number| *number >= min).ok_or_else(|| format!("it is a number from {min} on"))
        };
        if let Some(number) = self.take(name, parse)? {
            *into = number;
        }
        Ok(())
    }

    fn switch(&mut self, name: &'static str, into: &mut bool) -> Result<(), Failure> {
        let parse = |text: &str| text.parse().map_err(|_| "it is true or false".to_owned());
        if let Some(on) = self.take(name, parse)? {
            *into = on;
        }
        Ok(())
    }

    /// How the cluster is reached.
    pub(super) fn cluster(&mut self, arguments: &ClusterArguments, auto_create: bool) -> Result<Cluster, Failure> {
        let mut client = arguments.config(auto_create);
        let servers = self.take("bootstrap.servers", |text| text.split(',').map(Address::parse).collect())?;
        if let Some(servers) = servers.filter(|_| !arguments.has_servers()) {
            client.bootstrap = servers;
        }
        if let Some(id) = self.take("client.id", |text| Ok(text.to_owned()))? {
            client.client_id = id;
        }
        self.number("request.timeout.ms", 1, &mut client.request_timeout_ms)?;
        self.number("retry.backoff.ms", 0, &mut client.retry_backoff_ms)?;
        self.number("metadata.max.age.ms", 0, &mut client.metadata_age_ms_max)?;
        self.take("security.protocol", |text| match text {
            "PLAINTEXT" => Ok(()),
            _ => Err("only PLAINTEXT is there yet".to_owned()),
        })?;
        let bytes = |text: &str| match text.parse::<i64>() {
            Ok(-1) => Ok(None),
            Ok(bytes @ 0..) => Ok(usize::try_from(bytes).ok()),
            _ => Err("it is a number of bytes, or -1 for what the system gives".to_owned()),
        };
        let send_bytes = self.take("send.buffer.bytes", bytes)?.flatten();
        let receive_bytes = self.take("receive.buffer.bytes", bytes)?.flatten();
        Ok(Cluster { client, buffers: SocketBuffers { send_bytes, receive_bytes } })
    }

    /// How records are sent.
    pub(super) fn producer(&mut self, options: &mut ProducerOptions) -> Result<(), Failure> {
        if let Some(acks) = self.take("acks", parse_acks)? {
            options.acks = acks;
        }
        self.switch("enable.idempotence", &mut options.is_idempotent)?;
        let codec = |text: &str| match text {
            "none" => Ok(Codec::None),
            "gzip" => Ok(Codec::Gzip),
            "snappy" => Ok(Codec::Snappy),
            "lz4" => Ok(Codec::Lz4),
            "zstd" => Ok(Codec::Zstd),
            _ => Err("it is one of none, gzip, snappy, lz4 and zstd".to_owned()),
        };
        if let Some(codec) = self.take("compression.type", codec)? {
            options.compression.codec = codec;
        }
        for (name, codec) in [
            ("compression.gzip.level", Codec::Gzip),
            ("compression.lz4.level", Codec::Lz4),
            ("compression.zstd.level", Codec::Zstd),
        ] {
            let level = self.take(name, |text| text.parse().map_err(|_| "it is a number".to_owned()))?;
            if options.compression.codec == codec && level.is_some() {
                options.compression.level = level;
            }
        }
        self.number("linger.ms", 0, &mut options.linger_ms)?;
        self.number("batch.size", 0, &mut options.batch_bytes_max)?;
        self.number("max.request.size", 1, &mut options.request_bytes_max)?;
        self.number("buffer.memory", 1, &mut options.buffer_bytes_max)?;
        self.number("max.in.flight.requests.per.connection", 1, &mut options.in_flight_max)?;
        self.number("delivery.timeout.ms", 0, &mut options.delivery_timeout_ms)?;
        let bytes_only = |text: &str| match text.ends_with("ByteArraySerializer") {
            true => Ok(()),
            false => Err("records are bytes: only ByteArraySerializer is there".to_owned()),
        };
        self.take("key.serializer", bytes_only)?;
        self.take("value.serializer", bytes_only)?;
        Ok(())
    }

    /// The transactional id, if there is one, and how long a transaction may be open.
    pub(super) fn transactions(&mut self) -> Result<(Option<String>, i32), Failure> {
        let mut timeout_ms = 60_000;
        self.number("transaction.timeout.ms", 1, &mut timeout_ms)?;
        let transactional_id = self.take("transactional.id", |text| match text {
            "" => Err("it is not empty".to_owned()),
            text => Ok(text.to_owned()),
        })?;
        Ok((transactional_id, timeout_ms))
    }

    /// How records are fetched.
    pub(super) fn consumer(&mut self, options: &mut ConsumerOptions) -> Result<(), Failure> {
        let isolation = |text: &str| match text {
            "read_uncommitted" => Ok(IsolationLevel::ReadUncommitted),
            "read_committed" => Ok(IsolationLevel::ReadCommitted),
            _ => Err("it is read_uncommitted or read_committed".to_owned()),
        };
        if let Some(isolation) = self.take("isolation.level", isolation)? {
            options.isolation = isolation;
        }
        self.number("fetch.max.wait.ms", 0, &mut options.wait_ms_max)?;
        self.number("fetch.min.bytes", 0, &mut options.bytes_min)?;
        self.number("fetch.max.bytes", 0, &mut options.bytes_max)?;
        self.number("max.partition.fetch.bytes", 0, &mut options.partition_bytes_max)?;
        self.switch("check.crcs", &mut options.check_crc)?;
        Ok(())
    }

    /// How a consumer takes part in its group, and where it begins where the group has committed nothing.
    pub(super) fn member(&mut self, options: &mut MemberOptions, start: &mut StartOffset) -> Result<(), Failure> {
        if let Some(group) = self.take("group.id", |text| Ok(text.to_owned()))? {
            options.group = group;
        }
        let reset = |text: &str| match text {
            "earliest" => Ok(StartOffset::Earliest),
            "latest" => Ok(StartOffset::Latest),
            _ => Err("it is earliest or latest".to_owned()),
        };
        if let Some(reset) = self.take("auto.offset.reset", reset)? {
            *start = reset;
        }
        self.number("session.timeout.ms", 1, &mut options.session_timeout_ms)?;
        self.number("max.poll.interval.ms", 1, &mut options.rebalance_timeout_ms)?;
        self.number("heartbeat.interval.ms", 1, &mut options.heartbeat_interval_ms)?;
        self.number("auto.commit.interval.ms", 1, &mut options.commit_interval_ms)?;
        Ok(())
    }

    /// Refuses what nobody has asked for.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        self.known.sort_unstable();
        match self.given.first_key_value() {
            None => Ok(()),
            Some((name, (_, origin))) => {
                Err(Failure::new(format!("{origin}: {name} does nothing here; there are {}", self.known.join(", "))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(pairs: &[&str]) -> Properties {
        let command_property = pairs.iter().map(|pair| parse_pair(pair).unwrap()).collect();
        PropertyArguments { command_property, command_config: None, print_metrics: false }.read().unwrap()
    }

    fn cluster(pairs: &[&str]) -> (Properties, Result<Cluster, Failure>) {
        let mut properties = properties(pairs);
        let cluster = properties.cluster(&ClusterArguments::of(Vec::new()), false);
        (properties, cluster)
    }

    #[test]
    fn settings_reach_what_they_are_for() {
        let mut given = properties(&[
            "acks=1",
            "compression.type=zstd",
            "compression.zstd.level=7",
            "compression.gzip.level=9",
            "linger.ms=17",
            "batch.size=99",
            "enable.idempotence=false",
        ]);
        let mut options = ProducerOptions::default();
        given.producer(&mut options).unwrap();
        assert_eq!((options.linger_ms, options.batch_bytes_max, options.is_idempotent), (17, 99, false));
        assert_eq!((options.compression.codec, options.compression.level), (Codec::Zstd, Some(7)));
        given.finish().unwrap();

        let mut given = properties(&["fetch.min.bytes=7", "isolation.level=read_committed", "session.timeout.ms=6000"]);
        let (mut options, mut start) = (ConsumerOptions::default(), StartOffset::Latest);
        given.consumer(&mut options).unwrap();
        let mut member = MemberOptions::new("g", Default::default());
        given.member(&mut member, &mut start).unwrap();
        assert_eq!((options.bytes_min, options.isolation), (7, IsolationLevel::ReadCommitted));
        assert_eq!(member.session_timeout_ms, 6_000);

        let (given, cluster) = cluster(&["bootstrap.servers=h:1,i:2", "receive.buffer.bytes=5", "client.id=me"]);
        let cluster = cluster.unwrap();
        assert_eq!((cluster.client.bootstrap.len(), &*cluster.client.client_id), (2, "me"));
        assert_eq!(cluster.buffers, SocketBuffers { send_bytes: None, receive_bytes: Some(5) });
        given.finish().unwrap();
    }

    #[test]
    fn what_is_wrong_is_named() {
        let text = |failure: Failure| format!("{failure:?}");
        let said = text(cluster(&["security.protocol=SSL"]).1.unwrap_err());
        assert!(said.contains("security.protocol=SSL") && said.contains("PLAINTEXT"), "{said}");
        for (pair, part) in [
            ("acks=2", "0, 1 and all"),
            ("linger.ms=-1", "from 0 on"),
            ("compression.type=brotli", "zstd"),
            ("key.serializer=StringSerializer", "ByteArraySerializer"),
        ] {
            let said = text(properties(&[pair]).producer(&mut ProducerOptions::default()).unwrap_err());
            assert!(said.contains(part), "{pair}: {said}");
        }
        let (given, _) = cluster(&["sasl.mechanism=PLAIN"]);
        let said = text(given.finish().unwrap_err());
        assert!(said.contains("sasl.mechanism does nothing here") && said.contains("client.id"), "{said}");
    }
}
