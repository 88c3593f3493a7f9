//! What a process costs, as `/proc` tells it: all its threads, those that ended included.

use std::collections::BTreeSet;
use std::fs;

use serde::{Deserialize, Serialize};

use crate::number;

/// Ticks a second in which the kernel tells CPU time; the same on every architecture.
const TICKS_PER_SECOND: u64 = 100;
/// How much the difference of two such times may be off, in seconds: a tick for each of the four that make it up.
const ROUNDING: f64 = 0.04;

/// What a process used up to now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time of all threads, in microseconds; told in steps of 10 ms for each of user and kernel mode.
    pub cpu_micros: u64,
    /// CPU time of the threads that there are, in microseconds, told exactly; 0 if the kernel does not count it.
    pub run_micros: u64,
    /// How long its threads were ready to run and had no CPU, in microseconds; 0 if the kernel does not count it.
    pub waited_micros: u64,
    /// Threads now.
    pub threads: u64,
    /// Bytes of memory in use now.
    pub rss: u64,
    /// Packets that its UDP sockets had no room for; 0 if its sockets cannot be seen.
    pub udp_drops: u64,
}

/// What a process used from one moment to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// CPU time of all threads, in seconds.
    pub cpu_seconds: f64,
    /// The same as a share of the time that passed: 1 is one CPU all the time.
    pub cpu_share: f64,
    /// How long its threads were ready to run and had no CPU, as such a share: much of it says that the machine was busy
    /// with others.
    pub waited_share: f64,
    /// CPU seconds for each gigabit of payload delivered.
    pub cpu_seconds_per_gbit: Option<f64>,
    /// CPU microseconds for each object delivered.
    pub cpu_micros_per_delivery: Option<f64>,
    /// Threads at the end.
    pub threads: u64,
    /// Bytes of memory at the end.
    pub rss: u64,
    /// Packets that its UDP sockets had no room for.
    pub udp_drops: u64,
}

impl Cost {
    /// From `before` to `after`, `seconds` later, when so many objects and payload bytes were delivered.
    pub fn between(
        before: &Usage,
        after: &Usage,
        seconds: f64,
        delivered: u64,
        bytes: u64,
    ) -> Self {
        let spent = |before: u64, after: u64| number::float(after.saturating_sub(before)) / 1e6;
        let cpu_seconds = exact(
            spent(before.cpu_micros, after.cpu_micros),
            spent(before.run_micros, after.run_micros),
        );
        let waited = spent(before.waited_micros, after.waited_micros);
        let gbit = number::float(bytes) * 8.0 / 1e9;
        Self {
            cpu_seconds,
            cpu_share: number::ratio(cpu_seconds, seconds).unwrap_or(0.0),
            waited_share: number::ratio(waited, seconds).unwrap_or(0.0),
            cpu_seconds_per_gbit: number::ratio(cpu_seconds, gbit),
            cpu_micros_per_delivery: number::ratio(cpu_seconds * 1e6, number::float(delivered)),
            threads: after.threads,
            rss: after.rss,
            udp_drops: after.udp_drops.saturating_sub(before.udp_drops),
        }
    }
}

/// The exact figure if it is of the same threads, which it is unless it differs by more than the other is rounded.
fn exact(rounded: f64, exact: f64) -> f64 {
    if (rounded - exact).abs() <= ROUNDING {
        exact
    } else {
        rounded
    }
}

/// What process `pid` used up to now.
///
/// # Errors
/// A sentence that says which file could not be read.
pub fn usage(pid: u32) -> Result<Usage, String> {
    let read = |name: &str| {
        let path = format!("/proc/{pid}/{name}");
        fs::read_to_string(&path).map_err(|error| {
            format!("cannot read {path}: {error}; is there a process {pid} on this machine?")
        })
    };
    let stat = read("stat")?;
    let (ticks, threads) =
        parse_stat(&stat).ok_or_else(|| format!("/proc/{pid}/stat is not understood: {stat}"))?;
    let status = read("status")?;
    let rss = parse_rss(&status).unwrap_or(0);
    let (run_micros, waited_micros) = scheduled(pid);
    Ok(Usage {
        cpu_micros: ticks.saturating_mul(1_000_000 / TICKS_PER_SECOND),
        run_micros,
        waited_micros,
        threads,
        rss,
        udp_drops: udp_drops(pid),
    })
}

/// Bytes of memory that process `pid` uses now; 0 if it is gone.
pub fn rss(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    parse_rss(&status).unwrap_or(0)
}

/// CPU ticks of all threads in user and kernel mode, and the number of threads.
fn parse_stat(stat: &str) -> Option<(u64, u64)> {
    // The name in parentheses may hold anything, parentheses and blanks included.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let field = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some((field(11)? + field(12)?, field(17)?))
}

fn parse_rss(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// How long the threads that there are ran, and how long they waited for a CPU, in microseconds.
fn scheduled(pid: u32) -> (u64, u64) {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return (0, 0);
    };
    threads
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("schedstat")).ok())
        .filter_map(|text| parse_schedstat(&text))
        .fold((0, 0), |sum, thread| (sum.0 + thread.0, sum.1 + thread.1))
}

fn parse_schedstat(text: &str) -> Option<(u64, u64)> {
    let mut nanos = text.split_whitespace().map(str::parse::<u64>);
    let (ran, waited) = (nanos.next()?.ok()?, nanos.next()?.ok()?);
    Some((ran / 1000, waited / 1000))
}

/// Packets that the UDP sockets of a process had no room for.
fn udp_drops(pid: u32) -> u64 {
    let sockets = sockets(pid);
    ["udp", "udp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(format!("/proc/{pid}/net/{table}")).ok())
        .map(|table| parse_drops(&table, &sockets))
        .sum()
}

/// The numbers of a process's sockets; none if they cannot be seen.
fn sockets(pid: u32) -> BTreeSet<u64> {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return BTreeSet::new();
    };
    files
        .filter_map(|file| fs::read_link(file.ok()?.path()).ok())
        .filter_map(|target| parse_socket(target.to_str()?))
        .collect()
}

fn parse_socket(target: &str) -> Option<u64> {
    target
        .strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

/// The last column, of the lines of these sockets.
fn parse_drops(table: &str, sockets: &BTreeSet<u64>) -> u64 {
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let inode: u64 = fields.get(9)?.parse().ok()?;
            let drops: u64 = fields.last()?.parse().ok()?;
            sockets.contains(&inode).then_some(drops)
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses_hides_nothing() {
        let stat = "4242 (a) b (c) S 1 4242 4242 0 -1 4194304 100 0 0 0 1250 75 3 4 20 0 7 0 12345 1000 200";
        assert_eq!(parse_stat(stat), Some((1325, 7)));
        assert_eq!(parse_stat("4242 (short) S 1"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn memory_is_told_in_kilobytes() {
        let status = "Name:\tx\nVmHWM:\t    9000 kB\nVmRSS:\t    1234 kB\nThreads:\t1\n";
        assert_eq!(parse_rss(status), Some(1234 * 1024));
        assert_eq!(parse_rss("Name:\tkthreadd\n"), None);
    }

    #[test]
    fn schedstat_tells_running_and_waiting() {
        let times = parse_schedstat("123456789 2500000 42\n");
        assert_eq!(times, Some((123_456, 2500)));
        assert_eq!(parse_schedstat("nonsense"), None);
    }

    #[test]
    fn drops_are_those_of_the_processes_own_sockets() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
            100: 0100007F:1151 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 777 2 0000000000000000 12\n\
            101: 0100007F:1152 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 778 2 0000000000000000 30\n";
        let sockets = BTreeSet::from([777, 5]);
        assert_eq!(parse_drops(table, &sockets), 12);
        assert_eq!(parse_drops("", &sockets), 0);
        assert_eq!(parse_socket("socket:[777]"), Some(777));
        assert_eq!(parse_socket("/dev/null"), None);
    }

    #[test]
    fn cost_is_what_was_used_meanwhile() {
        let before = Usage {
            cpu_micros: 1_000_000,
            run_micros: 900_000,
            waited_micros: 0,
            threads: 1,
            rss: 5,
            udp_drops: 3,
        };
        let after = Usage {
            cpu_micros: 3_010_000,
            run_micros: 2_900_000,
            waited_micros: 500_000,
            threads: 2,
            rss: 7,
            udp_drops: 4,
        };
        let cost = Cost::between(&before, &after, 4.0, 1000, 125_000_000);
        assert_eq!((cost.cpu_seconds, cost.cpu_share), (2.0, 0.5));
        assert_eq!(cost.waited_share, 0.125);
        assert_eq!(cost.cpu_seconds_per_gbit, Some(2.0));
        assert_eq!(cost.cpu_micros_per_delivery, Some(2000.0));
        assert_eq!((cost.threads, cost.rss, cost.udp_drops), (2, 7, 1));
        let a_thread_ended = Usage {
            run_micros: 1_500_000,
            ..after
        };
        let cost = Cost::between(&before, &a_thread_ended, 4.0, 1, 1);
        assert_eq!(
            cost.cpu_seconds, 2.01,
            "the threads that are gone count too"
        );
        let idle = Cost::between(&before, &after, 4.0, 0, 0);
        assert_eq!(idle.cpu_seconds_per_gbit, None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_can_be_read_and_a_missing_one_is_named() {
        let usage = usage(std::process::id()).unwrap();
        assert!(usage.threads >= 1 && usage.rss > 0);
        let error = super::usage(u32::MAX).unwrap_err();
        assert!(error.contains("4294967295"), "{error}");
        assert_eq!(rss(u32::MAX), 0);
    }
}
