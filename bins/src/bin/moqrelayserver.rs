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
use oxymoq::{cli, logging, runtime};
use oxymoq_core::relay::{self, Relay};
use oxymoq_core::runtime::{Congestion, ServerSettings, Settings, TransportSettings};
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
    /// How to decide the sending rate
    #[arg(long, value_enum, default_value_t = CongestionFlag::Cubic)]
    congestion: CongestionFlag,
    #[command(flatten)]
    cache: CacheFlags,
}

/// Moxygen's cache flags: accepted, so that scripts keep working, until there is a cache for them.
#[derive(clap::Args, Debug)]
struct CacheFlags {
    /// Keep objects for FETCH (no effect yet: this version answers no FETCH)
    #[arg(long = "enable_cache", num_args(0..=1), require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    enable_cache: Option<bool>,
    /// Tracks to keep (no effect yet)
    #[arg(long = "max_cached_tracks")]
    max_cached_tracks: Option<u64>,
    /// Groups to keep of each track (no effect yet)
    #[arg(long = "max_cached_groups_per_track")]
    max_cached_groups_per_track: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum CongestionFlag {
    Cubic,
    Bbr,
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
    if flags.cache.is_set() {
        log::warn!("the cache flags have no effect yet: this version answers no FETCH");
    }
    let drafts = flags.common.drafts()?;
    let paths = paths(flags.endpoint.as_deref())?;
    let server = ServerSettings {
        listen: SocketAddr::new(flags.address, flags.port),
        certificate: flags.identity.certificate_unless(flags.insecure)?,
        alpns: flags::server_alpns(&drafts),
    };
    let settings = Settings {
        server: Some(server),
        transport: TransportSettings {
            congestion: match flags.congestion {
                CongestionFlag::Cubic => Congestion::Cubic,
                CongestionFlag::Bbr => Congestion::Bbr,
            },
            ..TransportSettings::default()
        },
        ..Settings::default()
    };
    let relay = Relay::new(relay::Settings {
        drafts,
        paths: paths.clone(),
        implementation: Bytes::from_static(IMPLEMENTATION.as_bytes()),
        ..relay::Settings::default()
    });
    runtime::serve(flags.common.runtime, settings, relay, |bound| {
        announce(bound, &paths, flags);
    })
}

impl CacheFlags {
    const fn is_set(&self) -> bool {
        self.enable_cache.is_some()
            || self.max_cached_tracks.is_some()
            || self.max_cached_groups_per_track.is_some()
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
fn announce(bound: &runtime::Bound, paths: &[Bytes], flags: &Flags) {
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
}
