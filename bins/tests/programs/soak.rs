//! A long day of a relay: publishers that are killed and come back, subscribers that join and leave, and one track that
//! goes on all the time, of which nobody may miss anything. The relay's memory and descriptors are looked at meanwhile.
//!
//! The real thing takes a release build and half an hour for each runtime, or as many minutes as `OXYMOQ_SOAK_MINUTES` says:
//! `cargo test --release -p oxymoq --test programs soak -- --ignored --nocapture --test-threads 1`

use std::collections::BTreeSet;
use std::time::Duration;

use oxymoq_core::transport::Exit;

use super::crowd::attend;
use super::process::Process;
use super::throng::{self, Throng};

/// How often the relay is looked at in a long run.
const INTERVAL: Duration = Duration::from_secs(30);

/// Twenty thousand groups in half an hour are one in 90 ms.
const GROUP_INTERVAL: Duration = Duration::from_millis(80);

/// By how much the relay's memory may be higher in the second half of a long run than in the first, in bytes: what a few
/// dozen connections more at the same time cost, since who comes and goes is left to chance.
const MAX_GROWTH: u64 = 2 << 20;

/// What a relay has of the system at one time.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// Bytes in memory.
    resident: u64,
    descriptors: usize,
    threads: u64,
    /// Processor time so far, in hundredths of a second.
    ticks: u64,
}

impl Sample {
    fn of(process: u32) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let field = |name: &str| -> u64 {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let ticks = fields.split_whitespace().skip(11).take(2);
        Self {
            resident: field("VmRSS:") << 10,
            descriptors: std::fs::read_dir(format!("/proc/{process}/fd"))
                .unwrap()
                .count(),
            threads: field("Threads:"),
            ticks: ticks.map(|ticks| ticks.parse::<u64>().unwrap()).sum(),
        }
    }
}

#[expect(clippy::print_stderr, reason = "the series is what the run is for")]
fn tell(runtime: &str, groups: u64, guests: usize, sample: &Sample) {
    let seconds = groups * u64::try_from(GROUP_INTERVAL.as_millis()).unwrap() / 1000;
    eprintln!(
        "{runtime} {seconds:>5} s: {} kB, {} descriptors, {} threads, {} ms of CPU; {groups} groups, {guests} guests so far",
        sample.resident / 1024,
        sample.descriptors,
        sample.threads,
        sample.ticks * 10,
    );
}

/// Runs a relay for so many groups with this much coming and going; returns what it looked like with the first, then every
/// [`INTERVAL`], then when all were gone.
fn soak(runtime: &str, plan: throng::Plan, rest: Duration) -> Vec<Sample> {
    let flags = format!("--runtime {runtime} --port 0 --logging WARN");
    let mut relay = Process::start("moqrelayserver", &flags);
    let port = relay.port();
    let process = relay.id();
    let every = u64::try_from(INTERVAL.as_millis() / GROUP_INTERVAL.as_millis()).unwrap();
    let mut samples = Vec::new();
    let groups = plan.groups;
    let mut guests = 0;
    let throng = Throng::new(port, runtime, plan, |published, guests_so_far| {
        guests = guests_so_far;
        // The first is with everybody there who stays.
        if published == 1 || published % every == 0 {
            let sample = Sample::of(process);
            tell(runtime, published, guests, &sample);
            samples.push(sample);
        }
    });
    assert_eq!(attend(throng), Exit::Success);
    // Whoever was killed is missed only when the idle timeout is over.
    std::thread::sleep(rest);
    let last = Sample::of(process);
    tell(runtime, groups, guests, &last);
    samples.push(last);
    relay.signal("TERM");
    let (status, _, log) = relay.end();
    assert!(status.success(), "{status}\n{log}");
    assert!(!log.contains("panicked"), "{log}");
    samples
}

/// The real thing.
fn long(runtime: &str) {
    let minutes = std::env::var("OXYMOQ_SOAK_MINUTES").unwrap_or_else(|_| "30".to_owned());
    let minutes: u32 = minutes.parse().unwrap();
    let millis = GROUP_INTERVAL.as_millis();
    let groups = (Duration::from_secs(60) * minutes).as_millis() / millis;
    let plan = throng::Plan {
        groups: u64::try_from(groups).unwrap(),
        interval: GROUP_INTERVAL,
        seats: 12,
        stay: Duration::from_secs(8),
        publishers: 4,
        readers: 4,
        seed: 6,
    };
    let samples = soak(runtime, plan, Duration::from_secs(40));
    let (during, last) = (&samples[1..samples.len() - 1], &samples[samples.len() - 1]);
    let (early, late) = during.split_at(during.len() / 2);
    let most = |samples: &[Sample]| samples.iter().map(|it| it.resident).max().unwrap();
    assert!(
        most(late) <= most(early) + MAX_GROWTH,
        "{} bytes, then {}",
        most(early),
        most(late)
    );
    assert!(last.resident <= most(early) + MAX_GROWTH);
    let descriptors: BTreeSet<_> = samples.iter().map(|it| it.descriptors).collect();
    assert_eq!(descriptors.len(), 1, "{descriptors:?}");
    let threads: BTreeSet<_> = samples.iter().map(|it| it.threads).collect();
    assert_eq!(threads.len(), 1, "{threads:?}");
}

/// The same for some seconds.
fn short(runtime: &str) {
    let plan = throng::Plan {
        groups: 50,
        interval: GROUP_INTERVAL,
        seats: 4,
        stay: Duration::from_secs(2),
        publishers: 1,
        readers: 1,
        seed: 6,
    };
    let samples = soak(runtime, plan, Duration::ZERO);
    let descriptors: BTreeSet<_> = samples.iter().map(|it| it.descriptors).collect();
    assert_eq!(descriptors.len(), 1, "{descriptors:?}");
}

#[cfg(feature = "tokio")]
#[test]
fn nothing_is_lost_or_left_with_much_coming_and_going_on_tokio() {
    short("tokio");
}

#[cfg(feature = "smol")]
#[test]
fn nothing_is_lost_or_left_with_much_coming_and_going_on_smol() {
    short("smol");
}

#[cfg(feature = "tokio")]
#[test]
#[ignore = "takes a release build and half an hour"]
fn soak_of_half_an_hour_on_tokio() {
    long("tokio");
}

#[cfg(feature = "smol")]
#[test]
#[ignore = "takes a release build and half an hour"]
fn soak_of_half_an_hour_on_smol() {
    long("smol");
}
