//! What correct publishers publish: every object of every track follows from where it is, so that publishers never contradict
//! one another and whoever receives an object knows what it must be.

use bytes::Bytes;
use oxymoq_core::draft::IntegerKind;
use oxymoq_core::wire::id::{Location, ObjectId, SubgroupId};
use oxymoq_core::wire::name::{FullTrackName, TrackName, TrackNamespace};
use oxymoq_core::wire::object::{ObjectHeader, ObjectStatus};
use oxymoq_core::wire::property::{Properties, Value};

use crate::choices::Choices;

/// Groups of a track.
pub(crate) const GROUPS: u64 = 5;
/// Objects of a group; behind the last is a marker.
pub(crate) const OBJECTS: u64 = 8;
/// A property that is nobody's business.
const PROPERTY: u64 = 0x72;

/// Objects of a group take turns in two subgroups.
pub(crate) const fn subgroup(object: u64) -> SubgroupId {
    SubgroupId(object % 2)
}

pub(crate) fn payload(at: Location) -> Bytes {
    let (group, object) = (at.group.0 % 1000, at.object.0);
    if object >= OBJECTS {
        return Bytes::new();
    }
    let length = match object {
        6 => 200,
        _ => (group * 5 + object * 3) % 23,
    };
    let byte = |at| u8::try_from((group * 31 + object * 7 + at) % 256).unwrap_or(0);
    (0..length).map(byte).collect()
}

pub(crate) fn properties(object: ObjectId, integers: IntegerKind) -> Properties {
    if object.0 % 3 != 1 {
        return Properties::from_bytes(Bytes::new(), integers);
    }
    let list = [(PROPERTY, Value::Integer(object.0))];
    Properties::from_list(integers, list).unwrap_or_default()
}

/// An object, or the marker behind the last.
pub(crate) fn header(at: Location, integers: IntegerKind) -> ObjectHeader {
    let is_marker = at.object.0 >= OBJECTS;
    ObjectHeader {
        id: at.object,
        properties: if is_marker {
            Properties::default()
        } else {
            properties(at.object, integers)
        },
        status: if is_marker {
            ObjectStatus::EndOfGroup
        } else {
            ObjectStatus::Normal
        },
        payload_length: u64::try_from(payload(at).len()).unwrap_or(0),
    }
}

/// Whether a property of an object is what was published.
pub(crate) fn has_property(at: Location, properties: &Properties) -> bool {
    properties.integer(PROPERTY) == (at.object.0 % 3 == 1).then_some(at.object.0)
}

/// One of a few namespaces, some of them parts of others.
pub(crate) fn namespace(choices: &mut Choices<'_>) -> TrackNamespace {
    let fields: &[&'static str] = match choices.below(5) {
        0 => &["live"],
        1 => &["live", "a"],
        2 => &["b"],
        3 => &["live", "a", "c"],
        _ => &[],
    };
    let fields = fields.iter().map(|field| field.as_bytes());
    TrackNamespace::new(fields).unwrap_or_default()
}

/// One of a few tracks.
pub(crate) fn track(choices: &mut Choices<'_>) -> FullTrackName {
    let mut namespace = namespace(choices);
    if namespace.is_empty() {
        namespace = TrackNamespace::new(["live".as_bytes()]).unwrap_or_default();
    }
    let name = choices.one(&["v", "w"]).unwrap_or_default();
    FullTrackName {
        namespace,
        name: TrackName::new(name.as_bytes()).unwrap_or_default(),
    }
}
