//! Listeners: `NAME://host:port`.

use std::fmt;

/// An endpoint that the broker opens or that it tells clients to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name, in upper case.
    pub name: String,
    /// Host name or address, without brackets; empty is every address of the machine.
    pub host: String,
    /// Port; 0 lets the system choose.
    pub port: u16,
}

impl Listener {
    /// Parses one element of `listeners` or `advertised.listeners`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not of the form NAME://host:port");
        let (name, address) = text.split_once("://").ok_or_else(wrong)?;
        let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| format!("`{text}`: `{port}` is not a port"))?;
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        if name.is_empty() || (bare.is_none() && host.contains([':', '[', ']', '/'])) {
            return Err(wrong());
        }
        Ok(Self { name: name.to_ascii_uppercase(), host: bare.unwrap_or(host).to_owned(), port })
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{}://{open}{}{close}:{}", self.name, self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_parse_and_print_alike() {
        for text in ["PLAINTEXT://:9092", "A://localhost:0", "CONTROLLER://[::1]:9093", "X_1://10.0.0.1:65535"] {
            assert_eq!(Listener::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Listener::parse("plaintext://h:1").unwrap().name, "PLAINTEXT");
        for bad in ["", "localhost:9092", "A://h", "A://h:x", "A://h:65536", "A://::1:9", "://h:1", "A://h:1/x"] {
            assert!(Listener::parse(bad).is_err(), "{bad}");
        }
    }
}
