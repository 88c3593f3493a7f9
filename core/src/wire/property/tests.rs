//! Tests of properties.

use super::*;
use crate::code::SessionCode;
use crate::draft::Draft;
use proptest::collection::vec;
use proptest::prelude::*;

const QUIC: IntegerKind = IntegerKind::Quic;
const VI64: IntegerKind = IntegerKind::Vi64;

fn list(integers: IntegerKind, bytes: &[u8]) -> Properties {
    Properties::from_bytes(Bytes::copy_from_slice(bytes), integers)
}

fn rule(checked: Result<(), Error>) -> &'static str {
    checked.unwrap_err().rule.split(':').next().unwrap()
}

// Rules: B388
#[test]
fn a_list_with_immutable_properties_is_read_as_written() {
    // 10 = 42; immutable: 20 = 100, 21 = abcdef; 30 = 999
    let bytes = [
        0x0a, 0x2a, 0x01, 0x08, 0x14, 0x40, 0x64, 0x01, 0x03, 0xab, 0xcd, 0xef, 0x13, 0x43, 0xe7,
    ];
    let properties = list(QUIC, &bytes);
    let inner = Bytes::copy_from_slice(&bytes[4..12]);
    let items: Result<Vec<_>, _> = properties.iter().collect();
    assert_eq!(
        items.unwrap(),
        [
            (10, Value::Integer(42)),
            (0x0B, Value::Bytes(inner)),
            (30, Value::Integer(999))
        ]
    );
    assert_eq!(properties.integer(20), Some(100));
    assert_eq!(properties.integer(30), Some(999));
    assert_eq!(
        properties.byte_string(21),
        Some(Bytes::from_static(&[0xab, 0xcd, 0xef]))
    );
    assert_eq!(properties.integer(21), None);
    assert_eq!(properties.byte_string(22), None);
    assert_eq!(properties.check_immutable(), Ok(()));
    assert_eq!(properties.bytes()[..], bytes);
}

// Rules: B003 (18), B004 (18)
#[test]
fn broken_lists_are_refused() {
    assert_eq!(list(VI64, &[]).validate(), Ok(()));
    assert_eq!(rule(list(VI64, &[0x02]).validate()), "V2");
    assert_eq!(rule(list(VI64, &[0x03, 0x02, 0x00]).validate()), "V2");
    assert_eq!(
        rule(list(VI64, &[0x03, 0xc1, 0x00, 0x00]).validate()),
        "V16"
    );
    let overflow = [&[0x02, 0x00][..], &[0xff; 9]].concat();
    assert_eq!(rule(list(VI64, &overflow).validate()), "V17");
    // what comes before the breach is found, and nothing after it
    let properties = list(VI64, &[0x04, 0x05, 0x05]);
    assert_eq!(properties.iter().count(), 2);
    assert_eq!(properties.max_cache_duration(), Some(Millis(5)));
    assert!(properties.reencode(QUIC).is_err());
}

#[test]
fn malformed_immutable_properties_make_the_track_malformed_but_do_not_close() {
    let profile = Draft::D18.profile();
    // nested, unreadable, and twice
    for bytes in [
        &[0x0b, 0x05, 0x02, 0x01, 0x09, 0x01, 0xaa][..],
        &[0x0b, 0x01, 0x02],
        &[0x0b, 0x00, 0x00, 0x00],
    ] {
        let properties = list(VI64, bytes);
        assert_eq!(rule(properties.check_immutable()), "V89", "{bytes:x?}");
        assert_eq!(properties.validate_track(profile), Ok(()), "{bytes:x?}");
    }
}

#[test]
fn values_of_track_properties_have_ranges() {
    let d16 = Draft::D16.profile();
    let d18 = Draft::D18.profile();
    let one =
        |number, value| Properties::from_list(VI64, [(number, Value::Integer(value))]).unwrap();
    assert_eq!(rule(one(0x02, 0).validate_track(d16)), "V47");
    assert_eq!(one(0x02, 0).validate_track(d18), Ok(()));
    assert_eq!(rule(one(0x30, 2).validate_track(d18)), "V48");
    assert_eq!(rule(one(0x22, 0).validate_track(d18)), "V49");
    assert_eq!(rule(one(0x22, 3).validate_track(d18)), "V49");
    let error = one(0x0E, 256).validate_track(d18).unwrap_err();
    assert_eq!(error.code, SessionCode::ProtocolViolation);
    for (number, value) in [(0x30, 1), (0x22, 1), (0x22, 2), (0x0E, 255), (0x04, 0)] {
        assert_eq!(one(number, value).validate_track(d18), Ok(()));
    }
}

// Rules: B345
#[test]
fn what_a_track_does_not_say_has_a_default() {
    let silent = Properties::default();
    let profile = Draft::D18.profile();
    assert_eq!(silent.default_publisher_priority(), 128);
    assert_eq!(
        silent.default_publisher_group_order(),
        GroupOrder::Ascending
    );
    assert!(!silent.dynamic_groups());
    assert_eq!(silent.object_delivery_timeout(), None);
    assert_eq!(silent.subgroup_delivery_timeout(profile), None);
    assert_eq!(silent.max_cache_duration(), None);
    let integer = Value::Integer;
    let properties = Properties::from_list(
        VI64,
        [
            (DYNAMIC_GROUPS, integer(1)),
            (DEFAULT_PUBLISHER_GROUP_ORDER, integer(2)),
            (DEFAULT_PUBLISHER_PRIORITY, integer(7)),
            (SUBGROUP_DELIVERY_TIMEOUT, integer(60)),
            (OBJECT_DELIVERY_TIMEOUT, integer(20)),
            (PRIOR_GROUP_ID_GAP, integer(3)),
            (PRIOR_OBJECT_ID_GAP, integer(4)),
        ],
    )
    .unwrap();
    assert_eq!(properties.default_publisher_priority(), 7);
    assert_eq!(
        properties.default_publisher_group_order(),
        GroupOrder::Descending
    );
    assert!(properties.dynamic_groups());
    assert_eq!(properties.object_delivery_timeout(), Some(Millis(20)));
    assert_eq!(
        properties.subgroup_delivery_timeout(profile),
        Some(Millis(60))
    );
    // 6 means something else, or nothing, in draft 16
    assert_eq!(
        properties.subgroup_delivery_timeout(Draft::D16.profile()),
        None
    );
    assert_eq!(properties.prior_group_id_gap(), Some(3));
    assert_eq!(properties.prior_object_id_gap(), Some(4));
}

// Rules: B055, B388, B400
#[test]
fn mandatory_properties_are_found_wherever_they_are() {
    let d18 = Draft::D18.profile();
    let one = |number| Properties::from_list(VI64, [(number, Value::Integer(0))]).unwrap();
    assert_eq!(one(0x4000).mandatory(d18), Some(0x4000));
    assert_eq!(one(0x7FFE).mandatory(d18), Some(0x7FFE));
    assert_eq!(one(0x3FFE).mandatory(d18), None);
    assert_eq!(one(0x8000).mandatory(d18), None);
    assert_eq!(one(0x4000).mandatory(Draft::D16.profile()), None);
    // sent only to keep receivers flexible
    let grease = 0x7F * 0x81 + 0x9D;
    assert!((0x4000..=0x7FFF).contains(&grease));
    assert_eq!(one(grease).mandatory(d18), None);
    let inner = Value::Bytes(one(0x4002).bytes().clone());
    let outer = Properties::from_list(VI64, [(IMMUTABLE_PROPERTIES, inner)]).unwrap();
    assert_eq!(outer.mandatory(d18), Some(0x4002));
}

#[test]
fn immutable_properties_that_only_another_draft_can_read_are_not_judged() {
    let d16 = Draft::D16.profile();
    // In draft 18: 0x40 = 48, 0x4c = 1. Read as draft 16: DYNAMIC_GROUPS of 12, and a piece of something.
    let other = list(QUIC, &[0x0b, 0x04, 0x40, 0x30, 0x0c, 0x01]);
    assert_eq!(other.check_immutable(), Ok(()));
    assert_eq!(other.validate_track(d16), Ok(()));
    // What can be read is judged.
    let readable = list(QUIC, &[0x0b, 0x02, 0x30, 0x0c]);
    assert_eq!(rule(readable.validate_track(d16)), "V48");
    // What nobody can read is malformed.
    let nonsense = list(QUIC, &[0x0b, 0x03, 0x40, 0x30, 0x8c]);
    assert_eq!(rule(nonsense.check_immutable()), "V89");
}

#[test]
fn delivery_timeout_of_zero_is_left_out_where_it_is_forbidden() {
    let pairs = [(0x02, Value::Integer(0)), (0x04, Value::Integer(100))];
    let properties = Properties::from_list(VI64, pairs.clone()).unwrap();
    let kept = properties.without_forbidden_zero(Draft::D18.profile());
    assert_eq!(kept, Ok(properties.clone()));
    let rest = Properties::from_list(VI64, pairs[1..].to_vec());
    let d16 = Draft::D16.profile();
    assert_eq!(properties.without_forbidden_zero(d16), rest);
    let other = rest.unwrap();
    assert_eq!(other.without_forbidden_zero(d16), Ok(other));
}

#[test]
fn a_list_is_written_for_other_integers_with_the_immutable_ones_as_they_were() {
    let inner = Properties::from_list(
        QUIC,
        [(0x30, Value::Integer(1)), (0x04, Value::Integer(100))],
    );
    let inner = inner.unwrap().bytes().clone();
    let list = [
        (0x02, Value::Integer(1000)),
        (IMMUTABLE_PROPERTIES, Value::Bytes(inner)),
        (0x8000, Value::Integer(5)),
    ];
    let from_16 = Properties::from_list(QUIC, list.clone()).unwrap();
    let to_18 = from_16.reencode(VI64).unwrap();
    assert_eq!(to_18.integers(), VI64);
    let items: Result<Vec<_>, _> = to_18.iter().collect();
    assert_eq!(items.unwrap(), list);
    // found among the immutable ones on either side of the translation
    assert_eq!(from_16.max_cache_duration(), Some(Millis(100)));
    assert_eq!(to_18.max_cache_duration(), Some(Millis(100)));
    assert!(to_18.dynamic_groups());
    assert_eq!(to_18.check_immutable(), Ok(()));
    assert_eq!(to_18.reencode(QUIC).unwrap(), from_16);
    // what draft 16 cannot say
    let large = Properties::from_list(VI64, [(0x02, Value::Integer(1 << 62))]).unwrap();
    assert!(large.reencode(QUIC).is_err());
    let far = Properties::from_list(VI64, [(1 << 62, Value::Integer(0))]).unwrap();
    assert!(far.reencode(QUIC).is_err());
}

#[test]
fn only_values_that_suit_their_type_are_written() {
    let number = Properties::from_list(VI64, [(0x03, Value::Integer(1))]);
    assert!(number.is_err());
    let bytes = |length: usize, number| {
        Properties::from_list(VI64, [(number, Value::Bytes(vec![0; length].into()))])
    };
    assert!(bytes(1, 0x02).is_err());
    assert!(bytes(65_535, 0x03).is_ok());
    assert!(bytes(65_536, 0x03).is_err());
}

proptest! {
    #[test]
    fn every_list_survives(
        items in vec((any::<u64>(), 0_u32..64, any::<u64>(), vec(any::<u8>(), 0..9)), 0..6),
        quic: bool,
    ) {
        let integers = if quic { QUIC } else { VI64 };
        let least = if quic { 2 } else { 0 };
        let mut items: Vec<_> = items
            .into_iter()
            .map(|(number, shift, value, bytes)| {
                let number = number >> shift.max(least);
                let value = if number.is_multiple_of(2) {
                    Value::Integer(value >> shift.max(least))
                } else {
                    Value::Bytes(bytes.into())
                };
                (number, value)
            })
            .collect();
        let properties = Properties::from_list(integers, items.clone()).unwrap();
        items.sort_by_key(|(number, _)| *number);
        let read: Result<Vec<_>, _> = properties.iter().collect();
        prop_assert_eq!(read.unwrap(), items);
        // there and back again, as far as both can say it
        let other = if quic { VI64 } else { QUIC };
        if let Ok(translated) = properties.reencode(other) {
            prop_assert_eq!(translated.reencode(integers).unwrap(), properties);
        }
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in vec(any::<u8>(), 0..60), quic: bool) {
        let integers = if quic { QUIC } else { VI64 };
        let properties = list(integers, &bytes);
        for draft in Draft::ALL {
            let profile = draft.profile();
            if properties.validate_track(profile).is_ok() {
                prop_assert!(properties.iter().all(|item| item.is_ok()));
            }
            properties.mandatory(profile);
        }
        let immutable = properties.check_immutable();
        let translated = [QUIC, VI64].map(|integers| properties.reencode(integers));
        prop_assert!(translated.iter().any(Result::is_ok) && (immutable.is_ok() || !bytes.is_empty()));
        properties.dynamic_groups();
    }
}
