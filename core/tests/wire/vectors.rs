//! Messages whose bytes are known: worked out by hand, and captured from other implementations.

use oxymoq_core::code::RequestCode;
use oxymoq_core::draft::Draft;
use oxymoq_core::wire::Role;
use oxymoq_core::wire::id::{Location, RequestId, TrackAlias};
use oxymoq_core::wire::message::{
    Channel, Fetch, FetchOk, FetchRange, GoAway, Interest, Message, Namespace, Origin,
    PublishBlocked, RequestError, RequestOk, RequestUpdate, Retry, Setup, Subscribe,
    SubscribeNamespace, SubscribeOk, SubscribeTracks,
};
use oxymoq_core::wire::name::{FullTrackName, TrackName, TrackNamespace};
use oxymoq_core::wire::param::{Filter, GroupOrder, Parameters};
use oxymoq_core::wire::property::{Properties, Value};

use super::{bytes, frame, hex, origin};

const IMAGES: &str = include_str!("../vectors/images.txt");
const SAMPLES: &str = include_str!("../vectors/samples.txt");
const CAPTURED: &str = include_str!("../vectors/captured.txt");

/// A line of a vector file.
pub(super) struct Vector {
    pub(super) origin: Origin,
    /// The type that the line names.
    pub(super) name: &'static str,
    pub(super) bytes: Vec<u8>,
    /// Whether this crate would write it so.
    pub(super) canonical: bool,
}

impl Vector {
    pub(super) fn decode(&self) -> Message {
        let frame = frame(self.origin.profile.draft, &self.bytes);
        let decoded = Message::decode(self.origin, frame.number, &frame.body);
        decoded.unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }
}

pub(super) fn all() -> impl Iterator<Item = Vector> {
    [IMAGES, SAMPLES, CAPTURED].into_iter().flat_map(parse)
}

fn parse(file: &'static str) -> impl Iterator<Item = Vector> {
    let lines = file
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| {
        let canonical = !line.starts_with('~');
        let mut words = line.trim_start_matches('~').trim_start().splitn(5, ' ');
        let mut word = || words.next().unwrap();
        let draft = Draft::from_number(word().parse().unwrap()).unwrap();
        let sender = match word() {
            "client" => Role::Client,
            "server" => Role::Server,
            other => panic!("no side: {other}"),
        };
        let channel = match word() {
            "control" => Channel::Control,
            "request" => Channel::Request,
            other => panic!("no stream: {other}"),
        };
        Vector {
            origin: origin(draft, sender, channel),
            name: word(),
            bytes: hex(word()),
            canonical,
        }
    })
}

#[test]
fn known_messages_are_read_and_written_back() {
    let mut count = 0;
    for vector in all() {
        let message = vector.decode();
        assert_eq!(message.message_type(vector.origin).name(), vector.name);
        let again = message.encode(vector.origin).unwrap();
        assert_eq!(again == vector.bytes, vector.canonical, "{message:?}");
        count += 1;
    }
    assert!(count > 150, "only {count} vectors");
}

fn track() -> FullTrackName {
    let name = TrackName::new(bytes("v")).unwrap();
    FullTrackName::new(live(), name).unwrap()
}

fn live() -> TrackNamespace {
    TrackNamespace::new([bytes("live")]).unwrap()
}

/// What the lines of the file of images say, in their order.
fn meanings() -> Vec<Message> {
    let setup = |path: Option<&'static str>, authority: Option<&'static str>, max_request_id| {
        Message::Setup(Setup {
            path: path.map(bytes),
            authority: authority.map(bytes),
            max_request_id,
            ..Setup::default()
        })
    };
    let subscribe = Message::Subscribe(Subscribe {
        request_id: RequestId(0),
        track: track(),
        parameters: Parameters {
            forward: Some(true),
            subscriber_priority: Some(128),
            filter: Some(Filter::LargestObject),
            group_order: Some(GroupOrder::Ascending),
            ..Parameters::default()
        },
    });
    let fetch = Message::Fetch(Fetch {
        request_id: RequestId(2),
        range: FetchRange::Standalone {
            track: track(),
            start: Location::new(0, 0),
            end: Location::new(2, 0),
        },
        parameters: Parameters {
            group_order: Some(GroupOrder::Ascending),
            ..Parameters::default()
        },
    });
    let subscribe_namespace = Message::SubscribeNamespace(SubscribeNamespace {
        request_id: RequestId(2),
        prefix: live(),
        interest: Interest::Namespaces,
        parameters: Parameters::default(),
    });
    let namespace = Message::Namespace(Namespace { suffix: live() });
    vec![
        setup(Some("/"), None, Some(100)),
        setup(None, None, Some(100)),
        setup(None, None, None),
        setup(Some("/"), Some("localhost"), None),
        subscribe.clone(),
        subscribe,
        subscribe_ok(Draft::D16, Some(0)),
        subscribe_ok(Draft::D18, None),
        Message::RequestOk(RequestOk::default()),
        does_not_exist(Some(0)),
        does_not_exist(None),
        fetch.clone(),
        fetch,
        fetch_ok(Some(2)),
        fetch_ok(None),
        subscribe_namespace.clone(),
        subscribe_namespace,
        Message::SubscribeTracks(SubscribeTracks {
            request_id: RequestId(2),
            prefix: live(),
            parameters: Parameters::default(),
        }),
        namespace.clone(),
        namespace,
        Message::PublishBlocked(PublishBlocked {
            suffix: live(),
            name: TrackName::new(bytes("v")).unwrap(),
        }),
        Message::RequestUpdate(RequestUpdate {
            request_id: RequestId(2),
            existing_request_id: None,
            parameters: Parameters {
                track_namespace_prefix: Some(live()),
                ..Parameters::default()
            },
        }),
        Message::GoAway(GoAway {
            request_id: Some(RequestId(1)),
            ..GoAway::default()
        }),
    ]
}

fn subscribe_ok(draft: Draft, id: Option<u64>) -> Message {
    let priority = [(0x0E, Value::Integer(10))];
    Message::SubscribeOk(SubscribeOk {
        request_id: id.map(RequestId),
        track_alias: TrackAlias(1),
        parameters: Parameters {
            largest_object: Some(Location::new(5, 300)),
            ..Parameters::default()
        },
        properties: Properties::from_list(draft.profile().integers, priority).unwrap(),
    })
}

fn does_not_exist(id: Option<u64>) -> Message {
    Message::RequestError(RequestError {
        request_id: id.map(RequestId),
        code: RequestCode::DoesNotExist,
        retry: Retry::Never,
        reason: bytes("hello"),
        redirect: None,
    })
}

fn fetch_ok(id: Option<u64>) -> Message {
    Message::FetchOk(FetchOk {
        request_id: id.map(RequestId),
        end_of_track: false,
        end: Location::new(3, 0),
        parameters: Parameters::default(),
        properties: Properties::default(),
    })
}

#[test]
fn images_mean_what_they_were_made_for() {
    let images: Vec<Vector> = parse(IMAGES).collect();
    let meanings = meanings();
    assert_eq!(images.len(), meanings.len());
    for (image, meaning) in images.iter().zip(meanings) {
        assert_eq!(image.decode(), meaning);
        assert_eq!(meaning.encode(image.origin).unwrap(), image.bytes);
    }
}
