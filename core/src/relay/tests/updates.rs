//! REQUEST_UPDATE: each is answered exactly once, whatever it is about.

use std::time::Duration;

use super::*;
use crate::wire::id::Millis;
use crate::wire::message::{Fetch, FetchOk, FetchRange, RequestError, RequestUpdate};
use crate::wire::param::Token;

/// What an update of a subscription can bring, all at once.
fn everything() -> Parameters {
    Parameters {
        authorization_tokens: vec![Token::UseValue {
            kind: 0,
            value: Bytes::from_static(b"token"),
        }],
        object_delivery_timeout: Some(Millis(4000)),
        forward: Some(true),
        subscriber_priority: Some(7),
        filter: Some(Filter::AbsoluteStart(at(1, 0))),
        new_group_request: Some(0),
        ..Parameters::default()
    }
}

// Rules: B188
#[test]
fn b188_every_update_of_a_subscription_is_answered_once_and_with_the_largest_location() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let Running {
            publisher,
            up,
            subscriber,
            down,
        } = rig.running(drafts);
        rig.group(publisher, up, 0, 2);
        for change in [everything(), Parameters::default(), forward(false)] {
            rig.update(subscriber, down, change);
        }
        let answers = rig.update_answers(subscriber, down);
        assert_eq!(answers.len(), 3);
        for answer in answers {
            let expected = Parameters {
                largest_object: Some(at(0, 1)),
                ..Parameters::default()
            };
            assert_eq!(answer.unwrap().parameters, expected);
        }
        rig.end();
    }
}

#[test]
fn b188_updates_of_a_subscription_that_waits_are_answered_when_it_is() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.publisher(drafts.0);
        let subscriber = rig.connect(drafts.1);
        let down = rig.subscribe_to(subscriber, track("v"), forward(false));
        rig.update(subscriber, down, everything());
        rig.update(subscriber, down, Parameters::default());
        assert_eq!(rig.update_answers(subscriber, down), []);
        let up = rig.only_asked(publisher);
        rig.accept_with(publisher, up, Some(at(0, 5)), Properties::default());
        rig.ok(subscriber, down);
        let answers = rig.update_answers(subscriber, down);
        assert_eq!(answers.len(), 2);
        for answer in answers {
            assert_eq!(answer.unwrap().parameters.largest_object, Some(at(0, 5)));
        }
        assert_eq!(rig.updates(publisher, up), [forward(true)]);
        rig.group(publisher, up, 0, 1);
        rig.group(publisher, up, 1, 1);
        assert_eq!(rig.ids(subscriber, down), [(1, 0)], "the filter's");
        rig.end();
    }
}

#[test]
fn b188_updates_of_a_subscription_that_is_refused_fail_with_it() {
    for draft in Draft::ALL {
        let mut rig = Rig::new();
        let publisher = rig.publisher(Draft::D18);
        let subscriber = rig.connect(draft);
        let down = rig.subscribe(subscriber, "v");
        rig.update(subscriber, down, Parameters::default());
        let up = rig.only_asked(publisher);
        rig.refuse(publisher, up, RequestCode::DoesNotExist);
        rig.assert_refused(subscriber, down, RequestCode::DoesNotExist);
        // Draft 18 ends the stream on which an answer would have come.
        let is_told = draft == Draft::D16;
        let written = rig.far[&subscriber].outputs.iter().filter(
            |output| matches!(output, Output::Write { bytes, .. } if bytes.first() == Some(&5)),
        );
        assert!(written.count() >= 1);
        assert_eq!(rig.raw_errors(subscriber), 1 + usize::from(is_told));
        rig.end();
    }
}

impl Rig {
    /// How many REQUEST_ERRORs the relay wrote to a far end.
    fn raw_errors(&self, connection: ConnectionId) -> usize {
        let far = &self.far[&connection];
        let mut framers = std::collections::BTreeMap::new();
        for output in &far.outputs {
            if let Output::Write { stream, bytes, .. } = output {
                framers
                    .entry(*stream)
                    .or_insert_with(|| Framer::new(far.draft.profile().integers))
                    .push(bytes);
            }
        }
        let frames = framers
            .into_values()
            .flat_map(|mut framer| std::iter::from_fn(move || framer.next_frame()));
        frames.filter(|frame| frame.number == 5).count()
    }
}

// Rules: B190
#[test]
fn b190_an_update_that_cannot_be_is_refused_and_ends_the_subscription() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let running = rig.running(drafts);
        let (subscriber, down) = (running.subscriber, running.down);
        let mut feed = rig.open(running.publisher, running.up, header(0, 0));
        rig.object(&mut feed, 0, b"all");
        rig.marker(&mut feed, 1, ObjectStatus::EndOfTrack);
        rig.update(subscriber, down, filtered(Filter::AbsoluteStart(at(5, 0))));
        let answers = rig.update_answers(subscriber, down);
        let [Err(refusal)] = answers.as_slice() else {
            panic!("{answers:?}");
        };
        assert_eq!(refusal.code, RequestCode::InvalidRange);
        assert_eq!(rig.done_code(subscriber, down), DoneCode::UpdateFailed);
        rig.end();
    }
}

#[test]
fn updates_of_an_offered_track_are_answered_and_heeded() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let watcher = rig.connect(drafts.1);
        rig.watch_tracks(watcher, &["live"]);
        let publisher = rig.connect(drafts.0);
        let up = rig.publish(publisher, "v");
        let (down, _) = rig.only_offer(watcher);
        rig.take(watcher, down, Parameters::default());
        rig.update(watcher, down, everything());
        rig.update(watcher, down, forward(false));
        rig.update(watcher, down, forward(true));
        assert_eq!(rig.update_answers(watcher, down).len(), 3);
        let sent = rig.updates(publisher, up);
        assert_eq!(sent, [forward(false), forward(true)]);
        rig.group(publisher, up, 0, 1);
        rig.group(publisher, up, 1, 1);
        assert_eq!(rig.ids(watcher, down), [(1, 0)]);
        rig.end();
    }
}

#[test]
fn updates_of_requests_about_namespaces_are_answered_once() {
    for draft in Draft::ALL {
        let mut rig = Rig::new();
        let peer = rig.connect(draft);
        let ids = [
            rig.announce(peer, &["a"]),
            rig.watch(peer, &["b"]),
            rig.watch_tracks(peer, &["c"]),
        ];
        for id in ids {
            let token = Parameters {
                authorization_tokens: everything().authorization_tokens,
                ..Parameters::default()
            };
            rig.update(peer, id, token);
            rig.update(peer, id, Parameters::default());
            let answers = rig.update_answers(peer, id);
            assert_eq!(answers.len(), 2);
            assert!(answers.iter().all(Result::is_ok));
        }
        rig.end();
    }
}

#[test]
fn v35_an_update_of_a_request_that_is_over_is_refused_in_16_and_unread_in_18() {
    for draft in Draft::ALL {
        let mut rig = Rig::new();
        let peer = rig.raw_of(draft);
        let subscribe = Message::Subscribe(Subscribe {
            request_id: RequestId(0),
            track: track("v"),
            parameters: Parameters::default(),
        });
        let stream = rig.raw_request(peer, &subscribe);
        let update = Message::RequestUpdate(RequestUpdate {
            request_id: RequestId(2),
            existing_request_id: (draft == Draft::D16).then_some(RequestId(0)),
            parameters: Parameters::default(),
        });
        rig.raw_go_on(peer, stream, &update);
        rig.assert_alive(peer);
        let messages = rig.raw_messages(peer, stream);
        let errors: Vec<&RequestError> = messages
            .iter()
            .filter_map(|message| match message {
                Message::RequestError(error) => Some(error),
                _ => None,
            })
            .collect();
        assert!(errors.iter().all(|e| e.code == RequestCode::DoesNotExist));
        assert_eq!(errors.len(), if draft == Draft::D16 { 2 } else { 1 });
        rig.pass(Duration::from_secs(1));
        rig.assert_alive(peer);
        rig.end();
    }
}

impl Rig {
    /// A further message of a raw client's on a stream that it used before.
    fn raw_go_on(&mut self, connection: ConnectionId, on: StreamId, message: &Message) {
        let draft = self.far[&connection].draft;
        let origin = crate::wire::message::Origin {
            profile: draft.profile(),
            sender: Role::Client,
            channel: if draft == Draft::D16 {
                Channel::Control
            } else {
                Channel::Request
            },
        };
        let bytes = message.encode(origin).unwrap();
        self.inject_on(connection, on, &bytes);
    }
}

#[test]
fn tokens_go_no_further_than_the_relay() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.publisher(drafts.0);
        let subscriber = rig.connect(drafts.1);
        let tokens = Parameters {
            authorization_tokens: everything().authorization_tokens,
            ..Parameters::default()
        };
        let down = rig.subscribe_to(subscriber, track("v"), tokens.clone());
        rig.update(subscriber, down, tokens);
        let asked = rig.asked(publisher);
        assert_eq!(asked[0].1.parameters.authorization_tokens, []);
        rig.accept(publisher, asked[0].0);
        let updates = rig.updates(publisher, asked[0].0);
        assert!(
            updates
                .iter()
                .all(|update| update.authorization_tokens.is_empty())
        );
        rig.ok(subscriber, down);
        rig.end();
    }
}

#[test]
fn an_update_of_a_fetch_that_waits_is_answered_when_it_is() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.publisher(drafts.0);
        let peer = rig.connect(drafts.1);
        let request = Request::Fetch(Fetch {
            request_id: RequestId(0),
            range: FetchRange::Standalone {
                track: track("v"),
                start: at(0, 0),
                end: at(1, 0),
            },
            parameters: Parameters::default(),
        });
        let id = rig.request(peer, request);
        rig.update(peer, id, Parameters::default());
        assert_eq!(rig.update_answers(peer, id), []);
        let asked = rig.far[&publisher]
            .events
            .iter()
            .find_map(|event| match event {
                Event::Request {
                    id,
                    request: Request::Fetch(_),
                } => Some(*id),
                _ => None,
            });
        let ok = FetchOk {
            request_id: None,
            end_of_track: false,
            end: at(1, 0),
            parameters: Parameters::default(),
            properties: Properties::default(),
        };
        rig.respond(publisher, asked.unwrap(), Response::FetchOk(ok));
        assert!(matches!(rig.answer(peer, id), Some(Response::FetchOk(_))));
        assert!(matches!(rig.update_answers(peer, id)[..], [Ok(_)]));
        rig.end();
    }
}
