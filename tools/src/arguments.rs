//! Arguments that several commands share.

use std::path::Path;

use clap::Args;
use corelane_core::client::{Address, Client, ClientConfig};
use corelane_core::config::parse_properties;

use crate::admin::Admin;
use crate::failure::Failure;
use corelane_perf::driver::Driver;

const DEFAULT_CLIENT_ID: &str = "corelane";
const DEFAULT_TIMEOUT_MS: u64 = 30_000;

/// How to reach a cluster.
#[derive(Args, Clone, Debug)]
pub(crate) struct ClusterArguments {
    /// Brokers to ask first, separated by commas [default: localhost:9092].
    #[arg(long, short = 'b', value_name = "HOST:PORT", value_delimiter = ',', value_parser = Address::parse)]
    bootstrap_server: Vec<Address>,
    /// Name that the broker sees.
    #[arg(long, value_name = "NAME", default_value = DEFAULT_CLIENT_ID)]
    client_id: String,
    /// Milliseconds to wait for an answer.
    #[arg(long, value_name = "MS", default_value_t = DEFAULT_TIMEOUT_MS)]
    request_timeout_ms: u64,
}

impl ClusterArguments {
    /// The cluster of these brokers, with the defaults of the flags.
    pub(crate) fn of(bootstrap_server: Vec<Address>) -> Self {
        Self { bootstrap_server, client_id: DEFAULT_CLIENT_ID.to_owned(), request_timeout_ms: DEFAULT_TIMEOUT_MS }
    }

    /// The same under another name.
    pub(crate) fn client_id(self, client_id: String) -> Self {
        Self { client_id, ..self }
    }

    /// The same with another time to wait for an answer, in milliseconds.
    pub(crate) fn request_timeout_ms(self, request_timeout_ms: u64) -> Self {
        Self { request_timeout_ms, ..self }
    }

    /// A driver for a client of that cluster.
    pub(crate) fn driver(&self, auto_create_topics: bool) -> Driver {
        Driver::new(Client::new(self.config(auto_create_topics)))
    }

    /// How a client reaches that cluster.
    pub(crate) fn config(&self, auto_create_topics: bool) -> ClientConfig {
        let mut config = ClientConfig::new(self.servers());
        config.client_id.clone_from(&self.client_id);
        config.request_timeout_ms = self.request_timeout_ms;
        config.auto_create_topics = auto_create_topics;
        config.software_version = env!("CARGO_PKG_VERSION");
        config
    }

    fn servers(&self) -> Vec<Address> {
        match self.bootstrap_server.is_empty() {
            true => vec![Address { host: "localhost".to_owned(), port: 9092 }],
            false => self.bootstrap_server.clone(),
        }
    }

    /// Brokers were named.
    pub(crate) fn has_servers(&self) -> bool {
        !self.bootstrap_server.is_empty()
    }

    /// The broker to ask first, as `host:port`.
    pub(crate) fn first(&self) -> String {
        self.servers().first().map(ToString::to_string).unwrap_or_default()
    }

    /// Questions to that cluster.
    pub(crate) fn admin(&self) -> Admin {
        Admin::new(self.driver(false))
    }
}

/// The settings in a file of properties, with their values.
pub(crate) fn read_properties(path: &Path) -> Result<Vec<(String, String)>, Failure> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| Failure::from(error).during(&name))?;
    let settings = parse_properties(&name, &text)
        .map_err(|errors| Failure::new(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))?;
    Ok(settings.into_iter().map(|setting| (setting.name, setting.value)).collect())
}

/// Parses `name=value`.
pub(crate) fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as name=value".to_owned()),
    }
}
