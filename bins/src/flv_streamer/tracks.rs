//! The tracks of media: frames become objects, objects groups, and groups are left out when nobody keeps up.

use log::{debug, error, warn};
use oxymoq_core::code::{DoneCode, ResetCode};
use oxymoq_core::draft::{Draft, IntegerKind};
use oxymoq_core::fanout::{Fanout, Fault, IngestId, SourceId, TrackId};
use oxymoq_core::media::packaging::{Packager, Packer};
use oxymoq_core::media::{Configuration, Frame, Kind};
use oxymoq_core::session::StreamEnd;
use oxymoq_core::time::Time;
use oxymoq_core::wire::id::{GroupId, ObjectId, SubgroupId};
use oxymoq_core::wire::name::TrackName;
use oxymoq_core::wire::object::SubgroupHeader;
use oxymoq_core::wire::property::Properties;

use super::backlog::{Backlog, Lag};
use super::limits::Limits;

/// The only producer of a track.
pub(super) const PRODUCER: SourceId = SourceId(0);
/// What the ledger must have room for besides an object's payload: its properties, and what is charged for each piece.
const HEADROOM: usize = 256 << 10;

/// What was published of a track, and what was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Groups begun.
    pub groups: u64,
    /// Frames published.
    pub frames: u64,
    /// Bytes of frames published.
    pub bytes: u64,
    /// Groups left out as a whole, since nobody kept up.
    pub dropped_groups: u64,
    /// Groups whose end was left out for that reason.
    pub cut_groups: u64,
    /// Frames left out for that reason.
    pub dropped_frames: u64,
    /// Frames before the first with which decoding can begin.
    pub early_frames: u64,
}

/// Ids of groups: they begin with the time, so that a restarted streamer does not use any for a second time.
#[derive(Debug, Default)]
pub(super) struct GroupIds {
    next: Option<u64>,
}

impl GroupIds {
    /// The next id, at so many milliseconds after the Unix epoch. Ids are consecutive, so that nobody waits for groups
    /// that never were: with less than a thousand groups a second they stay behind the clock.
    pub(super) const fn next(&mut self, wall: u64) -> GroupId {
        let id = match self.next {
            Some(next) => next,
            None => wall,
        };
        self.next = Some(id.saturating_add(1));
        GroupId(id)
    }
}

/// A point in time on both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) time: Time,
    /// Milliseconds since the Unix epoch.
    pub(super) wall: u64,
}

/// One track of media.
#[derive(Debug)]
pub(super) struct MediaTrack {
    pub(super) kind: Kind,
    pub(super) name: TrackName,
    pub(super) id: TrackId,
    /// Publisher's priority, lower first.
    priority: u8,
    /// Milliseconds of audio in a group; 0: one frame.
    group_span: u64,
    packager: Packager,
    limits: Limits,
    ids: GroupIds,
    decoding: Option<Decoding>,
    group: Group,
    backlog: Backlog,
    lag: Lag,
    pub(super) count: Count,
    /// Why it is not published, for people and peers.
    pub(super) refused: Option<String>,
    pub(super) is_over: bool,
}

/// How frames are packed, and what their decoder is told.
#[derive(Debug)]
struct Decoding {
    configuration: Configuration,
    packer: Packer,
}

#[derive(Debug)]
enum Group {
    /// Nothing can be decoded before the next key frame.
    None,
    Open {
        stream: IngestId,
        next: ObjectId,
        /// When its first frame is decoded, in milliseconds.
        began: i64,
    },
    /// It is left out.
    Dropped,
}

impl MediaTrack {
    pub(super) fn new(
        kind: Kind,
        name: TrackName,
        packager: Packager,
        group_span: u64,
        (fanout, properties): (&mut Fanout, Properties),
        limits: &Limits,
    ) -> Option<Self> {
        let id = fanout.open_track(Draft::D18, properties, None)?;
        Some(Self {
            kind,
            name,
            id,
            priority: match kind {
                Kind::Video => 200,
                Kind::Audio => 100,
            },
            group_span,
            packager,
            limits: limits.clone(),
            ids: GroupIds::default(),
            decoding: None,
            group: Group::None,
            backlog: Backlog::default(),
            lag: Lag::default(),
            count: Count::default(),
            refused: None,
            is_over: false,
        })
    }

    /// What its decoder is told, if that is known.
    pub(super) fn configuration(&self) -> Option<&Configuration> {
        Some(&self.decoding.as_ref()?.configuration)
    }

    /// From the next frame with which decoding can begin on, frames are decoded like this. True if that is news. If the codec
    /// cannot be packed, the track is refused.
    pub(super) fn configure(
        &mut self,
        now: Time,
        configuration: Configuration,
        fanout: &mut Fanout,
    ) -> bool {
        if self.is_over {
            return false;
        }
        match &mut self.decoding {
            Some(decoding) if decoding.configuration == configuration => return false,
            Some(decoding) if decoding.configuration.codec == configuration.codec => {
                decoding.configuration = configuration;
                if self.kind == Kind::Audio {
                    self.end_group(now, fanout);
                }
            }
            Some(_) | None => {
                self.end_group(now, fanout);
                let packer = match Packer::new(self.packager, configuration.codec) {
                    Ok(packer) => packer,
                    Err(unsupported) => {
                        self.refuse(now, unsupported.to_string(), fanout);
                        return false;
                    }
                };
                self.decoding = Some(Decoding {
                    configuration,
                    packer,
                });
            }
        }
        true
    }

    /// Closes the track: its frames cannot be published.
    pub(super) fn refuse(&mut self, now: Time, why: String, fanout: &mut Fanout) {
        if !self.is_over {
            error!("track {} is not published: {why}", self.name);
            self.refused = Some(why);
            // Relays would have subscribers wait for another publisher after an error.
            let reason = "its codec is not supported";
            self.end(now, reason, fanout);
        }
    }

    /// Looks how far subscribers are behind. To be called when all sessions were pumped.
    pub(super) fn look(&mut self, now: Time, fanout: &Fanout) {
        self.lag = self.backlog.lag(now, fanout.backlog(self.id).least);
    }

    /// Whether nobody keeps up.
    pub(super) fn is_behind(&self) -> bool {
        self.lag.exceeds(&self.limits.new_group)
    }

    /// Publishes a frame, or leaves it out.
    pub(super) fn publish(&mut self, now: Now, frame: &Frame, fanout: &mut Fanout) {
        if self.is_over {
            return;
        }
        if self.decoding.is_none() {
            self.count.early_frames += 1;
            return;
        }
        if self.begins_group(frame) {
            self.end_group(now.time, fanout);
            self.begin_group(now, frame, fanout);
        }
        match self.group {
            Group::None => self.count.early_frames += 1,
            Group::Dropped => self.count.dropped_frames += 1,
            Group::Open { stream, next, .. } => {
                let payload = frame.payload.len();
                if self.lag.exceeds(&self.limits.open_group) || !has_room(fanout, payload) {
                    self.cut_group(now.time, stream, fanout);
                    self.count.dropped_frames += 1;
                } else {
                    self.write(now, stream, next, frame, fanout);
                }
            }
        }
    }

    /// Whether a frame is the first of a group.
    fn begins_group(&self, frame: &Frame) -> bool {
        match (self.kind, &self.group) {
            (Kind::Video, _) => frame.is_key,
            (Kind::Audio, Group::Open { began, .. }) => {
                let passed = milliseconds(frame).saturating_sub(*began);
                // A clock that was set back begins a group as well.
                u64::try_from(passed).map_or(true, |passed| passed >= self.group_span.max(1))
                    || self.group_span == 0
            }
            (Kind::Audio, Group::None | Group::Dropped) => true,
        }
    }

    fn begin_group(&mut self, now: Now, frame: &Frame, fanout: &mut Fanout) {
        if self.is_behind() || !has_room(fanout, frame.payload.len()) {
            self.count.dropped_groups += 1;
            self.group = Group::Dropped;
            return;
        }
        let header = SubgroupHeader {
            group: self.ids.next(now.wall),
            subgroup: SubgroupId(0),
            priority: Some(self.priority),
            end_of_group: true,
            first_object: true,
        };
        match fanout.open_subgroup(now.time, self.id, PRODUCER, header) {
            Ok(stream) => {
                self.count.groups += 1;
                self.group = Group::Open {
                    stream,
                    next: ObjectId(0),
                    began: milliseconds(frame),
                };
            }
            Err(fault) => {
                self.complain(fault);
                self.count.dropped_groups += 1;
                self.group = Group::Dropped;
            }
        }
    }

    fn write(
        &mut self,
        now: Now,
        stream: IngestId,
        object: ObjectId,
        frame: &Frame,
        fanout: &mut Fanout,
    ) {
        let Some(decoding) = &mut self.decoding else {
            return;
        };
        let frame = Frame {
            wall: frame.wall.or(Some(now.wall)),
            ..frame.clone()
        };
        let is_first = object == ObjectId(0);
        let packed = match decoding
            .packer
            .pack(&frame, &decoding.configuration, is_first)
        {
            Ok(packed) => packed,
            Err(unsupported) => {
                let why = unsupported.to_string();
                return self.refuse(now.time, why, fanout);
            }
        };
        let written = packed
            .properties(IntegerKind::Vi64)
            .map_err(|_| Fault::Misuse("a configuration longer than a property may be"))
            .and_then(|properties| {
                let payload = &packed.payload;
                fanout.write_object(now.time, stream, object, properties, payload)
            });
        match written {
            Ok(()) => {
                self.count.frames += 1;
                self.count.bytes += u64::try_from(packed.payload.len()).unwrap_or(0);
                self.backlog.published(now.time, packed.payload.len());
                if let Group::Open { next, .. } = &mut self.group {
                    next.0 += 1;
                }
            }
            Err(fault) => {
                self.complain(fault);
                self.count.dropped_frames += 1;
                self.cut_group(now.time, stream, fanout);
            }
        }
    }

    /// Ends a group, all of which was published.
    fn end_group(&mut self, now: Time, fanout: &mut Fanout) {
        if let Group::Open { stream, .. } = std::mem::replace(&mut self.group, Group::None)
            && let Err(fault) = fanout.end_subgroup(now, stream, StreamEnd::Fin)
        {
            self.complain(fault);
        }
    }

    /// Leaves out the rest of a group.
    fn cut_group(&mut self, now: Time, stream: IngestId, fanout: &mut Fanout) {
        self.count.cut_groups += 1;
        self.group = Group::Dropped;
        let end = StreamEnd::Reset(ResetCode::ExcessiveLoad);
        if let Err(fault) = fanout.end_subgroup(now, stream, end) {
            // It is gone already if the fan-out had no room for it.
            debug!("{}: {fault:?}", self.name);
        }
    }

    /// Ends the track.
    pub(super) fn end(&mut self, now: Time, reason: &str, fanout: &mut Fanout) {
        if !std::mem::replace(&mut self.is_over, true) {
            self.end_group(now, fanout);
            fanout.close_track(now, self.id, DoneCode::TrackEnded, reason);
        }
    }

    fn complain(&self, fault: Fault) {
        match fault {
            Fault::Gone | Fault::Stop(_) => warn!("{}: no room: {fault:?}", self.name),
            Fault::Malformed(_) | Fault::Contradiction { .. } | Fault::Misuse(_) => {
                error!("{}: {fault:?}", self.name);
            }
        }
    }
}

/// Whether there is memory for an object, so that it is published as a whole or not at all.
fn has_room(fanout: &Fanout, payload: usize) -> bool {
    let ledger = fanout.ledger();
    // Each piece of it costs something besides.
    let needed = payload
        .saturating_add(payload / 64)
        .saturating_add(HEADROOM);
    ledger.used().saturating_add(needed) <= ledger.limit()
}

/// When a frame is decoded, in milliseconds.
fn milliseconds(frame: &Frame) -> i64 {
    let milliseconds = i128::from(frame.dts) * 1000 / i128::from(frame.timescale.max(1));
    i64::try_from(milliseconds).unwrap_or(i64::MAX)
}
