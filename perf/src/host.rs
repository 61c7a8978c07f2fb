//! The machine that a load runs on, as far as figures depend on it.

use std::fs;
use std::thread;

/// Facts of a machine; empty or zero where the system does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Name and version of the kernel.
    pub kernel: String,
    /// Model of the processors.
    pub processor: String,
    /// How many of them this process may use.
    pub processors: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
}

impl Host {
    /// This machine.
    #[must_use]
    pub fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let release = read("/proc/sys/kernel/osrelease");
        let memory_kib = field(&read("/proc/meminfo"), "MemTotal").and_then(|value| {
            let number = value.split_whitespace().next()?;
            number.parse::<u64>().ok()
        });
        Self {
            kernel: format!("Linux {}", release.trim()),
            processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_default(),
            processors: thread::available_parallelism().map_or(0, |count| count.get() as u32),
            memory_bytes: memory_kib.unwrap_or(0) * 1_024,
        }
    }
}

/// The value behind `name:` in the first line that has it.
fn field(text: &str, name: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.split_once(':').filter(|(found, _)| found.trim() == name))?.1;
    Some(value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_kernel_processors_and_memory() {
        let host = Host::here();
        assert!(host.kernel.len() > "Linux ".len() && host.processors > 0 && host.memory_bytes > 1 << 20, "{host:?}");
    }

    #[test]
    fn fields_are_found_by_their_whole_names() {
        let text = "MemTotalish: 5 kB\nMemTotal:       24576 kB\nmodel name\t: Some: processor\n";
        assert_eq!(field(text, "MemTotal").unwrap(), "24576 kB");
        assert_eq!(field(text, "model name").unwrap(), "Some: processor");
        assert_eq!(field(text, "absent"), None);
    }
}
