//! Subscribes to a track and prints its objects.
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::{ArgAction, Parser};
use oxymoq::client::Server;
use oxymoq::flags::{Common, Connection, ServerTrust};
use oxymoq::mlog::Mlog;
use oxymoq::text_client::{Job, TextClient, Wish};
use oxymoq::url::ServerUrl;
use oxymoq::{cli, logging, runtime};
use oxymoq_core::runtime::Settings;
use oxymoq_core::transport::Exit;
use oxymoq_core::wire::id::{GroupId, Location, Millis};
use oxymoq_core::wire::name::{FullTrackName, TrackName, TrackNamespace};
use oxymoq_core::wire::param::{Filter, GroupOrder, Parameters};

/// Subscribe to a track of a MoQT server and print its objects, one a line
#[derive(Parser, Debug)]
#[command(name = "moqtextclient", version)]
struct Flags {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    trust: ServerTrust,
    /// The server: https://host:port/path (WebTransport) or moqt://host:port/path (QUIC)
    #[arg(long = "connect_url", value_name = "URL")]
    connect_url: String,
    /// Namespace of the track, its fields separated by the delimiter
    #[arg(
        long = "track_namespace",
        default_value = "",
        hide_default_value = true
    )]
    track_namespace: String,
    /// What separates the fields of the namespace
    #[arg(long = "track_namespace_delimiter", default_value = "/")]
    track_namespace_delimiter: String,
    /// Name of the track
    #[arg(long = "track_name", default_value = "", hide_default_value = true)]
    track_name: String,
    /// First group; empty: from the object after the largest
    #[arg(
        long,
        value_name = "GROUP",
        default_value = "",
        hide_default_value = true
    )]
    sg: String,
    /// First object of the first group; empty: 0
    #[arg(
        long,
        value_name = "OBJECT",
        default_value = "",
        hide_default_value = true
    )]
    so: String,
    /// Last group; empty: no end
    #[arg(
        long,
        value_name = "GROUP",
        default_value = "",
        hide_default_value = true
    )]
    eg: String,
    /// Ask for objects; --noforward asks for none yet
    #[arg(long, default_value_t = true, num_args(0..=1), require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    forward: bool,
    /// Unsubscribe after --unsubscribe_time
    #[arg(long, default_value_t = false, num_args(0..=1), require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    unsubscribe: bool,
    /// When to unsubscribe, in seconds after the server agreed
    #[arg(
        long = "unsubscribe_time",
        value_name = "SECONDS",
        default_value_t = 30
    )]
    unsubscribe_time: u64,
    /// Give up an object this many milliseconds after it was published; 0: never
    #[arg(long = "delivery_timeout", value_name = "MS", default_value_t = 0)]
    delivery_timeout: u64,
    /// Let the server wait this many milliseconds for a publisher; 0: not at all (from draft 18)
    #[arg(long = "rendezvous_timeout", value_name = "MS", default_value_t = 0)]
    rendezvous_timeout: u64,
    #[command(flatten)]
    connection: Connection,
    /// FETCH the range from --sg and --so to --eg (empty: up to now) instead of subscribing
    #[arg(long, default_value_t = false, num_args(0..=1), require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    fetch: bool,
    /// Subscribe, and FETCH what was published from --join_start groups before the current one on
    #[arg(long, default_value_t = false, num_args(0..=1), require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    jrfetch: bool,
    /// Subscribe, and FETCH what was published from group --join_start on
    #[arg(long, default_value_t = false, num_args(0..=1), require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    jafetch: bool,
    /// Where the FETCH of --jrfetch or --jafetch starts
    #[arg(long = "join_start", value_name = "GROUP", default_value_t = 0)]
    join_start: u64,
    /// Be offered the namespace's tracks, or the one of --track_name, instead of subscribing
    #[arg(long, default_value_t = false, num_args(0..=1), require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    publish: bool,
    /// Use QMUX over TCP (not built yet)
    #[arg(long, default_value_t = false, num_args(0..=1), require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    qmux: bool,
}

fn main() -> ExitCode {
    let flags: Flags = cli::parse();
    cli::finish("moqtextclient", run(&flags))
}

fn run(flags: &Flags) -> Result<Exit, String> {
    logging::start(&flags.common.logging, flags.common.v)?;
    cli::refuse_unbuilt([("qmux", flags.qmux)])?;
    let drafts = flags.common.drafts()?;
    let url = ServerUrl::parse(&flags.connect_url)?;
    let settings = Settings {
        server: None,
        client: flags.connection.client(flags.trust.trust(&url)?),
        ..Settings::default()
    };
    let range = range(flags)?;
    let wish = Wish {
        track: track(flags)?,
        parameters: parameters(flags, range.as_ref()),
        job: job(flags, range.as_ref())?,
        unsubscribe_after: flags
            .unsubscribe
            .then(|| Duration::from_secs(flags.unsubscribe_time)),
        transaction_timeout: flags.connection.patience(),
    };
    let server = Server::new(url, flags.connection.quic_transport);
    let mlog = Mlog::create(&flags.connection.mlog_path)?;
    let client = TextClient::new(server, &drafts, wish, io::stdout().lock(), mlog);
    runtime::run(flags.common.runtime, settings, client)
}

fn track(flags: &Flags) -> Result<FullTrackName, String> {
    let delimiter = flags.track_namespace_delimiter.as_str();
    let namespace = flags.track_namespace.as_str();
    let fields: Vec<&str> = match (namespace, delimiter) {
        ("", _) => Vec::new(),
        (whole, "") => vec![whole],
        (namespace, delimiter) => namespace.split(delimiter).collect(),
    };
    let namespace = TrackNamespace::new(
        fields
            .into_iter()
            .map(|field| Bytes::from(field.to_owned())),
    );
    namespace
        .and_then(|namespace| {
            let name = TrackName::new(flags.track_name.clone())?;
            FullTrackName::new(namespace, name)
        })
        .map_err(|error| {
            format!(
                "--track_namespace '{}' with --track_name '{}' is no track name: {error}",
                flags.track_namespace, flags.track_name
            )
        })
}

/// Objects from --sg and --so to --eg.
#[derive(Clone, Copy, Debug)]
struct Range {
    start: Location,
    end_group: Option<GroupId>,
}

fn range(flags: &Flags) -> Result<Option<Range>, String> {
    let start = number("sg", &flags.sg)?;
    let object = number("so", &flags.so)?;
    let end = number("eg", &flags.eg)?;
    match (start, object, end) {
        (None, Some(_), _) => Err("--so needs --sg, the group that the object is in".to_owned()),
        (None, None, Some(_)) => Err("--eg needs --sg, the group to start with".to_owned()),
        (None, None, None) => Ok(None),
        (Some(group), _, Some(end)) if end < group => Err(format!(
            "--eg {end} lies before --sg {group}; the last group comes after the first"
        )),
        (Some(group), object, end) => Ok(Some(Range {
            start: Location::new(group, object.unwrap_or(0)),
            end_group: end.map(GroupId),
        })),
    }
}

fn job(flags: &Flags, range: Option<&Range>) -> Result<Job, String> {
    let ways = [
        ("--fetch", flags.fetch),
        ("--jrfetch", flags.jrfetch),
        ("--jafetch", flags.jafetch),
        ("--publish", flags.publish),
    ];
    let mut given = ways.iter().filter(|(_, is_given)| *is_given);
    if let (Some((first, _)), Some((second, _))) = (given.next(), given.next()) {
        return Err(format!(
            "{first} and {second} exclude one another; leave one out"
        ));
    }
    let job = match (flags.fetch, flags.jrfetch, flags.jafetch, flags.publish) {
        (true, ..) => {
            let range = range.ok_or("--fetch needs --sg, the group to start with")?;
            return Ok(Job::Fetch {
                start: range.start,
                end_group: range.end_group,
            });
        }
        (_, true, ..) => Job::JoinBack(flags.join_start),
        (_, _, true, _) => Job::JoinAt(flags.join_start),
        (_, _, _, true) => Job::Publish,
        (false, false, false, false) => return Ok(Job::Subscribe),
    };
    if range.is_some() && job == Job::Publish {
        return Err("--publish takes what comes; leave out --sg, or --publish".to_owned());
    }
    if range.is_some() {
        return Err("a joining FETCH starts at --join_start; leave out --sg".to_owned());
    }
    if !flags.forward && job != Job::Publish {
        return Err(
            "a joining FETCH needs a subscription that is forwarding; leave out --noforward"
                .to_owned(),
        );
    }
    Ok(job)
}

fn parameters(flags: &Flags, range: Option<&Range>) -> Parameters {
    let filter = match range {
        None => Filter::LargestObject,
        Some(&Range {
            start,
            end_group: None,
        }) => Filter::AbsoluteStart(start),
        Some(&Range {
            start,
            end_group: Some(end_group),
        }) => Filter::AbsoluteRange { start, end_group },
    };
    let timeout = |milliseconds: u64| (milliseconds != 0).then_some(Millis(milliseconds));
    Parameters {
        filter: Some(filter),
        forward: Some(flags.forward),
        subscriber_priority: Some(0),
        group_order: Some(GroupOrder::Ascending),
        object_delivery_timeout: timeout(flags.delivery_timeout),
        rendezvous_timeout: timeout(flags.rendezvous_timeout),
        ..Parameters::default()
    }
}

fn number(flag: &str, text: &str) -> Result<Option<u64>, String> {
    match text {
        "" => Ok(None),
        digits => digits.parse().map(Some).map_err(|_| {
            format!("--{flag}: '{digits}' is no number between 0 and 18446744073709551615")
        }),
    }
}
