//! The program without its sockets: publishers, subscribers, and the phases of a run.

mod audience;
mod meter;
mod metronome;
mod phase;
mod progress;
mod seat;
mod stage;
mod troubles;
mod verdict;

use std::task::Waker;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use oxymoq::client::{self, Server};
use oxymoq::runtime::{self, Runtime};
use oxymoq::url::Scheme;
use oxymoq_core::draft::Draft;
use oxymoq_core::fanout::{self, Fanout, Notice};
use oxymoq_core::ledger::Ledger;
use oxymoq_core::peers::Peers;
use oxymoq_core::publisher::Publisher;
use oxymoq_core::runtime::Settings;
use oxymoq_core::session::{Event, Limits};
use oxymoq_core::time::{Time, WallTime};
use oxymoq_core::transport::{
    Admission, Answer, Application, Closed, ConnectionId, Dir, Exit, Incoming, Input, Output,
    Target,
};

use crate::clock::{self, Moment};
use crate::number;
use crate::plan::Plan;
use crate::profile::Carriage;
use crate::report::{FORMAT, Load as Asked, Report, Target as Measured};
use crate::schedule::{Timetable, Window};

use audience::Audience;
use meter::Meter;
use metronome::Metronome;
use phase::Phase;
use progress::Progress;
use seat::Kind;
use stage::Stage;
use troubles::Troubles;

/// Sessions being set up at once: fewer than make a relay ask for proof of addresses.
const CONNECTING: usize = 32;
/// How often it is looked whether anything is due that has no moment of its own.
const TICK: Duration = Duration::from_millis(50);
/// Ticks from one line of progress to the next.
const PROGRESS_TICKS: u32 = 5;
/// Bytes of objects that a publisher may hold for a relay that does not take them; beyond it they are lost.
const MAX_BACKLOG: u64 = 256 << 20;

/// A measurement to be made.
#[derive(Clone, Debug)]
pub struct Job {
    /// What to do.
    pub plan: Plan,
    /// With which relay.
    pub server: Server,
    /// The drafts to speak, most wanted first.
    pub drafts: Vec<Draft>,
    /// The relay's process, if it is known.
    pub relay_pid: Option<u32>,
    /// What to call it.
    pub label: String,
}

/// Who is at the other end of a connection's session: this side's part in it.
#[derive(Clone, Copy, Debug)]
enum Part {
    /// A publisher.
    Host(usize),
    /// A subscriber.
    Seat(usize),
}

/// Measures. Whatever was found out is in the report, failures included.
///
/// # Errors
/// A sentence that says what the system or the settings did not allow.
pub fn measure(job: &Job, runtime: Runtime, settings: Settings) -> Result<Report, String> {
    let mut report = blank(job, runtime);
    let load = Load::new(job, &mut report)?;
    let exit = runtime::run_with(runtime, settings, |bell| load.with_bell(bell))?;
    if let Exit::Failure(sentence) = exit {
        report.failure.get_or_insert(sentence);
    }
    Ok(report)
}

/// The report before anything was measured.
fn blank(job: &Job, runtime: Runtime) -> Report {
    let Job { plan, server, .. } = job;
    let url = server.url();
    let began = SystemTime::now().duration_since(UNIX_EPOCH);
    let transport = match (url.scheme, server.target(&job.drafts).alpns.first()) {
        (Scheme::WebTransport, Some(alpn)) if alpn.as_ref() == b"h3" => "webtransport",
        (Scheme::WebTransport | Scheme::Quic, _) => "quic",
    };
    Report {
        format: FORMAT,
        program: concat!("moqbench ", env!("CARGO_PKG_VERSION")).to_owned(),
        label: job.label.clone(),
        began_at: began.map_or(0, |since| since.as_secs()),
        target: Measured {
            url: url.to_string(),
            transport: transport.to_owned(),
            pid: job.relay_pid,
            ..Measured::default()
        },
        load: Asked {
            profile: plan.profile.name().to_owned(),
            role: plan.role.name().to_owned(),
            runtime: format!("{runtime:?}").to_lowercase(),
            publishers: number::length(plan.publishers),
            subscribers: number::length(plan.subscribers),
            tracks: number::length(plan.tracks),
            tracks_each: number::length(plan.tracks_each),
            key_size: number::length(plan.shape.key_size),
            size: number::length(plan.shape.size),
            per_group: plan.shape.per_group,
            rate: plan.shape.rate,
            datagrams: plan.shape.carriage == Carriage::Datagrams,
            warm_up_seconds: plan.warm_up.as_secs_f64(),
            duration_seconds: plan.duration.as_secs_f64(),
            drain_seconds: plan.drain.as_secs_f64(),
        },
        ..Report::default()
    }
}

/// The program.
#[derive(Debug)]
struct Load<'a> {
    job: &'a Job,
    publisher: Publisher,
    /// By connection: they are numbered from 0 on.
    parts: Vec<Part>,
    stage: Stage,
    audience: Audience,
    phase: Phase,
    window: Option<Window>,
    /// Subscribers that there should be now.
    wanted: usize,
    /// Subscribers that were invited.
    invited: usize,
    /// When those who come and go come, and which is next.
    arrivals: Option<(Timetable, u64)>,
    /// The one that reads no more.
    deaf: Option<ConnectionId>,
    /// The machine's clock when the adapter's showed zero, in microseconds.
    offset: Option<u64>,
    metronome: Option<Metronome>,
    next_tick: Moment,
    ticks: u32,
    meter: Meter,
    progress: Progress,
    troubles: Troubles,
    /// Something happened that may end the phase.
    news: bool,
    interrupted: bool,
    report: &'a mut Report,
    exit: Option<Exit>,
}

impl<'a> Load<'a> {
    fn new(job: &'a Job, report: &'a mut Report) -> Result<Self, String> {
        let plan = &job.plan;
        let meter = Meter::start(job.relay_pid)?;
        let limits = fanout::Limits {
            max_subscriber_lag: MAX_BACKLOG,
            ..fanout::Limits::default()
        };
        let memory = usize::try_from(MAX_BACKLOG.saturating_mul(2)).unwrap_or(usize::MAX);
        let fanout = Fanout::new(limits, Ledger::new(memory));
        let mut publisher = Publisher::new(Peers::default(), fanout);
        let mut stage = Stage::default();
        let mut parts = Vec::new();
        if plan.role.publishes() {
            stage = Stage::new(plan, &mut publisher)?;
            for host in 0..plan.publishers {
                let connection = connect(job, &mut publisher);
                parts.push(Part::Host(host));
                stage.add_host(connection, plan.namespace(host)?);
            }
        }
        Ok(Self {
            job,
            publisher,
            parts,
            stage,
            audience: Audience::new(plan),
            phase: Phase::Announcing(clock::now() + plan.patience),
            window: None,
            wanted: if plan.role.subscribes() {
                plan.subscribers + usize::from(plan.stalled)
            } else {
                0
            },
            invited: 0,
            arrivals: None,
            deaf: None,
            offset: None,
            metronome: None,
            next_tick: clock::now(),
            ticks: 0,
            meter,
            progress: Progress::new(),
            troubles: Troubles::default(),
            news: true,
            interrupted: false,
            report,
            exit: None,
        })
    }

    fn with_bell(mut self, bell: Waker) -> Self {
        self.metronome = Some(Metronome::start(bell));
        self
    }

    /// The adapter's time at a moment.
    fn time(&self, moment: Moment) -> Time {
        Time::from_micros(moment.as_micros().saturating_sub(self.offset.unwrap_or(0)))
    }

    /// Lets another subscriber come.
    fn invite(&mut self, kind: Kind, since: Moment) {
        let connection = connect(self.job, &mut self.publisher);
        let seat = self.audience.add(connection, kind, since);
        self.parts.push(Part::Seat(seat));
    }

    fn part(&self, connection: ConnectionId) -> Option<Part> {
        let index = usize::try_from(connection.0).ok()?;
        self.parts.get(index).copied()
    }

    /// Handles everything that sessions have to tell.
    fn drain(&mut self, now: Time) {
        while let Some((connection, event)) = self.publisher.poll_event() {
            match self.part(connection) {
                Some(Part::Seat(seat)) => self.handle_seat(now, connection, seat, event),
                Some(Part::Host(host)) => self.handle_host(now, connection, host, event),
                None => {}
            }
        }
        while let Some(notice) = self.publisher.poll_notice() {
            if matches!(notice, Notice::Ended { .. }) {
                self.troubles.add(format!(
                    "the relay did not take what was published: {} wait for it, the most there may be",
                    number::bytes(MAX_BACKLOG)
                ));
            }
        }
        if std::mem::take(&mut self.news) {
            self.advance(now);
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the audience knows every event"
    )]
    fn handle_seat(&mut self, now: Time, connection: ConnectionId, seat: usize, event: Event) {
        let plan = &self.job.plan;
        match event {
            Event::Established { draft, setup } => {
                self.report.target.draft = Some(draft.number().into());
                self.report.target.implementation = client::implementation(&setup);
                // Tracks are dealt out in the order of coming, among those that stay.
                let tracks = plan.tracks_of(seat);
                let (publisher, troubles) = (&mut self.publisher, &mut self.troubles);
                self.audience
                    .established(now, seat, tracks, plan, publisher, troubles);
            }
            Event::Closed(closed) => {
                if closed != Closed::ByUs {
                    let why = self.publisher.peers.why_closed(connection, &closed);
                    self.audience.closed(seat, &why, &mut self.troubles);
                }
                self.news = true;
            }
            Event::Request { .. } => {
                oxymoq_core::client::Client::refuse(&mut self.publisher, connection, &event);
            }
            event => {
                self.news |= matches!(event, Event::Response { .. });
                self.audience
                    .handle_event(seat, event, plan, &mut self.troubles);
            }
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "whatever else a relay may tell a publisher changes nothing of what leaves when"
    )]
    fn handle_host(&mut self, now: Time, connection: ConnectionId, host: usize, event: Event) {
        let plan = &self.job.plan;
        let result = match event {
            Event::Established { draft, setup } => {
                self.report.target.draft = Some(draft.number().into());
                self.report.target.implementation = client::implementation(&setup);
                self.stage.introduce(now, host, plan, &mut self.publisher)
            }
            Event::Request { id, request } => {
                self.stage
                    .handle_request(now, host, id, request, &mut self.publisher);
                Ok(())
            }
            Event::Response { response, .. } => {
                self.news = true;
                self.stage.answered(host, &response, plan)
            }
            Event::Update {
                id,
                update,
                parameters,
            } => {
                self.publisher
                    .update(now, connection, id, update, &parameters);
                Ok(())
            }
            Event::Closed(closed) if closed != Closed::ByUs => {
                self.news = true;
                let why = self.publisher.peers.why_closed(connection, &closed);
                self.troubles
                    .add(format!("a publisher's session ended: {why}"));
                match self.phase {
                    Phase::Announcing(_) => Err(format!("{}: {why}", self.job.server.url())),
                    _ => Ok(()),
                }
            }
            Event::GoAway { .. } => {
                self.troubles
                    .add("the relay wants a publisher to leave (GOAWAY)".to_owned());
                Ok(())
            }
            _ => Ok(()),
        };
        if let Err(sentence) = result {
            self.fail(now, sentence);
        }
    }

    /// Does what is due by now.
    fn work(&mut self, now: Time) {
        let shape = &self.job.plan.shape;
        self.stage
            .publish_due(now, shape, &mut self.publisher, &mut self.troubles);
        self.let_in_passers();
        let moment = clock::now();
        if moment >= self.next_tick {
            self.next_tick = moment + TICK;
            self.tick(now);
            self.news = true;
        }
        self.news |= self
            .phase
            .deadline(self.window)
            .is_some_and(|at| at <= moment);
        self.drain(now);
        if let Some(metronome) = &mut self.metronome {
            let arrival = self.arrivals.map(|(times, next)| times.due(next));
            metronome.ring_at([self.stage.next_due(), arrival].into_iter().flatten().min());
        }
    }

    /// Those who come and go: whoever is due comes.
    fn let_in_passers(&mut self) {
        while let Some((times, next)) = self.arrivals
            && times.due(next) <= clock::now()
        {
            self.arrivals = Some((times, next + 1));
            self.invite(Kind::Passer, times.due(next));
        }
    }

    fn tick(&mut self, now: Time) {
        let plan = &self.job.plan;
        self.meter.tick();
        self.audience
            .tick(now, plan, &mut self.publisher, &mut self.troubles);
        self.ticks += 1;
        if self.ticks.is_multiple_of(PROGRESS_TICKS) {
            if self.audience.tally.delivered > 0 {
                log::debug!("{} objects so far", self.audience.tally.delivered);
            }
            let (phase, audience) = (&self.phase, &self.audience);
            self.progress.show(|| {
                let latency = &audience.tally.latency;
                format!(
                    "{}: {} subscribers, {} objects delivered, p99 {}",
                    phase.name(),
                    audience.seated(),
                    audience.tally.delivered,
                    number::span(latency.quantile(0.99)),
                )
            });
        }
    }

    fn is_leaving(&self) -> bool {
        self.phase == Phase::Leaving
    }
}

/// Asks for a session with the relay.
fn connect(job: &Job, publisher: &mut Publisher) -> ConnectionId {
    // A relay may subscribe to every track of a publisher.
    let usual = Limits::default();
    let limits = Limits {
        max_requests: usual.max_requests.max(number::length(job.plan.tracks) + 64),
        max_request_name_bytes: usual
            .max_request_name_bytes
            .max((job.plan.tracks + 64) * 1024),
        ..usual
    };
    let peer = job.server.peer_with(&job.drafts, limits);
    publisher
        .peers
        .connect(peer, job.server.target(&job.drafts))
}

/// Whether this is news of a stream of objects, which one that stopped reading leaves unread: flow control fills up, as with
/// a program that hangs. Answers still are read, so that it hears what the relay makes of that.
const fn is_data(input: &Input) -> bool {
    match input {
        Input::Opened { dir, .. } => matches!(dir, Dir::Uni),
        Input::Readable(stream) => !stream.is_local(),
        Input::Connected { .. }
        | Input::Writable(_)
        | Input::Stopped { .. }
        | Input::Acked(_)
        | Input::CanOpen(_)
        | Input::Datagram(_)
        | Input::DatagramRoom
        | Input::Path { .. }
        | Input::Closed(_) => false,
    }
}

impl Application for Load<'_> {
    fn handle_wall_clock(&mut self, now: Time, _wall: WallTime) {
        if self.offset.is_none() {
            self.offset = Some(clock::now().as_micros().saturating_sub(now.as_micros()));
        }
    }

    fn handle_incoming(&mut self, _now: Time, _incoming: &Incoming) -> Admission {
        Admission::Refuse
    }

    fn handle_input(&mut self, now: Time, connection: ConnectionId, input: Input) {
        if self.deaf != Some(connection) || !is_data(&input) {
            self.publisher.handle_input(now, connection, input);
            self.drain(now);
        }
    }

    fn handle_answer(&mut self, now: Time, connection: ConnectionId, answer: Answer) {
        self.publisher.handle_answer(now, connection, answer);
        self.drain(now);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.publisher.handle_timeout(now);
        self.work(now);
    }

    fn handle_wake(&mut self, now: Time) {
        self.publisher.now = now;
        self.work(now);
    }

    fn handle_shutdown(&mut self, now: Time) {
        self.publisher.now = now;
        self.interrupt(now);
        self.drain(now);
    }

    fn poll_dirty(&mut self) -> Option<ConnectionId> {
        let mut dirty = self.publisher.poll_dirty();
        if dirty.is_none() && self.phase.is_flowing() {
            let (now, shape) = (self.publisher.now, &self.job.plan.shape);
            let topped = self
                .stage
                .top_up(now, shape, &mut self.publisher, &mut self.troubles);
            if topped {
                dirty = self.publisher.poll_dirty();
            }
        }
        self.drain(self.publisher.now);
        dirty
    }

    fn poll_output(&mut self, now: Time, connection: ConnectionId) -> Option<Output> {
        let mut output = self.publisher.poll_output(now, connection);
        while self.deaf == Some(connection)
            && let Some(Output::Read { stream, .. }) = &output
            && !stream.is_local()
        {
            // What was being read when it stopped reading.
            self.publisher
                .handle_answer(now, connection, Answer::Blocked);
            output = self.publisher.poll_output(now, connection);
        }
        self.drain(now);
        output
    }

    fn poll_connect(&mut self) -> Option<(ConnectionId, Target)> {
        self.publisher.peers.poll_connect()
    }

    fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        let tick = Some((self.next_tick, "tick"));
        let [object, arrival, phase] = match self.is_leaving() {
            true => [None; 3],
            false => [
                self.stage.next_due(),
                self.arrivals.map(|(times, next)| times.due(next)),
                self.phase.deadline(self.window),
            ],
        };
        let own = [
            tick,
            object.map(|due| (due, "the next object")),
            arrival.map(|due| (due, "the next subscriber")),
            phase.map(|at| (at, "the end of a phase")),
        ];
        let own = own.into_iter().flatten();
        let own = own.map(|(at, what)| (self.time(at), what)).min();
        self.publisher.poll_timeout().into_iter().chain(own).min()
    }

    fn poll_exit(&mut self) -> Option<Exit> {
        self.exit
            .clone()
            .filter(|_| self.publisher.peers.is_empty())
    }
}
