//! Registries of error codes. Names are those of the newest draft; [`crate::draft`] knows where numbers moved.
//!
//! A code that a draft does not have is sent as the nearest one that it does have:
//!
//! | registry | code | towards | sent as |
//! |---|---|---|---|
//! | session | TOO_MANY_REQUESTS | 18 | PROTOCOL_VIOLATION |
//! | REQUEST_ERROR | GOING_AWAY, EXCESSIVE_LOAD, NAMESPACE_TOO_LARGE | 16 | INTERNAL_ERROR |
//! | REQUEST_ERROR | UNSUPPORTED_EXTENSION | 16 | NOT_SUPPORTED |
//! | REQUEST_ERROR | REDIRECT | 16 | DOES_NOT_EXIST |
//! | PUBLISH_DONE | EXCESSIVE_LOAD | 16 | INTERNAL_ERROR |
//! | reset | TOO_FAR_BEHIND | 16 | DELIVERY_TIMEOUT |
//! | reset | GOING_AWAY, EXPIRED_AUTH_TOKEN, EXCESSIVE_LOAD | 16 | CANCELLED |
//!
//! A number that one draft does not know is passed on as it is, unless the other draft means something by it, or QUIC could
//! not carry it: then INTERNAL_ERROR, as the drafts want an unknown code to be understood.
//!
//! The reason with which a session closes says in words which rule the peer broke. Where it begins with a number, like
//! `V8: a path that is not served`, that is the row of `bins/tests/rules/violations.md`, a table of what peers can do
//! wrong, what each draft asks for then, and the tests that prove it.

use std::fmt;

use crate::draft::{Draft, IntegerKind};
use crate::wire::varint::MAX_QUIC;

/// Makes an enum of the names in a registry, with a catch-all for numbers that are in none.
macro_rules! registry {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $label:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
            /// A number that the negotiated draft does not know; to be treated like an internal error.
            Unknown(u64),
        }

        impl $name {
            /// Every name in the registry.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The number to send to a peer of this draft: the code's own, or that of its nearest relative.
            pub fn to_wire(self, draft: Draft) -> u64 {
                if let Self::Unknown(number) = self {
                    let taken = !matches!(Self::from_wire(draft, number), Self::Unknown(_));
                    if number <= Self::limit(draft) && !taken {
                        return number;
                    }
                }
                self.number(draft)
                    .or_else(|| self.substitute().number(draft))
                    .unwrap_or_default()
            }

            /// What a number from a peer of this draft means.
            pub fn from_wire(draft: Draft, number: u64) -> Self {
                Self::ALL
                    .iter()
                    .copied()
                    .find(|code| code.number(draft) == Some(number))
                    .unwrap_or(Self::Unknown(number))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant => f.write_str($label),)*
                    Self::Unknown(number) => write!(f, "unknown code {number:#x}"),
                }
            }
        }
    };
}

registry! {
    /// Why a session ends (§ Termination).
    SessionCode {
        /// The session ends without an error.
        NoError = "NO_ERROR",
        /// An error of the implementation.
        InternalError = "INTERNAL_ERROR",
        /// The client may not establish a session.
        Unauthorized = "UNAUTHORIZED",
        /// The peer broke a rule that has no code of its own.
        ProtocolViolation = "PROTOCOL_VIOLATION",
        /// A request id of wrong parity, used twice, or out of sequence.
        InvalidRequestId = "INVALID_REQUEST_ID",
        /// A track alias that another live track uses.
        DuplicateTrackAlias = "DUPLICATE_TRACK_ALIAS",
        /// A key-value pair whose value is not what its type says.
        KeyValueFormattingError = "KEY_VALUE_FORMATTING_ERROR",
        /// More requests than allowed (drafts up to 16).
        TooManyRequests = "TOO_MANY_REQUESTS",
        /// A PATH that is not served, or not allowed here.
        InvalidPath = "INVALID_PATH",
        /// A PATH of bad syntax.
        MalformedPath = "MALFORMED_PATH",
        /// The peer did not leave in time after a GOAWAY.
        GoAwayTimeout = "GOAWAY_TIMEOUT",
        /// The peer did not answer a control message in time.
        ControlMessageTimeout = "CONTROL_MESSAGE_TIMEOUT",
        /// The peer did not send on a data stream in time.
        DataStreamTimeout = "DATA_STREAM_TIMEOUT",
        /// More tokens registered than the advertised cache holds.
        AuthTokenCacheOverflow = "AUTH_TOKEN_CACHE_OVERFLOW",
        /// A token alias registered twice.
        DuplicateAuthTokenAlias = "DUPLICATE_AUTH_TOKEN_ALIAS",
        /// No common version.
        VersionNegotiationFailed = "VERSION_NEGOTIATION_FAILED",
        /// A token that is not well-formed.
        MalformedAuthToken = "MALFORMED_AUTH_TOKEN",
        /// A token alias that was never registered.
        UnknownAuthTokenAlias = "UNKNOWN_AUTH_TOKEN_ALIAS",
        /// A token that is no longer valid.
        ExpiredAuthToken = "EXPIRED_AUTH_TOKEN",
        /// An AUTHORITY that is not served, or not allowed here.
        InvalidAuthority = "INVALID_AUTHORITY",
        /// An AUTHORITY of bad syntax.
        MalformedAuthority = "MALFORMED_AUTHORITY",
    }
}

registry! {
    /// Why a request is refused (§ REQUEST_ERROR).
    RequestCode {
        /// An error of the implementation.
        InternalError = "INTERNAL_ERROR",
        /// The peer may not do that.
        Unauthorized = "UNAUTHORIZED",
        /// It took too long.
        Timeout = "TIMEOUT",
        /// This endpoint does not do that.
        NotSupported = "NOT_SUPPORTED",
        /// A token that is not well-formed or not valid.
        MalformedAuthToken = "MALFORMED_AUTH_TOKEN",
        /// A token that is no longer valid.
        ExpiredAuthToken = "EXPIRED_AUTH_TOKEN",
        /// This endpoint is leaving.
        GoingAway = "GOING_AWAY",
        /// This endpoint has too much to do.
        ExcessiveLoad = "EXCESSIVE_LOAD",
        /// No such track or namespace.
        DoesNotExist = "DOES_NOT_EXIST",
        /// The range cannot be satisfied.
        InvalidRange = "INVALID_RANGE",
        /// The track broke the rules.
        MalformedTrack = "MALFORMED_TRACK",
        /// The track is subscribed to already.
        DuplicateSubscription = "DUPLICATE_SUBSCRIPTION",
        /// The receiver does not want the track or namespace.
        Uninterested = "UNINTERESTED",
        /// The prefix overlaps another one of the same session.
        PrefixOverlap = "PREFIX_OVERLAP",
        /// More namespaces match than can be told.
        NamespaceTooLarge = "NAMESPACE_TOO_LARGE",
        /// The joining FETCH names no subscription.
        InvalidJoiningRequestId = "INVALID_JOINING_REQUEST_ID",
        /// The track needs a property that is not supported.
        UnsupportedExtension = "UNSUPPORTED_EXTENSION",
        /// It is served elsewhere.
        Redirect = "REDIRECT",
    }
}

registry! {
    /// Why a publisher ended a subscription (§ PUBLISH_DONE).
    DoneCode {
        /// An error of the implementation.
        InternalError = "INTERNAL_ERROR",
        /// The subscriber may not have the track any more.
        Unauthorized = "UNAUTHORIZED",
        /// The track is over.
        TrackEnded = "TRACK_ENDED",
        /// The end of the subscription's range was reached.
        SubscriptionEnded = "SUBSCRIPTION_ENDED",
        /// The publisher is leaving.
        GoingAway = "GOING_AWAY",
        /// The subscription's time ran out.
        Expired = "EXPIRED",
        /// The subscriber is too slow.
        TooFarBehind = "TOO_FAR_BEHIND",
        /// An update of the subscription failed.
        UpdateFailed = "UPDATE_FAILED",
        /// The publisher has too much to do.
        ExcessiveLoad = "EXCESSIVE_LOAD",
        /// The track broke the rules.
        MalformedTrack = "MALFORMED_TRACK",
    }
}

registry! {
    /// Why a stream is abandoned (§ Stream Reset Error Codes).
    ResetCode {
        /// An error of the implementation.
        InternalError = "INTERNAL_ERROR",
        /// The other side asked for it, or the request was withdrawn.
        Cancelled = "CANCELLED",
        /// A delivery timeout passed.
        DeliveryTimeout = "DELIVERY_TIMEOUT",
        /// The session is over.
        SessionClosed = "SESSION_CLOSED",
        /// This endpoint is leaving.
        GoingAway = "GOING_AWAY",
        /// The subscriber is too slow.
        TooFarBehind = "TOO_FAR_BEHIND",
        /// It cannot be known whether an object exists.
        UnknownObjectStatus = "UNKNOWN_OBJECT_STATUS",
        /// A token that is no longer valid.
        ExpiredAuthToken = "EXPIRED_AUTH_TOKEN",
        /// This endpoint has too much to do.
        ExcessiveLoad = "EXCESSIVE_LOAD",
        /// The track broke the rules.
        MalformedTrack = "MALFORMED_TRACK",
    }
}

impl SessionCode {
    /// The largest number: QUIC carries it.
    const fn limit(_: Draft) -> u64 {
        MAX_QUIC
    }

    /// What to send where the draft has no such code.
    const fn substitute(self) -> Self {
        if matches!(self, Self::TooManyRequests) {
            Self::ProtocolViolation
        } else {
            Self::InternalError
        }
    }
}

impl RequestCode {
    /// The largest number: a message carries it.
    const fn limit(draft: Draft) -> u64 {
        message_limit(draft)
    }

    /// What to send where the draft has no such code.
    const fn substitute(self) -> Self {
        if matches!(self, Self::UnsupportedExtension) {
            Self::NotSupported
        } else if matches!(self, Self::Redirect) {
            Self::DoesNotExist
        } else {
            Self::InternalError
        }
    }
}

impl DoneCode {
    /// The largest number: a message carries it.
    const fn limit(draft: Draft) -> u64 {
        message_limit(draft)
    }

    /// What to send where the draft has no such code.
    const fn substitute(self) -> Self {
        Self::InternalError
    }
}

impl ResetCode {
    /// The largest number: QUIC carries it.
    const fn limit(_: Draft) -> u64 {
        MAX_QUIC
    }

    /// What to send where the draft has no such code.
    const fn substitute(self) -> Self {
        if matches!(self, Self::TooFarBehind) {
            Self::DeliveryTimeout
        } else if matches!(self, Self::Unknown(_)) {
            Self::InternalError
        } else {
            Self::Cancelled
        }
    }
}

/// The largest number in a message of this draft.
const fn message_limit(draft: Draft) -> u64 {
    match draft.profile().integers {
        IntegerKind::Quic => MAX_QUIC,
        IntegerKind::Vi64 => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of draft 16 and draft 18; `None`: not in that draft's registry.
    type Row<T> = (T, Option<u64>, Option<u64>);

    const SESSION: &[Row<SessionCode>] = &[
        (SessionCode::NoError, Some(0x0), Some(0x0)),
        (SessionCode::InternalError, Some(0x1), Some(0x1)),
        (SessionCode::Unauthorized, Some(0x2), Some(0x2)),
        (SessionCode::ProtocolViolation, Some(0x3), Some(0x3)),
        (SessionCode::InvalidRequestId, Some(0x4), Some(0x4)),
        (SessionCode::DuplicateTrackAlias, Some(0x5), Some(0x5)),
        (SessionCode::KeyValueFormattingError, Some(0x6), Some(0x6)),
        (SessionCode::TooManyRequests, Some(0x7), None),
        (SessionCode::InvalidPath, Some(0x8), Some(0x8)),
        (SessionCode::MalformedPath, Some(0x9), Some(0x9)),
        (SessionCode::GoAwayTimeout, Some(0x10), Some(0x10)),
        (SessionCode::ControlMessageTimeout, Some(0x11), Some(0x11)),
        (SessionCode::DataStreamTimeout, Some(0x12), Some(0x12)),
        (SessionCode::AuthTokenCacheOverflow, Some(0x13), Some(0x13)),
        (SessionCode::DuplicateAuthTokenAlias, Some(0x14), Some(0x14)),
        (
            SessionCode::VersionNegotiationFailed,
            Some(0x15),
            Some(0x15),
        ),
        (SessionCode::MalformedAuthToken, Some(0x16), Some(0x16)),
        (SessionCode::UnknownAuthTokenAlias, Some(0x17), Some(0x17)),
        (SessionCode::ExpiredAuthToken, Some(0x18), Some(0x18)),
        (SessionCode::InvalidAuthority, Some(0x19), Some(0x19)),
        (SessionCode::MalformedAuthority, Some(0x1A), Some(0x1A)),
    ];

    const REQUEST: &[Row<RequestCode>] = &[
        (RequestCode::InternalError, Some(0x0), Some(0x0)),
        (RequestCode::Unauthorized, Some(0x1), Some(0x1)),
        (RequestCode::Timeout, Some(0x2), Some(0x2)),
        (RequestCode::NotSupported, Some(0x3), Some(0x3)),
        (RequestCode::MalformedAuthToken, Some(0x4), Some(0x4)),
        (RequestCode::ExpiredAuthToken, Some(0x5), Some(0x5)),
        (RequestCode::GoingAway, None, Some(0x6)),
        (RequestCode::ExcessiveLoad, None, Some(0x9)),
        (RequestCode::DoesNotExist, Some(0x10), Some(0x10)),
        (RequestCode::InvalidRange, Some(0x11), Some(0x11)),
        (RequestCode::MalformedTrack, Some(0x12), Some(0x12)),
        (RequestCode::DuplicateSubscription, Some(0x19), Some(0x19)),
        (RequestCode::Uninterested, Some(0x20), Some(0x20)),
        (RequestCode::PrefixOverlap, Some(0x30), Some(0x30)),
        (RequestCode::NamespaceTooLarge, None, Some(0x31)),
        (RequestCode::InvalidJoiningRequestId, Some(0x32), Some(0x32)),
        (RequestCode::UnsupportedExtension, None, Some(0x33)),
        (RequestCode::Redirect, None, Some(0x34)),
    ];

    const DONE: &[Row<DoneCode>] = &[
        (DoneCode::InternalError, Some(0x0), Some(0x0)),
        (DoneCode::Unauthorized, Some(0x1), Some(0x1)),
        (DoneCode::TrackEnded, Some(0x2), Some(0x2)),
        (DoneCode::SubscriptionEnded, Some(0x3), Some(0x3)),
        (DoneCode::GoingAway, Some(0x4), Some(0x4)),
        (DoneCode::Expired, Some(0x5), Some(0x6)),
        (DoneCode::TooFarBehind, Some(0x6), Some(0x5)),
        (DoneCode::UpdateFailed, Some(0x8), Some(0x8)),
        (DoneCode::ExcessiveLoad, None, Some(0x9)),
        (DoneCode::MalformedTrack, Some(0x12), Some(0x12)),
    ];

    const RESET: &[Row<ResetCode>] = &[
        (ResetCode::InternalError, Some(0x0), Some(0x0)),
        (ResetCode::Cancelled, Some(0x1), Some(0x1)),
        (ResetCode::DeliveryTimeout, Some(0x2), Some(0x2)),
        (ResetCode::SessionClosed, Some(0x3), Some(0x3)),
        (ResetCode::GoingAway, None, Some(0x4)),
        (ResetCode::TooFarBehind, None, Some(0x5)),
        (ResetCode::UnknownObjectStatus, Some(0x4), Some(0x6)),
        (ResetCode::ExpiredAuthToken, None, Some(0x7)),
        (ResetCode::ExcessiveLoad, None, Some(0x9)),
        (ResetCode::MalformedTrack, Some(0x12), Some(0x12)),
    ];

    /// Checks a registry against its table, both ways and for every small number.
    macro_rules! check {
        ($name:ident, $table:expr) => {
            assert_eq!($table.len(), $name::ALL.len(), "a name is missing");
            for draft in [Draft::D16, Draft::D18] {
                let mut known = std::collections::BTreeMap::new();
                for (code, in_16, in_18) in $table {
                    let number = match draft {
                        Draft::D16 => in_16,
                        Draft::D18 => in_18,
                    };
                    if let Some(number) = number {
                        assert_eq!(code.to_wire(draft), *number, "{code}");
                        assert_eq!(known.insert(*number, *code), None, "{code}");
                    }
                }
                for number in 0..0x100 {
                    let expected = known.get(&number).copied();
                    assert_eq!(
                        $name::from_wire(draft, number),
                        expected.unwrap_or($name::Unknown(number))
                    );
                }
            }
        };
    }

    // Rules: B185, B226, B383
    #[test]
    fn numbers_are_those_of_the_registries() {
        check!(SessionCode, SESSION);
        check!(RequestCode, REQUEST);
        check!(DoneCode, DONE);
        check!(ResetCode, RESET);
    }

    // Rules: B185
    #[test]
    fn a_code_that_a_draft_lacks_is_sent_as_its_nearest_relative() {
        assert_eq!(SessionCode::TooManyRequests.to_wire(Draft::D18), 0x3);
        assert_eq!(RequestCode::GoingAway.to_wire(Draft::D16), 0x0);
        assert_eq!(RequestCode::ExcessiveLoad.to_wire(Draft::D16), 0x0);
        assert_eq!(RequestCode::NamespaceTooLarge.to_wire(Draft::D16), 0x0);
        assert_eq!(RequestCode::UnsupportedExtension.to_wire(Draft::D16), 0x3);
        assert_eq!(RequestCode::Redirect.to_wire(Draft::D16), 0x10);
        assert_eq!(DoneCode::ExcessiveLoad.to_wire(Draft::D16), 0x0);
        assert_eq!(ResetCode::TooFarBehind.to_wire(Draft::D16), 0x2);
        assert_eq!(ResetCode::GoingAway.to_wire(Draft::D16), 0x1);
        assert_eq!(ResetCode::ExpiredAuthToken.to_wire(Draft::D16), 0x1);
        assert_eq!(ResetCode::ExcessiveLoad.to_wire(Draft::D16), 0x1);
    }

    #[test]
    fn an_unknown_number_is_passed_on_unless_it_would_mean_something_else() {
        assert_eq!(ResetCode::Unknown(0x77).to_wire(Draft::D18), 0x77);
        // 5 means nothing in draft 16, but TOO_FAR_BEHIND in draft 18
        assert_eq!(ResetCode::from_wire(Draft::D16, 5), ResetCode::Unknown(5));
        assert_eq!(ResetCode::Unknown(5).to_wire(Draft::D18), 0x0);
        assert_eq!(SessionCode::Unknown(1 << 62).to_wire(Draft::D18), 0x1);
        assert_eq!(RequestCode::Unknown(1 << 62).to_wire(Draft::D16), 0x0);
        assert_eq!(RequestCode::Unknown(1 << 62).to_wire(Draft::D18), 1 << 62);
        assert_eq!(SessionCode::Unknown(0x9D).to_string(), "unknown code 0x9d");
    }
}
