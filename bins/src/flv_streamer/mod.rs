//! The streamer: publishes the video and audio of an FLV file or pipe into a relay.

mod backlog;
mod catalog_track;
mod describe;
mod input;
mod limits;
mod link;
mod pace;
mod progress;
mod reel;
mod requests;
mod tracks;

use std::io::Write;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use log::{info, warn};
use oxymoq_core::code::SessionCode;
use oxymoq_core::draft::IntegerKind;
use oxymoq_core::fanout::{self, Fanout, LagPolicy};
use oxymoq_core::ledger::Ledger;
use oxymoq_core::media::flv::{Fault, Item, Metadata, Warning};
use oxymoq_core::media::packaging::Packager;
use oxymoq_core::media::{Configuration, Kind};
use oxymoq_core::peers::Peers;
use oxymoq_core::publisher::Publisher;
use oxymoq_core::session::Event;
use oxymoq_core::time::{Time, WallTime};
use oxymoq_core::transport::{
    Admission, Answer, Application, ConnectionId, Exit, Incoming, Input as Happening, Output,
    Target,
};
use oxymoq_core::wire::name::{TrackName, TrackNamespace};
use oxymoq_core::wire::property::{OBJECT_DELIVERY_TIMEOUT, Properties, Value};

use crate::catalog::Catalog;
use crate::client;
use crate::mlog::Mlog;

use catalog_track::CatalogTrack;
use link::Link;
use pace::Pace;
use progress::Progress;
use reel::{Reel, Step};
use tracks::{MediaTrack, Now};

pub use input::{Chunk, Input};
pub use limits::{Limits, Tolerance};
pub use link::Relay;
pub use progress::Status;
pub use tracks::Count;

/// How long subscribers may take to take the rest of the tracks.
const DRAIN: Duration = Duration::from_secs(10);
/// How long the session stays when all was sent, for the relay to look at what has arrived.
const LINGER: Duration = Duration::from_secs(1);
/// How long after the first subscription the others may come, if subscribers are waited for.
const GATHER: Duration = Duration::from_millis(500);
/// Groups in memory: more than objects that anybody may be behind by.
const MAX_LIVE_GROUPS: usize = 2048;

/// What is published, and how.
#[derive(Clone, Debug)]
pub struct Job {
    /// The namespace of all tracks.
    pub namespace: TrackNamespace,
    /// The track of video.
    pub video: TrackName,
    /// The track of audio.
    pub audio: TrackName,
    /// What objects are to carry.
    pub packager: Packager,
    /// Milliseconds of audio in a group; 0: one frame.
    pub audio_group_ms: u64,
    /// Whether frames leave as fast as they are to be shown, rather than as fast as they come.
    pub realtime: bool,
    /// Whether the input can wait: then it does while subscribers do not keep up. Otherwise groups are left out.
    pub can_wait: bool,
    /// Whether it waits for the first subscriber before it begins.
    pub await_subscriber: bool,
    /// Whether the tracks are also offered to the relay, with PUBLISH.
    pub offer: bool,
    /// When subscribers should no longer be sent an object; zero: never.
    pub delivery_timeout: Duration,
    /// The bounds of everything.
    pub limits: Limits,
}

/// The program, without its sockets, its clock and its input.
#[derive(Debug)]
pub struct Streamer {
    job: Job,
    publisher: Publisher,
    link: Link,
    reel: Reel,
    pace: Pace,
    /// The next item, which is not due yet.
    held: Option<Item>,
    /// When to go on.
    resume: Option<Time>,
    /// Whether reading waits for subscribers to catch up.
    is_stalled: bool,
    /// Whether something was published that sessions were not told of yet.
    is_fresh: bool,
    video: MediaTrack,
    audio: MediaTrack,
    catalog: CatalogTrack,
    metadata: Option<Metadata>,
    /// Whether the catalog is to be published again.
    has_news: bool,
    /// What time it was when.
    clock: Option<(Time, WallTime)>,
    phase: Phase,
    progress: Progress,
    exit: Option<Exit>,
    mlog: Mlog,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The namespace was not announced yet.
    Connecting,
    /// Nobody has subscribed yet.
    Awaiting,
    /// Somebody has; others may until then.
    Gathering(Time),
    Streaming,
    /// The tracks have ended; subscribers may take the rest until then.
    Draining(Time),
    /// They have; the relay may look at it until then.
    Lingering(Time),
    Closing,
}

impl Streamer {
    /// A streamer into `relay`. If there is a terminal, how it goes is shown there.
    ///
    /// # Errors
    /// A sentence, if the settings cannot be.
    pub fn new(
        job: Job,
        relay: Relay,
        terminal: Option<Box<dyn Write + Send>>,
        mlog: Mlog,
    ) -> Result<Self, String> {
        let limits = &job.limits;
        let fanout_limits = fanout::Limits {
            max_live_groups: MAX_LIVE_GROUPS,
            max_subscriber_lag: u64::try_from(limits.max_object_bytes).unwrap_or(u64::MAX),
            lag_policy: LagPolicy::Skip,
            drain_timeout: DRAIN,
            ..fanout::Limits::default()
        };
        let mut fanout = Fanout::new(fanout_limits, Ledger::new(limits.max_object_bytes));
        let properties = track_properties(job.delivery_timeout)?;
        let mut open = |kind, name: &TrackName| {
            let to = (&mut fanout, properties.clone());
            MediaTrack::new(
                kind,
                name.clone(),
                job.packager,
                job.audio_group_ms,
                to,
                limits,
            )
            .ok_or_else(|| "no track can be opened".to_owned())
        };
        let video = open(Kind::Video, &job.video)?;
        let audio = open(Kind::Audio, &job.audio)?;
        let catalog =
            CatalogTrack::new(&mut fanout, limits.max_catalogs).ok_or("no track can be opened")?;
        let mut peers = Peers::default();
        mlog.watch(&mut peers);
        let link = Link::new(relay, job.namespace.clone(), &mut peers);
        Ok(Self {
            publisher: Publisher::new(peers, fanout),
            link,
            reel: Reel::new(),
            pace: Pace::new(limits),
            held: None,
            resume: None,
            is_stalled: false,
            is_fresh: false,
            video,
            audio,
            catalog,
            metadata: None,
            has_news: false,
            clock: None,
            phase: Phase::Connecting,
            progress: Progress::new(terminal),
            exit: None,
            mlog,
            job,
        })
    }

    /// What it publishes comes from here. [`Application::handle_wake`] tells of more.
    pub fn read(&mut self, chunks: Receiver<Chunk>) {
        self.reel.load(chunks);
    }

    /// The bounds of everything.
    pub const fn limits(&self) -> &Limits {
        &self.job.limits
    }

    /// How it goes.
    pub fn status(&self) -> Status {
        let fanout = &self.publisher.fanout;
        let tracks = [self.video.id, self.audio.id, self.catalog.id];
        Status {
            video: self.video.count,
            audio: self.audio.count,
            subscriptions: tracks.map(|track| fanout.subscribers(track)).iter().sum(),
        }
    }

    /// Bytes of objects in memory.
    pub fn bytes_held(&self) -> usize {
        self.publisher.fanout.ledger().used()
    }

    /// The time on both clocks.
    fn now(&self, time: Time) -> Now {
        let (then, wall) = self.clock.unwrap_or_default();
        let passed = u64::try_from(time.since(then).as_micros()).unwrap_or(0);
        Now {
            time,
            wall: wall.0.saturating_add(passed) / 1000,
        }
    }

    /// Handles everything that sessions have to tell.
    fn drain(&mut self, now: Time) {
        self.mlog.write_messages(now, &mut self.publisher.peers);
        while let Some((connection, event)) = self.publisher.poll_event() {
            self.mlog.write_event(now, connection, &event);
            self.handle_event(now, connection, event);
        }
        while self.publisher.poll_notice().is_some() {}
        self.catalog.serve(now, &mut self.publisher);
        if self.phase == Phase::Awaiting && self.is_wanted() {
            self.phase = Phase::Gathering(now + GATHER);
        }
        if let Phase::Draining(until) = self.phase
            && (self.is_drained() || until <= now)
        {
            self.phase = Phase::Lingering(now + LINGER);
        }
    }

    fn handle_event(&mut self, now: Time, connection: ConnectionId, event: Event) {
        let heard = match event {
            Event::Established { draft, setup } => {
                let name = client::implementation(&setup);
                info!("{connection} speaks {} ({name})", draft.profile().alpn);
                self.introduce(now, connection)
            }
            Event::Request { id, request } => {
                self.handle_request(now, connection, id, request);
                Ok(())
            }
            Event::Response { id, response } => {
                let answered = self.link.answered(connection, id, &response);
                answered.map(|is_up| {
                    if is_up {
                        self.begin(now);
                    }
                })
            }
            Event::Update {
                id,
                update,
                parameters,
            } => {
                let publisher = &mut self.publisher;
                publisher.update(now, connection, id, update, &parameters);
                Ok(())
            }
            Event::Cancelled { id, .. } => self.link.cancelled(connection, id),
            Event::GoAway { id: None, goaway } => {
                if self.link.leaves(connection, &goaway)
                    && let Some(session) = self.publisher.peers.session(connection)
                {
                    session.close(now, SessionCode::NoError, "leaving, as asked to");
                }
                Ok(())
            }
            Event::Closed(closed) => {
                let why = self.publisher.peers.why_closed(connection, &closed);
                self.handle_closed(now, connection, &why)
            }
            Event::GoAway { id: Some(_), .. }
            | Event::StreamStopped { .. }
            | Event::StreamExpired { .. }
            | Event::MalformedTrack { .. }
            | Event::CanRequest
            | Event::Settled { .. }
            | Event::StreamDelivered { .. }
            | Event::CanOpenStream
            | Event::UpdateResponse { .. }
            | Event::Done { .. }
            | Event::Namespace { .. }
            | Event::NamespaceDone { .. }
            | Event::PublishBlocked { .. }
            | Event::SubgroupOpened { .. }
            | Event::Object { .. }
            | Event::Payload { .. }
            | Event::SubgroupEnded { .. }
            | Event::Datagram { .. }
            | Event::Fetched { .. } => Ok(()),
        };
        if let Err(sentence) = heard {
            self.fail(now, sentence);
        }
    }

    /// A connection is over; another one may follow.
    fn handle_closed(
        &mut self,
        now: Time,
        connection: ConnectionId,
        why: &str,
    ) -> Result<(), String> {
        match self.phase {
            Phase::Draining(_) | Phase::Lingering(_) | Phase::Closing => {
                info!("{connection}: {why}");
                self.phase = Phase::Closing;
                Ok(())
            }
            Phase::Connecting | Phase::Awaiting | Phase::Gathering(_) | Phase::Streaming => {
                self.link.closed(now, connection, why)
            }
        }
    }

    /// The namespace is announced.
    fn begin(&mut self, now: Time) {
        if self.phase != Phase::Connecting {
            return;
        }
        self.progress.begin(now);
        self.phase = match self.job.await_subscriber {
            true => Phase::Awaiting,
            false => Phase::Streaming,
        };
        self.resume = Some(now);
    }

    /// Whether somebody subscribes to media.
    fn is_wanted(&self) -> bool {
        let fanout = &self.publisher.fanout;
        let mut tracks = [self.video.id, self.audio.id].into_iter();
        tracks.any(|track| fanout.has_forwarding_subscribers(track))
    }

    /// Publishes what it is time for, as far as it has been read.
    fn advance(&mut self, now: Time) {
        if self.phase != Phase::Streaming {
            return;
        }
        if !self.is_fresh {
            for track in [&mut self.video, &mut self.audio] {
                track.look(now, &self.publisher.fanout);
            }
        }
        self.resume = None;
        let mut bytes = 0;
        let most = match self.job.realtime || !self.job.can_wait {
            true => self.job.limits.max_batch,
            // What is written now gets its stream later.
            false => self.job.limits.max_batch.min(self.job.limits.max_streams),
        };
        for _ in 0..most {
            self.is_stalled = self.job.can_wait && (self.is_behind() || self.is_hasty());
            if self.is_stalled {
                return;
            }
            let item = match self
                .held
                .take()
                .map_or_else(|| self.reel.step(), Step::Item)
            {
                Step::Item(item) => item,
                Step::Starved => return,
                Step::Over(result) => return self.finish(now, result),
            };
            if let Item::Frame(frame) = &item
                && self.job.realtime
            {
                let due = self.pace.due(now, frame);
                if due > now {
                    self.resume = Some(due);
                    self.held = Some(item);
                    return;
                }
            }
            if let Item::Frame(frame) = &item {
                bytes += frame.payload.len();
            }
            self.take(now, item);
            if bytes > self.job.limits.max_batch_bytes {
                break;
            }
        }
        self.resume = Some(now);
    }

    /// Whether nobody keeps up with a track.
    fn is_behind(&self) -> bool {
        self.video.is_behind() || self.audio.is_behind()
    }

    /// Whether more is on its way than the relay may know what to do with. With frames that are paced there never is.
    fn is_hasty(&self) -> bool {
        let peers = &self.publisher.peers;
        !self.job.realtime && streams(peers) >= self.job.limits.max_streams
    }

    fn take(&mut self, now: Time, item: Item) {
        match item {
            Item::Metadata(metadata) => self.metadata = Some(metadata),
            Item::Configuration(configuration) => self.configure(now, configuration),
            Item::Frame(frame) => {
                self.tell_news(now);
                let now = self.now(now);
                let track = match frame.kind {
                    Kind::Video => &mut self.video,
                    Kind::Audio => &mut self.audio,
                };
                track.publish(now, &frame, &mut self.publisher.fanout);
                self.is_fresh = true;
            }
            Item::EndOfSequence(_) => {}
            Item::Warning(warning) => self.warn(now, warning),
        }
    }

    /// Something is wrong with the input.
    fn warn(&mut self, now: Time, warning: Warning) {
        let sentence = format!("the input: {warning}");
        if warning.what.is_fatal() {
            return self.fail(now, sentence);
        }
        if let Fault::UnknownCodec(kind, _) = warning.what {
            let track = match kind {
                Kind::Video => &mut self.video,
                Kind::Audio => &mut self.audio,
            };
            if track.configuration().is_none() {
                return track.refuse(now, sentence, &mut self.publisher.fanout);
            }
        }
        warn!("{sentence}");
    }

    fn configure(&mut self, now: Time, configuration: Configuration) {
        let track = match configuration.codec.kind() {
            Kind::Video => &mut self.video,
            Kind::Audio => &mut self.audio,
        };
        let codec = configuration.codec_string();
        if track.configure(now, configuration, &mut self.publisher.fanout) {
            info!("{} is {codec}", track.name);
            self.has_news = true;
        }
    }

    /// Publishes the catalog if it changed.
    fn tell_news(&mut self, now: Time) {
        if std::mem::take(&mut self.has_news) {
            self.publish_catalog(now, true);
        }
    }

    fn publish_catalog(&mut self, now: Time, is_live: bool) {
        let now = self.now(now);
        let tracks = [&self.video, &self.audio].into_iter();
        let entries = tracks.filter_map(|track| {
            let configuration = track.configuration()?;
            let name = String::from_utf8_lossy(track.name.as_bytes());
            let packager = self.job.packager;
            let metadata = self.metadata.as_ref();
            let is_live = is_live && !track.is_over;
            let is_published = track.refused.is_none();
            is_published
                .then(|| describe::describe(&name, packager, configuration, metadata, is_live))
        });
        let catalog = Catalog {
            generated_at: is_live.then_some(now.wall),
            is_complete: !is_live,
            tracks: entries.collect(),
        };
        self.catalog
            .publish(now, &catalog, &mut self.publisher.fanout);
        self.is_fresh = true;
    }

    /// The input is over.
    fn finish(&mut self, now: Time, result: Result<(), String>) {
        let refused = [&self.video, &self.audio].map(|track| track.refused.as_deref());
        let count = self.video.count.frames + self.audio.count.frames;
        let early = self.video.count.early_frames;
        let exit = match (result, count, refused) {
            (Err(sentence), ..) => Exit::Failure(sentence),
            (Ok(()), 0, [Some(why), _] | [None, Some(why)]) => {
                Exit::Failure(format!("nothing was published: {why}"))
            }
            (Ok(()), 0, [None, None]) if early > 0 => {
                Exit::Failure("nothing was published: the input has no key frame".to_owned())
            }
            (Ok(()), 0, [None, None]) if self.job_was_done() => Exit::Success,
            (Ok(()), 0, [None, None]) => {
                Exit::Failure("nothing was published: the input has no frame".to_owned())
            }
            (Ok(()), ..) => Exit::Success,
        };
        self.exit.get_or_insert(exit);
        self.end(now, "the input is over");
    }

    /// Whether there were frames, though all of them were left out.
    fn job_was_done(&self) -> bool {
        self.video.count.dropped_frames + self.audio.count.dropped_frames > 0
    }

    fn fail(&mut self, now: Time, sentence: String) {
        self.exit.get_or_insert(Exit::Failure(sentence));
        self.end(now, "the streamer ends");
    }

    /// Ends the tracks; sessions are closed when subscribers had time to take the rest.
    fn end(&mut self, now: Time, reason: &str) {
        match self.phase {
            Phase::Draining(_) | Phase::Lingering(_) | Phase::Closing => return,
            Phase::Connecting | Phase::Awaiting | Phase::Gathering(_) | Phase::Streaming => {}
        }
        self.publish_catalog(now, false);
        let fanout = &mut self.publisher.fanout;
        for track in [&mut self.video, &mut self.audio] {
            track.end(now, reason, fanout);
        }
        self.catalog.end(now, reason, fanout);
        self.phase = Phase::Draining(now + DRAIN);
        self.resume = None;
        self.held = None;
        let status = self.status();
        self.progress.end(now, &status);
    }

    /// Whether all that was published has arrived at whoever wanted it.
    fn is_drained(&self) -> bool {
        let fanout = &self.publisher.fanout;
        let tracks = [self.video.id, self.audio.id, self.catalog.id];
        let peers = &self.publisher.peers;
        tracks.into_iter().all(|track| fanout.is_idle(track)) && streams(peers) == 0
    }

    fn close(&mut self, now: Time) {
        self.phase = Phase::Closing;
        let reason = "the streamer ends";
        let peers = &mut self.publisher.peers;
        peers.close_all(now, SessionCode::NoError, reason);
    }
}

/// Streams on their way to the relay, of which not everything has arrived.
fn streams(peers: &Peers) -> usize {
    let on_connection = |connection| {
        let peer = peers.peer(connection);
        peer.map_or(0, |peer| peer.session_ref().outgoing_streams())
    };
    peers.connections().map(on_connection).sum()
}

/// Properties of both tracks of media.
fn track_properties(delivery_timeout: Duration) -> Result<Properties, String> {
    let milliseconds = u64::try_from(delivery_timeout.as_millis()).unwrap_or(u64::MAX);
    let timeout =
        (milliseconds != 0).then_some((OBJECT_DELIVERY_TIMEOUT, Value::Integer(milliseconds)));
    Properties::from_list(IntegerKind::Vi64, timeout)
        .map_err(|error| format!("--delivery_timeout {milliseconds}: {error}"))
}

impl Application for Streamer {
    fn handle_wall_clock(&mut self, now: Time, wall: WallTime) {
        self.clock = Some((now, wall));
    }

    fn handle_incoming(&mut self, _now: Time, _incoming: &Incoming) -> Admission {
        Admission::Refuse
    }

    fn handle_input(&mut self, now: Time, connection: ConnectionId, input: Happening) {
        self.publisher.handle_input(now, connection, input);
        self.drain(now);
    }

    fn handle_answer(&mut self, now: Time, connection: ConnectionId, answer: Answer) {
        self.publisher.handle_answer(now, connection, answer);
        self.drain(now);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.publisher.handle_timeout(now);
        if let Err(sentence) = self.link.handle_timeout(now, &mut self.publisher.peers) {
            self.fail(now, sentence);
        }
        if let Phase::Gathering(until) = self.phase
            && until <= now
        {
            self.phase = Phase::Streaming;
            self.resume = Some(now);
        }
        if self.resume.is_some_and(|resume| resume <= now) {
            self.advance(now);
        }
        let status = self.status();
        self.progress.tell(now, &status);
        if let Phase::Lingering(until) = self.phase
            && until <= now
        {
            self.close(now);
        }
        self.drain(now);
    }

    fn handle_wake(&mut self, now: Time) {
        // What is held is not due yet.
        if self.held.is_none() {
            self.advance(now);
        }
        self.drain(now);
    }

    fn handle_shutdown(&mut self, now: Time) {
        self.exit.get_or_insert(Exit::Success);
        match self.phase {
            // Told twice.
            Phase::Draining(_) | Phase::Lingering(_) => self.close(now),
            Phase::Connecting
            | Phase::Awaiting
            | Phase::Gathering(_)
            | Phase::Streaming
            | Phase::Closing => self.end(now, "the streamer was stopped"),
        }
        self.drain(now);
    }

    fn poll_dirty(&mut self) -> Option<ConnectionId> {
        let dirty = self.publisher.poll_dirty();
        self.drain(self.publisher.now);
        if dirty.is_some() {
            return dirty;
        }
        // All sessions know everything: it is known how far behind they are.
        self.is_fresh = false;
        if self.is_stalled {
            self.advance(self.publisher.now);
        }
        self.publisher.poll_dirty()
    }

    fn poll_output(&mut self, now: Time, connection: ConnectionId) -> Option<Output> {
        let output = self.publisher.poll_output(now, connection);
        self.drain(now);
        output
    }

    fn poll_connect(&mut self) -> Option<(ConnectionId, Target)> {
        self.publisher.peers.poll_connect()
    }

    fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        let publisher = self.publisher.poll_timeout();
        let mine = match self.phase {
            Phase::Connecting | Phase::Awaiting => None,
            Phase::Gathering(until) => Some((until, "further subscribers")),
            Phase::Streaming => self.resume.map(|resume| (resume, "the next frame")),
            Phase::Draining(until) => Some((until, "subscribers that take the rest")),
            Phase::Lingering(until) => Some((until, "the end")),
            Phase::Closing => None,
        };
        let link = match self.phase {
            Phase::Draining(_) | Phase::Lingering(_) | Phase::Closing => None,
            Phase::Connecting | Phase::Awaiting | Phase::Gathering(_) | Phase::Streaming => {
                self.link.poll_timeout()
            }
        };
        [publisher, mine, link, self.progress.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    fn poll_exit(&mut self) -> Option<Exit> {
        match self.publisher.peers.is_empty() {
            true => self.exit.clone(),
            false => None,
        }
    }
}
