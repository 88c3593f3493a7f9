//! Peers that tell of namespaces only when asked, and relays that ask one another.

use std::time::Duration;

use super::*;
use crate::session::Misuse;
use crate::wire::message::RequestOk;

impl Rig {
    fn curious() -> Self {
        Self::discovering(Settings::default())
    }

    /// The relay's SUBSCRIBE_NAMESPACE at a far end.
    fn question(&self, connection: ConnectionId) -> Option<(RequestId, SubscribeNamespace)> {
        let events = self.far[&connection].events.iter();
        let mut questions = events.filter_map(|event| match event {
            Event::Request {
                id,
                request: Request::SubscribeNamespace(request),
            } => Some((*id, request.clone())),
            _ => None,
        });
        let question = questions.next();
        assert!(questions.next().is_none(), "asked twice");
        question
    }

    /// A far end that answers the relay's question with these namespaces.
    fn knows(&mut self, draft: Draft, all: &[&[&str]]) -> ConnectionId {
        let connection = self.connect(draft);
        self.accept_question(connection);
        for fields in all {
            self.tell(connection, fields).unwrap();
        }
        connection
    }

    fn accept_question(&mut self, connection: ConnectionId) {
        let (id, _) = self.question(connection).expect("asked");
        self.respond(connection, id, Response::Ok(RequestOk::default()));
    }

    fn tell(&mut self, connection: ConnectionId, fields: &[&str]) -> Result<(), Misuse> {
        let (id, _) = self.question(connection).expect("asked");
        self.act(connection, |session, now| {
            session.namespace(now, id, &namespace(fields))
        })
    }

    fn take_back(&mut self, connection: ConnectionId, fields: &[&str]) {
        let (id, _) = self.question(connection).expect("asked");
        self.act(connection, |session, now| {
            session.namespace_done(now, id, &namespace(fields)).unwrap();
        });
    }

    /// What a watcher of everything was told, come and gone.
    fn news(&self, connection: ConnectionId) -> Vec<(TrackNamespace, bool)> {
        let events = self.far[&connection].events.iter();
        events
            .filter_map(|event| match event {
                Event::Namespace { suffix, .. } => Some((suffix.clone(), true)),
                Event::NamespaceDone { suffix, .. } => Some((suffix.clone(), false)),
                _ => None,
            })
            .collect()
    }
}

#[test]
fn each_peer_is_asked_for_its_namespaces_unless_that_is_turned_off() {
    for draft in Draft::ALL {
        let mut rig = Rig::curious();
        let peer = rig.connect(draft);
        let (_, asked) = rig.question(peer).expect("asked");
        assert_eq!(asked.prefix, namespace(&[]));
        assert_eq!(asked.interest, Interest::Namespaces);
        rig.end();
        let mut rig = Rig::new();
        let peer = rig.connect(draft);
        assert_eq!(rig.question(peer), None);
        rig.end();
    }
}

#[test]
fn in_draft_16_a_peer_is_asked_when_credit_allows() {
    for (granted, is_asked) in [(1, false), (8, false), (9, true)] {
        let mut rig = Rig::curious();
        rig.far_limits.max_requests = granted;
        let peer = rig.connect(Draft::D16);
        assert_eq!(rig.question(peer).is_some(), is_asked, "{granted}");
        rig.end();
    }
}

#[test]
fn a_refusal_to_tell_is_silent() {
    for draft in Draft::ALL {
        let mut rig = Rig::curious();
        let peer = rig.connect(draft);
        let (id, _) = rig.question(peer).expect("asked");
        rig.refuse(peer, id, RequestCode::NotSupported);
        rig.announce(peer, &["live"]);
        rig.pass(Duration::from_secs(60));
        rig.assert_alive(peer);
        rig.end();
    }
}

#[test]
fn what_a_peer_tells_when_asked_serves_and_ends_with_its_word_or_its_session() {
    for drafts in DRAFT_PAIRS {
        for leaves in [false, true] {
            let mut rig = Rig::curious();
            let watcher = rig.connect(drafts.1);
            rig.watch(watcher, &[]);
            let publisher = rig.knows(drafts.0, &[&["live"]]);
            assert_eq!(rig.news(watcher), [(namespace(&["live"]), true)]);
            let subscriber = rig.connect(drafts.1);
            let down = rig.subscribe(subscriber, "v");
            let up = rig.only_asked(publisher);
            rig.accept(publisher, up);
            rig.ok(subscriber, down);
            if leaves {
                rig.leave(publisher);
            } else {
                rig.take_back(publisher, &["live"]);
            }
            assert_eq!(rig.news(watcher)[1..], [(namespace(&["live"]), false)]);
            let other = rig.subscribe(subscriber, "w");
            rig.assert_refused(subscriber, other, RequestCode::DoesNotExist);
            rig.end();
        }
    }
}

#[test]
fn a_subscription_that_waits_is_served_by_what_is_learned() {
    for draft in Draft::ALL {
        let mut rig = Rig::curious();
        let subscriber = rig.connect(Draft::D18);
        let parameters = Parameters {
            rendezvous_timeout: Some(crate::wire::id::Millis(1000)),
            ..Parameters::default()
        };
        let down = rig.subscribe_to(subscriber, track("v"), parameters);
        let publisher = rig.knows(draft, &[&["live"]]);
        let up = rig.only_asked(publisher);
        rig.accept(publisher, up);
        rig.ok(subscriber, down);
        rig.end();
    }
}

#[test]
fn what_is_learned_is_used_only_while_nobody_announces_it() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::curious();
        let other = rig.knows(drafts.0, &[&["live"]]);
        let publisher = rig.connect(drafts.0);
        let announced = rig.announce(publisher, &["live"]);
        let subscriber = rig.connect(drafts.1);
        rig.subscribe(subscriber, "v");
        rig.only_asked(publisher);
        assert_eq!(rig.asked(other), []);
        rig.cancel(publisher, announced);
        rig.subscribe(subscriber, "w");
        rig.only_asked(other);
        rig.end();
    }
}

#[test]
fn an_echo_of_what_we_tell_is_not_believed_also_when_it_outlives_the_announcement() {
    for drafts in DRAFT_PAIRS {
        for told_first in [false, true] {
            let mut rig = Rig::curious();
            let echo = rig.connect(drafts.1);
            rig.accept_question(echo);
            rig.watch(echo, &[]);
            if told_first {
                rig.tell(echo, &["live"]).unwrap();
            }
            let publisher = rig.publisher(drafts.0);
            assert_eq!(rig.news(echo), [(namespace(&["live"]), true)]);
            if !told_first {
                rig.tell(echo, &["live"]).unwrap();
            }
            rig.leave(publisher);
            assert_eq!(rig.news(echo)[1..], [(namespace(&["live"]), false)]);
            let subscriber = rig.connect(drafts.1);
            let down = rig.subscribe(subscriber, "v");
            assert_eq!(rig.asked(echo), []);
            rig.assert_refused(subscriber, down, RequestCode::DoesNotExist);
            // Taken back and told anew, it is news.
            rig.take_back(echo, &["live"]);
            rig.tell(echo, &["live"]).unwrap();
            rig.subscribe(subscriber, "w");
            rig.only_asked(echo);
            rig.end();
        }
    }
}

#[test]
fn a_peer_is_not_told_what_only_it_has_told() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::curious();
        let first = rig.knows(drafts.0, &[&["live"]]);
        rig.watch(first, &[]);
        assert_eq!(rig.news(first), []);
        let second = rig.knows(drafts.1, &[&["live"]]);
        assert_eq!(rig.news(first), [(namespace(&["live"]), true)]);
        rig.leave(second);
        assert_eq!(rig.news(first)[1..], [(namespace(&["live"]), false)]);
        rig.end();
    }
}

#[test]
fn a_request_is_never_sent_back_to_the_peer_from_which_it_came() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::curious();
        let relay = rig.knows(drafts.0, &[&["live"]]);
        let down = rig.subscribe(relay, "v");
        rig.assert_refused(relay, down, RequestCode::DoesNotExist);
        assert_eq!(rig.asked(relay), []);
        // While somebody else waits, its question turns ours around.
        let subscriber = rig.connect(drafts.1);
        let wanted = rig.subscribe(subscriber, "w");
        let up = rig.only_asked(relay);
        let back = rig.subscribe(relay, "w");
        assert!(rig.withdrawn(relay, up));
        rig.assert_refused(subscriber, wanted, RequestCode::DoesNotExist);
        rig.assert_refused(relay, back, RequestCode::DoesNotExist);
        rig.end();
    }
}

#[test]
fn a_question_about_a_track_is_never_sent_back_to_the_peer_from_which_it_came() {
    for draft in Draft::ALL {
        let mut rig = Rig::curious();
        let relay = rig.knows(draft, &[&["live"]]);
        let request = Request::TrackStatus(crate::wire::message::TrackStatus {
            request_id: RequestId(0),
            track: track("v"),
            parameters: Parameters::default(),
        });
        let status = rig.request(relay, request);
        rig.assert_refused(relay, status, RequestCode::DoesNotExist);
        let fetch = crate::wire::message::Fetch {
            request_id: RequestId(0),
            range: crate::wire::message::FetchRange::Standalone {
                track: track("v"),
                start: at(0, 0),
                end: at(1, 0),
            },
            parameters: Parameters::default(),
        };
        let fetch = rig.request(relay, Request::Fetch(fetch));
        rig.assert_refused(relay, fetch, RequestCode::DoesNotExist);
        let asked_back = |event: &Event| {
            matches!(
                event,
                Event::Request {
                    request: Request::TrackStatus(_) | Request::Fetch(_),
                    ..
                }
            )
        };
        assert!(!rig.far[&relay].events.iter().any(asked_back));
        rig.end();
    }
}

#[test]
fn an_announced_publisher_may_subscribe_to_its_own_track() {
    for draft in Draft::ALL {
        let mut rig = Rig::curious();
        let publisher = rig.publisher(draft);
        let down = rig.subscribe(publisher, "v");
        let up = rig.only_asked(publisher);
        rig.accept(publisher, up);
        rig.ok(publisher, down);
        rig.end();
    }
}

#[test]
fn no_more_is_learned_than_there_is_room_for_its_name() {
    let mut settings = limits(|limits| limits.max_name_bytes = 2000);
    settings.discover = true;
    let mut rig = Rig::discovering(settings);
    let long = "a".repeat(1500);
    let long: &str = &long;
    let publisher = rig.knows(Draft::D18, &[&[long], &["live"]]);
    let watcher = rig.connect(Draft::D18);
    let further = rig.watch(watcher, &["b"]);
    rig.assert_refused(watcher, further, RequestCode::ExcessiveLoad);
    rig.take_back(publisher, &[long]);
    let subscriber = rig.connect(Draft::D18);
    let down = rig.subscribe(subscriber, "v");
    rig.assert_refused(subscriber, down, RequestCode::DoesNotExist);
    rig.tell(publisher, &["live", "more"]).unwrap();
    let more = track_in(&["live", "more"], "v");
    rig.subscribe_to(subscriber, more, Parameters::default());
    rig.only_asked(publisher);
    rig.end();
}

#[test]
fn no_more_is_learned_than_the_limit_allows() {
    let mut settings = limits(|limits| limits.max_learned = 2);
    settings.discover = true;
    let mut rig = Rig::discovering(settings);
    let publisher = rig.knows(Draft::D18, &[&["a"], &["b"], &["live"]]);
    let subscriber = rig.connect(Draft::D18);
    let down = rig.subscribe(subscriber, "v");
    rig.assert_refused(subscriber, down, RequestCode::DoesNotExist);
    rig.take_back(publisher, &["a"]);
    rig.tell(publisher, &["live", "more"]).unwrap();
    let more = track_in(&["live", "more"], "v");
    rig.subscribe_to(subscriber, more, Parameters::default());
    rig.only_asked(publisher);
    rig.end();
}
