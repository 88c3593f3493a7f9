//! A lane: how far one subscription is in one subgroup.

use bytes::{Bytes, BytesMut};

use super::subgroup::{End, Image, Object, Subgroup};
use crate::code::ResetCode;
use crate::draft::Profile;
use crate::ledger::Ledger;
use crate::transport::StreamId;
use crate::wire::NotExpressible;
use crate::wire::id::{ObjectId, TrackAlias};
use crate::wire::object::{SubgroupHeader, encode_object_header, encode_subgroup_header};

/// Payloads up to this many bytes are copied once more, behind their header, so that each delivery is one write.
const MAX_WHOLE: u64 = 1024;

/// Images up to this many bytes are covered by the overhead that each object is charged.
pub(crate) const MAX_UNCHARGED: usize = 64;

/// Whether a lane has a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not yet: there is no object to send, or no credit for a stream.
    Waiting,
    /// This one.
    Open(StreamId),
    /// Not any more. The lane stays to remember it.
    Closed(Closed),
}

/// Why a lane has no stream any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// Everything was handed over.
    Delivered,
    /// The sources gave up; if one goes on, so does the lane.
    CutOff,
    /// The subscriber stopped the stream: it does not want the subgroup.
    Stopped,
    /// The subscriber does not want objects at present, or wants other ones.
    Withdrawn,
    /// A delivery timeout passed, or the group was skipped.
    Late,
}

/// What a lane can do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Send bytes.
    Ready,
    /// Wait for the sources.
    Idle,
    /// End the stream.
    Finish,
    /// Begin a new stream: the object at the cursor is not known to be the next one.
    Break,
    /// Leave the object at the cursor out: the rest of it will not come.
    Skip,
    /// Reset the stream.
    CutOff(ResetCode),
}

/// How far one subscription is in one subgroup.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) state: State,
    /// Which subgroup of this id.
    pub(super) birth: u64,
    /// The index of the object at the cursor.
    pub(super) next: u64,
    /// The subgroup's cost as last seen, less what was passed: the lane's share of the lag.
    pub(super) lag: u64,
    /// The subgroup's cost as last seen.
    pub(super) known: u64,
    /// What is left of the image in front of the object at the cursor; `None`: it was not chosen yet.
    head: Option<Image>,
    /// The piece of the payload at the cursor, and how much of it was sent.
    piece: usize,
    offset: usize,
    /// How much of the payload was sent.
    sent: u64,
    /// Whether bytes of the object at the cursor were sent.
    in_object: bool,
    /// Whether bytes were sent on the current stream.
    pub(super) begun: bool,
}

impl Lane {
    pub(super) fn new(subgroup: &Subgroup, next: u64) -> Self {
        let known = subgroup.cost_before(next);
        Self {
            state: State::Waiting,
            birth: subgroup.birth,
            next,
            lag: 0,
            known,
            head: None,
            piece: 0,
            offset: 0,
            sent: 0,
            in_object: false,
            begun: false,
        }
    }

    /// Whether the lane is counted at an object of its subgroup.
    pub(super) fn is_live(&self) -> bool {
        !matches!(self.state, State::Closed(_))
    }

    /// Notices how much there is; returns how much more than before.
    pub(super) fn notice(&mut self, subgroup: &Subgroup) -> u64 {
        let more = subgroup.total.saturating_sub(self.known);
        self.known = subgroup.total;
        self.lag = self.lag.saturating_add(more);
        more
    }

    /// Whether bytes of the object at the cursor were sent.
    pub(super) const fn in_object(&self) -> bool {
        self.in_object
    }

    pub(super) fn standing(&self, subgroup: &Subgroup) -> Standing {
        let Some(object) = subgroup.object(self.next) else {
            return match subgroup.end {
                None => Standing::Idle,
                Some(End::Fin) if subgroup.is_at_finale() => Standing::Finish,
                Some(End::Fin) => Standing::CutOff(ResetCode::Cancelled),
                Some(End::Reset(code)) => Standing::CutOff(code),
            };
        };
        if object.abandoned && !object.is_complete() {
            return Standing::Skip;
        }
        match &self.head {
            None if self.begun && !object.follows => Standing::Break,
            None => Standing::Ready,
            Some(head) if !head.bytes.is_empty() || object.payload.has_piece(self.piece) => {
                Standing::Ready
            }
            Some(_) => Standing::Idle,
        }
    }

    /// The bytes to send next, if the lane is [`Standing::Ready`], and whether they end the object.
    ///
    /// # Errors
    /// If the draft has no way to write the object.
    pub(super) fn peek(
        &mut self,
        profile: &Profile,
        alias: TrackAlias,
        subgroup: &mut Subgroup,
        ledger: &Ledger,
    ) -> Result<Option<(Bytes, bool)>, NotExpressible> {
        let header = subgroup.header;
        let Some(object) = subgroup.object_mut(self.next) else {
            return Ok(None);
        };
        let head = match &self.head {
            Some(head) => head.clone(),
            None => {
                let head = match object.previous.filter(|_| self.begun) {
                    None => opening(profile, alias, &header, object, ledger)?,
                    Some(previous) => continuation(profile, previous, object, ledger)?,
                };
                self.head = Some(head.clone());
                head
            }
        };
        if !head.bytes.is_empty() {
            return Ok(Some((head.bytes, head.whole || object.length == 0)));
        }
        let (length, offset) = (object.length, self.offset);
        let sent = self.sent;
        Ok(object.payload.piece(self.piece).map(|piece| {
            let rest = piece.slice(offset.min(piece.len())..);
            let end = u64::try_from(rest.len()).unwrap_or(u64::MAX) + sent == length;
            (rest, end)
        }))
    }

    /// So many bytes of what was peeked were sent. True if that was the end of the object.
    pub(super) fn advance(&mut self, subgroup: &mut Subgroup, bytes: usize) -> bool {
        let Some(object) = subgroup.object_mut(self.next) else {
            return false;
        };
        self.begun |= bytes > 0;
        self.in_object |= bytes > 0;
        let mut bytes = bytes;
        if let Some(head) = self.head.as_mut() {
            let of_head = bytes.min(head.bytes.len());
            bytes -= of_head;
            head.bytes = head.bytes.slice(of_head..);
            if head.whole && head.bytes.is_empty() {
                self.sent = object.length;
                self.lag = self.lag.saturating_sub(object.length);
                return true;
            }
        }
        if bytes > 0 {
            let length = u64::try_from(bytes).unwrap_or(u64::MAX);
            self.sent = self.sent.saturating_add(length);
            self.lag = self.lag.saturating_sub(length);
            self.offset = self.offset.saturating_add(bytes);
            let piece = object.payload.piece(self.piece).map_or(0, Bytes::len);
            if self.offset >= piece {
                self.piece += 1;
                self.offset = 0;
            }
        }
        let header_sent = self.head.as_ref().is_some_and(|head| head.bytes.is_empty());
        header_sent && self.sent == object.length
    }

    /// Moves on to the next object. True if something may be forgotten.
    pub(super) fn step(&mut self, subgroup: &mut Subgroup) -> bool {
        let rest = subgroup
            .object(self.next)
            .map_or(0, |object| object.cost().saturating_sub(self.sent));
        self.lag = self.lag.saturating_sub(rest);
        self.rewind();
        subgroup.arrive(self.next.saturating_add(1));
        let freed = subgroup.leave(self.next);
        self.next = self.next.saturating_add(1);
        freed
    }

    /// Goes back to the start of the object at the cursor, on another stream.
    pub(super) fn restart(&mut self) {
        self.lag = self.lag.saturating_add(self.sent);
        self.rewind();
        self.begun = false;
        self.state = State::Waiting;
    }

    fn rewind(&mut self) {
        self.head = None;
        self.piece = 0;
        self.offset = 0;
        self.sent = 0;
        self.in_object = false;
    }

    /// Goes on after the sources had given up, if one of them brought more. Returns how much there is.
    pub(super) fn revive(&mut self, subgroup: &mut Subgroup) -> Option<u64> {
        let next = self.next.max(subgroup.first_index());
        if matches!(subgroup.end, Some(End::Reset(_))) || next >= subgroup.end_index() {
            return None;
        }
        *self = Self::new(subgroup, next);
        subgroup.arrive(next);
        Some(self.notice(subgroup))
    }

    /// Ends the lane; returns the stream that it had. The caller accounts for the lag.
    pub(super) fn close(
        &mut self,
        subgroup: Option<&mut Subgroup>,
        why: Closed,
    ) -> Option<StreamId> {
        let stream = match self.state {
            State::Closed(_) => return None,
            State::Waiting => None,
            State::Open(stream) => Some(stream),
        };
        if let Some(subgroup) = subgroup {
            subgroup.leave(self.next);
        }
        self.rewind();
        self.lag = 0;
        self.begun = false;
        self.state = State::Closed(why);
        stream
    }
}

/// Stream header and object header, for a stream that begins with this object; with its payload if that is short.
fn opening(
    profile: &Profile,
    alias: TrackAlias,
    header: &SubgroupHeader,
    object: &mut Object,
    ledger: &Ledger,
) -> Result<Image, NotExpressible> {
    if let Some(image) = object.openings.find(profile.draft) {
        return Ok(image);
    }
    let header = SubgroupHeader {
        first_object: object.first,
        ..*header
    };
    let mut image = BytesMut::new();
    // Whether later objects have properties cannot be known, so there is room for them.
    encode_subgroup_header(profile, alias, &header, true, &mut image)?;
    let image = complete(profile, None, object, image, ledger)?;
    object.openings.keep(profile.draft, &image);
    Ok(image)
}

/// Object header, for a stream on which the object before it in the subgroup was sent; with its payload if that is short.
fn continuation(
    profile: &Profile,
    previous: ObjectId,
    object: &mut Object,
    ledger: &Ledger,
) -> Result<Image, NotExpressible> {
    if let Some(image) = object.continuations.find(profile.draft) {
        return Ok(image);
    }
    let image = complete(profile, Some(previous), object, BytesMut::new(), ledger)?;
    object.continuations.keep(profile.draft, &image);
    Ok(image)
}

fn complete(
    profile: &Profile,
    previous: Option<ObjectId>,
    object: &mut Object,
    mut image: BytesMut,
    ledger: &Ledger,
) -> Result<Image, NotExpressible> {
    let properties = object.properties.reencode(profile.integers)?;
    let header = object.header(properties);
    encode_object_header(profile, true, previous, &header, &mut image)?;
    let whole = object.length > 0 && object.length <= MAX_WHOLE && object.is_complete();
    let mut index = 0;
    while whole && let Some(piece) = object.payload.piece(index) {
        image.extend_from_slice(piece);
        index += 1;
    }
    let image = image.freeze();
    let bytes = if image.len() > MAX_UNCHARGED {
        ledger.hold(image)
    } else {
        image
    };
    Ok(Image { bytes, whole })
}
