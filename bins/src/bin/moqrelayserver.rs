//! Runs a MoQT relay.
#![expect(
    clippy::print_stderr,
    reason = "a server tells people where it is and what to try next"
)]

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;

use bytes::Bytes;
use clap::{ArgAction, Parser};
use oxymoq::client::IMPLEMENTATION;
use oxymoq::flags::{self, Common, ServerIdentity};
use oxymoq::limits::LimitFlags;
use oxymoq::shards::Member;
use oxymoq::{cli, logging, runtime, web};
use oxymoq_core::fanout::LagPolicy;
use oxymoq_core::relay;
use oxymoq_core::runtime::{Congestion, ServerSettings, Settings};
use oxymoq_core::transport::Exit;

/// Relay MoQT tracks from publishers to any number of subscribers
#[derive(Parser, Debug)]
#[command(name = "moqrelayserver", version)]
struct Flags {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    identity: ServerIdentity,
    /// Make a certificate in memory, even if --cert and --key are given
    #[arg(long, default_value_t = false, num_args(0..=1), require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    insecure: bool,
    /// UDP port
    #[arg(long, default_value_t = 9668)]
    port: u16,
    /// Local address to listen on; the one of all zeros means every address, IPv4 and IPv6
    #[arg(long, default_value_t = IpAddr::V6(Ipv6Addr::UNSPECIFIED))]
    address: IpAddr,
    /// Path that clients must ask for; without it /moq-relay, /moq and / are served
    #[arg(long)]
    endpoint: Option<String>,
    /// Serve QUIC on the UDP port
    #[arg(long, default_value_t = true, num_args(0..=1), require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    quic: bool,
    /// Serve QMUX on the TCP port (not built yet)
    #[arg(long, default_value_t = false, num_args(0..=1), require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    qmux: bool,
    /// Threads that share the work, each with clients of its own; as many as there are processors unless told
    ///
    /// Memory, names, connections and handshakes are bounded for all threads together; the cache and log lines are divided among
    /// them, and each thread needs 16 MiB of --max_memory_bytes. Other limits are for each thread.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=i64::from(runtime::MAX_THREADS)))]
    threads: Option<u8>,
    /// How to decide the sending rate
    #[arg(long, value_enum, default_value_t = CongestionFlag::Cubic, help_heading = "Limits")]
    congestion: CongestionFlag,
    /// What happens to a subscriber that is further behind than --max_subscriber_lag: it goes, or whole groups are left out
    #[arg(long = "lag_policy", value_enum, default_value_t = LagFlag::End, help_heading = "Limits")]
    lag_policy: LagFlag,
    /// Hand several packets to the network card in one call
    #[arg(long, default_value_t = true, num_args(0..=1), require_equals = true, default_missing_value = "true", action = ArgAction::Set, help_heading = "Limits")]
    gso: bool,
    /// Hand data to the QUIC stack only when it can soon leave, so that what is more urgent can overtake it
    #[arg(long = "write_late", default_value_t = true, num_args(0..=1), require_equals = true, default_missing_value = "true", action = ArgAction::Set, help_heading = "Limits")]
    write_late: bool,
    #[command(flatten)]
    limits: LimitFlags,
    /// Keep objects of the past, so that a FETCH needs no publisher; without it nothing is kept
    #[arg(long = "enable_cache", default_value_t = true, num_args(0..=1), require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    enable_cache: bool,
    /// Hand out pages that watch and publish in a browser, over HTTP on this port of 127.0.0.1; 0: any free port
    #[arg(long = "web_port", value_name = "PORT")]
    web_port: Option<u16>,
    /// Ask every peer which namespaces it has: some tell nobody unless they are asked
    #[arg(long, default_value_t = true, num_args(0..=1), require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    discover: bool,
}

/// The least memory of a thread, in bytes: what it borrows of the common account at a time, some of it idle, and a second of video.
const THREAD_MEMORY: u64 = 16 << 20;

/// How many processors this process may use, as far as there can be threads for them.
fn processors() -> u8 {
    let all = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u8::try_from(all).map_or(runtime::MAX_THREADS, |all| all.min(runtime::MAX_THREADS))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum CongestionFlag {
    Cubic,
    Bbr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum LagFlag {
    End,
    Skip,
}

fn main() -> ExitCode {
    let flags: Flags = cli::parse();
    cli::finish("moqrelayserver", run(&flags))
}

fn run(flags: &Flags) -> Result<Exit, String> {
    logging::start(&flags.common.logging, flags.common.v)?;
    cli::refuse_unbuilt([("qmux", flags.qmux)])?;
    if !flags.quic {
        return Err("--noquic leaves nothing to serve; leave it out".to_owned());
    }
    let drafts = flags.common.drafts()?;
    let paths = paths(flags.endpoint.as_deref())?;
    let server = ServerSettings {
        listen: SocketAddr::new(flags.address, flags.port),
        certificate: flags.identity.certificate_unless(flags.insecure)?,
        alpns: flags::server_alpns(&drafts),
    };
    let runtime = flags.common.runtime;
    let mut relay = relay::Settings {
        drafts,
        paths: paths.clone(),
        implementation: Bytes::from_static(IMPLEMENTATION.as_bytes()),
        discover: flags.discover,
        ..relay::Settings::default()
    };
    flags.bound(&mut relay)?;
    let settings = Settings {
        server: Some(server),
        transport: relay.transport.clone(),
        ..Settings::default()
    };
    relay.transport = runtime.costs(&relay.transport);
    runtime::serve_threads(
        runtime,
        settings,
        flags.threads(&relay),
        |wakers| Member::all(&relay, wakers),
        |bound| announce(bound, &paths, flags),
    )
}

impl Flags {
    /// As many as told, or as there are processors; fewer if there is not enough for each.
    fn threads(&self, relay: &relay::Settings) -> u8 {
        let wanted = self.threads.unwrap_or_else(processors);
        let limits = &relay.limits;
        let objects = u64::try_from(limits.max_object_bytes).unwrap_or(u64::MAX);
        let memory = objects.saturating_add(limits.max_transport_bytes) / THREAD_MEMORY;
        let connections = u64::try_from(limits.max_connections).unwrap_or(u64::MAX);
        let enough = u8::try_from(memory.min(connections).max(1)).unwrap_or(u8::MAX);
        if enough < wanted && self.threads.is_some() {
            log::warn!(
                "threads: {enough} instead of {wanted}: each needs {THREAD_MEMORY} bytes of --max_memory_bytes, and a \
                 connection of --max_connections"
            );
        }
        wanted.min(enough)
    }

    /// The bounds of everything.
    fn bound(&self, relay: &mut relay::Settings) -> Result<(), String> {
        relay.fanout.lag_policy = match self.lag_policy {
            LagFlag::End => LagPolicy::End,
            LagFlag::Skip => LagPolicy::Skip,
        };
        relay.transport.congestion = match self.congestion {
            CongestionFlag::Cubic => Congestion::Cubic,
            CongestionFlag::Bbr => Congestion::Bbr,
        };
        relay.transport.gso = self.gso;
        relay.transport.write_late = self.write_late;
        self.limits.apply(relay, self.common.runtime)?;
        if !self.enable_cache {
            relay.cache.max_tracks = 0;
        }
        Ok(())
    }
}

fn paths(endpoint: Option<&str>) -> Result<Vec<Bytes>, String> {
    match endpoint {
        None => Ok(["/moq-relay", "/moq", "/"]
            .map(|path| Bytes::from_static(path.as_bytes()))
            .to_vec()),
        Some(path) if path.starts_with('/') && !path.contains(['?', '#', ' ']) => {
            Ok(vec![Bytes::from(path.to_owned())])
        }
        Some(path) => Err(format!(
            "--endpoint: '{path}' is no path; write it like /moq-relay"
        )),
    }
}

/// Tells the operator where the relay is to be found and what to try next.
fn announce(bound: &runtime::Bound, paths: &[Bytes], flags: &Flags) -> Result<(), String> {
    let port = bound.address.port();
    let path = paths.first().map_or_else(
        || "/".to_owned(),
        |path| String::from_utf8_lossy(path).into_owned(),
    );
    let url = format!("https://localhost:{port}{path}");
    eprintln!(
        "moqrelayserver: relaying at {url} (WebTransport) and moqt://localhost:{port} (QUIC)"
    );
    let mut trust = String::new();
    if let Some(fingerprint) = &bound.fingerprint {
        eprintln!("moqrelayserver: its certificate was made in memory; SHA-256 {fingerprint}");
        " --insecure".clone_into(&mut trust);
    }
    if flags.identity.cert.is_empty() || flags.insecure {
        eprintln!("moqrelayserver: try, each in a terminal of its own:");
        eprintln!("  cargo run --release --bin moqdateserver -- --insecure --relay_url {url}");
        eprintln!(
            "  cargo run --release --bin moqtextclient --{trust} --connect_url {url} --track_namespace moq-date --track_name date"
        );
    }
    if let Some(port) = flags.web_port {
        let pages = web::serve(port, bound, &path)?;
        eprintln!("moqrelayserver: watch and publish in a browser: http://{pages}/");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory as _;

    use super::*;

    fn bounds(line: &str) -> relay::Settings {
        let words = std::iter::once("moqrelayserver").chain(line.split_whitespace());
        let flags: Flags = cli::try_parse(words.map(Into::into)).unwrap();
        let mut settings = relay::Settings::default();
        flags.bound(&mut settings).unwrap();
        settings
    }

    #[test]
    fn moxygens_cache_flags_have_its_defaults_and_are_obeyed() {
        let cache = bounds("").cache;
        assert_eq!((cache.max_tracks, cache.max_groups_per_track), (100, 3));
        assert_eq!(bounds("--noenable_cache").cache.max_tracks, 0);
        let line = "--enable_cache --max_cached_tracks 7 --max_cached_groups_per_track=2 --max_cache_bytes 5M --max_cache_age 90s";
        let cache = bounds(line).cache;
        assert_eq!((cache.max_tracks, cache.max_groups_per_track), (7, 2));
        assert_eq!(cache.max_bytes, 5 << 20);
        assert_eq!(cache.max_age, std::time::Duration::from_secs(90));
    }

    #[test]
    fn threads_are_as_many_as_told_if_there_is_enough_for_each() {
        let threads = |line: &str| {
            let words = std::iter::once("moqrelayserver").chain(line.split_whitespace());
            let settings = |flags: Flags| flags.threads(&bounds(line));
            cli::try_parse(words.map(Into::into)).map(settings)
        };
        let processors = std::thread::available_parallelism().unwrap().get();
        assert_eq!(usize::from(threads("").unwrap()), processors.min(64));
        assert_eq!(threads("--max_memory_bytes 16M").unwrap(), 1);
        assert_eq!(threads("--threads 3").unwrap(), 3);
        assert_eq!(threads("--threads 4 --max_memory_bytes 48M").unwrap(), 3);
        assert_eq!(threads("--threads 4 --max_memory_bytes 1M").unwrap(), 1);
        assert_eq!(threads("--threads 4 --max_connections 2").unwrap(), 2);
        for line in ["--threads 0", "--threads 65"] {
            let words = ["moqrelayserver"].into_iter().chain(line.split(' '));
            assert!(cli::try_parse::<Flags>(words.map(Into::into)).is_err());
        }
    }

    #[test]
    fn choices_are_obeyed() {
        assert_eq!(bounds("").fanout.lag_policy, LagPolicy::End);
        assert_eq!(
            bounds("--lag_policy=skip").fanout.lag_policy,
            LagPolicy::Skip
        );
        assert_eq!(
            bounds("--congestion bbr").transport.congestion,
            Congestion::Bbr
        );
        assert!(bounds("").transport.gso && !bounds("--nogso").transport.gso);
        assert!(bounds("").transport.write_late && !bounds("--nowrite_late").transport.write_late);
    }

    #[test]
    fn every_limit_in_the_table_has_its_flag_and_every_flag_for_limits_its_row() {
        let page = include_str!("../../../core/src/limits.md");
        let rows = page.lines().filter(|line| line.starts_with("| `"));
        let told: BTreeSet<&str> = rows
            .map(|row| {
                let (_, flag) = row.rsplit_once(" | `--").expect(row);
                flag.strip_suffix("` |").expect(row)
            })
            .collect();
        let command = Flags::command();
        let flags = command
            .get_arguments()
            .filter(|argument| argument.get_help_heading() == Some("Limits"));
        let flags: BTreeSet<&str> = flags.filter_map(clap::Arg::get_long).collect();
        assert_eq!(told, flags);
    }
}
