//! What is urgent overtakes what is not on a narrow link: a relay behind which 20 tracks have more to send than fits, and
//! one more a small object every tenth of a second.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "most of what a session tells does not matter here"
)]

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use oxymoq_core::draft::Draft;
use oxymoq_core::relay::{self, Relay};
use oxymoq_core::runtime::{Settings, TransportSettings};
use oxymoq_core::session::{self, Event, Request, Response, Role, StreamEnd};
use oxymoq_core::sim::{Failure, Part, Program, Stage, Subgroup};
use oxymoq_core::time::Time;
use oxymoq_core::transport::{Application, ConnectionId, Exit, StreamId, Target};
use oxymoq_core::wire::id::{GroupId, Millis, ObjectId, RequestId, SubgroupId, TrackAlias};
use oxymoq_core::wire::message::{PublishNamespace, RequestOk, Subscribe, SubscribeOk};
use oxymoq_core::wire::name::{FullTrackName, TrackName, TrackNamespace};
use oxymoq_core::wire::object::SubgroupHeader;
use oxymoq_core::wire::param::Parameters;
use oxymoq_core::wire::property::Properties;
use tokio::sync::oneshot;

use crate::proxy::{Link, Proxy};
use crate::stack::{Stack, block_on, client_settings, server_settings};

const ALPN: Bytes = Bytes::from_static(b"moqt-18");
/// Bits per second that the link carries.
const RATE: u64 = 20_000_000;
/// Bytes that may wait for it: what it carries in 50 ms.
const QUEUE: u64 = RATE / 8 / 20;
/// Tracks that together have more to send than fits.
const LOW_TRACKS: usize = 20;
/// The number of the other track.
const HIGH: u64 = 99;
/// How often something is published: one urgent object, and others that alone are more than the link carries.
const EVERY: Duration = Duration::from_millis(100);
const HIGH_LENGTH: usize = 2000;
const LOW_LENGTH: usize = 64 << 10;
const LOW_AT_A_TIME: usize = 5;

/// What is measured.
#[derive(Clone, Copy)]
struct Run {
    stack: Stack,
    write_late: bool,
    /// Urgent objects.
    high_objects: u64,
    /// When to stop; without it, when all urgent objects have arrived.
    window: Option<Duration>,
    path: Path,
}

/// How the subscriber reaches the relay.
#[derive(Clone, Copy)]
enum Path {
    /// Through a proxy of 20 Mbit/s with a queue of so many bytes.
    Proxy(u64),
    /// At this address, from where on the system makes the link narrow.
    Direct(Ipv4Addr),
}

/// What was published and what arrived, kept by both ends.
#[derive(Default)]
struct Tally {
    /// Bytes of objects with little urgency that arrived.
    low: AtomicU64,
    high: Mutex<BTreeMap<u64, Journey>>,
}

/// An urgent object's way.
#[derive(Clone, Copy, Debug)]
struct Journey {
    published: Instant,
    /// Bytes of little urgency that had arrived when it was published.
    low_before: u64,
    arrived: Option<(Instant, u64)>,
}

/// What came out of a run.
#[derive(Debug)]
struct Outcome {
    /// Of urgent objects that arrived, the shortest first.
    latencies: Vec<Duration>,
    /// Bytes of little urgency that arrived after an urgent object was published and before it arrived; ascending.
    overtaken_by: Vec<u64>,
    low: u64,
    took: Duration,
    /// Packets that found no room on the link.
    dropped: u64,
}

fn track(number: u64) -> FullTrackName {
    FullTrackName {
        namespace: TrackNamespace::new(["priorities"]).unwrap(),
        name: TrackName::new(number.to_string()).unwrap(),
    }
}

fn number(track: &FullTrackName) -> u64 {
    let name = String::from_utf8_lossy(track.name.as_bytes());
    name.parse().unwrap()
}

/// Lower is more urgent.
fn priority(track: u64) -> u8 {
    if track == HIGH { 20 } else { 200 }
}

fn misused(misuse: session::Misuse) -> Failure {
    misuse.to_string()
}

/// Publishes of each kind as much as it is told, every so often.
struct Publisher {
    tally: Arc<Tally>,
    high_objects: u64,
    subscribers: BTreeMap<u64, (ConnectionId, RequestId)>,
    /// The streams of little urgency, and how many objects each has.
    low: Vec<(Subgroup, u64)>,
    published: u64,
    next: Option<Time>,
}

impl Publisher {
    fn open(&self, stage: &mut Stage<'_>, track: u64, group: u64) -> Result<Subgroup, Failure> {
        let (connection, request) = self.subscribers.get(&track).copied().unwrap();
        let header = SubgroupHeader {
            group: GroupId(group),
            subgroup: SubgroupId(0),
            priority: Some(priority(track)),
            end_of_group: false,
            first_object: true,
        };
        let opened = stage.open_subgroup(connection, request, TrackAlias(track), &header);
        opened.map_err(misused)
    }

    fn publish_low(&mut self, stage: &mut Stage<'_>, tracks: usize) -> Result<(), Failure> {
        let payload = Bytes::from_static(&[1; LOW_LENGTH]);
        for (subgroup, objects) in self.low.iter_mut().take(tracks) {
            let sent = stage.object(subgroup, ObjectId(*objects), payload.clone());
            sent.map_err(misused)?;
            *objects += 1;
        }
        // Others have their turn.
        self.low.rotate_left(tracks);
        Ok(())
    }

    fn publish_high(&self, stage: &mut Stage<'_>, group: u64) -> Result<(), Failure> {
        let journey = Journey {
            published: Instant::now(),
            low_before: self.tally.low.load(Ordering::Relaxed),
            arrived: None,
        };
        self.tally.high().insert(group, journey);
        let mut subgroup = self.open(stage, HIGH, group)?;
        let payload = Bytes::from_static(&[2; HIGH_LENGTH]);
        let sent = stage.object(&mut subgroup, ObjectId(0), payload);
        sent.map_err(misused)?;
        stage.finish(subgroup);
        Ok(())
    }
}

impl Part for Publisher {
    fn handle_event(
        &mut self,
        stage: &mut Stage<'_>,
        connection: ConnectionId,
        event: Event,
    ) -> Result<(), Failure> {
        let now = stage.now();
        match event {
            Event::Established { .. } => {
                let announce = Request::PublishNamespace(PublishNamespace {
                    request_id: RequestId(0),
                    namespace: track(HIGH).namespace,
                    parameters: Parameters::default(),
                });
                let session = stage.session(connection)?;
                session.request(now, announce).map_err(misused)?;
            }
            Event::Request {
                id,
                request: Request::Subscribe(subscribe),
            } => {
                let track = number(&subscribe.track);
                let ok = SubscribeOk {
                    request_id: None,
                    track_alias: TrackAlias(track),
                    parameters: Parameters::default(),
                    properties: Properties::default(),
                };
                let session = stage.session(connection)?;
                let answer = Response::SubscribeOk(ok);
                session.respond(now, id, answer).map_err(misused)?;
                self.subscribers.insert(track, (connection, id));
                if self.subscribers.len() == LOW_TRACKS + 1 {
                    for track in (0..).take(LOW_TRACKS) {
                        let subgroup = self.open(stage, track, 0)?;
                        self.low.push((subgroup, 0));
                    }
                    self.publish_low(stage, LOW_TRACKS)?;
                    self.next = Some(now + EVERY);
                }
            }
            Event::Request { id, .. } => {
                let ok = Response::Ok(RequestOk::default());
                let session = stage.session(connection)?;
                session.respond(now, id, ok).map_err(misused)?;
            }
            Event::Closed(_) => stage.exit(Exit::Success),
            _ => {}
        }
        Ok(())
    }

    fn handle_timeout(&mut self, stage: &mut Stage<'_>) -> Result<(), Failure> {
        let due = self.next.take().unwrap();
        self.next = Some(due + EVERY);
        self.publish_low(stage, LOW_AT_A_TIME)?;
        if self.published < self.high_objects {
            self.published += 1;
            self.publish_high(stage, self.published)?;
        }
        Ok(())
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.next
    }
}

/// Subscribes to all tracks.
struct Subscriber {
    tally: Arc<Tally>,
    high_objects: usize,
    window: Option<Duration>,
    requests: BTreeMap<RequestId, u64>,
    /// The groups that the streams of the urgent track are about.
    high: BTreeMap<StreamId, u64>,
    began: Option<Instant>,
    took: Duration,
    arrived: usize,
    until: Option<Time>,
}

impl Subscriber {
    fn end(&mut self, stage: &mut Stage<'_>) {
        self.took = self.began.map_or(Duration::ZERO, |began| began.elapsed());
        stage.exit(Exit::Success);
    }
}

impl Part for Subscriber {
    fn handle_event(
        &mut self,
        stage: &mut Stage<'_>,
        connection: ConnectionId,
        event: Event,
    ) -> Result<(), Failure> {
        let now = stage.now();
        match event {
            Event::Established { .. } => {
                for number in (0..).take(LOW_TRACKS).chain([HIGH]) {
                    let request = Request::Subscribe(Subscribe {
                        request_id: RequestId(0),
                        track: track(number),
                        parameters: Parameters {
                            subscriber_priority: Some(priority(number)),
                            rendezvous_timeout: Some(Millis(10_000)),
                            ..Parameters::default()
                        },
                    });
                    let session = stage.session(connection)?;
                    let asked = session.request(now, request).map_err(misused)?;
                    self.requests.insert(asked, number);
                }
            }
            Event::SubgroupOpened { stream, id, header } => {
                if self.began.is_none() {
                    self.began = Some(Instant::now());
                    self.until = self.window.map(|window| now + window);
                }
                if self.requests.get(&id) == Some(&HIGH) {
                    self.high.insert(stream, header.group.0);
                }
            }
            Event::Payload { stream, bytes } if !self.high.contains_key(&stream) => {
                let length = u64::try_from(bytes.len()).map_err(|error| error.to_string())?;
                self.tally.low.fetch_add(length, Ordering::Relaxed);
            }
            Event::SubgroupEnded { stream, end } => {
                if end != StreamEnd::Fin {
                    return Err(format!("{stream} ended with {end:?}"));
                }
                let Some(group) = self.high.remove(&stream) else {
                    return Ok(());
                };
                let low = self.tally.low.load(Ordering::Relaxed);
                if let Some(journey) = self.tally.high().get_mut(&group) {
                    journey.arrived = Some((Instant::now(), low));
                }
                self.arrived += 1;
                if self.window.is_none() && self.arrived == self.high_objects {
                    self.end(stage);
                }
            }
            Event::Closed(closed) => return Err(format!("closed: {closed}")),
            Event::Done { done, .. } => return Err(format!("{done:?}")),
            _ => {}
        }
        Ok(())
    }

    fn handle_timeout(&mut self, stage: &mut Stage<'_>) -> Result<(), Failure> {
        self.until = None;
        self.end(stage);
        Ok(())
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.until
    }

    fn waits_for(&self) -> String {
        format!("{} urgent objects of {}", self.high_objects, self.arrived)
    }
}

impl Tally {
    fn high(&self) -> impl std::ops::DerefMut<Target = BTreeMap<u64, Journey>> {
        self.high.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Run {
    fn transport(&self) -> TransportSettings {
        TransportSettings {
            write_late: self.write_late,
            ..TransportSettings::default()
        }
    }

    /// Starts an application in a thread of its own; it is shut down when the sender is dropped.
    fn start<A: Application + Send + 'static>(
        &self,
        settings: Settings,
        mut application: A,
    ) -> (u16, oneshot::Sender<()>, thread::JoinHandle<(Exit, A)>) {
        let stack = self.stack;
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, bound) = mpsc::channel();
        let thread = thread::spawn(move || {
            let endpoint = stack.bind(settings);
            tell.send(endpoint.local_address().port()).unwrap();
            let needs_tokio = endpoint.needs_tokio();
            let shutdown = async {
                let _dropped = stopped.await;
            };
            let exit = block_on(needs_tokio, endpoint.run(&mut application, shutdown));
            (exit, application)
        });
        (bound.recv().unwrap(), stop, thread)
    }

    /// A program that connects to the relay.
    fn client<P: Part>(&self, host: &str, port: u16, part: P) -> (Settings, Program<P>) {
        let settings = Settings {
            transport: self.transport(),
            ..client_settings()
        };
        let target = Target {
            host: host.to_owned(),
            port,
            alpns: vec![ALPN],
        };
        let session = session::Settings::new(Role::Client);
        let program = Program::client(session, &[Draft::D18], target, Box::new(part));
        (settings, program)
    }

    fn measure(&self) -> Outcome {
        let mut settings = server_settings(vec![ALPN]);
        settings.transport = self.transport();
        let mut relay = relay::Settings {
            transport: self.transport(),
            ..relay::Settings::default()
        };
        if let Path::Direct(_) = self.path {
            settings.server.as_mut().unwrap().listen = (Ipv4Addr::UNSPECIFIED, 0).into();
        }
        // What a subscriber finds is to be decided by the link, not by what it is behind.
        relay.fanout.max_subscriber_lag = u64::MAX;
        let (port, stop_relay, relay) = self.start(settings, Relay::new(relay));
        let tally = Arc::new(Tally::default());
        let publisher = Publisher {
            tally: Arc::clone(&tally),
            high_objects: self.high_objects,
            subscribers: BTreeMap::new(),
            low: Vec::new(),
            published: 0,
            next: None,
        };
        let (settings, publisher) = self.client("127.0.0.1", port, publisher);
        let (_, stop_publisher, publisher) = self.start(settings, publisher);
        let subscriber = Subscriber {
            tally: Arc::clone(&tally),
            high_objects: usize::try_from(self.high_objects).unwrap(),
            window: self.window,
            requests: BTreeMap::new(),
            high: BTreeMap::new(),
            began: None,
            took: Duration::ZERO,
            arrived: 0,
            until: None,
        };
        let (proxy, host, port) = match self.path {
            Path::Direct(host) => (None, host, port),
            Path::Proxy(queue) => {
                let narrow = Link {
                    rate: Some(RATE),
                    queue,
                    ..Link::default()
                };
                let relay = (Ipv4Addr::LOCALHOST, port).into();
                let proxy = Proxy::start(relay, Link::default(), narrow, 1);
                let port = proxy.address().port();
                (Some(proxy), Ipv4Addr::LOCALHOST, port)
            }
        };
        let (settings, subscriber) = self.client(&host.to_string(), port, subscriber);
        let (_, _stop, subscriber) = self.start(settings, subscriber);
        let (exit, subscriber) = subscriber.join().unwrap();
        assert_eq!(exit, Exit::Success);
        drop(stop_publisher);
        assert_eq!(publisher.join().unwrap().0, Exit::Success);
        drop(stop_relay);
        assert_eq!(relay.join().unwrap().0, Exit::Success);
        Outcome::new(&tally, subscriber.part().took, proxy.as_ref())
    }
}

impl Outcome {
    fn new(tally: &Tally, took: Duration, proxy: Option<&Proxy>) -> Self {
        let high = tally.high();
        let arrived = || high.values().filter_map(|high| Some((high, high.arrived?)));
        let latencies = arrived().map(|(high, (at, _))| at - high.published);
        let overtaken_by = arrived().map(|(high, (_, low))| low - high.low_before);
        let mut outcome = Self {
            latencies: latencies.collect(),
            overtaken_by: overtaken_by.collect(),
            low: tally.low.load(Ordering::Relaxed),
            took,
            dropped: proxy.map_or(0, |proxy| proxy.to_clients().overflowed),
        };
        outcome.latencies.sort_unstable();
        outcome.overtaken_by.sort_unstable();
        outcome
    }

    /// Bytes that arrived before the usual urgent object although they are of little urgency and it was there.
    fn median_behind(&self) -> u64 {
        let middle = self.overtaken_by.get(self.overtaken_by.len() / 2);
        middle.copied().unwrap_or(u64::MAX)
    }

    /// Bits per second of little urgency.
    fn low_rate(&self) -> f64 {
        let bits = u32::try_from(self.low * 8 / 1000).unwrap();
        f64::from(bits) * 1000.0 / self.took.as_secs_f64()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |per_cent: usize| {
            let last = self.latencies.len().saturating_sub(1);
            let latency = self.latencies.get(last * per_cent / 100);
            latency.map_or(f64::NAN, Duration::as_secs_f64) * 1000.0
        };
        let (count, low) = (self.latencies.len(), self.low_rate() / 1e6);
        let (p50, p95, max) = (ms(50), ms(95), ms(100));
        let behind = self
            .overtaken_by
            .get(count / 2)
            .map_or(0, |bytes| bytes / 1024);
        write!(
            f,
            "{count:3} delivered, p50 {p50:4.0} p95 {p95:4.0} max {max:4.0} ms, behind {behind:5} KiB, low {low:5.1} Mbit/s, {} dropped",
            self.dropped
        )
    }
}

/// Bytes that an urgent object may find before it: what the link and the buffers of both ends hold on a busy machine, and
/// not the two megabytes that wait behind them by then.
const FEW: u64 = 1 << 20;
/// Bytes of little urgency that arrive at least: more than of the urgent objects, however busy the machine is.
const SOME: u64 = 64 << 10;

fn urgent_objects_overtake_what_waits(stack: Stack) {
    let run = Run {
        stack,
        write_late: true,
        high_objects: 20,
        window: None,
        path: Path::Proxy(QUEUE),
    };
    let outcome = run.measure();
    assert_eq!(outcome.latencies.len(), 20);
    assert!(outcome.median_behind() <= FEW, "{outcome}");
    assert!(outcome.low >= SOME, "{outcome}");
}

#[cfg(feature = "tokio")]
#[test]
fn urgent_objects_overtake_what_waits_on_tokio() {
    urgent_objects_overtake_what_waits(Stack::Tokio);
}

#[cfg(feature = "smol")]
#[test]
fn urgent_objects_overtake_what_waits_on_smol() {
    urgent_objects_overtake_what_waits(Stack::Smol);
}

/// Measures all stacks with and without the bound, some rounds each, and prints a table.
///
/// In a network namespace with a narrow link of its own for what comes from 127.0.0.2, the variable `NARROW` set to that
/// address makes the subscriber find the relay there.
#[test]
#[ignore = "measures for a minute; run it alone, in a release build"]
#[expect(clippy::print_stdout, reason = "the table is what it is for")]
fn latency_over_a_narrow_link() {
    let path = match std::env::var("NARROW") {
        Ok(host) => Path::Direct(host.parse().unwrap()),
        Err(_) => Path::Proxy(QUEUE),
    };
    for round in 1..=3 {
        for stack in Stack::ALL.iter().copied() {
            for write_late in [true, false] {
                let run = Run {
                    stack,
                    write_late,
                    high_objects: 59,
                    window: Some(Duration::from_secs(6)),
                    path,
                };
                let how = if write_late { "late " } else { "early" };
                println!("round {round}, {stack:5}, {how}: {}", run.measure());
            }
        }
    }
}
