//! Publishes the date, second by second.
#![expect(
    clippy::print_stderr,
    reason = "a server tells people where it is and what to try next"
)]

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::{ArgAction, Parser};
use oxymoq::client::Server;
use oxymoq::date_server::{DateServer, Mode, Offer, Relay};
use oxymoq::flags::{self, Common, ServerIdentity, ServerTrust};
use oxymoq::mlog::Mlog;
use oxymoq::url::ServerUrl;
use oxymoq::{cli, logging, runtime};
use oxymoq_core::runtime::{ClientSettings, ServerSettings, Settings};
use oxymoq_core::transport::Exit;
use oxymoq_core::wire::name::TrackNamespace;

/// Where WebTransport clients find the date.
const ENDPOINT: &str = "/moq-date";

/// Publish the date: a group for each minute, an object for each second
#[derive(Parser, Debug)]
#[command(name = "moqdateserver", version)]
struct Flags {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    identity: ServerIdentity,
    /// As a server: make a certificate in memory. With --relay_url: believe any relay
    #[command(flatten)]
    trust: ServerTrust,
    /// UDP port
    #[arg(long, default_value_t = 9667)]
    port: u16,
    /// Local address to listen on; the one of all zeros means every address, IPv4 and IPv6
    #[arg(long, default_value_t = IpAddr::V6(Ipv6Addr::UNSPECIFIED))]
    address: IpAddr,
    /// How objects are sent: spg (a subgroup for each group), spo (one for each object) or datagram
    #[arg(long, value_enum, default_value_t = Mode::Spg)]
    mode: Mode,
    /// Namespace of the track
    #[arg(long, default_value = "moq-date")]
    ns: String,
    /// Publish into the relay at this URL instead of serving clients
    #[arg(
        long = "relay_url",
        value_name = "URL",
        default_value = "",
        hide_default_value = true
    )]
    relay_url: String,
    /// How long connecting to the relay may take, in milliseconds
    #[arg(
        long = "relay_connect_timeout",
        value_name = "MS",
        default_value_t = 1000
    )]
    relay_connect_timeout: u64,
    /// How long the relay may take to answer, in seconds
    #[arg(
        long = "relay_transaction_timeout",
        value_name = "SECONDS",
        default_value_t = 120
    )]
    relay_transaction_timeout: u64,
    /// Use QUIC itself to the relay even if its URL says https
    #[arg(long = "quic_transport", default_value_t = false, num_args(0..=1), require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    quic_transport: bool,
    /// Give up an object this many milliseconds after it was published; 0: never
    #[arg(long = "delivery_timeout", value_name = "MS", default_value_t = 0)]
    delivery_timeout: u64,
    /// Serve QUIC on the UDP port
    #[arg(long, default_value_t = true, num_args(0..=1), require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    quic: bool,
    /// Write events to this file: JSON, one object a line
    #[arg(long = "mlog_path", default_value = "", hide_default_value = true)]
    mlog_path: String,
    /// Besides announcing the namespace, PUBLISH the track to the relay
    #[arg(long, default_value_t = false, num_args(0..=1), require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    publish: bool,
    /// Use QMUX over TCP (not built yet)
    #[arg(long, default_value_t = false, num_args(0..=1), require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    qmux: bool,
}

fn main() -> ExitCode {
    let flags: Flags = cli::parse();
    cli::finish("moqdateserver", run(&flags))
}

fn run(flags: &Flags) -> Result<Exit, String> {
    logging::start(&flags.common.logging, flags.common.v)?;
    cli::refuse_unbuilt([("qmux", flags.qmux)])?;
    if !flags.quic {
        return Err("--noquic leaves nothing to serve; leave it out".to_owned());
    }
    let offer = Offer {
        namespace: flags.ns.clone(),
        mode: flags.mode,
        delivery_timeout: Duration::from_millis(flags.delivery_timeout),
    };
    if flags.publish && flags.relay_url.is_empty() {
        return Err("--publish needs --relay_url, the relay to publish to".to_owned());
    }
    if flags.relay_url.is_empty() {
        serve(flags, offer)
    } else {
        publish(flags, offer)
    }
}

/// Serves clients on a port of this machine.
fn serve(flags: &Flags, offer: Offer) -> Result<Exit, String> {
    let drafts = flags.common.drafts()?;
    let settings = Settings {
        server: Some(ServerSettings {
            listen: SocketAddr::new(flags.address, flags.port),
            certificate: flags.identity.certificate_unless(flags.trust.insecure)?,
            alpns: flags::server_alpns(&drafts),
        }),
        ..Settings::default()
    };
    let server = DateServer::serving(offer, drafts, Bytes::from_static(ENDPOINT.as_bytes()))?
        .logged_to(Mlog::create(&flags.mlog_path)?);
    runtime::serve(flags.common.runtime, settings, server, |bound| {
        announce(bound, flags);
        Ok(())
    })
}

/// Publishes into a relay.
fn publish(flags: &Flags, offer: Offer) -> Result<Exit, String> {
    let url = ServerUrl::parse(&flags.relay_url)?;
    let drafts = flags.common.drafts()?;
    let settings = Settings {
        server: None,
        client: ClientSettings {
            trust: flags.trust.trust(&url)?,
            connect_timeout: Duration::from_millis(flags.relay_connect_timeout),
        },
        ..Settings::default()
    };
    let fields = flags
        .ns
        .split('/')
        .map(|field| Bytes::from(field.to_owned()));
    let namespace = TrackNamespace::new(fields)
        .map_err(|error| format!("--ns '{}' is no namespace: {error}", flags.ns))?;
    let relay = Relay::new(
        Server::new(url, flags.quic_transport),
        namespace,
        Duration::from_secs(flags.relay_transaction_timeout),
        flags.publish,
    );
    let server =
        DateServer::publishing(offer, &drafts, relay)?.logged_to(Mlog::create(&flags.mlog_path)?);
    runtime::run(flags.common.runtime, settings, server)
}

/// Tells the user where the date is to be found.
fn announce(bound: &runtime::Bound, flags: &Flags) {
    let url = format!("https://localhost:{}{ENDPOINT}", bound.address.port());
    eprintln!("moqdateserver: serving the date at {url}");
    let mut trust = "";
    if let Some(fingerprint) = &bound.fingerprint {
        eprintln!("moqdateserver: its certificate was made in memory; SHA-256 {fingerprint}");
        trust = " --insecure";
    }
    eprintln!("moqdateserver: try, in another terminal:");
    eprintln!(
        "  cargo run --release --bin moqtextclient --{trust} --connect_url {url} --track_namespace {} --track_name date",
        flags.ns
    );
}
