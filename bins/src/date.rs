//! What the date track holds: a group for each minute, an object for its head and one for each second.

use bytes::Bytes;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use oxymoq_core::time::WallTime;
use oxymoq_core::wire::id::{GroupId, Location, ObjectId};

/// Seconds in a group.
const MINUTE: u64 = 60;
const MICROS: u64 = 1_000_000;

/// The object that ends each group.
pub const END_OF_MINUTE: ObjectId = ObjectId(MINUTE + 1);

/// A second of civil time, counted from 1970-01-01 00:00:00 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Second(u64);

impl Second {
    /// The second that `wall` is in.
    pub const fn at(wall: WallTime) -> Self {
        Self(wall.0 / MICROS)
    }

    /// The one after.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// When it begins.
    pub const fn begins(self) -> WallTime {
        WallTime(self.0 * MICROS)
    }

    /// Where the object of this second is: one after the head of its minute.
    pub const fn location(self) -> Location {
        Location {
            group: GroupId(self.0 / MINUTE),
            object: ObjectId(self.0 % MINUTE + 1),
        }
    }

    /// Whether a minute begins with it.
    pub const fn begins_minute(self) -> bool {
        self.0.is_multiple_of(MINUTE)
    }

    /// Whether a minute ends with it.
    pub const fn ends_minute(self) -> bool {
        self.next().begins_minute()
    }
}

/// The payload of an object of the track: the head of the minute in local time, then its seconds.
///
/// `None` beyond the last second, and for minutes that no calendar has.
pub fn payload(location: Location) -> Option<Bytes> {
    match location.object.0 {
        0 => head(location.group),
        object @ 1..=MINUTE => Some(Bytes::from((object - 1).to_string())),
        _ => None,
    }
}

fn head(minute: GroupId) -> Option<Bytes> {
    let seconds = i64::try_from(minute.0.checked_mul(MINUTE)?).ok()?;
    let time = Timestamp::from_second(seconds).ok()?;
    let local = time.to_zoned(TimeZone::system());
    Some(Bytes::from(local.strftime("%Y-%m-%d %H:%M:").to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn location(group: u64, object: u64) -> Location {
        Location {
            group: GroupId(group),
            object: ObjectId(object),
        }
    }

    #[test]
    fn a_minute_is_a_group_and_a_second_an_object() {
        let second = Second::at(WallTime(125 * MICROS + 999_999));
        assert_eq!(second.location(), location(2, 6));
        assert_eq!(second.begins(), WallTime(125 * MICROS));
        assert!(!second.begins_minute() && !second.ends_minute());
        assert!(Second(120).begins_minute() && Second(119).ends_minute());
        assert_eq!(Second(119).location(), location(1, 60));
    }

    #[test]
    fn seconds_have_no_leading_zero() {
        assert_eq!(payload(location(5, 1)).unwrap(), "0");
        assert_eq!(payload(location(5, 60)).unwrap(), "59");
        assert_eq!(payload(location(5, 61)), None);
    }

    #[test]
    fn the_head_of_a_minute_is_17_bytes_of_local_time() {
        let head = payload(location(28_000_000, 0)).unwrap();
        assert_eq!(head.len(), 17, "{head:?}");
        assert!(
            head.starts_with(b"2023-") && head.ends_with(b":"),
            "{head:?}"
        );
        assert_eq!(
            payload(location(u64::MAX, 0)),
            None,
            "no calendar goes that far"
        );
    }
}
