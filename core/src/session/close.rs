//! Why a session fails, and what callers can do wrong.

use std::fmt;

use crate::code::SessionCode;
use crate::wire::{Error, NotExpressible};

/// What ends a session from the inside: the code for the peer, and the rule that was broken, for the peer, logs and tests.
/// A number in front of it is the row of the table of violations, `bins/tests/rules/violations.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Close {
    pub(super) code: SessionCode,
    pub(super) rule: &'static str,
}

impl Close {
    pub(super) const fn new(code: SessionCode, rule: &'static str) -> Self {
        Self { code, rule }
    }

    /// The peer broke a rule that has no code of its own.
    pub(super) const fn violation(rule: &'static str) -> Self {
        Self::new(SessionCode::ProtocolViolation, rule)
    }
}

impl From<Error> for Close {
    fn from(error: Error) -> Self {
        Self::new(error.code, error.rule)
    }
}

/// A call that the caller should not have made, or not yet. Nothing was sent and nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misuse {
    /// The set-up is not complete: wait for [`Event::Established`](super::Event::Established).
    NotEstablished,
    /// The session is over.
    Closed,
    /// The peer sent GOAWAY: new requests belong on another session.
    GoingAway,
    /// A limit of the peer, or one of [`Limits`](super::Limits), is reached. Try again after
    /// [`Event::CanRequest`](super::Event::CanRequest) or, for data,
    /// [`Event::CanOpenStream`](super::Event::CanOpenStream).
    Blocked,
    /// The negotiated draft has no way to say this.
    NotExpressible(NotExpressible),
    /// No such request is open.
    UnknownRequest,
    /// No such stream is open.
    UnknownStream,
    /// The request is not of a kind, or not in a state, that allows this; the sentence says what is wrong.
    WrongState(&'static str),
    /// The session has a subscription for this track in this role already (§ Subscriptions).
    DuplicateSubscription,
    /// Another live track of this session has this track alias (§ Track Alias).
    DuplicateTrackAlias,
    /// The prefix overlaps one of an open request of the same kind (§ SUBSCRIBE_NAMESPACE).
    PrefixOverlap,
    /// The namespace is reserved and must not be used by applications (§ Reserved Namespaces).
    ReservedNamespace,
    /// A token breaks the sender's rules (§ AUTHORIZATION TOKEN Parameter); the sentence says which.
    Token(&'static str),
}

impl From<NotExpressible> for Misuse {
    fn from(what: NotExpressible) -> Self {
        Self::NotExpressible(what)
    }
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotEstablished => f.write_str("the session is not established yet"),
            Self::Closed => f.write_str("the session is closed"),
            Self::GoingAway => f.write_str("the peer is going away"),
            Self::Blocked => f.write_str("no credit for this now"),
            Self::NotExpressible(what) => what.fmt(f),
            Self::UnknownRequest => f.write_str("no such request is open"),
            Self::UnknownStream => f.write_str("no such stream is open"),
            Self::WrongState(what) | Self::Token(what) => f.write_str(what),
            Self::DuplicateSubscription => {
                f.write_str("the session already has a subscription for this track")
            }
            Self::DuplicateTrackAlias => f.write_str("another track has this track alias"),
            Self::PrefixOverlap => f.write_str("the prefix overlaps one of an open request"),
            Self::ReservedNamespace => f.write_str("the namespace is reserved"),
        }
    }
}

impl std::error::Error for Misuse {}
