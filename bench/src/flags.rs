//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser};
use oxymoq::client::Server;
use oxymoq::flags::{Common, ServerTrust};
use oxymoq::url::ServerUrl;
use oxymoq_core::draft::Draft;
use oxymoq_core::runtime::{ClientSettings, Settings, TransportSettings};

use crate::plan::{Churn, Plan, Ramp, Role};
use crate::profile::Profile;

/// Load a MoQT relay on schedule, whatever it does, and measure what arrives
#[derive(Parser, Debug)]
#[command(name = "moqbench", version)]
pub struct Flags {
    /// What all programs have.
    #[command(flatten)]
    pub common: Common,
    /// Which relays to believe.
    #[command(flatten)]
    pub trust: ServerTrust,
    /// The relay: moqt://host:port (QUIC) or https://host:port/path (WebTransport)
    #[arg(
        long,
        value_name = "URL",
        default_value = "",
        hide_default_value = true
    )]
    pub url: String,
    /// The draft of MoQT to speak: 18 or 16; the same as --versions with one entry
    #[arg(long, value_name = "N", conflicts_with = "versions")]
    pub draft: Option<String>,
    /// Use QUIC itself even if the URL says https
    #[arg(long = "quic_transport", default_value_t = false, num_args(0..=1), require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    pub quic_transport: bool,
    /// The kind of load
    #[arg(long, value_enum, default_value_t = Profile::Live)]
    pub profile: Profile,
    /// What this process does. Several on one machine measure together: they share its clock
    #[arg(long, value_enum, default_value_t)]
    pub role: Role,
    /// Publishers, each with a session and a namespace of its own; for subscribers: how many there are elsewhere
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub publishers: usize,
    /// Subscribers, each with a session of its own; in a ramp those of the first step. Default: 10, for bulk 1
    #[arg(long, value_name = "N")]
    pub subscribers: Option<usize>,
    /// Tracks of each publisher. Default: 1, for tracks 200
    #[arg(long, value_name = "N")]
    pub tracks: Option<usize>,
    /// Tracks that each subscriber takes. Default: 1, for tracks 20
    #[arg(long = "tracks_each", value_name = "N")]
    pub tracks_each: Option<usize>,
    /// Bytes of each object but the first of a group. Default: the profile's
    #[arg(long, value_name = "BYTES")]
    pub size: Option<usize>,
    /// Bytes of the first object of a group. Default: the profile's; with --size, the same
    #[arg(long = "key_size", value_name = "BYTES")]
    pub key_size: Option<usize>,
    /// Objects in a group. Default: the profile's
    #[arg(long, value_name = "N")]
    pub group: Option<u64>,
    /// Objects a second in each track; 0: as many as the relay takes. Default: the profile's
    #[arg(long, value_name = "N")]
    pub rate: Option<f64>,
    /// Subscribers that come each second, as in the profile churn, which has 10
    #[arg(long, value_name = "N")]
    pub churn: Option<f64>,
    /// How long each of them stays, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    pub stay: f64,
    /// In a ramp: subscribers that come with each step; 0: half as many again as there are
    #[arg(long = "ramp_step", value_name = "N", default_value_t = 0)]
    pub ramp_step: usize,
    /// In a ramp: the most subscribers
    #[arg(long = "ramp_most", value_name = "N", default_value_t = 5000)]
    pub ramp_most: usize,
    /// In a ramp: a step is held if nothing is lost and 99 % of the objects take no longer, in milliseconds
    #[arg(long = "max_latency", value_name = "MS", default_value_t = 500)]
    pub max_latency: u64,
    /// Namespace of the tracks, its fields separated by slashes
    #[arg(long, default_value = "moqbench")]
    pub namespace: String,
    /// Offer tracks with PUBLISH instead of announcing namespaces
    #[arg(long, default_value_t = false, num_args(0..=1), require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    pub publish: bool,
    /// How long objects flow before any counts, in seconds
    #[arg(long = "warm_up", value_name = "SECONDS", default_value_t = 1.0)]
    pub warm_up: f64,
    /// The objects of how many seconds count (in a ramp: in each step); 0: until interrupted. Default: 10, in a ramp 5
    #[arg(long, value_name = "SECONDS")]
    pub duration: Option<f64>,
    /// How long the last objects may take before they count as lost, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    pub drain: f64,
    /// How long the relay may take to let everybody in, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    pub patience: f64,
    /// How long each connection may take, in milliseconds
    #[arg(long = "connect_timeout", value_name = "MS", default_value_t = 10_000)]
    pub connect_timeout: u64,
    /// Bytes that each session may have under way or unread. Default: 8 MiB; for stalled 256 KiB, of which a stream half
    #[arg(long, value_name = "BYTES")]
    pub window: Option<u64>,
    /// The relay's process on this machine, to tell its CPU time and memory
    #[arg(long = "relay_pid", value_name = "PID")]
    pub relay_pid: Option<u32>,
    /// What to call this run in comparisons and plots
    #[arg(long, default_value = "", hide_default_value = true)]
    pub label: String,
    /// Write the report to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Draw latency against load into this file, as SVG: of a ramp that was run, or of the reports named at the end
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
    /// Compare the reports named at the end, as ratios: moqbench --compare A.json B.json. Of more than two those with the
    /// same --label are rounds of one relay: median, least and most, and ratios round by round
    #[arg(long, default_value_t = false, num_args(0..=1), require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    pub compare: bool,
    /// Reports of earlier runs, for --compare and --plot
    #[arg(value_name = "REPORT")]
    pub reports: Vec<PathBuf>,
}

/// What the window of a session is when a stalled one is to be felt soon.
const STALLED_WINDOW: u64 = 256 << 10;

impl Flags {
    /// What the run is to do.
    ///
    /// # Errors
    /// A sentence that names the flag and the value that make no sense.
    pub fn plan(&self) -> Result<Plan, String> {
        let profile = self.profile;
        let mut shape = profile.shape();
        if let Some(size) = self.size {
            (shape.key_size, shape.size) = (size, size);
        }
        shape.key_size = self.key_size.unwrap_or(shape.key_size);
        shape.per_group = self.group.unwrap_or(shape.per_group);
        shape.rate = self.rate.unwrap_or(shape.rate);
        let (tracks, tracks_each) = profile.tracks();
        let tracks = self.tracks.unwrap_or(tracks);
        let (churns, ramps) = (profile == Profile::Churn, profile == Profile::Ramp);
        let churn = self.churn.or(if churns { Some(10.0) } else { None });
        let plan = Plan {
            profile,
            role: self.role,
            shape,
            publishers: self.publishers,
            tracks,
            subscribers: self.subscribers.unwrap_or_else(|| profile.subscribers()),
            tracks_each: self.tracks_each.unwrap_or_else(|| tracks_each.min(tracks)),
            namespace: self.namespace.clone(),
            offer: self.publish,
            warm_up: seconds("warm_up", self.warm_up)?,
            duration: seconds(
                "duration",
                self.duration.unwrap_or(if ramps { 5.0 } else { 10.0 }),
            )?,
            drain: seconds("drain", self.drain)?,
            patience: seconds("patience", self.patience)?,
            churn: match churn {
                Some(per_second) => Some(Churn {
                    per_second,
                    stay: seconds("stay", self.stay)?,
                }),
                None => None,
            },
            stalled: profile == Profile::Stalled,
            ramp: ramps.then_some(Ramp {
                step: self.ramp_step,
                most: self.ramp_most,
                max_latency: Duration::from_millis(self.max_latency),
            }),
        };
        plan.check()?;
        Ok(plan)
    }

    /// The drafts to speak, most wanted first.
    ///
    /// # Errors
    /// A sentence that names the entry that is no draft of ours.
    pub fn drafts(&self) -> Result<Vec<Draft>, String> {
        match &self.draft {
            None => self.common.drafts(),
            Some(draft) => Common {
                versions: draft.clone(),
                ..self.common.clone()
            }
            .drafts(),
        }
    }

    /// The relay to connect to.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the URL.
    pub fn server(&self) -> Result<Server, String> {
        if self.url.is_empty() {
            return Err(
                "--url is missing: the relay to measure, like moqt://localhost:9668 or \
                        https://localhost:9668/moq-relay"
                    .to_owned(),
            );
        }
        Ok(Server::new(
            ServerUrl::parse(&self.url)?,
            self.quic_transport,
        ))
    }

    /// How to connect.
    ///
    /// # Errors
    /// A sentence that names the file that cannot be read.
    pub fn settings(&self, server: &Server) -> Result<Settings, String> {
        let mut transport = TransportSettings::default();
        let stalled = (self.profile == Profile::Stalled).then_some(STALLED_WINDOW);
        if let Some(window) = self.window.or(stalled) {
            transport.publisher_window = window;
            transport.receive_window = window;
            transport.stream_window = transport.stream_window.min(window / 2).max(1);
        }
        Ok(Settings {
            server: None,
            client: ClientSettings {
                trust: self.trust.trust(server.url())?,
                connect_timeout: Duration::from_millis(self.connect_timeout),
            },
            transport,
        })
    }
}

fn seconds(flag: &str, seconds: f64) -> Result<Duration, String> {
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|span| span.as_secs() <= 30 * 24 * 3600)
        .ok_or_else(|| format!("--{flag} {seconds} is no number of seconds between 0 and a month"))
}

#[cfg(test)]
mod tests {
    use oxymoq::cli;

    use super::*;

    fn read(line: &str) -> Flags {
        let words = std::iter::once("moqbench").chain(line.split_whitespace());
        cli::try_parse(words.map(Into::into)).unwrap()
    }

    #[test]
    fn a_profile_is_what_it_says_unless_flags_change_it() {
        let plan = read("--url moqt://h").plan().unwrap();
        assert_eq!(plan.shape, Profile::Live.shape());
        assert_eq!((plan.subscribers, plan.duration.as_secs()), (10, 10));
        let plan = read("-profile small -size 100 -rate=5 -group 7 -subscribers 3")
            .plan()
            .unwrap();
        assert_eq!((plan.shape.size, plan.shape.key_size), (100, 100));
        assert_eq!((plan.shape.rate, plan.shape.per_group), (5.0, 7));
        assert_eq!(plan.subscribers, 3);
    }

    #[test]
    fn churn_stall_and_ramp_come_with_their_profiles() {
        let churn = read("--profile churn --stay 0.5").plan().unwrap().churn;
        assert_eq!(
            churn,
            Some(Churn {
                per_second: 10.0,
                stay: Duration::from_millis(500),
            })
        );
        assert!(read("--profile stalled").plan().unwrap().stalled);
        let plan = read("--profile ramp --ramp_step 5 --max_latency 90")
            .plan()
            .unwrap();
        let ramp = plan.ramp.unwrap();
        assert_eq!((ramp.step, ramp.max_latency.as_millis()), (5, 90));
        assert_eq!(plan.duration.as_secs(), 5);
        assert_eq!(
            read("--profile live --churn 3")
                .plan()
                .unwrap()
                .churn
                .unwrap()
                .per_second,
            3.0
        );
    }

    #[test]
    fn drafts_are_named_as_the_other_programs_do_or_one_by_itself() {
        assert_eq!(read("--draft 16").drafts(), Ok(vec![Draft::D16]));
        assert_eq!(read("--versions 16").drafts(), Ok(vec![Draft::D16]));
        assert_eq!(read("").drafts(), Ok(vec![Draft::D18, Draft::D16]));
        assert!(read("--draft 12").drafts().unwrap_err().contains("'12'"));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        assert!(read("").server().unwrap_err().contains("--url"));
        assert!(read("--url ftp://h").server().is_err());
        assert!(read("--duration=-1").plan().is_err());
        assert!(
            read("--warm_up nan")
                .plan()
                .unwrap_err()
                .contains("--warm_up")
        );
        let refused = read("--profile ramp --role publish").plan().unwrap_err();
        assert!(refused.contains("--role publish"), "{refused}");
    }

    #[test]
    fn reports_to_compare_come_last() {
        let flags = read("--compare a.json b.json");
        assert!(flags.compare);
        assert_eq!(flags.reports.len(), 2);
    }

    #[test]
    fn a_stalled_session_has_a_small_window() {
        let window = |line| {
            let flags = read(line);
            let server = flags.server().unwrap();
            flags.settings(&server).unwrap().transport.publisher_window
        };
        assert_eq!(
            window("--url moqt://h --insecure --profile stalled"),
            STALLED_WINDOW
        );
        assert_eq!(window("--url moqt://h --insecure --window 9999"), 9999);
    }
}
