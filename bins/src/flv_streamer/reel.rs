//! The input as one row of frames, however often it begins again.

use std::sync::mpsc::{Receiver, TryRecvError};

use log::info;
use oxymoq_core::media::flv::{Demuxer, Item};
use oxymoq_core::media::{Frame, Kind};

use super::input::Chunk;

/// How long a frame may last, in milliseconds, if only the distance to the one before tells: more is a gap.
const LONGEST_FRAME: i64 = 1000;

/// What comes next.
#[derive(Debug)]
pub(super) enum Step {
    /// A frame, or what is to be known for the following ones.
    Item(Item),
    /// Nothing yet: the bell will ring.
    Starved,
    /// Nothing any more; a sentence if it should not be over.
    Over(Result<(), String>),
}

/// Takes the input apart.
#[derive(Debug)]
pub(super) struct Reel {
    /// `None`: reading has not begun.
    chunks: Option<Receiver<Chunk>>,
    demuxer: Demuxer,
    /// The end of what the demuxer was given, once it is there.
    end: Option<End>,
    /// Is added to times, in milliseconds; `None`: the next frame decides.
    shift: Option<i64>,
    /// Where the last frame ends.
    reached: i64,
    /// When the last frame of video and of audio was decoded.
    last: [Option<i64>; 2],
    /// Whether there was a frame since the input began, or began again.
    is_fruitful: bool,
}

#[derive(Debug)]
enum End {
    /// It begins again.
    Again,
    /// Another one may follow.
    Another,
    Over(Result<(), String>),
}

impl Reel {
    pub(super) fn new() -> Self {
        Self {
            chunks: None,
            demuxer: Demuxer::new(),
            end: None,
            shift: Some(0),
            reached: 0,
            last: [None; 2],
            is_fruitful: false,
        }
    }

    /// What is read comes from here.
    pub(super) fn load(&mut self, chunks: Receiver<Chunk>) {
        self.chunks = Some(chunks);
    }

    /// Takes the next item, and only as many bytes as it needs for that.
    pub(super) fn step(&mut self) -> Step {
        loop {
            match self.demuxer.poll() {
                Some(Item::Frame(frame)) => return Step::Item(Item::Frame(self.splice(frame))),
                Some(item) => return Step::Item(item),
                None => {}
            }
            match &self.end {
                Some(End::Over(result)) => return Step::Over(result.clone()),
                Some(End::Again) if !self.is_fruitful => {
                    let why = "the input has no frame: reading it again is of no use";
                    return Step::Over(Err(why.to_owned()));
                }
                Some(End::Again | End::Another) => self.rewind(),
                None => {}
            }
            let Some(chunks) = &self.chunks else {
                return Step::Starved;
            };
            match chunks.try_recv() {
                Ok(Chunk::Data(bytes)) => self.demuxer.push(&bytes),
                Ok(Chunk::Again) => self.finish(End::Again),
                Ok(Chunk::Another) => {
                    info!("the writer of the input is gone; the next one is waited for");
                    self.finish(End::Another);
                }
                Ok(Chunk::End) => self.finish(End::Over(Ok(()))),
                Ok(Chunk::Failed(why)) => self.finish(End::Over(Err(why))),
                Err(TryRecvError::Empty) => return Step::Starved,
                Err(TryRecvError::Disconnected) => {
                    self.finish(End::Over(Err("the input is not read any more".to_owned())));
                }
            }
        }
    }

    fn finish(&mut self, end: End) {
        self.demuxer.finish();
        self.end = Some(end);
    }

    /// The input begins again; times go on.
    fn rewind(&mut self) {
        self.demuxer = Demuxer::new();
        self.end = None;
        self.shift = None;
        self.is_fruitful = false;
    }

    /// Gives a frame its place after those before.
    fn splice(&mut self, frame: Frame) -> Frame {
        self.is_fruitful = true;
        let shift = *self
            .shift
            .get_or_insert_with(|| self.reached.saturating_sub(frame.dts));
        let dts = frame.dts.saturating_add(shift);
        let [video, audio] = &mut self.last;
        let last = match frame.kind {
            Kind::Video => video,
            Kind::Audio => audio,
        };
        // FLV does not say how long a frame lasts: as long as the one before, presumably.
        let presumed = last
            .replace(dts)
            .map(|before| dts.saturating_sub(before))
            .filter(|distance| (1..=LONGEST_FRAME).contains(distance));
        let told = i64::try_from(frame.duration).ok().filter(|told| *told > 0);
        let duration = told.or(presumed).unwrap_or(1);
        self.reached = self.reached.max(dts.saturating_add(duration));
        Frame {
            dts,
            pts: frame.pts.saturating_add(shift),
            ..frame
        }
    }
}
