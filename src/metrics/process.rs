//! The standard `process_*` metrics, read from `/proc` when somebody asks.
//!
//! prometheus' own collector brings libc and procfs for the same five files.

use std::fs;
use std::sync::{Mutex, PoisonError};

use prometheus::{Counter, Gauge, IntGauge, IntGaugeVec, Opts, Registry};

use super::register;

/// The metrics; they stay at zero where there is no `/proc`.
pub(super) struct Process {
    cpu: Counter,
    /// What `cpu` has been told so far, in seconds.
    told: Mutex<f64>,
    resident: IntGauge,
    virtual_memory: IntGauge,
    start: Gauge,
    threads: IntGauge,
    open_files: IntGauge,
    max_files: IntGauge,
}

impl Process {
    /// Registers them, and which program it is.
    pub(super) fn register(registry: &Registry) -> Self {
        let build = register(
            registry,
            IntGaugeVec::new(
                Opts::new("waypost_build_info", "1, with the version as a label."),
                &["version"],
            ),
        );
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let gauge = |name: &str, help: &str| register(registry, IntGauge::new(name, help));
        Self {
            cpu: register(
                registry,
                Counter::new(
                    "process_cpu_seconds_total",
                    "Total user and system CPU time spent in seconds.",
                ),
            ),
            told: Mutex::new(0.0),
            resident: gauge("process_resident_memory_bytes", "Resident memory size in bytes."),
            virtual_memory: gauge("process_virtual_memory_bytes", "Virtual memory size in bytes."),
            start: register(
                registry,
                Gauge::new(
                    "process_start_time_seconds",
                    "Start time of the process since unix epoch in seconds.",
                ),
            ),
            threads: gauge("process_threads", "Number of OS threads in the process."),
            open_files: gauge("process_open_fds", "Number of open file descriptors."),
            max_files: gauge("process_max_fds", "Maximum number of open file descriptors."),
        }
    }

    /// Reads everything anew.
    pub(super) fn refresh(&self) {
        if let Some(stat) = fs::read_to_string("/proc/self/stat")
            .ok()
            .as_deref()
            .and_then(Stat::parse)
        {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            // Two scrapes at once may read in one order and arrive here in the other; a counter does not go back.
            if stat.cpu > *told {
                self.cpu.inc_by(stat.cpu - *told);
                *told = stat.cpu;
            }
            drop(told);
            self.threads.set(stat.threads);
            self.virtual_memory.set(stat.virtual_memory);
            if let Some(boot) = field("/proc/stat", "btime ").and_then(|seconds| seconds.parse::<f64>().ok()) {
                self.start.set(boot + stat.start);
            }
        }
        if let Some(resident) = field("/proc/self/status", "VmRSS:").and_then(|size| kibibytes(&size)) {
            self.resident.set(resident);
        }
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            // Without the one that lists them.
            self.open_files
                .set(i64::try_from(files.count()).unwrap_or(i64::MAX) - 1);
        }
        if let Some(limit) = field("/proc/self/limits", "Max open files")
            && let Some(soft) = limit
                .split_ascii_whitespace()
                .next()
                .and_then(|limit| limit.parse().ok())
        {
            self.max_files.set(soft);
        }
    }
}

/// What `proc_pid_stat(5)` says of a process.
#[derive(Debug, PartialEq)]
struct Stat {
    /// Seconds, user and system.
    cpu: f64,
    threads: i64,
    /// Seconds after the boot.
    start: f64,
    /// Bytes.
    virtual_memory: i64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The second field is the command in parentheses, and may contain both spaces and parentheses.
        let (_, rest) = text.rsplit_once(')')?;
        // `rest` starts with field 3 of the manual page.
        let fields: Vec<_> = rest.split_ascii_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu: (number(14)? + number(15)?) / TICKS,
            threads: fields.get(20 - 3)?.parse().ok()?,
            start: fields.get(22 - 3)?.parse::<f64>().ok()? / TICKS,
            virtual_memory: fields.get(23 - 3)?.parse().ok()?,
        })
    }
}

/// What follows `name` at the start of a line.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.lines().find_map(|line| line.strip_prefix(name))?.trim().to_owned())
}

fn kibibytes(size: &str) -> Option<i64> {
    size.strip_suffix("kB")?.trim().parse::<i64>().ok()?.checked_mul(1024)
}

/// The kernel's USER_HZ, which is 100 on every architecture that Kubernetes runs on.
const TICKS: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let text = "7 (a) b (c)) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 3 0 12345 1048576 200 184 1 1";
        let expected = Stat {
            cpu: 2.0,
            threads: 3,
            start: 123.45,
            virtual_memory: 1_048_576,
        };
        assert_eq!(Stat::parse(text), Some(expected));
        assert_eq!(Stat::parse("7 (a) S 1"), None);
    }

    #[test]
    fn memory_is_in_kibibytes() {
        assert_eq!(kibibytes("  6800 kB".trim()), Some(6_963_200));
        assert_eq!(kibibytes("6800"), None);
    }
}
