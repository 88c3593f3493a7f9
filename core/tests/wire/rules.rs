//! Rules that close the session, each with bytes that break it; and what a draft cannot say.

use oxymoq_core::code::{DoneCode, RequestCode, SessionCode};
use oxymoq_core::draft::{Draft, MessageType, Scope};
use oxymoq_core::wire::Role;
use oxymoq_core::wire::id::{Location, Millis, RequestId};
use oxymoq_core::wire::message::{
    Channel, GoAway, Interest, Message, Namespace, PublishBlocked, PublishDone, Redirect,
    RequestError, RequestOk, RequestUpdate, Retry, Setup, Subscribe, SubscribeNamespace,
};
use oxymoq_core::wire::name::{FullTrackName, TrackName, TrackNamespace};
use oxymoq_core::wire::param::{Filter, Parameters, Token};
use oxymoq_core::wire::property::{Properties, Value};

use super::{bytes, hex, origin};

const SERVER_CONTROL: (Role, Channel) = (Role::Server, Channel::Control);
const CLIENT_CONTROL: (Role, Channel) = (Role::Client, Channel::Control);
const SERVER_REQUEST: (Role, Channel) = (Role::Server, Channel::Request);
const CLIENT_REQUEST: (Role, Channel) = (Role::Client, Channel::Request);

/// Decodes a body that breaks a rule.
#[track_caller]
fn refused(draft: u8, from: (Role, Channel), number: u64, body: &str, rule: &str) {
    refused_with(
        SessionCode::ProtocolViolation,
        draft,
        from,
        number,
        body,
        rule,
    );
}

#[track_caller]
fn refused_with(
    code: SessionCode,
    draft: u8,
    (sender, channel): (Role, Channel),
    number: u64,
    body: &str,
    rule: &str,
) {
    let draft = Draft::from_number(draft).unwrap();
    let error = Message::decode(origin(draft, sender, channel), number, &hex(body)).unwrap_err();
    assert!(error.rule.starts_with(rule), "{error}");
    assert_eq!(error.code, code, "{error}");
}

#[track_caller]
fn accepted(draft: u8, (sender, channel): (Role, Channel), number: u64, body: &str) -> Message {
    let draft = Draft::from_number(draft).unwrap();
    Message::decode(origin(draft, sender, channel), number, &hex(body)).unwrap()
}

// Rules: B090
#[test]
fn v1_unknown_message_type() {
    for draft in Draft::ALL {
        let known: Vec<u64> = MessageType::ALL
            .into_iter()
            .filter_map(|kind| kind.number(draft))
            .collect();
        for number in (0..0x100).filter(|number| !known.contains(number)) {
            refused(draft.number(), CLIENT_CONTROL, number, "", "V1:");
        }
    }
    // each draft has messages that the other one has not
    refused(18, CLIENT_CONTROL, 0x20, "00", "V1:");
    refused(18, CLIENT_REQUEST, 0x11, "0200 0100", "V1:");
    refused(18, CLIENT_REQUEST, 0x0A, "00", "V1:");
    refused(16, CLIENT_REQUEST, 0x50, "020000", "V1:");
    refused(16, CLIENT_CONTROL, 0x2F00, "", "V1:");
}

// Rules: B091
#[test]
fn v2_length_does_not_match_the_body() {
    refused(16, CLIENT_CONTROL, 0x0A, "", "V2:");
    refused(16, CLIENT_CONTROL, 0x0A, "0000", "V2:");
    refused(18, SERVER_REQUEST, 0x08, "01 04 6c6976", "V2:");
    refused(18, SERVER_REQUEST, 0x08, "01 04 6c69766500", "V2:");
    // a count of parameters that the message cannot hold
    refused(
        18,
        CLIENT_REQUEST,
        0x06,
        "00 01 01 61 ffffffffffffffffff",
        "V2:",
    );
    // a length that is not even a size
    refused(18, SERVER_REQUEST, 0x08, "01 ffffffffffffffffff", "V2:");
    // properties cut short
    refused(18, SERVER_REQUEST, 0x04, "01 00 0e", "V2:");
    // a redirect is missing
    refused(18, SERVER_REQUEST, 0x05, "34 00 00", "V2:");
    // 18's GOAWAY needs its request id on the control stream and must not have one elsewhere
    refused(18, SERVER_CONTROL, 0x10, "00 00", "V2:");
    refused(18, SERVER_REQUEST, 0x10, "00 00 00", "V2:");
}

#[test]
fn v5_the_other_sides_setup() {
    refused(16, CLIENT_CONTROL, 0x21, "00", "V5:");
    refused(16, SERVER_CONTROL, 0x20, "00", "V5:");
}

// Rules: B150 (18), B152 (18)
#[test]
fn v12_unknown_setup_options_are_passed_over_however_often() {
    let message = accepted(
        18,
        CLIENT_CONTROL,
        0x2F00,
        "01 01 2f 01 05 00 07 810d 02 6162 00 00",
    );
    let Message::Setup(setup) = message else {
        panic!("not a set-up")
    };
    assert_eq!(setup.path, Some(bytes("/")));
    // MAX_REQUEST_ID is unknown to draft 18
    let message = accepted(18, CLIENT_CONTROL, 0x2F00, "02 05 00 05");
    assert_eq!(message, Message::Setup(Setup::default()));
}

// Rules: B101
#[test]
fn v13_repeated_parameter() {
    refused(18, CLIENT_CONTROL, 0x2F00, "01 01 2f 00 01 2f", "V13:");
    refused(16, CLIENT_CONTROL, 0x20, "02 02 05 00 05", "V13:");
    refused(
        18,
        CLIENT_REQUEST,
        0x03,
        "00 01 01 61 00 02 10 01 00 01",
        "V13:",
    );
    refused(
        16,
        CLIENT_CONTROL,
        0x03,
        "00 01 01 61 00 02 10 01 00 01",
        "V13:",
    );
    // tokens may be repeated
    accepted(
        18,
        CLIENT_REQUEST,
        0x03,
        "00 01 01 61 00 02 03 02 0300 00 02 0301",
    );
}

// Rules: B100
#[test]
fn v14_unknown_message_parameter() {
    refused(
        18,
        CLIENT_REQUEST,
        0x03,
        "00 01 01 61 00 01 07 01 00",
        "V14:",
    );
    refused(
        16,
        CLIENT_CONTROL,
        0x03,
        "00 01 01 61 00 01 07 01 00",
        "V14:",
    );
    // RENDEZVOUS_TIMEOUT is unknown to draft 16
    accepted(18, CLIENT_REQUEST, 0x03, "00 01 01 61 00 01 04 05");
    refused(16, CLIENT_CONTROL, 0x03, "00 01 01 61 00 01 04 05", "V14:");
}

// Rules: B103
#[test]
fn v15_a_parameter_in_the_wrong_message() {
    // EXPIRES in a SUBSCRIBE
    refused(18, CLIENT_REQUEST, 0x03, "00 01 01 61 00 01 08 05", "V15:");
    // SUBSCRIPTION_FILTER in a TRACK_STATUS
    refused(
        18,
        CLIENT_REQUEST,
        0x0D,
        "00 01 01 61 00 01 21 01 02",
        "V15:",
    );
    // any known one in a FETCH_OK
    refused(18, SERVER_REQUEST, 0x18, "00 03 00 01 10 01", "V15:");
    // draft 16 passes over it, whatever its value
    let message = accepted(16, CLIENT_CONTROL, 0x03, "00 01 01 61 00 02 08 05 01 01 ff");
    let Message::Subscribe(subscribe) = message else {
        panic!("not a SUBSCRIBE")
    };
    assert_eq!(subscribe.parameters, Parameters::default());
}

#[test]
fn v15_is_checked_again_when_the_kind_of_request_is_known() {
    let forward = Parameters {
        forward: Some(false),
        ..Parameters::default()
    };
    let d16 = Draft::D16.profile();
    let d18 = Draft::D18.profile();
    let mut parameters = forward.clone();
    assert_eq!(parameters.check_scope(d18, Scope::PUBLISH_OK), Ok(()));
    assert_eq!(
        parameters.check_scope(d18, Scope::UPDATE_SUBSCRIPTION),
        Ok(())
    );
    assert_eq!(parameters, forward);
    for scope in [Scope::UPDATE_FETCH, Scope::UPDATE_OK, Scope::NAMESPACE_OK] {
        let error = parameters.check_scope(d18, scope).unwrap_err();
        assert!(error.rule.starts_with("V15:"));
        assert!(parameters.expressible(d18, scope).is_err());
    }
    assert_eq!(parameters.check_scope(d16, Scope::UPDATE_FETCH), Ok(()));
    assert_eq!(parameters, Parameters::default());
}

// Rules: B004
#[test]
fn v16_a_value_longer_than_65535_bytes() {
    refused(18, CLIENT_CONTROL, 0x2F00, "01 c10000", "V16:");
    refused(16, CLIENT_CONTROL, 0x20, "01 01 80010000", "V16:");
    refused(18, SERVER_REQUEST, 0x04, "01 00 0d c10000", "V16:");
}

// Rules: B003, B099
#[test]
fn v17_a_type_above_the_largest_integer() {
    refused(
        18,
        CLIENT_CONTROL,
        0x2F00,
        "02 00 ffffffffffffffffff",
        "V17:",
    );
    refused(
        18,
        CLIENT_REQUEST,
        0x03,
        "00 01 01 61 00 02 02 05 ffffffffffffffffff",
        "V17:",
    );
    refused(
        18,
        SERVER_REQUEST,
        0x04,
        "01 00 02 05 ffffffffffffffffff",
        "V17:",
    );
    // in draft 16 it takes five of the largest steps
    let steps = |count: usize| format!("{count:02x} {}", "ffffffffffffffff 00".repeat(count));
    accepted(16, CLIENT_CONTROL, 0x20, &steps(4));
    refused(16, CLIENT_CONTROL, 0x20, &steps(5), "V17:");
    let properties = |count: usize| format!("00 01 00 {}", "ffffffffffffffff 00".repeat(count));
    accepted(16, SERVER_CONTROL, 0x04, &properties(4));
    refused(16, SERVER_CONTROL, 0x04, &properties(5), "V17:");
}

// Rules: B005 (16)
#[test]
fn v18_a_location_that_is_none() {
    let formatting = SessionCode::KeyValueFormattingError;
    refused_with(
        formatting,
        16,
        SERVER_CONTROL,
        0x04,
        "00 01 01 09 01 05",
        "V18:",
    );
    refused_with(
        formatting,
        16,
        SERVER_CONTROL,
        0x04,
        "00 01 01 09 03 050505",
        "V18:",
    );
}

// Rules: B104
#[test]
fn v19_a_filter_of_another_length() {
    for (draft, from) in [(16, CLIENT_CONTROL), (18, CLIENT_REQUEST)] {
        refused(draft, from, 0x03, "00 01 01 61 00 01 21 02 0200", "V19:");
        refused(draft, from, 0x03, "00 01 01 61 00 01 21 02 0301", "V19:");
        refused(draft, from, 0x03, "00 01 01 61 00 01 21 00", "V19:");
    }
}

// Rules: B006
#[test]
fn v20_a_reason_of_more_than_1024_bytes() {
    let reason = |length: usize| format!("10 00 {:04x} {}", 0x8000 + length, "61".repeat(length));
    accepted(18, SERVER_REQUEST, 0x05, &reason(1024));
    refused(18, SERVER_REQUEST, 0x05, &reason(1025), "V20:");
    let reason =
        |length: usize| format!("00 02 00 {:04x} {}", 0x4000 + length, "61".repeat(length));
    accepted(16, SERVER_CONTROL, 0x0B, &reason(1024));
    refused(16, SERVER_CONTROL, 0x0B, &reason(1025), "V20:");
}

// Rules: B013
#[test]
fn v21_a_namespace_without_fields() {
    refused(16, CLIENT_CONTROL, 0x03, "00 00 01 76 00", "V21:");
    refused(16, CLIENT_CONTROL, 0x06, "00 00 00", "V21:");
    // prefixes and suffixes may be empty, and in draft 18 namespaces too
    accepted(16, CLIENT_REQUEST, 0x11, "00 00 01 00");
    accepted(16, SERVER_REQUEST, 0x08, "00");
    accepted(18, CLIENT_REQUEST, 0x03, "00 00 01 76 00");
    accepted(18, CLIENT_REQUEST, 0x06, "00 00 00");
}

// Rules: B013, B015
#[test]
fn v22_more_than_32_fields() {
    let fields = |count: usize| format!("{count:02x} {}", "01 61".repeat(count));
    for draft in [16, 18] {
        accepted(draft, SERVER_REQUEST, 0x08, &fields(32));
        refused(draft, SERVER_REQUEST, 0x08, &fields(33), "V22:");
    }
    // also in the prefix of who asks for namespaces, or tracks
    for (draft, number, end) in [(16, 0x11, "01 00"), (18, 0x50, "00"), (18, 0x51, "00")] {
        let prefix = |count: usize| format!("00 {} {end}", fields(count));
        accepted(draft, CLIENT_REQUEST, number, &prefix(32));
        refused(draft, CLIENT_REQUEST, number, &prefix(33), "V22:");
    }
}

// Rules: B012
#[test]
fn v23_an_empty_field() {
    for draft in [16, 18] {
        refused(draft, SERVER_REQUEST, 0x08, "01 00", "V23:");
        refused(draft, SERVER_REQUEST, 0x08, "02 01 61 00", "V23:");
    }
}

// Rules: B014
#[test]
fn v24_a_name_of_more_than_4096_bytes() {
    let track = |name: usize| {
        let field = "61".repeat(2048);
        format!(
            "00 02 8800{field} 8800{field} {name:02x}{} 00",
            "61".repeat(name)
        )
    };
    accepted(18, CLIENT_REQUEST, 0x03, &track(0));
    refused(18, CLIENT_REQUEST, 0x03, &track(1), "V24:");
    let namespace = format!("02 9000{} 01 61", "61".repeat(4096));
    refused(18, SERVER_REQUEST, 0x08, &namespace, "V24:");
    let namespace = format!("02 5000{} 01 61", "61".repeat(4096));
    refused(16, SERVER_REQUEST, 0x08, &namespace, "V24:");
}

// Rules: B109
#[test]
fn v41_unknown_filter_type() {
    for (draft, from) in [(16, CLIENT_CONTROL), (18, CLIENT_REQUEST)] {
        refused(draft, from, 0x03, "00 01 01 61 00 01 21 01 05", "V41:");
        refused(draft, from, 0x03, "00 01 01 61 00 01 21 01 00", "V41:");
    }
}

// Rules: B110 (18)
#[test]
fn v42_a_last_group_beyond_the_largest_integer() {
    refused(
        18,
        CLIENT_REQUEST,
        0x03,
        "00 01 01 61 00 01 21 0c 04 02 00 ffffffffffffffffff",
        "V42:",
    );
    // in draft 16 a range can end before it starts, which is for the application to refuse
    let message = accepted(
        16,
        CLIENT_CONTROL,
        0x03,
        "00 01 01 61 00 01 21 04 04 05 00 03",
    );
    let Message::Subscribe(subscribe) = message else {
        panic!("not a SUBSCRIBE")
    };
    let Some(Filter::AbsoluteRange { start, end_group }) = subscribe.parameters.filter else {
        panic!("not a range")
    };
    assert!(end_group < start.group);
}

// Rules: B105, B106, B107, B108
#[test]
fn v43_v44_v46_v47_values_out_of_range() {
    for (draft, from) in [(16, CLIENT_CONTROL), (18, CLIENT_REQUEST)] {
        refused(draft, from, 0x03, "00 01 01 61 00 01 10 02", "V43:");
        refused(draft, from, 0x03, "00 01 01 61 00 01 22 00", "V44:");
        refused(draft, from, 0x03, "00 01 01 61 00 01 22 03", "V44:");
    }
    refused(
        16,
        CLIENT_CONTROL,
        0x03,
        "00 01 01 61 00 01 20 4100",
        "V46:",
    );
    refused(16, CLIENT_CONTROL, 0x03, "00 01 01 61 00 01 02 00", "V47:");
    accepted(18, CLIENT_REQUEST, 0x03, "00 01 01 61 00 01 02 00");
}

// Rules: B108, B119, B120
#[test]
fn v47_v48_v49_properties_out_of_range() {
    refused(16, SERVER_CONTROL, 0x04, "00 01 00 02 00", "V47:");
    accepted(18, SERVER_REQUEST, 0x04, "01 00 02 00");
    for (draft, body) in [(16, "00 01 00"), (18, "01 00")] {
        refused(
            draft,
            SERVER_REQUEST,
            0x04,
            &format!("{body} 30 02"),
            "V48:",
        );
        refused(
            draft,
            SERVER_REQUEST,
            0x04,
            &format!("{body} 22 03"),
            "V49:",
        );
        refused(
            draft,
            SERVER_REQUEST,
            0x04,
            &format!("{body} 22 00"),
            "V49:",
        );
        // also among the immutable ones
        refused(
            draft,
            SERVER_REQUEST,
            0x04,
            &format!("{body} 0b 02 30 02"),
            "V48:",
        );
    }
    refused(
        18,
        SERVER_REQUEST,
        0x04,
        "01 00 0e 8100",
        "DEFAULT_PUBLISHER_PRIORITY",
    );
}

// Rules: B168, B169
#[test]
fn v53_v54_a_goaway_with_a_uri() {
    let uri = |length: usize| format!("{:06x} {} 00", 0xC0_0000 + length, "61".repeat(length));
    accepted(18, SERVER_REQUEST, 0x10, &uri(8192));
    refused(18, SERVER_REQUEST, 0x10, &uri(8193), "V53:");
    let uri = |length: usize| format!("{:04x} {}", 0x4000 + length, "61".repeat(length));
    accepted(16, SERVER_CONTROL, 0x10, &uri(8192));
    refused(16, SERVER_CONTROL, 0x10, &uri(8193), "V53:");
    refused(16, CLIENT_CONTROL, 0x10, "01 61", "V54:");
    refused(18, CLIENT_REQUEST, 0x10, "01 61 00", "V54:");
}

// Rules: B172
#[test]
fn v55_a_goaway_with_a_request_id_of_its_sender() {
    let code = SessionCode::InvalidRequestId;
    refused_with(code, 18, SERVER_CONTROL, 0x10, "00 00 01", "V55:");
    refused_with(code, 18, CLIENT_CONTROL, 0x10, "00 00 02", "V55:");
    accepted(18, SERVER_CONTROL, 0x10, "00 00 02");
}

// Rules: B182
#[test]
fn v58_a_server_redirected_to_a_uri() {
    refused(18, CLIENT_REQUEST, 0x05, "34 00 00 01 61 00 00", "V58:");
    accepted(18, SERVER_REQUEST, 0x05, "34 00 00 01 61 00 00");
    accepted(18, CLIENT_REQUEST, 0x05, "34 00 00 00 00 00");
}

// Rules: B005, B133
#[test]
fn v60_a_token_that_cannot_be_decoded() {
    let formatting = SessionCode::KeyValueFormattingError;
    for (draft, from) in [(16, CLIENT_CONTROL), (18, CLIENT_REQUEST)] {
        for token in ["00", "01 04", "01 00", "03 000000", "02 0105", "01 03"] {
            let body = format!("00 01 01 61 00 01 03 {token}");
            refused_with(formatting, draft, from, 0x03, &body, "V60:");
        }
    }
    // also in the set-up
    for token in ["00", "01 04", "02 0105"] {
        let body = format!("03 {token}");
        refused_with(formatting, 18, CLIENT_CONTROL, 0x2F00, &body, "V60:");
        let body = format!("01 {body}");
        refused_with(formatting, 16, CLIENT_CONTROL, 0x20, &body, "V60:");
    }
}

// Rules: B132
#[test]
fn v65_aliases_in_the_clients_setup() {
    for token in ["02 0001", "02 0201"] {
        let body = format!("03 {token}");
        refused(18, CLIENT_CONTROL, 0x2F00, &body, "V65:");
        accepted(18, SERVER_CONTROL, 0x2F00, &body);
        refused(16, CLIENT_CONTROL, 0x20, &format!("01 {body}"), "V65:");
    }
}

// Rules: B244
#[test]
fn v80_unknown_fetch_type() {
    for (draft, from) in [(16, CLIENT_CONTROL), (18, CLIENT_REQUEST)] {
        refused(draft, from, 0x16, "00 00 00 00 00", "V80:");
        refused(draft, from, 0x16, "00 04 00 00 00", "V80:");
    }
}

#[test]
fn fields_with_few_legal_values() {
    refused(
        16,
        CLIENT_REQUEST,
        0x11,
        "00 00 03 00",
        "unknown Subscribe Options",
    );
    refused(18, SERVER_REQUEST, 0x18, "02 03 00 00", "End Of Track");
}

#[test]
fn a_prefix_update_is_also_read_with_a_length_in_front() {
    let bare = accepted(18, CLIENT_REQUEST, 0x02, "02 01 34 01 04 6c697665");
    let with_length = accepted(18, CLIENT_REQUEST, 0x02, "02 01 34 06 01 04 6c697665");
    assert_eq!(bare, with_length);
    refused(18, CLIENT_REQUEST, 0x02, "02 01 34 05", "V2:");
    refused(18, CLIENT_REQUEST, 0x02, "02 01 34 02 01 61 00", "V23:");
    let Message::RequestUpdate(update) = accepted(18, CLIENT_REQUEST, 0x02, "02 01 34 00") else {
        panic!("not a REQUEST_UPDATE")
    };
    assert_eq!(
        update.parameters.track_namespace_prefix,
        Some(TrackNamespace::default())
    );
}

// Rules: B201
#[test]
fn publish_ok_of_draft_18_is_a_request_ok() {
    let message = accepted(18, CLIENT_REQUEST, 0x1E, "01 10 00");
    let Message::RequestOk(ok) = &message else {
        panic!("not a REQUEST_OK")
    };
    assert_eq!(ok.parameters.forward, Some(false));
    let bytes = message
        .encode(origin(Draft::D18, Role::Client, Channel::Request))
        .unwrap();
    assert_eq!(bytes, hex("07 0003 01 10 00"));
    let message = accepted(16, CLIENT_CONTROL, 0x1E, "05 01 10 00");
    let bytes = message
        .encode(origin(Draft::D16, Role::Client, Channel::Control))
        .unwrap();
    assert_eq!(bytes, hex("1e 0004 05 01 10 00"));
}

// Rules: B224
#[test]
fn the_largest_stream_count_stands_for_an_unknown_one() {
    let count = |draft, body| {
        let Message::PublishDone(done) = accepted(draft, SERVER_REQUEST, 0x0B, body) else {
            panic!("not a PUBLISH_DONE")
        };
        done.stream_count
    };
    assert_eq!(count(18, "02 ff3fffffffffffffff 00"), None);
    assert_eq!(count(18, "02 ff3ffffffffffffffe 00"), Some((1 << 62) - 2));
    assert_eq!(count(16, "00 02 ffffffffffffffff 00"), None);
    assert_eq!(count(16, "00 02 07 00"), Some(7));
}

fn encode(draft: Draft, from: (Role, Channel), message: Message) -> Option<&'static str> {
    let origin = origin(draft, from.0, from.1);
    message.encode(origin).err().map(|refused| refused.0)
}

fn subscribe(parameters: Parameters) -> Message {
    let namespace = TrackNamespace::new([bytes("live")]).unwrap();
    Message::Subscribe(Subscribe {
        request_id: RequestId(0),
        track: FullTrackName::new(namespace, TrackName::default()).unwrap(),
        parameters,
    })
}

#[test]
fn draft_16_cannot_say_what_came_later() {
    let d16 = |message| encode(Draft::D16, CLIENT_CONTROL, message);
    let later = Parameters {
        rendezvous_timeout: Some(Millis(5)),
        ..Parameters::default()
    };
    assert_eq!(d16(subscribe(later)), Some("RENDEZVOUS_TIMEOUT here"));
    let large = Parameters {
        new_group_request: Some(1 << 62),
        ..Parameters::default()
    };
    assert_eq!(d16(subscribe(large)), Some("an integer above 2^62 - 1"));
    let blocked = Message::PublishBlocked(PublishBlocked::default());
    assert_eq!(d16(blocked), Some("PUBLISH_BLOCKED"));
    let goaway = Message::GoAway(GoAway {
        timeout: Millis(5),
        ..GoAway::default()
    });
    assert!(d16(goaway).is_some());
    let ok = Message::RequestOk(RequestOk {
        request_id: Some(RequestId(1)),
        properties: Properties::from_list(
            Draft::D16.profile().integers,
            [(0x30, Value::Integer(1))],
        )
        .unwrap(),
        ..RequestOk::default()
    });
    assert_eq!(d16(ok), Some("properties in REQUEST_OK"));
    let ok = Message::RequestOk(RequestOk::default());
    assert_eq!(d16(ok), Some("a response without a request id"));
    let empty = Message::Subscribe(Subscribe {
        request_id: RequestId(0),
        track: FullTrackName::default(),
        parameters: Parameters::default(),
    });
    assert_eq!(d16(empty), Some("a track without a namespace"));
}

// Rules: B160
#[test]
fn draft_18_cannot_say_what_went() {
    let d18 = |message| encode(Draft::D18, CLIENT_REQUEST, message);
    assert_eq!(d18(Message::Unsubscribe(RequestId(0))), Some("UNSUBSCRIBE"));
    assert_eq!(d18(Message::MaxRequestId(5)), Some("MAX_REQUEST_ID"));
    let setup = Message::Setup(Setup {
        max_request_id: Some(1),
        ..Setup::default()
    });
    assert_eq!(d18(setup), Some("MAX_REQUEST_ID"));
    let both = Message::SubscribeNamespace(SubscribeNamespace {
        request_id: RequestId(0),
        prefix: TrackNamespace::default(),
        interest: Interest::Both,
        parameters: Parameters::default(),
    });
    assert_eq!(d18(both), Some("SUBSCRIBE_NAMESPACE for tracks"));
    let goaway = Message::GoAway(GoAway {
        request_id: Some(RequestId(1)),
        ..GoAway::default()
    });
    assert!(d18(goaway).is_some());
    let goaway = Message::GoAway(GoAway {
        uri: bytes("moqt://elsewhere"),
        ..GoAway::default()
    });
    assert_eq!(d18(goaway), Some("a client's GOAWAY to a URI"));
}

#[test]
fn a_timeout_of_zero_is_left_out_where_it_is_forbidden() {
    let none = Parameters {
        object_delivery_timeout: Some(Millis(0)),
        ..Parameters::default()
    };
    let from = origin(Draft::D16, Role::Client, Channel::Control);
    let without = subscribe(Parameters::default()).encode(from);
    assert_eq!(subscribe(none.clone()).encode(from), without);
    let update = Message::RequestUpdate(RequestUpdate {
        request_id: RequestId(2),
        existing_request_id: Some(RequestId(0)),
        parameters: none,
    });
    assert_eq!(
        encode(Draft::D16, CLIENT_CONTROL, update),
        Some("the removal of a delivery timeout")
    );
}

#[test]
fn a_redirect_goes_with_its_code() {
    let error = |code, redirect| {
        Message::RequestError(RequestError {
            request_id: Some(RequestId(0)),
            code,
            retry: Retry::After(Millis(0)),
            reason: bytes("there"),
            redirect,
        })
    };
    let server = SERVER_REQUEST;
    let redirect = || Some(Redirect::default());
    let there = error(RequestCode::Redirect, redirect());
    assert_eq!(encode(Draft::D18, server, there.clone()), None);
    assert_eq!(encode(Draft::D16, server, there), Some("a redirect"));
    let missing = error(RequestCode::Redirect, None);
    assert_eq!(
        encode(Draft::D18, server, missing.clone()),
        Some("REDIRECT without a redirect")
    );
    let other = error(RequestCode::DoesNotExist, redirect());
    assert_eq!(encode(Draft::D18, server, other), Some("a redirect"));
    // draft 16 is told that it does not exist here
    let bytes = missing
        .encode(origin(Draft::D16, Role::Server, Channel::Control))
        .unwrap();
    assert_eq!(bytes, hex("05 0009 00 10 01 05 7468657265"));
}

#[test]
fn what_does_not_fit_is_not_written() {
    let token = Token::UseValue {
        kind: 0,
        value: vec![0; 65_530].into(),
    };
    let large = Parameters {
        authorization_tokens: vec![token],
        ..Parameters::default()
    };
    assert_eq!(
        encode(Draft::D18, CLIENT_REQUEST, subscribe(large)),
        Some("a message of more than 65535 bytes")
    );
    let done = Message::PublishDone(PublishDone {
        request_id: None,
        code: DoneCode::TrackEnded,
        stream_count: Some((1 << 62) - 1),
        reason: bytes(""),
    });
    assert!(encode(Draft::D18, SERVER_REQUEST, done).is_some());
    let done = Message::PublishDone(PublishDone {
        request_id: None,
        code: DoneCode::TrackEnded,
        stream_count: None,
        reason: vec![b'a'; 1025].into(),
    });
    assert_eq!(
        encode(Draft::D18, SERVER_REQUEST, done),
        Some("a reason of more than 1024 bytes")
    );
    let backwards = Parameters {
        filter: Some(Filter::AbsoluteRange {
            start: Location::new(5, 0),
            end_group: oxymoq_core::wire::id::GroupId(4),
        }),
        ..Parameters::default()
    };
    assert_eq!(
        encode(Draft::D18, CLIENT_REQUEST, subscribe(backwards)),
        Some("a filter that ends before it starts")
    );
    let namespace = Message::Namespace(Namespace::default());
    assert_eq!(encode(Draft::D16, SERVER_REQUEST, namespace), None);
}
