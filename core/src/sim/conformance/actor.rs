//! Somebody who does what a scenario says, step by step, and writes down what it is told.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "an actor reacts to few events; the others are written down like these"
)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use bytes::Bytes;

use crate::code::{DoneCode, RequestCode, ResetCode, SessionCode};
use crate::draft::Draft;
use crate::session::{Event, Misuse, Refusal, Request, Response, Session};
use crate::time::Time;
use crate::transport::{ConnectionId, Exit};
use crate::wire::id::{GroupId, ObjectId, RequestId, TrackAlias};
use crate::wire::message::{RequestOk, SubscribeOk};
use crate::wire::object::{ObjectHeader, ObjectStatus};
use crate::wire::param::Parameters;
use crate::wire::property::{Properties, Value};

use super::super::neutral::{Line, Log, SESSION, request_name, stream_name};
use super::super::program::{Failure, Part};
use super::super::stage::{FetchStream, Stage, Subgroup, subgroup_header};
use super::content::{is_payload, payload};

/// How much of an object [`Actor::begins`] sends; the object has twice as much.
pub(super) const BEGUN: usize = 20_000;

/// Tells whether it is done; it is asked again after everything that happens.
type Act = Box<dyn FnMut(&mut Mind, &mut Stage<'_>) -> Result<bool, Failure> + Send>;

struct Step {
    what: String,
    act: Act,
}

/// A part made of steps. After the last of them the program succeeds.
#[derive(Default)]
pub(super) struct Actor {
    steps: VecDeque<Step>,
    mind: Mind,
}

/// What an actor knows.
pub(super) struct Mind {
    pub(super) log: Log,
    pub(super) draft: Option<Draft>,
    connection: Option<ConnectionId>,
    /// Requests of the peer that were not answered, by name.
    unanswered: BTreeMap<String, VecDeque<RequestId>>,
    /// Updates of the peer that were not answered.
    updates: VecDeque<(RequestId, RequestId)>,
    aliases: BTreeMap<String, TrackAlias>,
    subgroups: BTreeMap<String, Subgroup>,
    /// FETCHes of the peer whose streams are open.
    pub(super) fetches: BTreeMap<String, FetchStream>,
    /// FETCHes that the peer withdrew.
    withdrawn: BTreeSet<String>,
    /// The group whose datagrams are not written down.
    left_out: Option<GroupId>,
    /// Where a step that is done in parts goes on.
    pub(super) next: u64,
    /// How many streams of ours reached the peer.
    pub(super) delivered: usize,
    /// Bytes of payloads on streams that have arrived, those of unfinished objects included.
    arrived: usize,
    /// Streams of the peer are not read from their beginning on.
    pub(super) pausing: bool,
    /// Streams of its own that the peer stops are written down. When a request is withdrawn as well, it depends on the
    /// transport whether that is told.
    minds_stops: bool,
    /// When to go through the steps even if nothing happens.
    pub(super) wake: Option<Time>,
}

impl Default for Mind {
    fn default() -> Self {
        Self {
            log: Log::exact(is_payload),
            draft: None,
            connection: None,
            unanswered: BTreeMap::new(),
            updates: VecDeque::new(),
            aliases: BTreeMap::new(),
            subgroups: BTreeMap::new(),
            fetches: BTreeMap::new(),
            withdrawn: BTreeSet::new(),
            left_out: None,
            next: 0,
            delivered: 0,
            arrived: 0,
            pausing: false,
            minds_stops: false,
            wake: None,
        }
    }
}

/// A wrong call, in words.
pub(super) fn misused(misuse: Misuse) -> Failure {
    misuse.to_string()
}

impl Actor {
    /// One whose first step is to wait for its session.
    pub(super) fn new() -> Self {
        Self::default().until(SESSION, "established")
    }

    /// A step that is tried after everything that happens, until it says that it is done.
    pub(super) fn step(
        mut self,
        what: impl Into<String>,
        act: impl FnMut(&mut Mind, &mut Stage<'_>) -> Result<bool, Failure> + Send + 'static,
    ) -> Self {
        let what = what.into();
        let act = Box::new(act);
        self.steps.push_back(Step { what, act });
        self
    }

    /// Does something once.
    pub(super) fn does(
        self,
        mut act: impl FnMut(&mut Mind, &mut Stage<'_>) -> Result<(), Failure> + Send + 'static,
    ) -> Self {
        self.step("an act", move |mind, stage| act(mind, stage).map(|()| true))
    }

    /// Waits until it was told something about a request or a stream that begins so.
    pub(super) fn until(self, about: &str, text: &str) -> Self {
        self.until_count(1, about, text)
    }

    /// Waits until it was told so more than once.
    pub(super) fn until_count(self, count: usize, about: &str, text: &str) -> Self {
        let what = format!("\"{about}: {text}\", {count} times");
        let (about, text) = (about.to_owned(), text.to_owned());
        let (mut seen, mut found) = (0, 0);
        self.step(what, move |mind, _| {
            let lines = mind.log.lines();
            let new = lines.get(seen..).unwrap_or_default().iter();
            found += new
                .filter(|line| line.about == about && line.text.starts_with(&text))
                .count();
            seen = lines.len();
            Ok(found >= count)
        })
    }

    /// It depends on the transport which datagrams of this group arrive: they are looked at, but not written down.
    pub(super) fn leaves_out_datagrams_of(self, group: u64) -> Self {
        self.does(move |mind, _| {
            mind.left_out = Some(GroupId(group));
            Ok(())
        })
    }

    /// Waits until so many bytes of payloads have arrived on streams, in all.
    pub(super) fn until_payload(self, bytes: usize) -> Self {
        let what = format!("{bytes} bytes of payload");
        self.step(what, move |mind, _| Ok(mind.arrived >= bytes))
    }

    /// From here on it writes down which of its streams are stopped.
    pub(super) fn minds_stops(self) -> Self {
        self.does(|mind, _| {
            mind.minds_stops = true;
            Ok(())
        })
    }

    /// Fails if it was told so.
    pub(super) fn never(self, about: &str, text: &str) -> Self {
        let (about, text) = (about.to_owned(), text.to_owned());
        self.does(move |mind, _| {
            let line = mind.find(&about, &text).next();
            line.map_or(Ok(()), |line| {
                Err(format!("was told {}: {}", line.about, line.text))
            })
        })
    }

    /// Asks for something, under the name that the peer will give it too.
    pub(super) fn asks(self, request: Request) -> Self {
        let name = request_name(&request);
        self.does(move |mind, stage| mind.ask(stage, &name, request.clone()).map(drop))
    }

    /// Asks for something and waits for the answer, which must begin so.
    pub(super) fn asks_and_hears(self, request: Request, answer: &str) -> Self {
        let name = request_name(&request);
        let answer = answer.to_owned();
        let mut before = None;
        let what = format!("the answer \"{answer}\" to {name}");
        self.step(what, move |mind, stage| {
            let Some(before) = before else {
                before = Some(mind.count(&name, ""));
                mind.ask(stage, &name, request.clone())?;
                return Ok(false);
            };
            let line = mind.find(&name, "").nth(before);
            match line {
                Some(line) if line.text.starts_with(&answer) => Ok(true),
                Some(line) => Err(format!("{name} was answered: {}", line.text)),
                None => Ok(false),
            }
        })
    }

    /// Waits for a request of this name and answers it.
    pub(super) fn answers(self, name: &str, response: Response) -> Self {
        let (what, name) = (format!("the request {name}"), name.to_owned());
        self.step(what, move |mind, stage| {
            mind.answer(stage, &name, response.clone())
        })
    }

    /// Waits for a request of this name and agrees to it without details.
    pub(super) fn agrees(self, name: &str) -> Self {
        self.answers(name, Response::Ok(RequestOk::default()))
    }

    /// Waits for a request of this name and refuses it.
    pub(super) fn refuses(self, name: &str, code: RequestCode) -> Self {
        self.answers(
            name,
            Response::Error(Refusal::new(code, "as the scenario says")),
        )
    }

    /// Waits for a SUBSCRIBE of this name and grants it.
    pub(super) fn grants(self, name: &str) -> Self {
        self.grants_with(name, Parameters::default())
    }

    /// Waits for a SUBSCRIBE of this name and grants it with these parameters.
    pub(super) fn grants_with(self, name: &str, parameters: Parameters) -> Self {
        let (what, name) = (format!("the request {name}"), name.to_owned());
        self.step(what, move |mind, stage| {
            let ok = SubscribeOk {
                request_id: None,
                track_alias: mind.alias(&name),
                parameters: parameters.clone(),
                properties: Properties::default(),
            };
            mind.answer(stage, &name, Response::SubscribeOk(ok))
        })
    }

    /// Waits for an update of a request of the peer's, and grants it, or refuses it.
    pub(super) fn answers_update(self, response: Result<RequestOk, Refusal>) -> Self {
        self.step("an update", move |mind, stage| {
            let Some((id, update)) = mind.updates.pop_front() else {
                return Ok(false);
            };
            let now = stage.now();
            let answered =
                mind.session(stage)?
                    .respond_to_update(now, id, update, response.clone());
            answered.map(|()| true).map_err(misused)
        })
    }

    /// Changes a request of its own, and waits until that was answered so.
    pub(super) fn updates(self, name: &str, parameters: Parameters, answer: &str) -> Self {
        let what = format!("the answer to an update of {name}");
        let (name, answer) = (name.to_owned(), answer.to_owned());
        let mut before = None;
        self.step(what, move |mind, stage| {
            let Some(before) = before else {
                before = Some(mind.count(&name, &answer));
                let id = mind.id(&name)?;
                let now = stage.now();
                let updated = mind.session(stage)?.update(now, id, parameters.clone());
                return updated.map(|_| false).map_err(misused);
            };
            Ok(mind.count(&name, &answer) > before)
        })
    }

    /// Withdraws a request of its own, or abandons one of the peer's.
    pub(super) fn cancels(self, name: &str, code: ResetCode) -> Self {
        let name = name.to_owned();
        self.does(move |mind, stage| {
            let (id, now) = (mind.id(&name)?, stage.now());
            let session = mind.session(stage)?;
            session.cancel(now, id, code).map_err(misused)
        })
    }

    /// Opens the stream of a subgroup.
    pub(super) fn opens(self, name: &str, group: u64, subgroup: u64) -> Self {
        let name = name.to_owned();
        self.does(move |mind, stage| mind.open(stage, &name, group, subgroup).map_err(misused))
    }

    /// Sends an object on an open subgroup.
    pub(super) fn sends(
        self,
        name: &str,
        (group, subgroup): (u64, u64),
        object: u64,
        length: usize,
    ) -> Self {
        let name = name.to_owned();
        self.does(move |mind, stage| mind.send(stage, &name, (group, subgroup), object, length))
    }

    /// Sends a marker instead of an object on an open subgroup.
    pub(super) fn marks(
        self,
        name: &str,
        (group, subgroup): (u64, u64),
        object: u64,
        status: ObjectStatus,
    ) -> Self {
        let stream = stream_name(name, group, subgroup);
        self.does(move |mind, stage| {
            let header = ObjectHeader {
                id: ObjectId(object),
                properties: Properties::default(),
                status,
                payload_length: 0,
            };
            let subgroup = mind.subgroup(&stream)?;
            let marked = stage.write_object(subgroup, &header, Bytes::new());
            marked.map_err(misused)
        })
    }

    /// Sends the beginning of an object on an open subgroup, and never the rest.
    pub(super) fn begins(self, name: &str, (group, subgroup): (u64, u64), object: u64) -> Self {
        let stream = stream_name(name, group, subgroup);
        self.does(move |mind, stage| {
            let connection = mind.connection()?;
            let header = ObjectHeader {
                id: ObjectId(object),
                properties: Properties::default(),
                status: ObjectStatus::Normal,
                payload_length: 40_000,
            };
            let subgroup = mind.subgroup(&stream)?;
            let begun = stage.write_object(subgroup, &header, Bytes::new());
            let beginning = payload(group, object, BEGUN);
            stage.send(connection, subgroup.stream(), beginning);
            begun.map_err(misused)
        })
    }

    /// Ends the stream of an open subgroup.
    pub(super) fn finishes(self, name: &str, group: u64, subgroup: u64) -> Self {
        let stream = stream_name(name, group, subgroup);
        self.does(move |mind, stage| mind.finish(stage, &stream))
    }

    /// Opens a subgroup's stream, sends objects of these lengths, and ends it.
    pub(super) fn publishes(
        mut self,
        name: &str,
        (group, subgroup): (u64, u64),
        objects: &[(u64, usize)],
    ) -> Self {
        self = self.opens(name, group, subgroup);
        for (object, length) in objects {
            self = self.sends(name, (group, subgroup), *object, *length);
        }
        self.finishes(name, group, subgroup)
    }

    /// Publishes a group of one subgroup with objects of 100, 3000 and no bytes, and says that it ends with them.
    pub(super) fn publishes_group(self, name: &str, group: u64) -> Self {
        let actor = self.opens(name, group, 0);
        let objects = [(0, 100), (1, 3000), (2, 0)].into_iter();
        let actor = objects.fold(actor, |actor, (object, length)| {
            actor.sends(name, (group, 0), object, length)
        });
        actor
            .marks(name, (group, 0), 3, ObjectStatus::EndOfGroup)
            .finishes(name, group, 0)
    }

    /// Resets the stream of an open subgroup.
    pub(super) fn resets(self, name: &str, group: u64, subgroup: u64, code: ResetCode) -> Self {
        let stream = stream_name(name, group, subgroup);
        self.does(move |mind, stage| {
            let (now, id) = (stage.now(), mind.subgroup(&stream)?.stream());
            mind.session(stage)?.reset_stream(now, id, code);
            Ok(())
        })
    }

    /// Stops a stream of the peer's.
    pub(super) fn stops(self, name: &str, group: u64, subgroup: u64, code: ResetCode) -> Self {
        let stream = stream_name(name, group, subgroup);
        self.does(move |mind, stage| {
            let id = mind.log.stream(&stream);
            let id = id.ok_or_else(|| format!("no stream {stream}"))?;
            let now = stage.now();
            mind.session(stage)?.stop_stream(now, id, code);
            Ok(())
        })
    }

    /// Ends a subscription in which it publishes.
    pub(super) fn ends(self, name: &str, code: DoneCode) -> Self {
        let name = name.to_owned();
        self.does(move |mind, stage| {
            let (id, now) = (mind.id(&name)?, stage.now());
            let session = mind.session(stage)?;
            session.done(now, id, code, "over").map_err(misused)
        })
    }

    /// Closes the session with a code; unlike the end of the steps, which closes it without complaint.
    pub(super) fn closes(self, code: SessionCode) -> Self {
        self.does(move |mind, stage| {
            let now = stage.now();
            mind.session(stage)?
                .close(now, code, "as the scenario says");
            Ok(())
        })
        .until(SESSION, "closed by us")
    }

    /// Waits until the peer has closed the session without complaint.
    pub(super) fn until_closed(self) -> Self {
        self.until(SESSION, "closed with 0x0")
    }
}

impl Mind {
    /// The lines about something that begin so.
    pub(super) fn find<'a>(
        &'a self,
        about: &'a str,
        text: &'a str,
    ) -> impl Iterator<Item = &'a Line> {
        let lines = self.log.lines().iter();
        lines.filter(move |line| line.about == about && line.text.starts_with(text))
    }

    pub(super) fn count(&self, about: &str, text: &str) -> usize {
        self.find(about, text).count()
    }

    pub(super) fn connection(&self) -> Result<ConnectionId, Failure> {
        self.connection.ok_or_else(|| "no session".to_owned())
    }

    pub(super) fn session<'a>(&self, stage: &'a mut Stage<'_>) -> Result<&'a mut Session, Failure> {
        stage.session(self.connection()?)
    }

    /// The last request of this name.
    pub(super) fn id(&self, name: &str) -> Result<RequestId, Failure> {
        self.log
            .id(name)
            .ok_or_else(|| format!("no request {name}"))
    }

    /// The alias that it gives a track.
    pub(super) fn alias(&mut self, name: &str) -> TrackAlias {
        let next = u64::try_from(self.aliases.len()).unwrap_or(0);
        *self
            .aliases
            .entry(name.to_owned())
            .or_insert(TrackAlias(next))
    }

    /// Properties in the integers of the session's draft.
    pub(super) fn list(
        &self,
        stage: &mut Stage<'_>,
        list: Vec<(u64, Value)>,
    ) -> Result<Properties, Failure> {
        let profile = self.session(stage)?.profile().ok_or("not established")?;
        Properties::from_list(profile.integers, list).map_err(|error| format!("{error:?}"))
    }

    pub(super) fn ask(
        &mut self,
        stage: &mut Stage<'_>,
        name: &str,
        request: Request,
    ) -> Result<RequestId, Failure> {
        let now = stage.now();
        let asked = self.session(stage)?.request(now, request);
        let id = asked.map_err(|misuse| format!("{name}: {misuse}"))?;
        self.log.asked(id, name);
        Ok(id)
    }

    pub(super) fn answer(
        &mut self,
        stage: &mut Stage<'_>,
        name: &str,
        response: Response,
    ) -> Result<bool, Failure> {
        let waiting = self.unanswered.get_mut(name);
        let Some(id) = waiting.and_then(VecDeque::pop_front) else {
            return Ok(false);
        };
        let now = stage.now();
        let answered = self.session(stage)?.respond(now, id, response);
        answered
            .map(|()| true)
            .map_err(|misuse| format!("{name}: {misuse}"))
    }

    pub(super) fn open(
        &mut self,
        stage: &mut Stage<'_>,
        name: &str,
        group: u64,
        subgroup: u64,
    ) -> Result<(), Misuse> {
        let (connection, id) = (self.connection, self.log.id(name));
        let connection = connection.ok_or(Misuse::NotEstablished)?;
        let id = id.ok_or(Misuse::UnknownRequest)?;
        let alias = self.alias(name);
        let header = subgroup_header(group, subgroup);
        let opened = stage.open_subgroup(connection, id, alias, &header)?;
        let stream = stream_name(name, group, subgroup);
        if self.minds_stops {
            self.log.opened(opened.stream(), stream.clone());
        }
        self.subgroups.insert(stream, opened);
        Ok(())
    }

    pub(super) fn send(
        &mut self,
        stage: &mut Stage<'_>,
        name: &str,
        (group, subgroup): (u64, u64),
        object: u64,
        length: usize,
    ) -> Result<(), Failure> {
        let subgroup = self.subgroup(&stream_name(name, group, subgroup))?;
        let payload = payload(group, object, length);
        let sent = stage.object(subgroup, ObjectId(object), payload);
        sent.map_err(misused)
    }

    pub(super) fn finish(&mut self, stage: &mut Stage<'_>, stream: &str) -> Result<(), Failure> {
        let open = self.subgroups.remove(stream);
        let open = open.ok_or_else(|| format!("{stream} is not open"))?;
        stage.finish(open);
        Ok(())
    }

    fn subgroup(&mut self, stream: &str) -> Result<&mut Subgroup, Failure> {
        let open = self.subgroups.get_mut(stream);
        open.ok_or_else(|| format!("{stream} is not open"))
    }

    /// Remembers what is to be answered. False: it is none of the scenario's business.
    fn take(
        &mut self,
        stage: &mut Stage<'_>,
        connection: ConnectionId,
        event: &Event,
    ) -> Result<bool, Failure> {
        let now = stage.now();
        match event {
            Event::Established { draft, .. } => {
                self.connection = Some(connection);
                self.draft = Some(*draft);
            }
            Event::Request { id, request } => {
                // A relay asks everybody what there is. Nothing, but what is announced.
                if is_discovery(request) {
                    let refusal = Refusal::new(RequestCode::Uninterested, "nothing to tell");
                    let session = self.session(stage)?;
                    let refused = session.respond(now, *id, Response::Error(refusal));
                    return refused.map(|()| false).map_err(misused);
                }
                let waiting = self.unanswered.entry(request_name(request)).or_default();
                waiting.push_back(*id);
            }
            Event::Update { id, update, .. } => self.updates.push_back((*id, *update)),
            Event::StreamDelivered { .. } => self.delivered += 1,
            Event::Payload { bytes, .. } => self.arrived += bytes.len(),
            Event::Datagram { object, .. } if self.left_out == Some(object.location.group) => {
                let same = is_payload(object.location, 0, &object.payload);
                return same
                    .then_some(false)
                    .ok_or_else(|| "a datagram has another payload".to_owned());
            }
            Event::StreamStopped { stream, .. } => {
                let mut fetches = self.fetches.iter();
                if let Some((name, _)) = fetches.find(|(_, open)| open.stream() == *stream) {
                    let name = name.clone();
                    return Ok(self.fetch_withdrawn(name));
                }
            }
            Event::Cancelled { id, .. } => {
                let name = self.log.name(*id);
                if self.withdrawn.contains(name) || self.fetches.contains_key(name) {
                    let name = name.to_owned();
                    return Ok(self.fetch_withdrawn(name));
                }
            }
            Event::SubgroupOpened { stream, .. } if self.pausing => {
                self.session(stage)?.pause_stream(*stream);
            }
            _ => {}
        }
        Ok(true)
    }
}

impl Mind {
    /// The peer wants no more of a FETCH. It stops both of its streams: whichever is heard of first ends the request, and
    /// then only one of the two is told. False: it is written down already.
    fn fetch_withdrawn(&mut self, name: String) -> bool {
        self.fetches.remove(&name);
        if self.withdrawn.insert(name.clone()) {
            self.log.note(&name, "was withdrawn".to_owned());
        }
        false
    }
}

/// Whether a request asks for every namespace there is.
fn is_discovery(request: &Request) -> bool {
    match request {
        Request::SubscribeNamespace(watch) => watch.prefix.is_empty(),
        _ => false,
    }
}

impl Actor {
    /// What it knows.
    pub(super) const fn mind(&self) -> &Mind {
        &self.mind
    }

    /// Takes as many steps as can be taken now.
    fn go_on(&mut self, stage: &mut Stage<'_>) -> Result<(), Failure> {
        while let Some(step) = self.steps.front_mut() {
            if !(step.act)(&mut self.mind, stage)? {
                return Ok(());
            }
            self.steps.pop_front();
        }
        stage.exit(Exit::Success);
        Ok(())
    }

    /// A failure with what led to it.
    fn explain(&self, why: &str) -> Failure {
        let lines = self.mind.log.lines();
        let last = lines
            .get(lines.len().saturating_sub(12)..)
            .unwrap_or_default();
        let last: Vec<String> = last
            .iter()
            .map(|line| format!("\n    {}: {}", line.about, line.text))
            .collect();
        format!("{why}, after{}", last.concat())
    }
}

impl Part for Actor {
    fn handle_event(
        &mut self,
        stage: &mut Stage<'_>,
        connection: ConnectionId,
        event: Event,
    ) -> Result<(), Failure> {
        let is_over = matches!(event, Event::Closed(_));
        if self.mind.take(stage, connection, &event)? {
            self.mind.log.event(&event);
        }
        if let Err(why) = self.go_on(stage) {
            return Err(self.explain(&why));
        }
        if is_over && !stage.is_exiting() {
            let why = format!(
                "the session is over, still waiting for {}",
                self.waits_for()
            );
            return Err(why);
        }
        Ok(())
    }

    fn handle_timeout(&mut self, stage: &mut Stage<'_>) -> Result<(), Failure> {
        self.mind.wake = None;
        let went = self.go_on(stage);
        went.map_err(|why| self.explain(&why))
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.mind.wake
    }

    fn waits_for(&self) -> String {
        let step = self.steps.front();
        self.explain(step.map_or("the end", |step| &step.what))
    }
}

impl fmt::Debug for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Actor")
            .field("steps", &self.steps.len())
            .finish_non_exhaustive()
    }
}
