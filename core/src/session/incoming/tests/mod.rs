mod random;

use std::time::Duration;

use super::*;
use crate::draft::Draft;
use crate::wire::id::{GroupId, Location, SubgroupId};
use crate::wire::object::{
    FetchEncoder, FetchEntry, FetchObject, ObjectHeader, ObjectStatus, encode_datagram,
    encode_object_header, encode_padding_stream, encode_subgroup_header,
};
use crate::wire::property::Properties;

const TRACK: TrackAlias = TrackAlias(7);
const SUBSCRIPTION: RequestId = RequestId(0);
const FETCH: RequestId = RequestId(2);
const SECOND: Duration = Duration::from_secs(1);

struct Bench {
    incoming: Incoming,
    draft: Draft,
    now: Time,
}

const fn stream(n: u64) -> StreamId {
    StreamId::peer(n)
}

fn at(group: u64, object: u64) -> Location {
    Location {
        group: GroupId(group),
        object: ObjectId(object),
    }
}

fn header(group: u64) -> SubgroupHeader {
    SubgroupHeader {
        group: GroupId(group),
        subgroup: SubgroupId(0),
        priority: Some(9),
        end_of_group: false,
        first_object: false,
    }
}

fn limits() -> Limits {
    Limits {
        max_early_streams: 2,
        max_early_datagrams: 2,
        early_data_timeout: 2 * SECOND,
        max_incoming_data_streams: 4,
        max_paused_streams: 1,
        max_ended_aliases: 1,
        publish_done_timeout: SECOND,
        ..Limits::default()
    }
}

fn bench_of(draft: Draft) -> Bench {
    Bench {
        incoming: Incoming::new(draft.profile(), &limits()),
        draft,
        now: Time::ZERO,
    }
}

fn bench() -> Bench {
    bench_of(Draft::D18)
}

/// A bench with a live subscription.
fn subscribed() -> Bench {
    let mut bench = bench();
    bench.bind();
    bench
}

/// The start of a subgroup's stream, and objects of one byte with the given ids.
fn subgroup(draft: Draft, header: &SubgroupHeader, ids: &[u64]) -> BytesMut {
    let objects: Vec<_> = ids
        .iter()
        .map(|id| (*id, ObjectStatus::Normal, Properties::default()))
        .collect();
    subgroup_of(draft, header, &objects)
}

fn subgroup_of(
    draft: Draft,
    header: &SubgroupHeader,
    objects: &[(u64, ObjectStatus, Properties)],
) -> BytesMut {
    let profile = draft.profile();
    let mut to = BytesMut::new();
    encode_subgroup_header(profile, TRACK, header, true, &mut to).unwrap();
    let mut previous = None;
    for (id, status, properties) in objects {
        let normal = *status == ObjectStatus::Normal;
        let object = ObjectHeader {
            id: ObjectId(*id),
            properties: properties.clone(),
            status: *status,
            payload_length: u64::from(normal),
        };
        encode_object_header(profile, true, previous, &object, &mut to).unwrap();
        if normal {
            to.extend_from_slice(b"x");
        }
        previous = Some(object.id);
    }
    to
}

impl Bench {
    fn bind(&mut self) {
        self.incoming
            .bind(self.now, SUBSCRIPTION, TRACK, 128)
            .unwrap();
    }

    fn wait(&mut self, span: Duration) {
        self.now = self.now + span;
        if self
            .incoming
            .poll_timeout()
            .is_some_and(|(at, _)| at <= self.now)
        {
            self.incoming.handle_timeout(self.now);
        }
    }

    /// The next stream to be read, if any.
    fn reads(&mut self) -> Option<u64> {
        let (stream, max) = self.incoming.poll_read()?;
        assert_eq!(max, limits().read_size);
        Some(stream.index())
    }

    fn answer(&mut self, n: u64, answer: Answer) -> Result<Vec<String>, Error> {
        self.incoming.answered(self.now, stream(n), answer)?;
        Ok(self.outcomes())
    }

    /// A new stream with these bytes, read at once.
    fn stream(&mut self, n: u64, bytes: &[u8]) -> Result<Vec<String>, Error> {
        self.incoming.opened(stream(n));
        self.more(n, bytes)
    }

    fn more(&mut self, n: u64, bytes: &[u8]) -> Result<Vec<String>, Error> {
        self.answer(n, Answer::Data(Bytes::copy_from_slice(bytes)))
    }

    /// A new subgroup's stream with these objects.
    fn subgroup(&mut self, n: u64, group: u64, ids: &[u64]) -> Vec<String> {
        let bytes = subgroup(self.draft, &header(group), ids);
        self.stream(n, &bytes).unwrap()
    }

    fn fin(&mut self, n: u64) -> Vec<String> {
        self.answer(n, Answer::Fin).unwrap()
    }

    fn outcomes(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.incoming.poll_outcome())
            .map(|outcome| words(&outcome))
            .collect()
    }

    fn datagram(&mut self, object: u64) -> Vec<String> {
        let object = DatagramObject {
            location: at(0, object),
            priority: None,
            properties: Properties::default(),
            status: ObjectStatus::Normal,
            end_of_group: false,
            payload: Bytes::from_static(b"x"),
        };
        let bytes = encode_datagram(self.draft.profile(), TRACK, &object).unwrap();
        self.incoming.datagram(self.now, &bytes).unwrap();
        self.outcomes()
    }

    fn done(&mut self, count: Option<u64>) -> Vec<String> {
        self.incoming
            .done(self.now, SUBSCRIPTION, count, Duration::ZERO);
        self.outcomes()
    }
}

/// An outcome in a few words.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "only some events come from here"
)]
fn words(outcome: &Outcome) -> String {
    let event = match outcome {
        Outcome::Event(event) => event,
        Outcome::Stop { stream, code } => return format!("stop {} {code}", stream.index()),
        Outcome::Control { stream, bytes } => {
            return format!("control {} {}", stream.index(), bytes.escape_ascii());
        }
        Outcome::Settled(id) => return format!("settled {}", id.0),
        Outcome::Malformed { request, rule } => return format!("malformed {} {rule}", request.0),
    };
    match event {
        Event::SubgroupOpened { stream, id, header } => format!(
            "opened {} for {} group {} subgroup {}",
            stream.index(),
            id.0,
            header.group.0,
            header.subgroup.0
        ),
        Event::Object { stream, object } if object.status == ObjectStatus::Normal => {
            format!("object {} of {}", object.id.0, stream.index())
        }
        Event::Object { stream, object } => {
            format!("{:?} {} of {}", object.status, object.id.0, stream.index())
        }
        Event::Payload { stream, bytes } => {
            format!("payload {} of {}", bytes.escape_ascii(), stream.index())
        }
        Event::SubgroupEnded { stream, end } => format!("ended {} {end:?}", stream.index()),
        Event::Datagram { id, object } => {
            format!("datagram {} for {}", object.location.object.0, id.0)
        }
        Event::Fetched { id, item } => match item {
            FetchItem::Object { location, .. } => format!(
                "fetched {}, {} for {}",
                location.group.0, location.object.0, id.0
            ),
            FetchItem::Payload(bytes) => format!("fetched {}", bytes.escape_ascii()),
            FetchItem::NonExistent(to) => format!("nothing to {}, {}", to.group.0, to.object.0),
            FetchItem::Unknown(to) => format!("unknown to {}, {}", to.group.0, to.object.0),
            FetchItem::End(end) => format!("fetch {} {end:?}", id.0),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn subgroup_is_told_as_it_comes() {
    for draft in Draft::ALL {
        let mut bench = bench_of(draft);
        bench.bind();
        let bytes = subgroup(draft, &header(3), &[0, 5]);
        // byte by byte
        bench.incoming.opened(stream(1));
        let mut told = Vec::new();
        for byte in &bytes {
            assert_eq!(bench.reads(), Some(1));
            told.extend(bench.more(1, &[*byte]).unwrap());
        }
        told.extend(bench.fin(1));
        assert_eq!(
            told,
            [
                "opened 1 for 0 group 3 subgroup 0",
                "object 0 of 1",
                "payload x of 1",
                "object 5 of 1",
                "payload x of 1",
                "ended 1 Fin"
            ]
        );
        assert!(!bench.incoming.owns(stream(1)));
    }
}

#[test]
fn subgroup_named_after_its_first_object_opens_with_it() {
    let mut bench = subscribed();
    assert_eq!(bench.stream(1, &[0x12, 7, 0, 9]).unwrap(), [""; 0]);
    assert_eq!(
        bench.more(1, &[4, 1, b'x']).unwrap(),
        [
            "opened 1 for 0 group 0 subgroup 4",
            "object 4 of 1",
            "payload x of 1"
        ]
    );
    // one that ends before its first object was never opened
    bench.stream(2, &[0x12, 7, 1, 9]).unwrap();
    assert_eq!(bench.fin(2), [""; 0]);
}

#[test]
fn streams_are_read_in_turn() {
    let mut bench = subscribed();
    for n in 1..4 {
        bench.incoming.opened(stream(n));
    }
    let order: Vec<_> = (0..5).map(|_| bench.reads().unwrap()).collect();
    assert_eq!(order, [1, 2, 3, 1, 2]);
    bench.answer(2, Answer::Blocked).unwrap();
    let order: Vec<_> = (0..3).map(|_| bench.reads().unwrap()).collect();
    assert_eq!(order, [3, 1, 3]);
    bench.incoming.readable(stream(2));
    assert_eq!(bench.reads(), Some(1));
    assert_eq!(bench.reads(), Some(2));
}

#[test]
fn control_stream_is_handed_on_with_its_bytes() {
    let mut bench = bench();
    assert_eq!(bench.stream(1, &[0xaf]).unwrap(), [""; 0]);
    assert_eq!(
        bench.more(1, &[0, 0, 0, 1]).unwrap(),
        ["control 1 \\xaf\\x00\\x00\\x00\\x01"]
    );
    assert!(!bench.incoming.owns(stream(1)));
}

// Rules: B385
#[test]
fn padding_is_read_and_thrown_away() {
    let mut bench = bench();
    let mut bytes = BytesMut::new();
    encode_padding_stream(bench.draft.profile(), &mut bytes).unwrap();
    bytes.extend_from_slice(&[0; 50]);
    assert_eq!(bench.stream(1, &bytes).unwrap(), [""; 0]);
    assert_eq!(bench.reads(), Some(1));
    assert_eq!(bench.more(1, &[0; 50]).unwrap(), [""; 0]);
    assert_eq!(bench.fin(1), [""; 0]);
}

// Rules: B071
#[test]
fn unknown_stream_type_closes_session_v67() {
    let error = bench().stream(1, &[0x2a]).unwrap_err();
    assert_eq!(error.code, SessionCode::ProtocolViolation);
    assert!(error.rule.starts_with("V67"));
    // a control stream or padding in draft 16, where there is none
    for bytes in [&[0x6f, 0x00][..], &[0x93, 0x2b, 0x3e, 0x28]] {
        let error = bench_of(Draft::D16).stream(1, bytes).unwrap_err();
        assert!(error.rule.starts_with("V67"));
    }
}

// Rules: B373
#[test]
fn reserved_subgroup_id_mode_closes_session_v68() {
    let error = bench().stream(1, &[0x16]).unwrap_err();
    assert!(error.rule.starts_with("V68"));
}

// Rules: B371
#[test]
fn fin_inside_type_header_or_object_closes_session_v75() {
    let bytes = subgroup(Draft::D18, &header(3), &[0, 5]);
    for cut in 1..bytes.len() {
        let mut bench = subscribed();
        bench.stream(1, &bytes[..cut]).unwrap();
        // whole after the header and after the first object
        match bench.answer(1, Answer::Fin) {
            Ok(_) => assert!(cut == 4 || cut == 8, "cut at {cut}"),
            Err(error) => {
                assert!(cut != 4 && cut != 8, "cut at {cut}");
                assert_eq!(error.code, SessionCode::ProtocolViolation);
                assert!(error.rule.starts_with("V75"));
            }
        }
    }
    let mut bench = bench();
    bench.stream(1, &[0xaf]).unwrap();
    let error = bench.answer(1, Answer::Fin).unwrap_err();
    assert!(error.rule.starts_with("V75"), "inside the type");
}

#[test]
fn stream_that_ends_without_a_byte_means_nothing() {
    let mut bench = bench();
    bench.incoming.opened(stream(1));
    assert_eq!(bench.fin(1), [""; 0]);
    assert!(!bench.incoming.owns(stream(1)));
}

#[test]
fn reset_inside_an_object_is_told() {
    let mut bench = subscribed();
    let bytes = subgroup(bench.draft, &header(3), &[0]);
    bench.stream(1, &bytes[..bytes.len() - 1]).unwrap();
    assert_eq!(
        bench.answer(1, Answer::Reset(2)).unwrap(),
        ["ended 1 Reset(DeliveryTimeout)"]
    );
}

#[test]
fn data_before_the_alias_waits_unread_and_is_delivered() {
    let mut bench = bench();
    let bytes = subgroup(bench.draft, &header(3), &[0]);
    assert_eq!(bench.stream(1, &bytes[..6]).unwrap(), [""; 0]);
    assert_eq!(bench.reads(), None, "not read on");
    bench.datagram(1);
    bench.bind();
    assert_eq!(
        bench.outcomes(),
        ["opened 1 for 0 group 3 subgroup 0", "datagram 1 for 0"]
    );
    assert_eq!(bench.reads(), Some(1));
    assert_eq!(
        bench.more(1, &bytes[6..]).unwrap(),
        ["object 0 of 1", "payload x of 1"]
    );
}

#[test]
fn early_data_is_bounded_in_number() {
    let mut bench = bench();
    for n in 1..3 {
        assert_eq!(bench.subgroup(n, n, &[0]), [""; 0]);
        assert_eq!(bench.datagram(n), [""; 0]);
    }
    assert_eq!(bench.subgroup(3, 3, &[0]), ["stop 3 EXCESSIVE_LOAD"]);
    bench.datagram(3);
    bench.bind();
    let told = bench.outcomes();
    assert_eq!(
        told.iter()
            .filter(|words| words.starts_with("opened"))
            .count(),
        2
    );
    assert_eq!(
        told[told.len() - 2..],
        ["datagram 2 for 0", "datagram 3 for 0"]
    );
}

#[test]
fn early_data_is_bounded_in_time() {
    let mut bench = bench();
    bench.subgroup(1, 1, &[0]);
    bench.wait(SECOND);
    bench.datagram(1);
    bench.wait(SECOND);
    assert_eq!(bench.outcomes(), ["stop 1 CANCELLED"]);
    bench.wait(SECOND);
    assert_eq!(bench.incoming.poll_timeout(), None);
    bench.bind();
    assert_eq!(bench.outcomes(), [""; 0], "the datagram was dropped");
}

#[test]
fn alias_of_another_live_track_closes_session_v40() {
    let mut bench = subscribed();
    let other = bench.incoming.bind(bench.now, RequestId(4), TRACK, 128);
    assert_eq!(other.unwrap_err().code, SessionCode::DuplicateTrackAlias);
    bench.incoming.forget(SUBSCRIPTION, ResetCode::Cancelled);
    let again = bench.incoming.bind(bench.now, RequestId(4), TRACK, 128);
    assert_eq!(again, Ok(()), "its subscription is over");
    assert_eq!(
        bench.subgroup(1, 0, &[])[0],
        "opened 1 for 4 group 0 subgroup 0"
    );
}

// Rules: B217
#[test]
fn late_data_of_a_cancelled_subscription_is_discarded_b217() {
    let mut bench = subscribed();
    bench.subgroup(1, 0, &[]);
    bench.incoming.forget(SUBSCRIPTION, ResetCode::Cancelled);
    assert_eq!(bench.outcomes(), ["stop 1 CANCELLED", "ended 1 Stopped"]);
    assert_eq!(bench.subgroup(2, 1, &[0]), ["stop 2 CANCELLED"]);
    assert_eq!(bench.datagram(1), [""; 0]);
    assert_eq!(bench.incoming.poll_timeout(), None, "nothing waits");
    // one alias is remembered: the next one takes its place
    bench
        .incoming
        .bind(bench.now, RequestId(4), TrackAlias(8), 128)
        .unwrap();
    bench.incoming.forget(RequestId(4), ResetCode::Cancelled);
    assert_eq!(
        bench.subgroup(3, 1, &[0]),
        [""; 0],
        "unknown again, so it waits"
    );
    assert!(bench.incoming.poll_timeout().is_some());
}

#[test]
fn stream_table_is_bounded_and_silent_streams_go_first() {
    let mut bench = subscribed();
    for n in 1..4 {
        bench.subgroup(n, n, &[]);
    }
    bench.incoming.opened(stream(4));
    bench.incoming.opened(stream(5));
    assert_eq!(bench.outcomes(), ["stop 4 EXCESSIVE_LOAD"]);
    bench
        .more(5, &subgroup(bench.draft, &header(5), &[]))
        .unwrap();
    bench.incoming.opened(stream(6));
    assert_eq!(
        bench.outcomes(),
        ["stop 6 EXCESSIVE_LOAD"],
        "none is silent"
    );
    assert!(!bench.incoming.owns(stream(6)));
}

#[test]
fn paused_stream_is_not_read_until_resumed() {
    let mut bench = subscribed();
    bench.subgroup(1, 0, &[]);
    bench.incoming.pause(stream(1));
    assert_eq!(bench.reads(), None);
    bench.incoming.readable(stream(1));
    assert_eq!(bench.reads(), None);
    bench.incoming.resume(stream(1));
    assert_eq!(bench.reads(), Some(1));
}

// Rules: B326
#[test]
fn least_urgent_of_too_many_paused_streams_is_stopped() {
    let mut bench = subscribed();
    for (n, priority) in [(1, 200), (2, 3)] {
        let header = SubgroupHeader {
            priority: Some(priority),
            ..header(n)
        };
        bench
            .stream(n, &subgroup(bench.draft, &header, &[]))
            .unwrap();
        bench.incoming.pause(stream(n));
    }
    assert_eq!(
        bench.outcomes(),
        ["stop 1 EXCESSIVE_LOAD", "ended 1 Stopped"]
    );
    assert!(bench.incoming.owns(stream(2)));
}

#[test]
fn stopped_stream_ends_and_is_not_heard_of_again() {
    let mut bench = subscribed();
    bench.subgroup(1, 0, &[]);
    bench
        .incoming
        .stop(bench.now, stream(1), ResetCode::Cancelled);
    assert_eq!(bench.outcomes(), ["stop 1 CANCELLED", "ended 1 Stopped"]);
    assert_eq!(bench.more(1, b"late").unwrap(), [""; 0]);
    assert_eq!(bench.fin(1), [""; 0]);
}

#[test]
fn properties_too_large_stop_only_their_stream() {
    let mut bench = subscribed();
    let mut bytes = subgroup(bench.draft, &header(0), &[]);
    bytes.extend_from_slice(&[0, 0xc1, 0, 0]);
    assert_eq!(
        bench.stream(1, &bytes).unwrap(),
        [
            "opened 1 for 0 group 0 subgroup 0",
            "stop 1 EXCESSIVE_LOAD",
            "ended 1 Stopped"
        ]
    );
}

#[test]
fn subscription_is_over_when_as_many_streams_came_as_were_opened_b219() {
    let mut bench = subscribed();
    bench.subgroup(1, 0, &[]);
    assert_eq!(bench.done(Some(2)), [""; 0]);
    assert_eq!(bench.fin(1), ["ended 1 Fin"]);
    // one that comes late
    bench.subgroup(2, 1, &[]);
    assert_eq!(bench.fin(2), ["ended 2 Fin", "settled 0"]);
    assert_eq!(bench.incoming.poll_timeout(), None);
    assert_eq!(bench.subgroup(3, 2, &[0]), ["stop 3 CANCELLED"]);
}

#[test]
fn subscription_without_streams_is_over_at_once_b223() {
    assert_eq!(subscribed().done(Some(0)), ["settled 0"]);
}

// Rules: B221, B225
#[test]
fn unknown_or_too_high_stream_count_is_waited_for_in_vain_b221_b224_b225() {
    for count in [None, Some(9)] {
        let mut bench = subscribed();
        bench.subgroup(1, 0, &[]);
        bench.fin(1);
        assert_eq!(bench.done(count), [""; 0]);
        bench.wait(SECOND / 2);
        assert_eq!(bench.subgroup(2, 1, &[]).len(), 1, "late, but taken");
        assert_eq!(bench.fin(2), ["ended 2 Fin"]);
        bench.wait(SECOND - Duration::from_micros(1));
        assert_eq!(bench.outcomes(), [""; 0]);
        bench.wait(Duration::from_micros(1));
        assert_eq!(bench.outcomes(), ["settled 0"]);
    }
}

#[test]
fn too_low_stream_count_cuts_nothing_off_v88() {
    let mut bench = subscribed();
    for n in 1..3 {
        bench.subgroup(n, n, &[]);
    }
    assert_eq!(bench.done(Some(1)), [""; 0]);
    assert_eq!(bench.fin(1), ["ended 1 Fin"]);
    bench.subgroup(3, 3, &[]);
    for n in 2..4 {
        assert_eq!(bench.fin(n), [format!("ended {n} Fin")]);
    }
    bench.wait(SECOND);
    assert_eq!(bench.outcomes(), ["settled 0"]);
}

// Rules: B221
#[test]
fn longer_delivery_timeout_is_waited_for_b221() {
    let mut bench = subscribed();
    bench
        .incoming
        .done(bench.now, SUBSCRIPTION, None, 3 * SECOND);
    bench.wait(2 * SECOND);
    assert_eq!(bench.outcomes(), [""; 0]);
    bench.wait(SECOND);
    assert_eq!(bench.outcomes(), ["settled 0"]);
}

// Rules: B222
#[test]
fn stream_that_goes_silent_after_publish_done_is_stopped_b222() {
    let mut bench = subscribed();
    let bytes = subgroup(bench.draft, &header(0), &[0, 1]);
    bench.stream(1, &bytes[..8]).unwrap();
    bench.done(Some(1));
    bench.wait(SECOND / 2);
    bench.more(1, &bytes[8..9]).unwrap();
    bench.wait(SECOND / 2);
    assert_eq!(bench.outcomes(), [""; 0], "it is still coming");
    bench.wait(SECOND / 2);
    assert_eq!(
        bench.outcomes(),
        ["stop 1 CANCELLED", "ended 1 Stopped", "settled 0"]
    );
}

fn fetched(location: Location, priority: u8) -> FetchEntry {
    FetchEntry::Object(FetchObject {
        location,
        subgroup: Some(SubgroupId(1)),
        priority,
        properties: Properties::default(),
        payload_length: 1,
    })
}

fn fetch_stream(draft: Draft, order: GroupOrder, entries: &[FetchEntry]) -> BytesMut {
    let mut to = BytesMut::new();
    let mut encoder = FetchEncoder::new(draft.profile(), FETCH, order, &mut to).unwrap();
    for entry in entries {
        encoder.entry(entry, &mut to).unwrap();
        if matches!(entry, FetchEntry::Object(_)) {
            to.extend_from_slice(b"x");
        }
    }
    to
}

#[test]
fn fetch_is_told_in_the_order_that_was_asked_for() {
    for draft in Draft::ALL {
        let mut bench = bench_of(draft);
        bench.incoming.expect_fetch(FETCH, GroupOrder::Descending);
        let entries = [
            fetched(at(9, 0), 1),
            FetchEntry::Unknown(at(7, 3)),
            fetched(at(7, 4), 1),
            FetchEntry::NonExistent(at(6, 1)),
        ];
        let bytes = fetch_stream(draft, GroupOrder::Descending, &entries);
        assert_eq!(
            bench.stream(1, &bytes).unwrap(),
            [
                "fetched 9, 0 for 2",
                "fetched x",
                "unknown to 7, 3",
                "fetched 7, 4 for 2",
                "fetched x",
                "nothing to 6, 1"
            ]
        );
        assert_eq!(bench.fin(1), ["fetch 2 Fin"]);
        assert_eq!(
            bench.stream(2, &bytes).unwrap(),
            ["stop 2 CANCELLED"],
            "answered already"
        );
    }
}

#[test]
fn fetch_that_was_cancelled_or_never_asked_is_stopped() {
    let mut bench = bench();
    let bytes = fetch_stream(bench.draft, GroupOrder::Ascending, &[fetched(at(0, 0), 1)]);
    assert_eq!(bench.stream(1, &bytes).unwrap(), ["stop 1 CANCELLED"]);
    bench.incoming.expect_fetch(FETCH, GroupOrder::Ascending);
    bench.stream(2, &bytes[..3]).unwrap();
    assert_eq!(
        bench.stream(3, &bytes).unwrap(),
        ["stop 3 CANCELLED"],
        "a second one"
    );
    bench.incoming.forget(FETCH, ResetCode::Cancelled);
    assert_eq!(bench.outcomes(), ["stop 2 CANCELLED", "fetch 2 Stopped"]);
}

// Rules: V89 (16)
#[test]
fn fetch_out_of_order_is_malformed_v89() {
    let mut bench = bench_of(Draft::D16);
    bench.incoming.expect_fetch(FETCH, GroupOrder::Ascending);
    // groups 9, 7 where they should ascend; the writer believes that they should not
    let entries = [fetched(at(9, 0), 1), fetched(at(7, 0), 1)];
    let bytes = fetch_stream(bench.draft, GroupOrder::Descending, &entries);
    assert_eq!(
        bench.stream(1, &bytes).unwrap(),
        [
            "fetched 9, 0 for 2",
            "fetched x",
            "malformed 2 V89: group out of order in a FETCH",
            "stop 1 MALFORMED_TRACK",
            "fetch 2 Stopped"
        ]
    );
}

// Rules: B039
#[test]
fn malformed_track_ends_the_subscription_and_its_object_is_not_passed_on_b038_b041() {
    let mut bench = subscribed();
    bench.subgroup(1, 0, &[]);
    let ended = subgroup_of(
        bench.draft,
        &SubgroupHeader {
            subgroup: SubgroupId(1),
            ..header(0)
        },
        &[(3, ObjectStatus::EndOfGroup, Properties::default())],
    );
    bench.stream(2, &ended).unwrap();
    // object 3 of group 0, which has no more than 3
    assert_eq!(
        bench.more(1, &[3, 0, 1, b'x']).unwrap(),
        [
            "malformed 0 V89: object beyond the end of its group",
            "stop 1 MALFORMED_TRACK",
            "ended 1 Stopped",
            "stop 2 MALFORMED_TRACK",
            "ended 2 Stopped"
        ]
    );
    assert_eq!(bench.subgroup(3, 1, &[0]), ["stop 3 CANCELLED"]);
}

#[test]
fn malformed_early_data_stops_the_rest_of_it() {
    let mut bench = bench();
    let mandatory = Properties::from_bytes(
        vec![0xc0, 0x40, 0x00, 1].into(),
        bench.draft.profile().integers,
    );
    let bytes = subgroup_of(
        bench.draft,
        &header(0),
        &[(0, ObjectStatus::Normal, mandatory)],
    );
    bench.stream(1, &bytes).unwrap();
    bench.subgroup(2, 1, &[0]);
    bench.bind();
    assert_eq!(
        bench.outcomes(),
        [
            "opened 1 for 0 group 0 subgroup 0",
            "malformed 0 V51: mandatory track property on an object",
            "stop 1 MALFORMED_TRACK",
            "ended 1 Stopped",
            "stop 2 CANCELLED"
        ]
    );
    assert_eq!(bench.incoming.poll_timeout(), None);
}

#[test]
fn properties_that_cannot_be_read_close_the_session_v2() {
    let mut bench = subscribed();
    let cut = Properties::from_bytes(vec![2].into(), bench.draft.profile().integers);
    let bytes = subgroup_of(bench.draft, &header(0), &[(0, ObjectStatus::Normal, cut)]);
    let error = bench.stream(1, &bytes).unwrap_err();
    assert_eq!(error.code, SessionCode::ProtocolViolation);
}

#[test]
fn payload_is_not_copied() {
    let mut bench = subscribed();
    let bytes = subgroup(bench.draft, &header(3), &[0]).freeze();
    bench.incoming.opened(stream(1));
    bench
        .incoming
        .answered(bench.now, stream(1), Answer::Data(bytes.clone()))
        .unwrap();
    let outcomes = std::iter::from_fn(|| bench.incoming.poll_outcome());
    let payload = outcomes.last();
    let Some(Outcome::Event(Event::Payload { bytes: payload, .. })) = payload else {
        panic!("{payload:?}");
    };
    assert_eq!(payload.as_ptr(), bytes[bytes.len() - 1..].as_ptr());
}
