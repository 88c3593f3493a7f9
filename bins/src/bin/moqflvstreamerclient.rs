//! Publishes the video and audio of an FLV file, fifo or standard input into a relay.
use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::{ArgAction, Parser};
use oxymoq::client::Server;
use oxymoq::flags::{Common, Connection, ServerTrust};
use oxymoq::flv_streamer::{Input, Job, Limits, Relay, Streamer};
use oxymoq::mlog::Mlog;
use oxymoq::url::ServerUrl;
use oxymoq::{catalog, cli, logging, runtime};
use oxymoq_core::media::packaging::Packager;
use oxymoq_core::runtime::Settings;
use oxymoq_core::transport::Exit;
use oxymoq_core::wire::name::{FullTrackName, TrackName, TrackNamespace};

/// Publish the video and audio of an FLV file, fifo or standard input into a relay
#[derive(Parser, Debug)]
#[command(name = "moqflvstreamerclient", version)]
struct Flags {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    trust: ServerTrust,
    /// The relay: https://host:port/path (WebTransport) or moqt://host:port/path (QUIC)
    #[arg(
        long = "connect_url",
        value_name = "URL",
        default_value = "https://localhost:4433/moq"
    )]
    connect_url: String,
    /// What to publish: an FLV file, a fifo, or - for standard input
    #[arg(
        long = "input_flv_file",
        value_name = "FILE",
        default_value = "",
        hide_default_value = true
    )]
    input_flv_file: String,
    /// Namespace of the tracks, its fields separated by the delimiter
    #[arg(long = "track_namespace", default_value = "flvstreamer")]
    track_namespace: String,
    /// What separates the fields of the namespace
    #[arg(long = "track_namespace_delimiter", default_value = "/")]
    track_namespace_delimiter: String,
    /// Name of the track of video
    #[arg(long = "video_track_name", default_value = "video0")]
    video_track_name: String,
    /// Name of the track of audio
    #[arg(long = "audio_track_name", default_value = "audio0")]
    audio_track_name: String,
    /// What objects carry: moqmi, loc, or dual (both at once where that is possible)
    #[arg(long, value_name = "FORMAT", default_value_t = Packager::Dual)]
    packager: Packager,
    /// Publish frames when they are to be shown; by default for files, not for fifos and standard input
    #[arg(long, num_args(0..=1), require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    realtime: Option<bool>,
    /// Begin a file again when it is over; wait for a fifo's next writer
    #[arg(long = "loop", default_value_t = false, num_args(0..=1), require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    again: bool,
    /// Begin only when somebody subscribes to video or audio
    #[arg(long = "await_subscriber", default_value_t = false, num_args(0..=1), require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    await_subscriber: bool,
    /// Milliseconds of audio in a group; 0: one frame
    #[arg(long = "audio_group_ms", value_name = "MS", default_value_t = 0)]
    audio_group_ms: u64,
    /// Besides announcing the namespace, PUBLISH the tracks to the relay
    #[arg(long, default_value_t = false, num_args(0..=1), require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    publish: bool,
    /// Give up an object this many milliseconds after it was published; 0: never
    #[arg(long = "delivery_timeout", value_name = "MS", default_value_t = 0)]
    delivery_timeout: u64,
    #[command(flatten)]
    connection: Connection,
    /// How long to try to reach the relay again when it was lost, in seconds; 0: not at all
    #[arg(
        long = "reconnect_timeout",
        value_name = "SECONDS",
        default_value_t = 60
    )]
    reconnect_timeout: u64,
}

fn main() -> ExitCode {
    let flags: Flags = cli::parse();
    cli::finish("moqflvstreamerclient", run(&flags))
}

fn run(flags: &Flags) -> Result<Exit, String> {
    logging::start(&flags.common.logging, flags.common.v)?;
    let url = ServerUrl::parse(&flags.connect_url)?;
    let input = Input::at(&flags.input_flv_file)?;
    if flags.again && input == Input::Stdin {
        return Err("--loop: standard input cannot begin again; name a file or a fifo".to_owned());
    }
    let job = job(flags, &input)?;
    let settings = Settings {
        server: None,
        client: flags.connection.client(flags.trust.trust(&url)?),
        ..Settings::default()
    };
    let relay = Relay {
        server: Server::new(url, flags.connection.quic_transport),
        quic_transport: flags.connection.quic_transport,
        drafts: flags.common.drafts()?,
        patience: flags.connection.patience(),
        reconnect: Duration::from_secs(flags.reconnect_timeout),
    };
    let mlog = Mlog::create(&flags.connection.mlog_path)?;
    let terminal = io::stderr()
        .is_terminal()
        .then(|| -> Box<dyn Write + Send> { Box::new(io::stderr()) });
    // Everything that can be wrong with the settings is told before anything is read.
    let mut streamer = Streamer::new(job, relay, terminal, mlog)?;
    let again = flags.again;
    runtime::run_with(flags.common.runtime, settings, move |bell| {
        let limits = streamer.limits().clone();
        streamer.read(input.read(again, &limits, bell));
        streamer
    })
}

fn job(flags: &Flags, input: &Input) -> Result<Job, String> {
    let name = |flag: &str, name: &str| {
        TrackName::new(name.to_owned())
            .map_err(|error| format!("--{flag} '{name}' is no name of a track: {error}"))
    };
    let video = name("video_track_name", &flags.video_track_name)?;
    let audio = name("audio_track_name", &flags.audio_track_name)?;
    let names = [
        video.as_bytes(),
        audio.as_bytes(),
        catalog::TRACK_NAME.as_bytes(),
    ];
    if names[0] == names[1] || names[..2].contains(&names[2]) {
        return Err(format!(
            "--video_track_name and --audio_track_name must differ from one another and from '{}'",
            catalog::TRACK_NAME
        ));
    }
    let namespace = namespace(flags)?;
    for track in [&video, &audio] {
        FullTrackName::new(namespace.clone(), track.clone()).map_err(|error| {
            format!(
                "--track_namespace '{}' has no room for the names of tracks: {error}",
                flags.track_namespace
            )
        })?;
    }
    Ok(Job {
        namespace,
        video,
        audio,
        packager: flags.packager,
        audio_group_ms: flags.audio_group_ms,
        realtime: flags.realtime.unwrap_or_else(|| input.is_file()),
        can_wait: input.is_file(),
        await_subscriber: flags.await_subscriber,
        offer: flags.publish,
        delivery_timeout: Duration::from_millis(flags.delivery_timeout),
        limits: Limits::default(),
    })
}

fn namespace(flags: &Flags) -> Result<TrackNamespace, String> {
    let whole = flags.track_namespace.as_str();
    let fields: Vec<&str> = match flags.track_namespace_delimiter.as_str() {
        "" => vec![whole],
        delimiter => whole.split(delimiter).collect(),
    };
    let fields = fields
        .into_iter()
        .map(|field| Bytes::from(field.to_owned()));
    TrackNamespace::new(fields)
        .map_err(|error| format!("--track_namespace '{whole}' is no namespace: {error}"))
}
