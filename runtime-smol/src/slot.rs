//! Where each connection of an endpoint stands with the application.

use std::task::Waker;

use smol::Task;

use crate::connection::Connection;

/// What an id of the application stands for.
#[derive(Debug)]
pub(crate) enum Slot {
    /// A client was let in; its handshake is under way.
    Arriving,
    /// The same, but the application has closed it with this code in the meantime.
    Leaving(u64),
    /// On its way; the waker belongs to the task.
    Connecting(Task<Result<s2n_quic::Connection, String>>, Waker),
    /// Established.
    Open(Box<Connection>),
}
