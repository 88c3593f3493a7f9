//! Bytes to values and back: no state, no time.

pub mod cursor;
pub mod frame;
pub mod id;
mod kvp;
pub mod message;
pub mod name;
pub mod object;
pub mod param;
pub mod property;
pub mod varint;

use std::fmt;

use crate::code::SessionCode;

/// Why bytes could not be read: which code closes the session, and which rule was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// The code to close the session with.
    pub code: SessionCode,
    /// The rule, in a few words, for logs and tests. A number in front is its row in the table of violations, of which
    /// [`crate::code`] tells more.
    pub rule: &'static str,
}

/// A value that the negotiated draft has no way to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotExpressible(pub &'static str);

/// A side of the transport connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It opened the connection; its request ids are even.
    Client,
    /// It accepted the connection; its request ids are odd.
    Server,
}

impl Role {
    /// The other side.
    pub const fn peer(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

impl Error {
    /// A rule whose breach has no code of its own.
    pub(crate) const fn violation(rule: &'static str) -> Self {
        Self {
            code: SessionCode::ProtocolViolation,
            rule,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.rule)
    }
}

impl std::error::Error for Error {}

impl fmt::Display for NotExpressible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the negotiated draft cannot express {}", self.0)
    }
}

impl std::error::Error for NotExpressible {}
