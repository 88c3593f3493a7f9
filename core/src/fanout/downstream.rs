//! What a fan-out needs of a subscriber's session.

use bytes::Bytes;

use crate::code::{DoneCode, ResetCode};
use crate::session::{Misuse, Session};
use crate::time::Time;
use crate::transport::StreamId;
use crate::wire::id::{GroupId, Location, RequestId, SubgroupId};

/// Why no stream can be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// There is no credit now; [`Fanout::can_open_stream`](super::Fanout::can_open_stream) is to be called later.
    Blocked,
    /// The session does not have the request, or is over.
    Gone,
}

/// A subscriber's session, as far as the fan-out drives it. Implemented by [`Session`].
///
/// None of these fails in a way that the fan-out could mend: a session that is over ignores them.
pub trait Downstream {
    /// Opens a stream for a subgroup. Its bytes come from [`Fanout::source`](super::Fanout::source).
    ///
    /// # Errors
    /// If there is no credit, or nobody to send to.
    fn open_subgroup(
        &mut self,
        now: Time,
        request: RequestId,
        group: GroupId,
        subgroup: SubgroupId,
        publisher_priority: u8,
    ) -> Result<StreamId, OpenError>;

    /// The last object of a stream's subgroup is known: SUBGROUP_DELIVERY_TIMEOUT counts from now.
    fn subgroup_complete(&mut self, now: Time, stream: StreamId);

    /// The source has bytes, or the end, of a stream.
    fn stream_ready(&mut self, stream: StreamId);

    /// Abandons a stream.
    fn reset_stream(&mut self, now: Time, stream: StreamId, code: ResetCode);

    /// Sends an object as a datagram, if there is room for it.
    fn send_datagram(
        &mut self,
        now: Time,
        request: RequestId,
        publisher_priority: u8,
        location: Location,
        image: Bytes,
    );

    /// Ends a subscription with PUBLISH_DONE, once its streams are finished.
    fn done(&mut self, now: Time, request: RequestId, code: DoneCode, reason: &str);
}

impl Downstream for Session {
    fn open_subgroup(
        &mut self,
        now: Time,
        request: RequestId,
        group: GroupId,
        subgroup: SubgroupId,
        publisher_priority: u8,
    ) -> Result<StreamId, OpenError> {
        Self::open_subgroup(self, now, request, group, subgroup, publisher_priority).map_err(
            |misuse| {
                if misuse == Misuse::Blocked {
                    return OpenError::Blocked;
                }
                log::debug!("no stream for request {}: {misuse}", request.0);
                OpenError::Gone
            },
        )
    }

    fn subgroup_complete(&mut self, now: Time, stream: StreamId) {
        Self::subgroup_complete(self, now, stream);
    }

    fn stream_ready(&mut self, stream: StreamId) {
        Self::stream_ready(self, stream);
    }

    fn reset_stream(&mut self, now: Time, stream: StreamId, code: ResetCode) {
        Self::reset_stream(self, now, stream, code);
    }

    fn send_datagram(
        &mut self,
        now: Time,
        request: RequestId,
        publisher_priority: u8,
        location: Location,
        image: Bytes,
    ) {
        if let Err(misuse) =
            Self::send_datagram(self, now, request, publisher_priority, location, image)
        {
            log::debug!("no datagram for request {}: {misuse}", request.0);
        }
    }

    fn done(&mut self, now: Time, request: RequestId, code: DoneCode, reason: &str) {
        if let Err(misuse) = Self::done(self, now, request, code, reason) {
            log::debug!("no PUBLISH_DONE for request {}: {misuse}", request.0);
        }
    }
}
