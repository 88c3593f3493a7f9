//! Requests by the thousand: made and withdrawn, for names that nobody has, and changed faster than they are answered.

use oxymoq_core::code::RequestCode;
use oxymoq_core::draft::Draft;
use oxymoq_core::transport::{ConnectionId, StreamId};
use oxymoq_core::wire::id::{Millis, RequestId};
use oxymoq_core::wire::message::Message;
use oxymoq_core::wire::param::Parameters;

use crate::bystander;
use crate::case::Case;
use crate::dialect::{self, Answers, Talk, long_namespace, long_track};
use crate::process;
use crate::wire::{Attack, News, Over, Seen, Wire};
use crate::{cases, cases_in_webtransport};

cases! {
    subscriptions_made_and_withdrawn
    namespaces_without_end
    prefixes_without_end
    updates_without_end
}

cases_in_webtransport! {
    subscriptions_made_and_withdrawn
    namespaces_without_end
    updates_without_end
}

/// Requests under way at once.
const AT_ONCE: usize = 16;

/// A peer of each draft that makes so many requests, one after the other, and does something about each.
struct Flood<R, T> {
    requests: u64,
    request: R,
    then: T,
    talks: Vec<Talk>,
    /// How many answers are awaited, by each peer, and how many of them are not refusals.
    answers: u64,
    grants: u64,
}

impl<R, T> Flood<R, T>
where
    R: FnMut(Draft, u64, RequestId) -> Message,
    T: FnMut(&mut Talk, &mut Wire, RequestId, StreamId),
{
    fn new(requests: u64, (answers, grants): (u64, u64), request: R, then: T) -> Self {
        Self {
            requests,
            request,
            then,
            talks: Vec::new(),
            answers,
            grants,
        }
    }

    fn answers(&self) -> impl Iterator<Item = (Draft, &Answers)> {
        self.talks.iter().map(|talk| (talk.draft, &talk.answers))
    }

    fn advance(&mut self, wire: &mut Wire, at: usize) {
        let talk = self.talks.get_mut(at).unwrap();
        while talk.asked() < self.requests
            && talk.may_ask()
            && wire.waiting(talk.connection) < AT_ONCE
        {
            let (draft, turn) = (talk.draft, talk.asked());
            let (id, stream) = talk.ask(wire, |id| (self.request)(draft, turn, id));
            (self.then)(talk, wire, id, stream);
        }
    }
}

impl<R, T> Attack for Flood<R, T>
where
    R: FnMut(Draft, u64, RequestId) -> Message,
    T: FnMut(&mut Talk, &mut Wire, RequestId, StreamId),
{
    fn begin(&mut self, wire: &mut Wire) {
        for draft in Draft::ALL {
            let connection = wire.connect(draft.profile().alpn);
            self.talks.push(Talk::begin(wire, connection, draft));
        }
    }

    fn hear(&mut self, wire: &mut Wire, connection: ConnectionId, news: &News) {
        if let Some(at) = self
            .talks
            .iter()
            .position(|talk| talk.connection == connection)
        {
            self.talks.get_mut(at).unwrap().hear(news);
            self.advance(wire, at);
        }
    }

    fn state(&self) -> String {
        format!("{:?}", self.talks)
    }

    fn is_over(&self, wire: &Wire) -> bool {
        self.talks.iter().all(|talk| {
            let is_answered =
                talk.answers.total() >= self.answers && talk.answers.granted >= self.grants;
            let is_done = talk.asked() >= self.requests && wire.waiting(talk.connection) == 0;
            !wire.is_open(talk.connection) || is_done && is_answered
        })
    }
}

fn nothing_more(_talk: &mut Talk, _wire: &mut Wire, _id: RequestId, _stream: StreamId) {}

/// Nobody was closed: what was done is allowed, if not polite.
#[track_caller]
fn nobody_was_closed(seen: &Seen) {
    assert_eq!(seen.connected, 2, "{seen:?}");
    assert!(seen.closed.is_empty() && seen.lost == 0, "{seen:?}");
}

/// SUBSCRIBE and at once its end, of a track that is there and of others of its namespace, for which the publisher is asked.
fn subscriptions_made_and_withdrawn(runtime: &str, over: Over, scale: u64) {
    let case = Case {
        name: "SUBSCRIBE and cancel",
        runtime,
        over,
        flags: "--max_tracks 1000 --forward_linger 100ms",
        tables: 0,
    };
    let flood = Flood::new(
        400 * scale,
        (0, 0),
        |_, turn, id| match turn % 2 {
            0 => dialect::subscribe(id, bystander::track()),
            _ => dialect::subscribe(id, long_track(bystander::NAMESPACE, turn)),
        },
        |talk: &mut Talk, wire: &mut Wire, id, stream| talk.unsubscribe(wire, id, stream),
    );
    let (_, seen) = case.withstand(flood);
    nobody_was_closed(&seen);
}

/// PUBLISH_NAMESPACE of ever more names, as long as they may be.
fn namespaces_without_end(runtime: &str, over: Over, scale: u64) {
    let most = 200;
    let case = Case {
        name: "PUBLISH_NAMESPACE flood",
        runtime,
        over,
        flags: &format!("--max_announcements {most} --request_drain_timeout 500ms"),
        tables: 0,
    };
    let flood = Flood::new(
        250 * scale,
        (250 * scale, 0),
        |draft, turn, id| {
            let first = draft.profile().alpn.as_bytes();
            dialect::publish_namespace(id, long_namespace(first, turn))
        },
        nothing_more,
    );
    let (flood, seen) = case.withstand(flood);
    nobody_was_closed(&seen);
    let granted: u64 = flood.answers().map(|(_, answers)| answers.granted).sum();
    // One is the bystanders'. Each thread has a table of its own.
    let most = most - 1..most * u64::from(process::threads());
    assert!(most.contains(&granted), "{granted}, not {most:?}");
    for (draft, answers) in flood.answers() {
        let overloaded = answers.overloaded(draft);
        assert_eq!(answers.granted + overloaded, 250 * scale, "{answers:?}");
    }
}

/// SUBSCRIBE_NAMESPACE of ever more prefixes, and SUBSCRIBE_TRACKS, none of which overlaps another.
fn prefixes_without_end(runtime: &str, over: Over, scale: u64) {
    let most = 200;
    let case = Case {
        name: "SUBSCRIBE_NAMESPACE flood",
        runtime,
        over,
        flags: &format!(
            "--max_watches {most} --max_track_watches {most} --request_drain_timeout 500ms"
        ),
        tables: 0,
    };
    let flood = Flood::new(
        250 * scale,
        (250 * scale, 0),
        |draft, turn, id| {
            let prefix = long_namespace(draft.profile().alpn.as_bytes(), turn);
            match (draft, turn % 2) {
                (Draft::D18, 0) => dialect::subscribe_tracks(id, prefix),
                _ => dialect::subscribe_namespace(id, prefix),
            }
        },
        nothing_more,
    );
    let (flood, seen) = case.withstand(flood);
    nobody_was_closed(&seen);
    let granted: u64 = flood.answers().map(|(_, answers)| answers.granted).sum();
    let most = most..=2 * most * u64::from(process::threads());
    assert!(most.contains(&granted), "{granted}, not {most:?}");
    for (draft, answers) in flood.answers() {
        let overloaded = answers.overloaded(draft);
        assert_eq!(answers.granted + overloaded, 250 * scale, "{answers:?}");
    }
}

/// REQUEST_UPDATE by the dozen for each of some subscriptions, answers or not.
fn updates_without_end(runtime: &str, over: Over, scale: u64) {
    let case = Case {
        name: "REQUEST_UPDATE storm",
        runtime,
        over,
        flags: "",
        tables: 0,
    };
    // Of one track there is one subscription: the others are refused, and updated all the same.
    let flood = Flood::new(
        1000 * scale,
        (1, 1),
        |_, _, id| dialect::subscribe(id, bystander::track()),
        |talk: &mut Talk, wire: &mut Wire, id, stream| {
            for turn in 0..50 {
                let parameters = Parameters {
                    forward: Some(turn % 2 == 0),
                    subscriber_priority: Some(turn),
                    object_delivery_timeout: Some(Millis(5000)),
                    ..Parameters::default()
                };
                if talk.may_ask() {
                    talk.update(wire, id, stream, parameters);
                }
            }
        },
    );
    let (flood, seen) = case.withstand(flood);
    assert_eq!(seen.connected, 2, "{seen:?}");
    for (draft, answers) in flood.answers() {
        let others: u64 = answers
            .refused
            .iter()
            .filter(|(code, _)| {
                !matches!(
                    code,
                    RequestCode::DuplicateSubscription | RequestCode::DoesNotExist
                ) && **code != dialect::overload(draft)
            })
            .map(|(_, count)| count)
            .sum();
        assert_eq!(others, 0, "{draft:?}: {answers:?}");
        assert!(answers.granted > 0, "{draft:?}: {answers:?}");
    }
}
