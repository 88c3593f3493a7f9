//! What changes between draft 16 and draft 18 on the way through a relay, and what must not.

use super::*;
use crate::session::FetchItem;
use crate::wire::id::Millis;
use crate::wire::message::{Redirect, Retry};
use crate::wire::param::GroupOrder;
use crate::wire::property::{
    IMMUTABLE_PROPERTIES, OBJECT_DELIVERY_TIMEOUT, SUBGROUP_DELIVERY_TIMEOUT, Value,
};

/// Beyond what draft 16 can write.
const LARGE: u64 = 1 << 62;

fn list(draft: Draft, list: &[(u64, Value)]) -> Properties {
    Properties::from_list(draft.profile().integers, list.to_vec()).unwrap()
}

fn integer(number: u64, value: u64) -> (u64, Value) {
    (number, Value::Integer(value))
}

fn bytes(number: u64, bytes: &'static [u8]) -> (u64, Value) {
    (number, Value::Bytes(Bytes::from_static(bytes)))
}

impl Rig {
    /// As [`Rig::running`], of a track with these properties.
    fn running_with(&mut self, drafts: (Draft, Draft), properties: &[(u64, Value)]) -> Running {
        let publisher = self.publisher(drafts.0);
        let subscriber = self.connect(drafts.1);
        let down = self.subscribe(subscriber, "v");
        let up = self.only_asked(publisher);
        self.accept_with(publisher, up, None, list(drafts.0, properties));
        Running {
            publisher,
            up,
            subscriber,
            down,
        }
    }

    /// An object with these properties on a stream of its own.
    fn object_with(&mut self, running: Running, id: u64, properties: Properties) {
        let to = (running.publisher, running.up);
        let mut feed = self.open_stream(to.0, to.1, header(0, id), true);
        let header = ObjectHeader {
            properties,
            ..object(id, 1)
        };
        self.begin(&mut feed, &header);
        self.send(&feed, b"x");
        self.fin(&feed);
    }

    /// The properties of each object that a FETCH brought, as written.
    fn fetched_properties(&self, connection: ConnectionId, id: RequestId) -> Vec<Vec<u8>> {
        let events = self.far[&connection].events.iter();
        let lists = events.filter_map(|event| match event {
            Event::Fetched {
                id: of,
                item: FetchItem::Object { properties, .. },
            } if *of == id => Some(properties.bytes().to_vec()),
            _ => None,
        });
        lists.collect()
    }

    /// The first piece of each data stream that the relay wrote to a peer.
    fn data_writes(&self, connection: ConnectionId) -> Vec<Bytes> {
        let mut first = std::collections::BTreeMap::new();
        for output in &self.far[&connection].outputs {
            if let Output::Write {
                stream,
                bytes,
                urgent: false,
                ..
            } = output
            {
                first.entry(*stream).or_insert_with(|| bytes.clone());
            }
        }
        first.into_values().collect()
    }
}

// Rules: B043, B386, B387
#[test]
fn b386_immutable_properties_cross_byte_for_byte_and_unread() {
    let blocks: [(Draft, &'static [u8]); 6] = [
        (Draft::D18, b""),
        // A number in two bytes where one would do.
        (Draft::D18, &[0x78, 0x80, 5]),
        (Draft::D16, &[0x40, 0x38, 5]),
        // 100 as draft 18 writes it is the beginning of something longer in draft 16.
        (Draft::D18, &[0x38, 100]),
        // Draft 16 would find DYNAMIC_GROUPS of 12 therein, which may not be, and then nonsense.
        (Draft::D18, &[0x40, 0x30, 0x0C, 0x01]),
        // 5000 as draft 16 writes it is 19 and nonsense in draft 18.
        (Draft::D16, &[0x38, 0x53, 0x88]),
    ];
    for (origin, block) in blocks {
        for subscriber in Draft::ALL {
            let properties = [bytes(IMMUTABLE_PROPERTIES, block), integer(0x78, 300)];
            let mut rig = Rig::new();
            let running = rig.running_with((origin, subscriber), &properties);
            let ok = rig.ok(running.subscriber, running.down);
            let expected = list(subscriber, &properties);
            assert_eq!(ok.properties.bytes(), expected.bytes(), "{block:x?}");

            rig.object_with(running, 0, list(origin, &properties));
            let datagram = DatagramObject {
                properties: list(origin, &properties),
                ..in_datagram(1, 0, b"x")
            };
            rig.datagram(running.publisher, running.up, &datagram);
            let on_stream = rig.received(running.subscriber, running.down).remove(0);
            let in_datagram = rig
                .datagrams(running.subscriber, running.down)
                .remove(0)
                .properties;
            for got in [on_stream.objects[0].0.properties.clone(), in_datagram] {
                assert_eq!(got.bytes(), expected.bytes(), "{block:x?}");
            }
            assert_eq!(rig.done(running.subscriber, running.down), None);

            // And from the cache.
            let later = rig.connect(subscriber);
            let fetch = rig.fetch(later, at(0, 0), at(0, 1), GroupOrder::Ascending);
            let ok = rig.fetch_ok(later, fetch);
            assert_eq!(ok.properties.bytes(), expected.bytes(), "{block:x?}");
            let fetched = rig.fetched_properties(later, fetch);
            assert_eq!(fetched, [expected.bytes().to_vec()], "{block:x?}");
            rig.assert_alive(running.publisher);
            rig.end();
        }
    }
}

#[test]
fn the_outer_list_is_written_anew_once_for_all_who_need_it() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let running = rig.running(drafts);
        let second = rig.connect(drafts.1);
        let down = rig.subscribe(second, "v");
        // Long enough that it is not simply copied.
        let value = Value::Bytes(vec![7; 5_000].into());
        let properties = [integer(0x78, 300), (0x3801, value)];
        rig.object_with(running, 0, list(drafts.0, &properties));
        for (peer, id) in [(running.subscriber, running.down), (second, down)] {
            let got = rig.received(peer, id).remove(0);
            assert_eq!(got.objects[0].0.properties, list(drafts.1, &properties));
        }
        let [one, other] = [running.subscriber, second].map(|peer| rig.data_writes(peer).remove(0));
        assert!(one.len() > 5_000);
        assert_eq!(one.as_ptr(), other.as_ptr(), "the same bytes in memory");
        drop((one, other));
        rig.end();
    }
}

/// What a publisher sends that draft 16 cannot say.
type Beyond = fn(&mut Rig, Running);

#[test]
fn ids_and_values_of_62_bits_or_more_end_a_subscription_of_draft_16_with_internal_error() {
    let rows: [(&str, Beyond); 7] = [
        ("group", |rig, running| {
            rig.group(running.publisher, running.up, LARGE, 1);
        }),
        ("subgroup", |rig, running| {
            let mut feed = rig.open(running.publisher, running.up, header(0, LARGE));
            rig.object(&mut feed, 0, b"x");
        }),
        ("object", |rig, running| {
            let mut feed = rig.open(running.publisher, running.up, header(0, 0));
            rig.object(&mut feed, LARGE, b"x");
        }),
        ("group of a datagram", |rig, running| {
            let datagram = in_datagram(LARGE, 0, b"x");
            rig.datagram(running.publisher, running.up, &datagram);
        }),
        ("object of a datagram", |rig, running| {
            let datagram = in_datagram(0, LARGE, b"x");
            rig.datagram(running.publisher, running.up, &datagram);
        }),
        ("value of a property", |rig, running| {
            rig.object_with(running, 0, list(Draft::D18, &[integer(0x78, LARGE)]));
        }),
        ("type of a property", |rig, running| {
            rig.object_with(running, 0, list(Draft::D18, &[integer(LARGE, 0)]));
        }),
    ];
    for (what, send) in rows {
        let mut rig = Rig::new();
        let running = rig.running((Draft::D18, Draft::D16));
        let new = rig.connect(Draft::D18);
        let down = rig.subscribe(new, "v");
        send(&mut rig, running);
        let done = rig.done(running.subscriber, running.down).expect(what);
        assert_eq!(done.code, DoneCode::InternalError, "{what}");
        assert!(!done.reason.is_empty(), "{what}");
        rig.assert_alive(running.subscriber);
        // Nobody else is concerned.
        assert_eq!(rig.done(new, down), None, "{what}");
        let arrived = rig.received(new, down).len() + rig.datagrams(new, down).len();
        assert_eq!(arrived, 1, "{what}");
        rig.end();
    }
}

#[test]
fn answers_that_draft_16_cannot_say_become_internal_error() {
    let rows = [
        ("the largest location", Some(at(LARGE, 0)), Vec::new()),
        ("a track's property", None, vec![integer(0x78, LARGE)]),
        ("the type of one", None, vec![integer(LARGE, 1)]),
    ];
    for (what, largest, properties) in rows {
        let mut rig = Rig::new();
        let publisher = rig.publisher(Draft::D18);
        let [early, late] = [(); 2].map(|()| rig.connect(Draft::D16));
        let new = rig.connect(Draft::D18);
        let one = rig.subscribe(early, "v");
        let down = rig.subscribe(new, "v");
        let up = rig.only_asked(publisher);
        rig.accept_with(publisher, up, largest, list(Draft::D18, &properties));
        let other = rig.subscribe(late, "v");
        for (peer, id) in [(early, one), (late, other)] {
            rig.assert_refused(peer, id, RequestCode::InternalError);
        }
        assert_eq!(
            rig.ok(new, down).parameters.largest_object,
            largest,
            "{what}"
        );
        rig.cancel(new, down);
        assert!(rig.withdrawn(publisher, up), "{what}: nobody is left");
        rig.end();
    }
}

#[test]
fn what_draft_16_cannot_say_breaks_its_fetch_off_and_no_other() {
    let mut rig = Rig::new();
    let running = rig.running((Draft::D18, Draft::D18));
    rig.object_with(running, 0, list(Draft::D18, &[integer(0x78, 1)]));
    rig.object_with(running, 1, list(Draft::D18, &[integer(0x78, LARGE)]));
    let [old, new] = [Draft::D16, Draft::D18].map(|draft| rig.connect(draft));
    let broken = rig.fetch(old, at(0, 0), at(0, 2), GroupOrder::Ascending);
    let whole = rig.fetch(new, at(0, 0), at(0, 2), GroupOrder::Ascending);
    rig.fetch_ok(old, broken);
    // A transport may drop what a stream that is reset had brought, so look at what the relay did.
    let code = ResetCode::InternalError.to_wire(Draft::D16);
    let reset =
        |output: &Output| matches!(output, Output::Reset { code: sent, .. } if *sent == code);
    assert!(rig.far[&old].outputs.iter().any(reset));
    rig.assert_alive(old);
    assert_eq!(rig.fetched_properties(new, whole).len(), 2);
    assert_eq!(rig.got(new, whole).last().map(String::as_str), Some("end"));
    rig.end();
}

#[test]
fn a_fetch_beyond_62_bits_is_answered_where_only_draft_16_could_tell() {
    for (start, end) in [
        (at(0, 0), at(LARGE, 1)),
        (at(0, 0), at(u64::MAX, 0)),
        (at(0, LARGE), at(0, 0)),
        (at(LARGE, 0), at(LARGE, 1)),
    ] {
        let mut rig = Rig::new();
        let publisher = rig.publisher(Draft::D16);
        let peer = rig.connect(Draft::D18);
        let id = rig.fetch(peer, start, end, GroupOrder::Ascending);
        for (asked, from, ..) in rig.fetches_asked(publisher) {
            assert_eq!(from, start);
            rig.answer_fetch(publisher, asked, at(0, 1), &[(0, 0)]);
        }
        let answer = rig.answer(peer, id);
        assert!(answer.is_some(), "{start} to {end}");
        if start == at(0, 0) {
            rig.assert_fetched(peer, id, at(0, 1), &["{0, 0} 0.0", "end"]);
        }
        rig.assert_alive(publisher);
        rig.assert_alive(peer);
        rig.end();
    }
}

#[test]
fn a_delivery_timeout_of_zero_is_left_out_towards_draft_16() {
    let properties = [integer(OBJECT_DELIVERY_TIMEOUT, 0), integer(0x78, 300)];
    for (subscriber, expected) in [
        (Draft::D18, &properties[..]),
        (Draft::D16, &properties[1..]),
    ] {
        let mut rig = Rig::new();
        let running = rig.running_with((Draft::D18, subscriber), &properties);
        let ok = rig.ok(running.subscriber, running.down);
        assert_eq!(ok.properties, list(subscriber, expected));
        rig.group(running.publisher, running.up, 0, 1);
        let order = GroupOrder::Ascending;
        let fetch = rig.fetch(running.subscriber, at(0, 0), at(0, 1), order);
        let fetched = rig.fetch_ok(running.subscriber, fetch).properties;
        assert_eq!(fetched, list(subscriber, expected));
        rig.assert_alive(running.subscriber);
        rig.end();
    }
}

// Rules: B355
#[test]
fn the_subscribers_timeouts_are_the_relays_to_keep() {
    let both = Parameters {
        object_delivery_timeout: Some(Millis(0)),
        subgroup_delivery_timeout: Some(Millis(300)),
        ..Parameters::default()
    };
    for draft in Draft::ALL {
        let mut rig = Rig::new();
        let publisher = rig.publisher(draft);
        let subscriber = rig.connect(Draft::D18);
        let down = rig.subscribe_to(subscriber, track("v"), both.clone());
        let asked = rig.asked(publisher).remove(0);
        assert_eq!(asked.1.parameters.object_delivery_timeout, None);
        assert_eq!(asked.1.parameters.subgroup_delivery_timeout, None);
        rig.accept(publisher, asked.0);
        rig.ok(subscriber, down);
        rig.assert_alive(publisher);
        rig.end();
    }
}

#[test]
fn of_two_delivery_timeouts_draft_16_knows_that_of_objects() {
    let properties = [
        integer(OBJECT_DELIVERY_TIMEOUT, 700),
        integer(SUBGROUP_DELIVERY_TIMEOUT, 400),
    ];
    let mut rig = Rig::new();
    let running = rig.running_with((Draft::D18, Draft::D16), &properties);
    let ok = rig.ok(running.subscriber, running.down);
    let profile = Draft::D16.profile();
    assert_eq!(ok.properties.object_delivery_timeout(), Some(Millis(700)));
    assert_eq!(ok.properties.subgroup_delivery_timeout(profile), None);
    // To draft 16 the other is an unknown property, which stays where it is.
    assert_eq!(ok.properties, list(Draft::D16, &properties));
    rig.end();
}

// Rules: B184
#[test]
fn going_away_and_excessive_load_reach_draft_16_as_internal_error_with_a_retry_interval() {
    let later = Retry::After(Millis(70));
    for (code, retry) in [
        (RequestCode::GoingAway, Retry::Never),
        (RequestCode::GoingAway, later),
        (RequestCode::ExcessiveLoad, Retry::Never),
        (RequestCode::ExcessiveLoad, later),
    ] {
        for draft in Draft::ALL {
            let mut rig = Rig::new();
            let publisher = rig.publisher(Draft::D18);
            let subscriber = rig.connect(draft);
            let down = rig.subscribe(subscriber, "v");
            let up = rig.only_asked(publisher);
            let refusal = Refusal {
                retry,
                ..Refusal::new(code, "not now")
            };
            rig.respond(publisher, up, Response::Error(refusal));
            let got = rig.refusal(subscriber, down);
            match draft {
                Draft::D18 => assert_eq!((got.code, got.retry), (code, retry)),
                Draft::D16 => {
                    assert_eq!(got.code, RequestCode::InternalError);
                    assert_ne!(got.retry, Retry::Never, "{code}");
                    assert!(retry == Retry::Never || got.retry == retry);
                }
            }
            rig.end();
        }
    }
}

#[test]
fn a_relay_that_leaves_tells_those_who_wait_in_draft_16_to_try_again() {
    let mut rig = Rig::new();
    let publisher = rig.publisher(Draft::D18);
    let subscriber = rig.connect(Draft::D16);
    let down = rig.subscribe(subscriber, "v");
    rig.only_asked(publisher);
    rig.relay.handle_shutdown(rig.now);
    rig.pump();
    let refusal = rig.refusal(subscriber, down);
    assert_eq!(refusal.code, RequestCode::InternalError);
    assert!(matches!(refusal.retry, Retry::After(_)));
}

#[test]
fn a_redirect_that_is_not_followed_becomes_does_not_exist() {
    for draft in Draft::ALL {
        let mut rig = Rig::new();
        let publisher = rig.publisher(Draft::D18);
        let subscriber = rig.connect(draft);
        let down = rig.subscribe(subscriber, "v");
        let up = rig.only_asked(publisher);
        let refusal = Refusal {
            redirect: Some(Redirect {
                uri: Bytes::new(),
                track: FullTrackName::default(),
            }),
            ..Refusal::new(RequestCode::Redirect, "elsewhere")
        };
        rig.respond(publisher, up, Response::Error(refusal));
        rig.assert_refused(subscriber, down, RequestCode::DoesNotExist);
        rig.end();
    }
}

// Rules: B034
#[test]
fn first_object_is_told_to_draft_18_only_where_draft_16_shows_it() {
    for (subgroup, first, provable) in [(0, 0, true), (4, 0, true), (0, 3, false), (4, 4, false)] {
        let mut rig = Rig::new();
        let running = rig.running((Draft::D16, Draft::D18));
        let mut feed = rig.open(running.publisher, running.up, header(0, subgroup));
        rig.object(&mut feed, first, b"x");
        let got = rig.received(running.subscriber, running.down).remove(0);
        assert_eq!(got.header.first_object, provable, "{subgroup} {first}");
        rig.end();
    }
}
