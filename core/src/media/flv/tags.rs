//! Splits a stream of bytes into tags (Annex E.2 to E.4.1), and finds the next one where bytes are damaged.
//!
//! A tag is taken when it is whole and its size stands behind it. Many writers get that size wrong, so that it decides
//! nothing by itself: it raises doubt in a file where it was right before, and then the header that follows decides.

use bytes::Bytes;

use super::tag_type;
use super::{Fault, Limits, Warning};

/// `FLV` and the fields up to `DataOffset`.
const FILE_HEADER: usize = 9;
/// The longest file header that is believed.
const MAX_FILE_HEADER: u64 = 1024;
/// Up to `StreamID`.
const TAG_HEADER: usize = 11;
/// `PreviousTagSize`.
const SIZE: usize = 4;

/// Tags up to this size are waited for, when the next tag is looked for, whatever their time: half a second of 1 Mbit/s.
const SHORT_WAIT: u32 = 64 * 1024;

/// A tag that is not interpreted yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    /// Where its header begins.
    pub(super) offset: u64,
    pub(super) kind: u8,
    pub(super) encrypted: bool,
    /// In milliseconds, from some zero.
    pub(super) timestamp: u32,
    /// Whether the size behind it is its size, or is missing.
    pub(super) size_is_right: bool,
    pub(super) body: Bytes,
}

/// What [`Tags::poll`] finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Tag(Tag),
    Warning(Warning),
}

/// Where in the file the next byte stands.
#[derive(Clone, Copy, Debug)]
enum State {
    /// At a file header; the first one has nothing before it.
    FileHeader { first: bool },
    /// Bytes to pass over.
    Skip { left: u64 },
    /// At a tag.
    Tag,
    /// Looking for the next tag, since this offset. `cut`: because the stream ended within one.
    Search { since: u64, cut: bool },
    /// Nothing more is read.
    End,
}

/// The state of splitting.
#[derive(Debug)]
pub(super) struct Tags {
    max_tag: u32,
    max_gap: u32,
    buffer: Vec<u8>,
    /// How much of `buffer` was used.
    used: usize,
    /// How many bytes of the stream were used.
    offset: u64,
    state: State,
    /// Nothing can be done until this many bytes are there.
    need: usize,
    finished: bool,
    /// Whether a size behind a tag was right, so that a wrong one is suspicious.
    sizes_count: bool,
    /// Whether the last tag was confirmed by its size, so that a strange header behind it is to be believed.
    confirmed: bool,
    /// The time of the last tag with sound or pictures.
    last: Option<u32>,
}

/// The fields of a tag's header.
#[derive(Clone, Copy)]
struct Header {
    first: u8,
    size: u32,
    timestamp: u32,
    stream: u32,
}

impl Header {
    fn read(bytes: &[u8; TAG_HEADER]) -> Self {
        let [first, a, b, c, t1, t2, t3, t0, s1, s2, s3] = *bytes;
        Self {
            first,
            size: u32::from_be_bytes([0, a, b, c]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            stream: u32::from_be_bytes([0, s1, s2, s3]),
        }
    }

    const fn kind(self) -> u8 {
        self.first & 0x1f
    }

    /// Whether the bits that are always the same are so.
    const fn is_regular(self) -> bool {
        self.first & 0xc0 == 0 && self.stream == 0
    }

    /// Whether it looks like what tags look like, which 1 in 2^29 random bytes do.
    const fn is_plausible(self) -> bool {
        let known = matches!(
            self.kind(),
            tag_type::AUDIO | tag_type::VIDEO | tag_type::SCRIPT
        );
        self.is_regular() && known
    }

    /// Whether it may be one, if everything else says so.
    const fn is_possible(self) -> bool {
        self.first & 0xc0 == 0 && self.kind() != 0
    }

    /// What `PreviousTagSize` should be.
    const fn total(self) -> u32 {
        self.size + 11
    }
}

/// Whether the bytes are a file header as every writer writes it.
fn is_file_header(bytes: &[u8]) -> bool {
    matches!(bytes, [b'F', b'L', b'V', 1, flags, 0, 0, 0, 9, ..] if flags & 0xfa == 0)
}

fn usize_of(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn u64_of(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

impl Tags {
    pub(super) const fn new(limits: &Limits) -> Self {
        Self {
            max_tag: limits.max_tag,
            max_gap: limits.max_gap,
            buffer: Vec::new(),
            used: 0,
            offset: 0,
            state: State::FileHeader { first: true },
            need: 0,
            finished: false,
            sizes_count: false,
            confirmed: true,
            last: None,
        }
    }

    /// Appends what arrived.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if matches!(self.state, State::End) {
            return;
        }
        if self.used > self.buffer.len() / 2 {
            // each byte is moved at most once for each byte that was used
            self.buffer.drain(..self.used);
            self.used = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Nothing more arrives.
    pub(super) const fn finish(&mut self) {
        self.finished = true;
        self.need = 0;
    }

    /// How many bytes wait.
    pub(super) const fn buffered(&self) -> usize {
        self.buffer.len() - self.used
    }

    /// The next thing that is found; `None` until more arrives.
    pub(super) fn poll(&mut self) -> Option<Piece> {
        loop {
            if self.buffered() < self.need {
                return None;
            }
            self.need = 0;
            let step = match self.state {
                State::FileHeader { first } => self.file_header(first),
                State::Skip { left } => self.skip(left),
                State::Tag => self.tag(),
                State::Search { since, cut } => self.search(since, cut),
                State::End => return None,
            };
            match step {
                Step::Found(piece) => return Some(piece),
                Step::On => {}
                Step::Wait => return None,
            }
        }
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.used..).unwrap_or_default()
    }

    fn advance(&mut self, count: usize) {
        let count = count.min(self.buffered());
        self.used += count;
        self.offset += u64_of(count);
    }

    /// Goes on when this many bytes are there, or none can come.
    const fn wait(&mut self, need: usize) -> Step {
        self.need = need;
        Step::Wait
    }

    fn warn(&self, offset: u64, what: Fault) -> Step {
        Step::Found(Piece::Warning(Warning { offset, what }))
    }

    fn end(&mut self) {
        self.state = State::End;
        self.buffer = Vec::new();
        self.used = 0;
    }

    fn file_header(&mut self, first: bool) -> Step {
        const MAGIC: &[u8] = b"FLV";
        let rest = self.rest();
        let begun = rest.get(..MAGIC.len()).unwrap_or(rest);
        let starts_otherwise = !MAGIC.starts_with(begun) || (self.finished && begun != MAGIC);
        if first && starts_otherwise {
            self.end();
            return self.warn(0, Fault::NotFlv);
        }
        let Some([.., version, _flags, o1, o2, o3, o4]) = rest.first_chunk::<FILE_HEADER>() else {
            return self.cut_off(FILE_HEADER);
        };
        let length = u64::from(u32::from_be_bytes([*o1, *o2, *o3, *o4]));
        let usual = u64_of(FILE_HEADER);
        let believed = (usual..=MAX_FILE_HEADER).contains(&length);
        let regular = believed && *version == 1;
        let offset = self.offset;
        // the header, and the size of the tag before the first
        let length = if believed { length } else { usual };
        self.state = State::Skip {
            left: length + u64_of(SIZE),
        };
        self.confirmed = true;
        match (first, regular) {
            (_, false) => self.warn(offset, Fault::Header),
            (false, true) => self.warn(offset, Fault::Restarted),
            (true, true) => Step::On,
        }
    }

    /// More bytes are needed of something: waits for them, or says that it is cut off.
    fn cut_off(&mut self, need: usize) -> Step {
        if !self.finished {
            return self.wait(need);
        }
        let (offset, there) = (self.offset, u64_of(self.buffered()));
        self.end();
        if there == 0 {
            return Step::On;
        }
        self.warn(offset, Fault::Truncated(there))
    }

    fn skip(&mut self, left: u64) -> Step {
        let there = u64_of(self.buffered()).min(left);
        self.advance(usize::try_from(there).unwrap_or(usize::MAX));
        let left = left - there;
        if left == 0 {
            self.state = State::Tag;
            return Step::On;
        }
        self.state = State::Skip { left };
        if self.finished {
            self.cut_off(1)
        } else {
            self.wait(1)
        }
    }

    fn tag(&mut self) -> Step {
        let rest = self.rest();
        if is_file_header(rest) {
            self.state = State::FileHeader { first: false };
            return Step::On;
        }
        let Some(header) = rest.first_chunk() else {
            return self.cut_off(TAG_HEADER);
        };
        let header = Header::read(header);
        let strange = !header.is_plausible();
        if strange && !(self.confirmed && header.is_possible()) {
            return self.lose(false);
        }
        if header.size > self.max_tag {
            return self.too_large(header, strange);
        }
        let total = usize_of(header.total());
        let Some(behind) = rest.get(total..total + SIZE) else {
            return self.unfinished_tag(header, strange);
        };
        if behind == header.total().to_be_bytes() {
            self.sizes_count = true;
            self.confirmed = true;
            return self.take(header, SIZE, true);
        }
        self.doubtful_tag(header, strange)
    }

    /// A tag of which not everything is there.
    fn unfinished_tag(&mut self, header: Header, strange: bool) -> Step {
        let total = usize_of(header.total());
        if !self.finished {
            return self.wait(total + SIZE);
        }
        match self.buffered().checked_sub(total) {
            Some(behind) if !strange => self.take(header, behind, true),
            _ => self.lose(true),
        }
    }

    /// A tag with another size behind it.
    fn doubtful_tag(&mut self, header: Header, strange: bool) -> Step {
        let behind = usize_of(header.total()) + SIZE;
        if strange {
            return self.lose(false);
        }
        if self.sizes_count {
            let next = self.rest().get(behind..).unwrap_or_default();
            let follows = match next.first_chunk() {
                Some(header) => Header::read(header).is_plausible() || is_file_header(next),
                None if self.finished => true,
                None => return self.wait(behind + TAG_HEADER),
            };
            if !follows {
                return self.lose(false);
            }
        }
        self.confirmed = false;
        self.take(header, SIZE, false)
    }

    /// Takes a whole tag, and as many bytes behind it.
    fn take(&mut self, header: Header, behind: usize, size_is_right: bool) -> Step {
        let total = usize_of(header.total());
        let body = self.rest().get(TAG_HEADER..total).unwrap_or_default();
        let tag = Tag {
            offset: self.offset,
            kind: header.kind(),
            encrypted: header.first & 0x20 != 0,
            timestamp: header.timestamp,
            size_is_right,
            body: Bytes::copy_from_slice(body),
        };
        if tag.kind != tag_type::SCRIPT {
            self.last = Some(tag.timestamp);
        }
        self.advance(total + behind);
        self.state = State::Tag;
        Step::Found(Piece::Tag(tag))
    }

    fn too_large(&mut self, header: Header, strange: bool) -> Step {
        if strange {
            return self.lose(false);
        }
        let offset = self.offset;
        self.state = State::Skip {
            left: u64::from(header.total()) + u64_of(SIZE),
        };
        self.confirmed = false;
        self.warn(offset, Fault::TagTooLarge(header.size))
    }

    /// There is no tag here: looks for the next one from the next byte on.
    fn lose(&mut self, cut: bool) -> Step {
        self.state = State::Search {
            since: self.offset,
            cut,
        };
        self.advance(1);
        Step::On
    }

    fn search(&mut self, since: u64, cut: bool) -> Step {
        loop {
            let rest = self.rest();
            let Some(header) = rest.first_chunk() else {
                break;
            };
            let header = Header::read(header);
            let found = if self.is_candidate(header) {
                match self.is_confirmed(header) {
                    Some(found) => found,
                    None if self.finished => false,
                    None => return self.wait_for_candidate(header),
                }
            } else {
                is_file_header(rest)
            };
            if found {
                self.state = State::Tag;
                self.confirmed = false;
                return self.warn(since, Fault::Damaged(self.offset - since));
            }
            self.advance(1);
        }
        if !self.finished {
            return self.wait(TAG_HEADER);
        }
        let lost = self.offset + u64_of(self.buffered()) - since;
        self.end();
        let what = if cut {
            Fault::Truncated(lost)
        } else {
            Fault::Damaged(lost)
        };
        self.warn(since, what)
    }

    /// Whether these bytes, where tags are looked for, may be a tag's header. Frames are full of bytes that look like one (the
    /// lengths of NAL units begin with zeros), mostly of a large tag at some other time, for which nobody should wait.
    fn is_candidate(&self, header: Header) -> bool {
        let is_near = self.last.is_none_or(|last| {
            let after = header.timestamp.wrapping_sub(last);
            after.min(after.wrapping_neg()) <= self.max_gap
        });
        header.is_plausible()
            && header.size <= self.max_tag
            && (is_near || header.size <= SHORT_WAIT)
    }

    /// Whether what looks like a header is one, as its own size behind it tells, or the next header where sizes were never
    /// right. `None`: not enough is there.
    fn is_confirmed(&self, header: Header) -> Option<bool> {
        let total = usize_of(header.total());
        let behind = self.rest().get(total..total + SIZE)?;
        if behind == header.total().to_be_bytes() {
            return Some(true);
        }
        if self.sizes_count {
            return Some(false);
        }
        let next = self.rest().get(total + SIZE..)?.first_chunk()?;
        Some(Header::read(next).is_plausible())
    }

    /// Enough for [`Self::is_confirmed`].
    fn wait_for_candidate(&mut self, header: Header) -> Step {
        let end = usize_of(header.total()) + SIZE;
        self.wait(if self.buffered() < end {
            end
        } else {
            end + TAG_HEADER
        })
    }
}

/// What a step led to.
enum Step {
    /// Something to tell.
    Found(Piece),
    /// Nothing yet, but the next step can be made.
    On,
    /// More bytes are needed.
    Wait,
}
