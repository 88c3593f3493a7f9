//! The text client: asks for a track, live or past or both, and prints its objects, one a line.

mod arrive;
mod print;
mod wish;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use oxymoq_core::code::{DoneCode, RequestCode, ResetCode, SessionCode};
use oxymoq_core::draft::{Draft, Parameter};
use oxymoq_core::peers::Peers;
use oxymoq_core::session::{Event, FetchItem, Refusal, Request, Response, StreamEnd};
use oxymoq_core::time::Time;
use oxymoq_core::transport::{
    Admission, Answer, Application, ConnectionId, Exit, Incoming, Input, Output, Target,
};
use oxymoq_core::wire::id::{Location, RequestId};
use oxymoq_core::wire::message::{
    Fetch, FetchRange, Publish, PublishDone, RequestOk, Subscribe, SubscribeOk, SubscribeTracks,
};
use oxymoq_core::wire::param::{Filter, GroupOrder, Parameters};

use crate::client::{self, NoData, Server};
use crate::mlog::Mlog;

use arrive::{Arriving, Streams, TooLarge};
use print::{MAX_HELD_BYTES, Printable, Printer, Trouble};

pub use wish::{Job, Wish};

/// The program, without its sockets. Objects are written to `out`.
#[derive(Debug)]
pub struct TextClient<W> {
    wish: Wish,
    server: Server,
    peers: Peers,
    connection: ConnectionId,
    /// Our SUBSCRIBE, or what the server publishes to us.
    subscriptions: BTreeMap<RequestId, Subscription>,
    fetch: Option<Fetching>,
    /// Our SUBSCRIBE_TRACKS.
    offers: Option<Asked>,
    streams: Streams,
    /// When to unsubscribe.
    until: Option<Time>,
    leaving: bool,
    printer: Printer<W>,
    mlog: Mlog,
    exit: Option<Exit>,
}

/// A request, and when it should be answered if it is not.
#[derive(Clone, Copy, Debug)]
struct Asked {
    request: RequestId,
    give_up: Option<Time>,
}

#[derive(Debug, Default)]
struct Subscription {
    /// When it should be answered, if it is not.
    give_up: Option<Time>,
    /// What the publisher ended it with, while objects may still be on their way.
    done: Option<PublishDone>,
}

/// A FETCH of ours.
#[derive(Debug)]
struct Fetching {
    request: RequestId,
    answered: bool,
    /// Everything has arrived.
    complete: bool,
    /// When something should have arrived.
    give_up: Time,
    arriving: Arriving,
    /// Whether it was sent again, since it overtook the SUBSCRIBE that it joins.
    again: bool,
}

impl<W: Write> TextClient<W> {
    /// A client that will connect to `server` and print to `out`; what the two say is written to `mlog`.
    pub fn new(server: Server, drafts: &[Draft], wish: Wish, out: W, mlog: Mlog) -> Self {
        let mut peers = Peers::default();
        mlog.watch(&mut peers);
        let connection = peers.connect(server.peer(drafts), server.target(drafts));
        Self {
            wish,
            server,
            peers,
            connection,
            subscriptions: BTreeMap::new(),
            fetch: None,
            offers: None,
            streams: Streams::default(),
            until: None,
            leaving: false,
            printer: Printer::new(out),
            mlog,
            exit: None,
        }
    }

    /// What was printed to.
    #[cfg(test)]
    pub(crate) const fn out(&self) -> &W {
        self.printer.out()
    }

    /// As if the server had refused the FETCH.
    #[cfg(test)]
    pub(crate) fn seem_refused(&mut self, now: Time, code: RequestCode) {
        self.fetch_refused(now, &Refusal::new(code, ""));
    }

    fn drain(&mut self, now: Time) {
        self.mlog.write_messages(now, &mut self.peers);
        while let Some((connection, event)) = self.peers.poll_event() {
            self.mlog.write_event(now, connection, &event);
            self.handle_event(now, event);
        }
    }

    fn handle_event(&mut self, now: Time, event: Event) {
        match event {
            Event::Established { draft, setup } => {
                let url = self.server.url();
                let name = client::implementation(&setup);
                log::info!("connected to {url} with {} ({name})", draft.profile().alpn);
                self.begin(now, draft);
            }
            Event::Response { id, response } => self.handle_response(now, id, response),
            Event::SubgroupOpened { stream, header, .. } => {
                self.streams.open(stream, header.group);
            }
            Event::Object { stream, object } => match self.streams.begin(stream, object) {
                Ok(complete) => self.print_live(now, complete),
                Err(TooLarge(sentence)) => self.fail(now, sentence),
            },
            Event::Payload { stream, bytes } => {
                let complete = self.streams.append(stream, &bytes);
                self.print_live(now, complete);
            }
            Event::SubgroupEnded { stream, end } => {
                self.streams.end(stream);
                if let StreamEnd::Reset(code) = end {
                    self.stream_error(now, code);
                }
            }
            Event::Datagram { object, .. } => {
                let printable = Printable {
                    status: object.status,
                    properties: object.properties,
                    payload: object.payload,
                };
                self.print_live(now, Some((object.location, printable)));
            }
            Event::Fetched { id, item } => self.handle_fetched(now, id, item),
            Event::Done { id, done } => {
                if let Some(subscription) = self.subscriptions.get_mut(&id) {
                    subscription.done = Some(done);
                }
            }
            Event::Settled { id } => {
                let ended = self.subscriptions.remove(&id);
                if let Some(done) = ended.and_then(|subscription| subscription.done) {
                    self.handle_done(now, &done);
                }
            }
            Event::Cancelled { id, code } => self.handle_cancelled(now, id, code),
            Event::Request { id, request } => self.handle_request(now, id, request),
            Event::GoAway { goaway, .. } => {
                log::warn!(
                    "{} is going away; what was asked for goes on while it can (it names '{}' instead)",
                    self.server.url(),
                    goaway.uri.escape_ascii()
                );
            }
            Event::Closed(closed) => {
                let why = self.peers.why_closed(self.connection, &closed);
                let sentence = format!("{}: {why}", self.server.url());
                self.exit.get_or_insert(Exit::Failure(sentence));
                self.leaving = true;
            }
            Event::MalformedTrack { rule, .. } => {
                let sentence = format!("{} sends a malformed track: {rule}", self.server.url());
                self.fail(now, sentence);
            }
            Event::PublishBlocked { suffix, name, .. } => {
                log::warn!("the server could not publish {name} of {suffix} to us");
            }
            Event::StreamExpired { .. }
            | Event::CanRequest
            | Event::Update { .. }
            | Event::UpdateResponse { .. }
            | Event::Namespace { .. }
            | Event::NamespaceDone { .. }
            | Event::StreamStopped { .. }
            | Event::StreamDelivered { .. }
            | Event::CanOpenStream => {}
        }
    }

    // Asking.

    /// Asks for what is wished.
    fn begin(&mut self, now: Time, draft: Draft) {
        let lacks = |parameter| {
            let mut rows = draft.profile().parameters.iter();
            !rows.any(|row| row.parameter == parameter)
        };
        let parameters = &mut self.wish.parameters;
        if parameters.rendezvous_timeout.is_some() && lacks(Parameter::RendezvousTimeout) {
            log::warn!(
                "--rendezvous_timeout is left out: {} has no such parameter",
                draft.profile().alpn
            );
            parameters.rendezvous_timeout = None;
        }
        let job = self.wish.job;
        let subscription = match job {
            Job::Publish => return self.ask_for_offers(now),
            Job::Fetch { .. } => Some(RequestId(0)), // joins none
            Job::Subscribe | Job::JoinBack(_) | Job::JoinAt(_) => self.subscribe(now),
        };
        if let Some(subscription) = subscription
            && let Some(range) = job.first_fetch(&self.wish, subscription)
        {
            self.fetch(now, range, false);
        }
    }

    fn subscribe(&mut self, now: Time) -> Option<RequestId> {
        let parameters = self.wish.parameters.clone();
        let waits = parameters.rendezvous_timeout.unwrap_or_default();
        let patience = self.wish.transaction_timeout + Duration::from_millis(waits.0);
        let subscribe = Subscribe {
            request_id: RequestId(0),
            track: self.wish.track.clone(),
            parameters,
        };
        let request = self.ask(now, Request::Subscribe(subscribe), "subscribe to")?;
        let subscription = Subscription {
            give_up: Some(now + patience),
            done: None,
        };
        self.subscriptions.insert(request, subscription);
        Some(request)
    }

    fn fetch(&mut self, now: Time, range: FetchRange, again: bool) {
        let fetch = Fetch {
            request_id: RequestId(0),
            range,
            parameters: Parameters {
                subscriber_priority: self.wish.parameters.subscriber_priority,
                group_order: Some(GroupOrder::Ascending),
                ..Parameters::default()
            },
        };
        if let Some(request) = self.ask(now, Request::Fetch(fetch), "fetch") {
            self.printer.hold();
            self.fetch = Some(Fetching {
                request,
                answered: false,
                complete: false,
                give_up: now + self.wish.transaction_timeout,
                arriving: Arriving::default(),
                again,
            });
        }
    }

    fn ask_for_offers(&mut self, now: Time) {
        let request = Request::SubscribeTracks(SubscribeTracks {
            request_id: RequestId(0),
            prefix: self.wish.track.namespace.clone(),
            parameters: Parameters {
                forward: self.wish.parameters.forward,
                ..Parameters::default()
            },
        });
        if let Some(request) = self.ask(now, request, "ask for the tracks of") {
            let give_up = Some(now + self.wish.transaction_timeout);
            self.offers = Some(Asked { request, give_up });
        }
    }

    fn ask(&mut self, now: Time, request: Request, what: &str) -> Option<RequestId> {
        let session = self.peers.session(self.connection)?;
        match session.request(now, request) {
            Ok(id) => Some(id),
            Err(misuse) => {
                let sentence = format!("cannot {what} {}: {misuse}", self.wish.track);
                self.fail(now, sentence);
                None
            }
        }
    }

    // Answers.

    fn handle_response(&mut self, now: Time, id: RequestId, response: Response) {
        let refused = match response {
            Response::SubscribeOk(ok) => return self.subscribed(now, id, &ok),
            Response::FetchOk(_) => return self.fetch_answered(now, id),
            Response::Ok(_) => {
                if let Some(asked) = self.offers.as_mut().filter(|asked| asked.request == id) {
                    asked.give_up = None;
                    log::info!("{} publishes what it has from now on", self.server.url());
                    self.agreed(now);
                }
                return;
            }
            Response::Error(refusal) => refusal,
        };
        if self.fetch.as_ref().is_some_and(|fetch| fetch.request == id) {
            self.fetch_refused(now, &refused);
        } else if self.subscriptions.remove(&id).is_some() {
            self.subscription_refused(now, &refused);
        } else if self.offers.is_some_and(|asked| asked.request == id) {
            let sentence = self.refusal(&refused, "to publish the tracks of");
            self.fail(now, sentence);
        }
    }

    /// The server agreed: the time until unsubscribing begins.
    fn agreed(&mut self, now: Time) {
        if self.until.is_none() {
            self.until = self.wish.unsubscribe_after.map(|span| now + span);
        }
    }

    fn subscribed(&mut self, now: Time, id: RequestId, ok: &SubscribeOk) {
        let Some(subscription) = self.subscriptions.get_mut(&id) else {
            return;
        };
        subscription.give_up = None;
        let track = &self.wish.track;
        let Some(largest) = ok.parameters.largest_object else {
            log::info!("subscribed to {track}; nothing published yet");
            return self.agreed(now);
        };
        log::info!("subscribed to {track}; largest so far: {largest}");
        self.agreed(now);
        if self.wish.job.joins() {
            self.printer.cover(self.fetch.is_some().then_some(largest));
            return self.join_again(now, id);
        }
        if self.wish.parameters.forward == Some(false) {
            return;
        }
        if let Some(past) = self.wish.past(largest) {
            log::info!("the range begins in the past, which is fetched first");
            self.printer.cover(Some(largest));
            let range = self.wish.standalone(past);
            self.fetch(now, range, false);
            if past.is_all {
                self.unsubscribe(now);
            }
        }
    }

    fn subscription_refused(&mut self, now: Time, refusal: &Refusal) {
        if refusal.code == RequestCode::InvalidRange
            && let Some(past) = self.wish.everything()
        {
            log::info!("the range is all past: fetching it");
            let range = self.wish.standalone(past);
            return self.fetch(now, range, false);
        }
        let sentence = self.refusal(refusal, "the subscription to");
        self.fail(now, sentence);
    }

    fn fetch_answered(&mut self, now: Time, id: RequestId) {
        if let Some(fetch) = self.fetch.as_mut().filter(|fetch| fetch.request == id) {
            fetch.answered = true;
            fetch.give_up = now + self.wish.transaction_timeout;
        }
        self.maybe_fetched(now);
    }

    fn fetch_refused(&mut self, now: Time, refusal: &Refusal) {
        let Some(fetch) = self.fetch.take() else {
            return;
        };
        let is_live = !self.subscriptions.is_empty();
        if self.wish.job.joins() && is_live {
            if refusal.code == RequestCode::InvalidJoiningRequestId && !fetch.again {
                // It overtook the SUBSCRIBE, on a stream of its own.
                self.fetch = Some(Fetching {
                    again: true,
                    ..fetch
                });
                let pending = self
                    .subscriptions
                    .values()
                    .any(|open| open.give_up.is_some());
                let subscription = self.subscriptions.keys().next().copied();
                if let Some(subscription) = subscription.filter(|_| !pending) {
                    self.join_again(now, subscription);
                }
                return;
            }
            if refusal.code == RequestCode::InvalidRange {
                log::warn!(
                    "there is nothing to join: {}; live objects follow",
                    refusal.reason.escape_ascii()
                );
                self.printer.cover(None);
                let released = self.printer.release();
                return self.printed(now, released);
            }
        }
        let advice = if refusal.code == RequestCode::InvalidRange {
            "; ask for an earlier start"
        } else if is_live {
            "; leave out what asks for the past to get live objects only"
        } else {
            ""
        };
        let sentence = self.refusal(refusal, "the FETCH of") + advice;
        self.fail(now, sentence);
    }

    /// Sends a joining FETCH again, if one overtook the SUBSCRIBE that is now accepted.
    fn join_again(&mut self, now: Time, subscription: RequestId) {
        let overtook = |fetch: &Fetching| fetch.again && !fetch.answered && !fetch.complete;
        if self.fetch.as_ref().is_some_and(overtook)
            && let Some(range) = self.wish.job.first_fetch(&self.wish, subscription)
        {
            self.fetch(now, range, true);
        }
    }

    fn refusal(&self, refusal: &Refusal, what: &str) -> String {
        let (url, track) = (self.server.url(), &self.wish.track);
        let Refusal { code, reason, .. } = refusal;
        let reason = reason.escape_ascii();
        format!("{url} refused {what} {track}: {code} ({reason})")
    }

    // Objects.

    fn print_live(&mut self, now: Time, complete: Option<(Location, Printable)>) {
        if let Some((location, object)) = complete {
            let printed = self.printer.live(location, object);
            self.printed(now, printed);
        }
    }

    fn handle_fetched(&mut self, now: Time, id: RequestId, item: FetchItem) {
        let Some(fetch) = self.fetch.as_mut().filter(|fetch| fetch.request == id) else {
            return;
        };
        fetch.give_up = now + self.wish.transaction_timeout;
        match item {
            FetchItem::Unknown(to) => {
                log::warn!("the server does not know whether there are objects up to {to}");
            }
            FetchItem::End(StreamEnd::Fin) => {
                fetch.complete = true;
                self.maybe_fetched(now);
            }
            FetchItem::End(StreamEnd::Reset(code)) => self.fetch_broken(now, Some(code)),
            item @ (FetchItem::Object { .. }
            | FetchItem::Payload(_)
            | FetchItem::NonExistent(_)
            | FetchItem::End(StreamEnd::Stopped)) => match fetch.arriving.fetched(item) {
                Ok(Some((_, object))) => {
                    let printed = self.printer.fetched(&object);
                    self.printed(now, printed);
                }
                Ok(None) => {}
                Err(TooLarge(sentence)) => self.fail(now, sentence),
            },
        }
    }

    /// A FETCH is over once it was answered and everything has arrived.
    fn maybe_fetched(&mut self, now: Time) {
        if self
            .fetch
            .take_if(|fetch| fetch.answered && fetch.complete)
            .is_none()
        {
            return;
        }
        let printed = self.printer.line(format_args!("onEndOfStream"));
        let printed = printed.and_then(|()| self.printer.release());
        self.printed(now, printed);
        self.maybe_finished(now);
    }

    fn fetch_broken(&mut self, now: Time, code: Option<ResetCode>) {
        self.fetch = None;
        if let Some(code) = code {
            self.stream_error(now, code);
        }
        let why = code.map_or_else(String::new, |code| format!(" ({code})"));
        let url = self.server.url();
        let sentence = format!("{url} broke the FETCH off{why}; try again");
        self.fail(now, sentence);
    }

    fn stream_error(&mut self, now: Time, code: ResetCode) {
        let printed = self.printer.line(format_args!("Stream Error={code}"));
        self.printed(now, printed);
    }

    fn printed(&mut self, now: Time, result: Result<(), Trouble>) {
        match result {
            Ok(()) => {}
            // Whoever read our output has seen enough.
            Err(Trouble::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.leave(now, Exit::Success);
            }
            Err(Trouble::Output(error)) => {
                self.fail(now, format!("cannot write to stdout: {error}"));
            }
            Err(Trouble::TooMuch) => self.fail(
                now,
                format!(
                    "more than {MAX_HELD_BYTES} bytes of live objects arrived before the past was fetched; ask for less of the past"
                ),
            ),
        }
    }

    // What the server asks.

    fn handle_request(&mut self, now: Time, id: RequestId, request: Request) {
        let response = match request {
            Request::Publish(publish) if self.wants(&publish) => {
                log::info!("{} publishes {}", self.server.url(), publish.track);
                self.subscriptions.insert(id, Subscription::default());
                Response::Ok(RequestOk {
                    parameters: Parameters {
                        filter: Some(Filter::AbsoluteStart(Location::new(0, 0))),
                        subscriber_priority: Some(128),
                        rendezvous_timeout: None,
                        ..self.wish.parameters.clone()
                    },
                    ..RequestOk::default()
                })
            }
            Request::Publish(_) => Response::Error(Refusal::new(
                RequestCode::Uninterested,
                "this client did not ask for the track",
            )),
            Request::Subscribe(_)
            | Request::Fetch(_)
            | Request::TrackStatus(_)
            | Request::PublishNamespace(_)
            | Request::SubscribeNamespace(_)
            | Request::SubscribeTracks(_) => Response::Error(Refusal::new(
                RequestCode::NotSupported,
                "this client only takes objects",
            )),
        };
        client::respond(&mut self.peers, now, self.connection, id, response);
    }

    fn wants(&self, publish: &Publish) -> bool {
        let track = &self.wish.track;
        let is_named = track.name.as_bytes().is_empty() || publish.track.name == track.name;
        let is_under = publish
            .track
            .namespace
            .strip_prefix(&track.namespace)
            .is_some();
        self.wish.job == Job::Publish && is_named && is_under
    }

    // Ends.

    fn handle_cancelled(&mut self, now: Time, id: RequestId, code: Option<ResetCode>) {
        if self.fetch.as_ref().is_some_and(|fetch| fetch.request == id) {
            return self.fetch_broken(now, code);
        }
        let what = if self.subscriptions.remove(&id).is_some() {
            "the subscription"
        } else if self.offers.is_some_and(|asked| asked.request == id) {
            "publishing tracks"
        } else {
            return;
        };
        let why = code.map_or_else(String::new, |code| format!(" ({code})"));
        let url = self.server.url();
        let sentence = format!("{url} ended {what} without a word{why}; try again");
        self.fail(now, sentence);
    }

    fn handle_done(&mut self, now: Time, done: &PublishDone) {
        let printed = self.printer.last_line("onPublishDone");
        self.printed(now, printed);
        let (code, reason) = (done.code, done.reason.escape_ascii());
        match code {
            DoneCode::TrackEnded | DoneCode::SubscriptionEnded => {
                log::info!("the subscription is over: {code} ({reason})");
                self.maybe_finished(now);
            }
            DoneCode::InternalError
            | DoneCode::Unauthorized
            | DoneCode::GoingAway
            | DoneCode::Expired
            | DoneCode::TooFarBehind
            | DoneCode::UpdateFailed
            | DoneCode::ExcessiveLoad
            | DoneCode::MalformedTrack
            | DoneCode::Unknown(_) => {
                let url = self.server.url();
                let sentence =
                    format!("{url} ended the subscription: {code} ({reason}); subscribe again");
                self.fail(now, sentence);
            }
        }
    }

    /// Leaves when nothing more is to come.
    fn maybe_finished(&mut self, now: Time) {
        if self.subscriptions.is_empty() && self.fetch.is_none() {
            self.leave(now, Exit::Success);
        }
    }

    /// Withdraws every subscription; a FETCH goes on.
    fn unsubscribe(&mut self, now: Time) {
        self.until = None;
        let offers = self.offers.take().map(|asked| asked.request);
        let subscriptions = std::mem::take(&mut self.subscriptions).into_keys();
        for request in subscriptions.chain(offers) {
            self.cancel(now, request);
        }
    }

    fn cancel(&mut self, now: Time, request: RequestId) {
        if let Some(session) = self.peers.session(self.connection)
            && let Err(misuse) = session.cancel(now, request, ResetCode::Cancelled)
        {
            log::debug!("nothing to withdraw: {misuse}");
        }
    }

    fn fail(&mut self, now: Time, sentence: String) {
        self.leave(now, Exit::Failure(sentence));
    }

    /// Withdraws what was asked for and closes the session; the first reason given is the program's result.
    fn leave(&mut self, now: Time, exit: Exit) {
        self.exit.get_or_insert(exit);
        if std::mem::replace(&mut self.leaving, true) {
            return;
        }
        self.unsubscribe(now);
        if let Some(fetch) = self.fetch.take() {
            self.cancel(now, fetch.request);
        }
        if let Some(session) = self.peers.session(self.connection) {
            session.close(now, SessionCode::NoError, "done");
        }
    }

    /// The next deadline of our own, and what is to be said when it passes.
    fn patience(&self) -> Option<(Time, &'static str)> {
        if self.leaving {
            return None;
        }
        let subscriptions = self
            .subscriptions
            .values()
            .filter_map(|open| Some((open.give_up?, "did not answer the subscription")));
        let fetch = self.fetch.iter().map(|fetch| match fetch.answered {
            false => (fetch.give_up, "did not answer the FETCH"),
            true => (fetch.give_up, "sent nothing more of the FETCH"),
        });
        let offers = self
            .offers
            .and_then(|asked| Some((asked.give_up?, "did not answer the SUBSCRIBE_TRACKS")));
        subscriptions.chain(fetch).chain(offers).min()
    }
}

impl<W: Write> Application for TextClient<W> {
    fn handle_incoming(&mut self, _now: Time, _incoming: &Incoming) -> Admission {
        Admission::Refuse
    }

    fn handle_input(&mut self, now: Time, connection: ConnectionId, input: Input) {
        self.peers.handle_input(now, connection, input);
        self.drain(now);
    }

    fn handle_answer(&mut self, now: Time, connection: ConnectionId, answer: Answer) {
        self.peers
            .handle_answer(now, connection, answer, &mut NoData);
        self.drain(now);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.peers.handle_timeout(now);
        self.drain(now);
        if let Some((_, what)) = self.patience().filter(|(give_up, _)| *give_up <= now) {
            let span = self.wish.transaction_timeout;
            let url = self.server.url().to_string();
            let sentence =
                format!("{url} {what} within {span:?}; --transaction_timeout allows more");
            self.fail(now, sentence);
        }
        if self.until.is_some_and(|until| until <= now) {
            log::info!("unsubscribing, as told by --unsubscribe_time");
            self.unsubscribe(now);
            self.maybe_finished(now);
        }
    }

    fn handle_shutdown(&mut self, now: Time) {
        self.leave(now, Exit::Success);
    }

    fn poll_dirty(&mut self) -> Option<ConnectionId> {
        self.peers.poll_dirty()
    }

    fn poll_output(&mut self, now: Time, connection: ConnectionId) -> Option<Output> {
        let output = self.peers.poll_output(now, connection, &mut NoData);
        self.drain(now);
        output
    }

    fn poll_connect(&mut self) -> Option<(ConnectionId, Target)> {
        self.peers.poll_connect()
    }

    fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        let patience = self.patience().map(|(at, _)| (at, "transaction timeout"));
        let until = self.until.map(|until| (until, "unsubscribe time"));
        self.peers
            .poll_timeout()
            .into_iter()
            .chain(patience)
            .chain(until)
            .min()
    }

    fn poll_exit(&mut self) -> Option<Exit> {
        if self.peers.is_empty() {
            self.exit.clone()
        } else {
            None
        }
    }
}
