//! The subscribing side: everybody's sessions, and what they got together.

use std::collections::BTreeSet;
use std::time::Duration;

use oxymoq_core::code::{ResetCode, SessionCode};
use oxymoq_core::publisher::Publisher;
use oxymoq_core::session::{Event, Request, Response};
use oxymoq_core::time::Time;
use oxymoq_core::transport::ConnectionId;
use oxymoq_core::wire::id::RequestId;
use oxymoq_core::wire::message::Subscribe;
use oxymoq_core::wire::param::{Filter, Parameters};

use crate::account::{Account, Tally, Terms};
use crate::clock::{self, Moment};
use crate::latency::Latencies;
use crate::number;
use crate::plan::Plan;
use crate::report::{Churned, Joins, Stalled};
use crate::schedule::{Timetable, Window};

use super::seat::{Kind, Seat, Standing, Subscription};
use super::stage::Stage;
use super::troubles::Troubles;

/// When to subscribe again to what the relay does not know yet.
const AGAIN: Duration = Duration::from_millis(250);

/// The subscribing side.
#[derive(Debug)]
pub(super) struct Audience {
    pub(super) seats: Vec<Seat>,
    pub(super) terms: Terms,
    /// What those who stay got.
    pub(super) tally: Tally,
    /// What those who come and go got.
    pub(super) passing: Tally,
    pub(super) connect: Latencies,
    pub(super) churned: Churned,
    pub(super) stalled: Option<Stalled>,
    /// When those who come and go are to go.
    leaving: BTreeSet<(Moment, usize)>,
    /// Subscribers who stay and whose coming is not decided yet.
    pub(super) coming: usize,
    /// Refused subscriptions that wait to be asked for again.
    again: bool,
}

impl Audience {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            seats: Vec::new(),
            terms: Terms {
                window: None,
                per_group: plan.shape.per_group,
                sizes: [plan.shape.key_size, plan.shape.size].map(number::length),
            },
            tally: Tally::default(),
            passing: Tally::default(),
            connect: Latencies::default(),
            churned: Churned::default(),
            stalled: plan.stalled.then(Stalled::default),
            leaving: BTreeSet::new(),
            coming: 0,
            again: false,
        }
    }

    /// Somebody comes; the number of the seat.
    pub(super) fn add(&mut self, connection: ConnectionId, kind: Kind, since: Moment) -> usize {
        match kind {
            Kind::Regular | Kind::Stalled => self.coming += 1,
            Kind::Passer => self.churned.came += 1,
        }
        self.seats.push(Seat::new(connection, kind, since));
        self.seats.len() - 1
    }

    /// Those who stay and have all that they asked for.
    pub(super) fn seated(&self) -> u64 {
        number::length(
            self.regulars()
                .filter(|seat| seat.standing == Standing::Seated)
                .count(),
        )
    }

    /// Whether everybody who stays got something of every track.
    pub(super) fn is_flowing(&self) -> bool {
        self.regulars()
            .filter(|seat| seat.standing == Standing::Seated)
            .flat_map(|seat| &seat.subscriptions)
            .all(|subscription| !subscription.account.is_empty())
    }

    fn regulars(&self) -> impl Iterator<Item = &Seat> {
        self.seats.iter().filter(|seat| seat.kind == Kind::Regular)
    }

    /// Another window begins.
    pub(super) fn restart(&mut self, window: Window) {
        self.terms.window = Some(window);
        self.tally.restart();
        self.passing.restart();
        let subscriptions = self
            .seats
            .iter_mut()
            .flat_map(|seat| &mut seat.subscriptions);
        for subscription in subscriptions {
            subscription.account.restart();
        }
    }

    /// A session is set up: asks for its tracks.
    pub(super) fn established(
        &mut self,
        now: Time,
        index: usize,
        tracks: impl Iterator<Item = usize>,
        plan: &Plan,
        publisher: &mut Publisher,
        troubles: &mut Troubles,
    ) {
        let Some(seat) = self.seats.get_mut(index) else {
            return;
        };
        let moment = clock::now();
        self.connect.record(moment.micros_since(seat.since));
        seat.subscriptions = tracks
            .map(|track| Subscription {
                track,
                request: None,
                accepted: false,
                again_at: Some(moment),
                account: Account::new(moment),
            })
            .collect();
        self.again = true;
        self.ask(now, index, moment, plan, publisher, troubles);
    }

    /// Asks for what is to be asked for by now.
    fn ask(
        &mut self,
        now: Time,
        index: usize,
        moment: Moment,
        plan: &Plan,
        publisher: &mut Publisher,
        troubles: &mut Troubles,
    ) {
        let Some(seat) = self.seats.get_mut(index) else {
            return;
        };
        for subscription in &mut seat.subscriptions {
            if subscription.again_at.is_none_or(|at| at > moment) {
                continue;
            }
            let (Ok(track), Some(session)) = (
                plan.track(subscription.track),
                publisher.peers.session(seat.connection),
            ) else {
                continue;
            };
            let subscribe = Subscribe {
                request_id: RequestId(0),
                track,
                parameters: Parameters {
                    filter: Some(Filter::LargestObject),
                    forward: Some(true),
                    subscriber_priority: Some(128),
                    ..Parameters::default()
                },
            };
            match session.request(now, Request::Subscribe(subscribe)) {
                Ok(id) => {
                    subscription.request = Some(id);
                    subscription.again_at = None;
                    subscription.account = Account::new(clock::now());
                }
                Err(misuse) => {
                    subscription.again_at = Some(moment + AGAIN);
                    troubles.add(format!("could not SUBSCRIBE: {misuse}"));
                }
            }
        }
    }

    /// Asks again for what was refused, and lets those go whose time has come.
    pub(super) fn tick(
        &mut self,
        now: Time,
        plan: &Plan,
        publisher: &mut Publisher,
        troubles: &mut Troubles,
    ) {
        let moment = clock::now();
        if self.again {
            for index in 0..self.seats.len() {
                self.ask(now, index, moment, plan, publisher, troubles);
            }
            let mut subscriptions = self.seats.iter().flat_map(|seat| &seat.subscriptions);
            self.again = subscriptions.any(|subscription| subscription.again_at.is_some());
        }
        while let Some((at, index)) = self.leaving.first().copied()
            && at <= moment
        {
            self.leaving.pop_first();
            self.let_go(now, index, publisher);
        }
    }

    /// One who came goes again: UNSUBSCRIBE, and the session's end.
    fn let_go(&mut self, now: Time, index: usize, publisher: &mut Publisher) {
        let Some(seat) = self.seats.get_mut(index) else {
            return;
        };
        if seat.standing != Standing::Seated {
            return;
        }
        self.churned.went += 1;
        let mut is_empty = true;
        for subscription in &seat.subscriptions {
            is_empty &= subscription.account.is_empty();
            let account = &subscription.account;
            self.churned.delivered += account.delivered();
            self.churned.lost += account.spanned().saturating_sub(account.delivered());
        }
        self.churned.empty_handed += u64::from(is_empty);
        if let Some(session) = publisher.peers.session(seat.connection) {
            for request in seat.subscriptions.iter().filter_map(|it| it.request) {
                if let Err(misuse) = session.cancel(now, request, ResetCode::Cancelled) {
                    log::debug!("nothing to withdraw: {misuse}");
                }
            }
            session.close(now, SessionCode::NoError, "");
        }
        seat.leave();
        seat.subscriptions = Vec::new();
    }

    /// Something happened on a subscriber's session.
    pub(super) fn handle_event(
        &mut self,
        index: usize,
        event: Event,
        plan: &Plan,
        troubles: &mut Troubles,
    ) {
        let Some(seat) = self.seats.get_mut(index) else {
            return;
        };
        let kind = seat.kind;
        let arrived = match event {
            Event::Payload { stream, bytes } => seat.append(stream, &bytes),
            Event::Object { stream, object } => {
                seat.begin(stream, &object);
                None
            }
            Event::SubgroupOpened { stream, id, header } => {
                seat.open(stream, id, header.group);
                None
            }
            Event::SubgroupEnded { stream, .. } => {
                seat.end(stream);
                None
            }
            Event::Datagram { id, object } => seat.datagram(id, &object),
            Event::Response { id, response } => {
                self.answered(index, id, response, plan, troubles);
                return;
            }
            Event::Done { id, done } => {
                let why = format!("{} ({})", done.code, done.reason.escape_ascii());
                self.ended(index, id, &why, troubles);
                return;
            }
            Event::Cancelled { id, code } => {
                let why = code.map_or_else(|| "no reason".to_owned(), |code| code.to_string());
                self.ended(index, id, &why, troubles);
                return;
            }
            Event::MalformedTrack { id, rule } => {
                self.ended(index, id, &format!("a malformed track: {rule}"), troubles);
                return;
            }
            Event::GoAway { .. } => {
                troubles.add("the relay wants a subscriber to leave (GOAWAY)".to_owned());
                None
            }
            Event::Established { .. }
            | Event::Request { .. }
            | Event::Closed(_)
            | Event::Update { .. }
            | Event::UpdateResponse { .. }
            | Event::Settled { .. }
            | Event::Namespace { .. }
            | Event::NamespaceDone { .. }
            | Event::PublishBlocked { .. }
            | Event::Fetched { .. }
            | Event::StreamStopped { .. }
            | Event::StreamExpired { .. }
            | Event::StreamDelivered { .. }
            | Event::CanOpenStream
            | Event::CanRequest => None,
        };
        if let Some((account, arrival)) = arrived {
            match kind {
                Kind::Regular => account.arrived(&arrival, &self.terms, &mut self.tally),
                Kind::Passer => account.arrived(&arrival, &self.terms, &mut self.passing),
                Kind::Stalled => {}
            }
        }
    }

    fn answered(
        &mut self,
        index: usize,
        id: RequestId,
        response: Response,
        plan: &Plan,
        troubles: &mut Troubles,
    ) {
        let Some(seat) = self.seats.get_mut(index) else {
            return;
        };
        let Some(subscription) = seat.find(id) else {
            return;
        };
        match response {
            Response::SubscribeOk(_) => subscription.accepted = true,
            Response::Error(refusal) => {
                let reason = refusal.reason.escape_ascii();
                troubles.add(format!(
                    "SUBSCRIBE was refused: {} ({reason})",
                    refusal.code
                ));
                subscription.request = None;
                subscription.again_at = Some(clock::now() + AGAIN);
                self.again = true;
                return;
            }
            Response::Ok(_) | Response::FetchOk(_) => return,
        }
        let is_complete = seat.subscriptions.iter().all(|it| it.accepted);
        if seat.standing != Standing::Coming || !is_complete {
            return;
        }
        seat.standing = Standing::Seated;
        match (seat.kind, &plan.churn) {
            (Kind::Passer, churn) => {
                let stay = churn.as_ref().map_or(Duration::ZERO, |churn| churn.stay);
                self.churned.let_in += 1;
                self.leaving.insert((clock::now() + stay, index));
            }
            (Kind::Regular | Kind::Stalled, _) => self.coming = self.coming.saturating_sub(1),
        }
    }

    /// The relay ended a subscription.
    fn ended(&mut self, index: usize, id: RequestId, why: &str, troubles: &mut Troubles) {
        let Some(seat) = self.seats.get_mut(index) else {
            return;
        };
        let kind = seat.kind;
        // Objects that left before may still arrive.
        if seat.find(id).is_some() {
            self.told(
                kind,
                format!("the relay ended a subscription: {why}"),
                troubles,
            );
        }
    }

    /// A session is over.
    pub(super) fn closed(&mut self, index: usize, why: &str, troubles: &mut Troubles) {
        let Some(seat) = self.seats.get_mut(index) else {
            return;
        };
        let (kind, standing) = (seat.kind, seat.standing);
        seat.leave();
        match standing {
            Standing::Gone => return,
            Standing::Coming if kind != Kind::Passer => {
                self.coming = self.coming.saturating_sub(1);
            }
            Standing::Coming | Standing::Seated => {}
        }
        self.told(
            kind,
            format!("a subscriber's session ended: {why}"),
            troubles,
        );
    }

    fn told(&mut self, kind: Kind, what: String, troubles: &mut Troubles) {
        let began = self.terms.window.map(|window| window.from);
        match &mut self.stalled {
            Some(stalled) if kind == Kind::Stalled => {
                if stalled.ended.is_none() {
                    log::debug!("who stopped reading: {what}");
                    stalled.ended = Some(what);
                    let after = began.map(|from| clock::now().since(from).as_secs_f64());
                    stalled.after_seconds = after;
                }
            }
            _ => troubles.add(what),
        }
    }

    /// Objects of the window that those who stay should have got, and that they got.
    pub(super) fn balance(&self, window: Window, stage: &Stage, plan: &Plan) -> (u64, u64) {
        let subscriptions = self.regulars().flat_map(|seat| &seat.subscriptions);
        let mut balance = (0, 0);
        for subscription in subscriptions.filter(|subscription| subscription.accepted) {
            let account = &subscription.account;
            let expected = expected(subscription, window, stage, plan);
            balance.0 += expected.max(account.delivered());
            balance.1 += account.delivered();
        }
        balance
    }

    /// How long it took to come in.
    pub(super) fn joins(&self) -> Joins {
        // Those who come and go come while the relay is at work: theirs are the joins to look at.
        let tally = match self.churned.came {
            0 => &self.tally,
            _ => &self.passing,
        };
        Joins {
            connect: self.connect.quantiles(),
            first_object: tally.first_object.quantiles(),
            first_group: tally.first_group.quantiles(),
        }
    }
}

/// Objects of the window that a subscription should have got.
fn expected(subscription: &Subscription, window: Window, stage: &Stage, plan: &Plan) -> u64 {
    let track = subscription.track;
    if plan.role.publishes() {
        return stage
            .scheduled_of(track, window)
            .unwrap_or_else(|| stage.published_of(track));
    }
    let account = &subscription.account;
    let paced = Timetable {
        epoch: window.from,
        interval_nanos: crate::schedule::interval_nanos(plan.shape.rate),
    };
    match (account.expected(window), paced.is_paced()) {
        (Some(expected), _) => expected,
        // Nothing of ours ever came, so only the rate is known.
        (None, true) => paced.count(window),
        (None, false) => account.spanned(),
    }
}
