//! Subscribes to pictures and sound and writes them as FLV.
use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::{ArgAction, Parser};
use oxymoq::client::Server;
use oxymoq::flags::{Common, Connection, ServerTrust};
use oxymoq::flv_receiver::{FlvReceiver, Limits, Pipe, Report, STDOUT, Tracks, Wish};
use oxymoq::mlog::Mlog;
use oxymoq::url::ServerUrl;
use oxymoq::{catalog, cli, logging, runtime};
use oxymoq_core::runtime::{Settings, TransportSettings};
use oxymoq_core::transport::Exit;
use oxymoq_core::wire::id::Millis;
use oxymoq_core::wire::name::{FullTrackName, TrackName, TrackNamespace};

/// Streams that the server may have open at once: as many as the receiver puts objects together on.
const MAX_STREAMS: u64 = 1024;

/// Subscribe to a video and an audio track of a MoQT server and write them to an FLV file, a fifo or stdout
#[derive(Parser, Debug)]
#[command(name = "moqflvreceiverclient", version)]
struct Flags {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    trust: ServerTrust,
    /// The server: https://host:port/path (WebTransport) or moqt://host:port/path (QUIC)
    #[arg(
        long = "connect_url",
        value_name = "URL",
        default_value = "https://localhost:4433/moq"
    )]
    connect_url: String,
    /// Where to write: a file, a fifo (nothing is subscribed to until somebody reads it), or - for stdout
    #[arg(long = "flv_outpath", value_name = "PATH")]
    flv_outpath: String,
    /// Namespace of the tracks, its fields separated by the delimiter
    #[arg(long = "track_namespace", default_value = "flvstreamer")]
    track_namespace: String,
    /// What separates the fields of the namespace
    #[arg(long = "track_namespace_delimiter", default_value = "/")]
    track_namespace_delimiter: String,
    /// Name of the video track; empty: no video
    #[arg(
        long = "video_track_name",
        value_name = "NAME",
        default_value = "video0"
    )]
    video_track_name: String,
    /// Name of the audio track; empty: no audio
    #[arg(
        long = "audio_track_name",
        value_name = "NAME",
        default_value = "audio0"
    )]
    audio_track_name: String,
    /// Take the first tracks that the namespace's catalog offers, instead of those named
    #[arg(long, default_value_t = false, num_args(0..=1), require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    catalog: bool,
    /// How long to wait for what is late, in milliseconds
    #[arg(
        long = "dejitter_buffer_size_ms",
        value_name = "MS",
        default_value_t = 300,
        value_parser = clap::value_parser!(u64).range(1..=60_000)
    )]
    dejitter_buffer_size_ms: u64,
    /// Begin with what there is of the current group of pictures; --nofetch: with the next one
    #[arg(long, default_value_t = true, num_args(0..=1), require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    fetch: bool,
    /// Token that proves that the tracks may be had; empty: none
    #[arg(long, value_name = "TOKEN", default_value = "secret")]
    auth: String,
    /// How long to try to get on when the server was lost, in seconds; 0: give up at once
    #[arg(
        long = "reconnect_timeout",
        alias = "reconnect",
        value_name = "SECONDS",
        default_value_t = 60
    )]
    reconnect_timeout: u64,
    /// Give up an object this many milliseconds after it was published; 0: never
    #[arg(long = "delivery_timeout", value_name = "MS", default_value_t = 0)]
    delivery_timeout: u64,
    #[command(flatten)]
    connection: Connection,
}

fn main() -> ExitCode {
    let flags: Flags = cli::parse();
    cli::finish("moqflvreceiverclient", run(&flags))
}

fn run(flags: &Flags) -> Result<Exit, String> {
    logging::start(&flags.common.logging, flags.common.v)?;
    if flags.flv_outpath.is_empty() {
        return Err("--flv_outpath is empty: name a file or a fifo, or - for stdout".to_owned());
    }
    let drafts = flags.common.drafts()?;
    let url = ServerUrl::parse(&flags.connect_url)?;
    let settings = Settings {
        server: None,
        client: flags.connection.client(flags.trust.trust(&url)?),
        transport: TransportSettings {
            // Each frame of sound may come on a stream of its own, and all of them wait while the output is behind.
            max_uni_streams: MAX_STREAMS,
            ..TransportSettings::default()
        },
    };
    let wish = wish(flags)?;
    let server = Server::new(url, flags.connection.quic_transport);
    let mlog = Mlog::create(&flags.connection.mlog_path)?;
    // Where the data is on a terminal, there is no room for a line that changes.
    let is_terminal = io::stderr().is_terminal() && flags.flv_outpath != STDOUT;
    let report = Report::new(Box::new(io::stderr()), is_terminal);
    runtime::run_with(flags.common.runtime, settings, |bell| {
        let pipe = Pipe::open(&flags.flv_outpath, bell);
        FlvReceiver::new(server, &drafts, wish, pipe, report, mlog)
    })
}

fn wish(flags: &Flags) -> Result<Wish, String> {
    let wait = Duration::from_millis(flags.dejitter_buffer_size_ms);
    Ok(Wish {
        tracks: tracks(flags)?,
        fetch: flags.fetch,
        token: Bytes::from(flags.auth.clone()),
        delivery_timeout: (flags.delivery_timeout != 0).then_some(Millis(flags.delivery_timeout)),
        transaction_timeout: flags.connection.patience(),
        reconnect: Duration::from_secs(flags.reconnect_timeout),
        limits: Limits::waiting(wait),
    })
}

fn tracks(flags: &Flags) -> Result<Tracks, String> {
    let namespace = namespace(flags)?;
    if flags.catalog
        && let Some(name) = track(&namespace, "catalog", catalog::TRACK_NAME)?
    {
        return Ok(Tracks::OfCatalog(name));
    }
    let video = track(&namespace, "video_track_name", &flags.video_track_name)?;
    let audio = track(&namespace, "audio_track_name", &flags.audio_track_name)?;
    if video.is_none() && audio.is_none() {
        return Err(
            "--video_track_name and --audio_track_name are empty: name one of them".to_owned(),
        );
    }
    Ok(Tracks::Named { video, audio })
}

/// A track of the namespace; `None` if the name is empty.
fn track(
    namespace: &TrackNamespace,
    flag: &str,
    name: &str,
) -> Result<Option<FullTrackName>, String> {
    if name.is_empty() {
        return Ok(None);
    }
    TrackName::new(name.to_owned())
        .and_then(|track| FullTrackName::new(namespace.clone(), track))
        .map(Some)
        .map_err(|error| format!("--{flag}: '{name}' of {namespace} is no track name: {error}"))
}

fn namespace(flags: &Flags) -> Result<TrackNamespace, String> {
    let delimiter = flags.track_namespace_delimiter.as_str();
    let text = flags.track_namespace.as_str();
    let fields: Vec<&str> = match (text, delimiter) {
        ("", _) => Vec::new(),
        (whole, "") => vec![whole],
        (text, delimiter) => text.split(delimiter).collect(),
    };
    let fields = fields
        .into_iter()
        .map(|field| Bytes::from(field.to_owned()));
    TrackNamespace::new(fields)
        .map_err(|error| format!("--track_namespace '{text}' is no namespace: {error}"))
}
