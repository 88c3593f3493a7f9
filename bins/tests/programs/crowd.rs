//! Many subscribers, one of which never reads, and many idle connections: what a relay's memory grows by, and by what it is
//! bounded.
//!
//! The full numbers take a release build:
//! `cargo test --release -p oxymoq --test programs crowd -- --ignored --nocapture --test-threads 1`

use std::fs;

use oxymoq_core::draft::Draft;
use oxymoq_core::reservations::{CONNECTION_BYTES, STREAM_BYTES};
use oxymoq_core::runtime::{ClientSettings, Settings, TransportSettings, Trust};
use oxymoq_core::transport::{Application, Exit};

use super::audience::{Hall, OBJECT, Plan};
use super::process::Process;

/// Every way to speak.
const WAYS: [(&str, Draft); 4] = [
    ("moqt", Draft::D18),
    ("https", Draft::D18),
    ("moqt", Draft::D16),
    ("https", Draft::D16),
];

/// What a client takes in without reading: of a connection, and of one stream.
const CLIENT_WINDOW: u64 = 256 << 10;
const CLIENT_STREAM_WINDOW: u64 = 128 << 10;

/// The relay's limits, as it is told.
struct Limits {
    /// `--max_subscriber_lag`
    lag: u64,
    /// `--max_backlog`
    backlog: u64,
    /// `--max_cache_bytes`
    cache: u64,
}

impl Limits {
    fn flags(&self) -> String {
        format!(
            "--max_subscriber_lag {} --max_backlog {} --max_backlog_under_pressure {} --max_cache_bytes {}",
            self.lag, self.backlog, self.backlog, self.cache
        )
    }

    /// The most that objects may take.
    const fn objects(&self) -> u64 {
        self.lag + self.backlog + self.cache
    }
}

/// A relay with room for everybody.
struct Relay {
    process: Process,
    port: u16,
}

impl Relay {
    fn start(runtime: &str, more: &str) -> Self {
        let flags = format!("--runtime {runtime} --port 0 --max_memory_bytes 4G {more}");
        let mut process = Process::start("moqrelayserver", &flags);
        let port = process.port();
        Self { process, port }
    }

    /// Has a few clients come and go, so that all of the program that will be used is in memory.
    fn warm_up(&self) {
        let plan = Plan {
            port: self.port,
            ways: WAYS.to_vec(),
            audience: WAYS.len(),
            objects: 2,
            with_deaf: false,
        };
        assert_eq!(attend(Hall::new(plan, |_: &str| {})), Exit::Success);
    }

    /// Bytes in memory now, and the most that there ever were.
    fn memory(&self) -> (u64, u64) {
        memory(self.process.id())
    }

    /// What each connection may take, its windows apart: they stay empty, since who listens sends next to nothing.
    fn connection(runtime: &str) -> u64 {
        // What `oxymoq::runtime::Runtime::costs` makes of the settings.
        let settings = TransportSettings::default();
        let streams = match runtime {
            "smol" => 1024 + 1024,
            _ => settings.max_uni_streams + settings.max_bidi_streams,
        };
        CONNECTION_BYTES + STREAM_BYTES * streams
    }
}

/// Bytes in memory of a process now, and the most that there ever were.
fn memory(process: u32) -> (u64, u64) {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let field = |name: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        let kilobytes = line.split_whitespace().nth(1).unwrap();
        kilobytes.parse::<u64>().unwrap() << 10
    };
    (field("VmRSS:"), field("VmHWM:"))
}

/// Runs the audience in this process, on the first runtime that was built.
pub(crate) fn attend(mut hall: impl Application) -> Exit {
    let settings = Settings {
        server: None,
        client: ClientSettings {
            trust: Trust::Anyone,
            connect_timeout: std::time::Duration::from_secs(60),
        },
        transport: TransportSettings {
            publisher_window: CLIENT_WINDOW,
            stream_window: CLIENT_STREAM_WINDOW,
            ..TransportSettings::default()
        },
    };
    #[cfg(feature = "tokio")]
    {
        let endpoint = oxymoq_tokio::Endpoint::bind(settings).unwrap();
        oxymoq_tokio::run(endpoint, &mut hall).unwrap()
    }
    #[cfg(not(feature = "tokio"))]
    {
        let endpoint = oxymoq_smol::Endpoint::bind(settings).unwrap();
        oxymoq_smol::run(endpoint, &mut hall).unwrap()
    }
}

const fn kilobytes(bytes: u64) -> u64 {
    bytes / 1000
}

#[expect(
    clippy::print_stderr,
    reason = "the figures are what the full run is for"
)]
fn one_of_many_never_reads(runtime: &str, audience: usize, objects: usize, limits: &Limits) {
    let bytes = u64::try_from(objects * OBJECT).unwrap();
    assert!(
        bytes > CLIENT_WINDOW + limits.objects(),
        "too little to reach the limits"
    );
    let relay = Relay::start(runtime, &limits.flags());
    let (alone, _) = relay.memory();
    relay.warm_up();
    let (before, _) = relay.memory();
    let mut seen = Vec::new();
    let plan = Plan {
        port: relay.port,
        ways: WAYS.to_vec(),
        audience,
        objects,
        with_deaf: true,
    };
    let exit = attend(Hall::new(plan, |_: &str| seen.push(relay.memory())));
    assert_eq!(exit, Exit::Success);
    let [(connected, _), (after, most)] = seen[..] else {
        panic!("{seen:?}");
    };
    let connections = u64::try_from(audience).unwrap() + 2;
    eprintln!(
        "{runtime}, {audience} subscribers and one that never reads, {bytes} bytes to each: the relay alone has {} kB, after a few \
         clients {} kB, with everybody subscribed {} kB ({} kB each), after all {} kB, at most {} kB ({} kB each)",
        kilobytes(alone),
        kilobytes(before),
        kilobytes(connected),
        kilobytes((connected - before) / connections),
        kilobytes(after),
        kilobytes(most),
        kilobytes((most - before) / connections),
    );
    let each = Relay::connection(runtime);
    assert!(connected - before <= connections * each);
    // The publisher's window was widened, and read at once: what is in it is also among the objects.
    let publisher = TransportSettings::default().publisher_window;
    let bound = connections * each + publisher + limits.objects();
    assert!(
        most - before <= bound,
        "{} bytes more than at the start, {bound} at most",
        most - before
    );
}

#[expect(
    clippy::print_stderr,
    reason = "the figures are what the full run is for"
)]
fn idle_connections(runtime: &str, ways: &[(&'static str, Draft)], connections: usize) {
    let relay = Relay::start(runtime, "");
    relay.warm_up();
    let (before, _) = relay.memory();
    let mut connected = 0;
    let plan = Plan {
        port: relay.port,
        ways: ways.to_vec(),
        audience: connections,
        objects: 0,
        with_deaf: false,
    };
    let exit = attend(Hall::new(plan, |_: &str| (connected, _) = relay.memory()));
    assert_eq!(exit, Exit::Success);
    let each = (connected - before) / u64::try_from(connections).unwrap();
    eprintln!(
        "{runtime}, {connections} idle connections over {ways:?}: {} kB, then {} kB: {each} bytes each",
        kilobytes(before),
        kilobytes(connected),
    );
    assert!(
        each <= Relay::connection(runtime),
        "{each} bytes each, set aside are {}",
        Relay::connection(runtime)
    );
}

/// Numbers that a debug build can do in seconds.
fn few(runtime: &str) {
    let limits = Limits {
        lag: 512 << 10,
        backlog: 128 << 10,
        cache: 256 << 10,
    };
    one_of_many_never_reads(runtime, 23, 96, &limits);
    idle_connections(runtime, &WAYS, 60);
}

/// The real thing.
fn many(runtime: &str) {
    let limits = Limits {
        lag: 2 << 20,
        backlog: 1 << 20,
        cache: 1 << 20,
    };
    one_of_many_never_reads(runtime, 499, 320, &limits);
}

fn a_thousand_idle(runtime: &str) {
    for way in &WAYS {
        idle_connections(runtime, &[*way], 1000);
    }
}

#[cfg(feature = "tokio")]
#[test]
fn a_crowd_is_served_within_the_limits_on_tokio() {
    few("tokio");
}

#[cfg(feature = "smol")]
#[test]
fn a_crowd_is_served_within_the_limits_on_smol() {
    few("smol");
}

#[cfg(feature = "tokio")]
#[test]
#[ignore = "takes a release build"]
fn a_great_crowd_is_served_within_the_limits_on_tokio() {
    many("tokio");
}

#[cfg(feature = "smol")]
#[test]
#[ignore = "takes a release build"]
fn a_great_crowd_is_served_within_the_limits_on_smol() {
    many("smol");
}

#[cfg(feature = "tokio")]
#[test]
#[ignore = "takes a release build"]
fn a_thousand_idle_connections_cost_what_is_set_aside_on_tokio() {
    a_thousand_idle("tokio");
}

#[cfg(feature = "smol")]
#[test]
#[ignore = "takes a release build"]
fn a_thousand_idle_connections_cost_what_is_set_aside_on_smol() {
    a_thousand_idle("smol");
}
