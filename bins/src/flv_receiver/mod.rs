//! The FLV receiver: subscribes to a track of pictures and one of sound, and writes them to a file as FLV.
//!
//! Objects are put into order within each track, unpacked, passed over until a decoder can begin (a key frame with its
//! configuration), brought into one order by decoding time on a clock that begins at zero, and written.
//!
//! # Where it begins
//!
//! With the current group of pictures: a FETCH that joins the subscription brings what there is of it, so that the first
//! picture is there at once. Sound begins when it was subscribed to. Without the FETCH, or where it is refused, the first
//! picture is that of the next group.
//!
//! # Where it ends
//!
//! | what happens | the file | exit status |
//! |---|---|---|
//! | all tracks end | written to its end | 0, or 1 if there was no frame |
//! | one track ends or is refused | goes on with the other | |
//! | SIGINT, SIGTERM | written to its end | 0 |
//! | whoever reads the output closes it | is cut where they stopped | 0: they have what they wanted |
//! | the output fails | is cut | 1 |
//! | the server is lost | goes on when it is back; after `--reconnect_timeout` seconds in vain written to its end | 1 |
//! | every track is refused | has nothing in it | 1 |

mod advance;
mod arrive;
mod asking;
mod choose;
mod events;
mod feed;
mod limits;
mod outlet;
mod report;
#[cfg(test)]
mod tests;
mod track;
mod trouble;
mod wish;
mod write;

use oxymoq_core::code::SessionCode;
use oxymoq_core::draft::Draft;
use oxymoq_core::media::interleave::Interleave;
use oxymoq_core::peers::Peers;
use oxymoq_core::session;
use oxymoq_core::time::{Time, WallTime};
use oxymoq_core::transport::{
    Admission, Answer, Application, ConnectionId, Exit, Incoming, Input, Output, Target,
};

use crate::client::{NoData, Server};
use crate::mlog::Mlog;

use arrive::Streams;
use feed::Feed;
use report::{Delays, Totals};
use track::Ready;
use trouble::Trouble;
use write::Writer;

pub use limits::Limits;
pub use outlet::{Outlet, Pipe, STDOUT, State};
pub use report::Report;
pub use wish::{Tracks, Wish};

/// The program, without its sockets and its file.
#[derive(Debug)]
pub struct FlvReceiver<O> {
    wish: Wish,
    server: Server,
    /// Where to connect next, if the server has told us.
    next_server: Option<Server>,
    drafts: Vec<Draft>,
    peers: Peers,
    link: Link,
    /// Whether there ever was a session.
    was_up: bool,
    feeds: Vec<Feed>,
    streams: Streams,
    interleave: Interleave<Ready>,
    writer: Writer<O>,
    /// Set while nothing is read, since the output is behind.
    is_paused: bool,
    trouble: Trouble,
    /// When the system clock was told last, and what.
    clock: Option<(Time, WallTime)>,
    delays: Delays,
    too_much: u64,
    reconnects: u64,
    report: Report,
    mlog: Mlog,
    ending: Option<Ending>,
}

/// The connection to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// The output is not open yet, and there is nothing to connect for.
    Unwanted,
    /// Lost; to be tried again at this time.
    Down(Time),
    Connecting(ConnectionId),
    Up(ConnectionId),
    /// The server wants us to leave; nothing more is asked for.
    Leaving(ConnectionId),
    /// Over for good.
    Over,
}

/// The program is to end.
#[derive(Debug)]
struct Ending {
    exit: Exit,
    /// How long the output may take for the rest; `None`: as long as it needs.
    flush_by: Option<Time>,
    /// Whether it has taken longer.
    is_cut: bool,
    /// Whether there is nothing more to write.
    is_written: bool,
    is_reported: bool,
}

impl<O: Outlet> FlvReceiver<O> {
    /// A receiver that will connect to `server` once `outlet` is open; what the two say is written to `mlog`.
    pub fn new(
        server: Server,
        drafts: &[Draft],
        wish: Wish,
        outlet: O,
        report: Report,
        mlog: Mlog,
    ) -> Self {
        let mut peers = Peers::default();
        mlog.watch(&mut peers);
        let limits = &wish.limits;
        let mut receiver = Self {
            interleave: Interleave::new(limits.interleave.clone()),
            writer: Writer::new(outlet, limits),
            trouble: Trouble::new(limits, wish.reconnect),
            server,
            next_server: None,
            drafts: drafts.to_vec(),
            peers,
            link: Link::Unwanted,
            was_up: false,
            feeds: Vec::new(),
            streams: Streams::default(),
            is_paused: false,
            clock: None,
            delays: Delays::new(),
            too_much: 0,
            reconnects: 0,
            report,
            mlog,
            ending: None,
            wish,
        };
        receiver.add_feeds();
        receiver
    }

    /// What is written to.
    #[cfg(test)]
    const fn outlet(&self) -> &O {
        self.writer.outlet()
    }

    /// Connects, as soon as there is an output to write to.
    fn look_at_output(&mut self, now: Time) {
        match self.writer.state() {
            State::Opening | State::Closed => {}
            State::Open => {
                if self.link == Link::Unwanted && self.ending.is_none() {
                    self.report.start(now);
                    self.connect();
                }
            }
            // They have seen enough.
            State::Deserted => self.end(now, Exit::Success),
            State::Broken(sentence) => self.end(now, Exit::Failure(sentence)),
        }
    }

    fn connect(&mut self) {
        let limits = session::Limits {
            // All of them are, when the output is behind: each object may come on a stream of its own.
            max_paused_streams: self.wish.limits.max_streams,
            ..session::Limits::default()
        };
        if let Some(server) = self.next_server.take() {
            self.server = server;
        }
        let peer = self.server.peer_with(&self.drafts, limits);
        let target = self.server.target(&self.drafts);
        self.link = Link::Connecting(self.peers.connect(peer, target));
    }

    /// The session, while things may be asked of it.
    fn session(&mut self) -> Option<&mut session::Session> {
        match self.link {
            Link::Up(connection) | Link::Leaving(connection) => self.peers.session(connection),
            Link::Unwanted | Link::Down(_) | Link::Connecting(_) | Link::Over => None,
        }
    }

    fn handle_events(&mut self, now: Time) {
        self.mlog.write_messages(now, &mut self.peers);
        while let Some((connection, event)) = self.peers.poll_event() {
            self.mlog.write_event(now, connection, &event);
            self.handle_event(now, connection, event);
        }
        self.advance(now);
    }

    // The end.

    /// Ends the program after what has arrived is written, as far as the output takes it. The first reason counts.
    fn end(&mut self, now: Time, exit: Exit) {
        if self.ending.is_some() {
            return;
        }
        self.ending = Some(Ending {
            exit,
            flush_by: None,
            is_cut: false,
            is_written: false,
            is_reported: false,
        });
        match self.link {
            Link::Connecting(connection) | Link::Up(connection) | Link::Leaving(connection) => {
                if let Some(session) = self.peers.session(connection) {
                    session.close(now, SessionCode::NoError, "done");
                }
            }
            Link::Unwanted | Link::Down(_) | Link::Over => {}
        }
        self.link = Link::Over;
        for feed in &mut self.feeds {
            if let Some(track) = feed.track_mut() {
                track.flush();
            }
        }
        self.advance(now);
    }

    /// Whether the output needs no more of us.
    fn is_output_over(&mut self) -> bool {
        if self.ending.as_ref().is_some_and(|ending| ending.is_cut) {
            return true;
        }
        match self.writer.state() {
            State::Open => false,
            // A fifo that nobody reads has got nothing.
            State::Opening | State::Closed | State::Deserted | State::Broken(_) => true,
        }
    }

    fn totals(&self) -> Totals {
        let tracks = self.feeds.iter().filter_map(Feed::track);
        let half = self.delays.percentile(50);
        Totals {
            written: self.writer.counts(),
            tracks: tracks
                .map(|track| {
                    let (counts, jitter) = track.counts();
                    (track.kind(), counts, jitter)
                })
                .collect(),
            interleave: self.interleave.counts(),
            too_much: self.too_much,
            reconnects: self.reconnects,
            delays: half.zip(self.delays.percentile(99)),
        }
    }
}

impl<O: Outlet> Application for FlvReceiver<O> {
    fn handle_wall_clock(&mut self, now: Time, wall: WallTime) {
        self.clock = Some((now, wall));
        if self.link == Link::Unwanted {
            self.look_at_output(now);
        }
    }

    fn handle_incoming(&mut self, _now: Time, _incoming: &Incoming) -> Admission {
        Admission::Refuse
    }

    fn handle_input(&mut self, now: Time, connection: ConnectionId, input: Input) {
        self.peers.handle_input(now, connection, input);
        self.handle_events(now);
    }

    fn handle_answer(&mut self, now: Time, connection: ConnectionId, answer: Answer) {
        self.peers
            .handle_answer(now, connection, answer, &mut NoData);
        self.handle_events(now);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.peers.handle_timeout(now);
        self.handle_events(now);
        self.lose_patience(now);
        if let Some(ending) = &mut self.ending
            && ending.flush_by.is_some_and(|by| by <= now)
        {
            let patience = self.wish.limits.flush_timeout;
            ending.flush_by = None;
            ending.is_cut = true;
            ending.exit = Exit::Failure(format!(
                "the output did not take what was left within {patience:?}"
            ));
        }
    }

    fn handle_wake(&mut self, now: Time) {
        self.look_at_output(now);
        self.advance(now);
    }

    fn handle_shutdown(&mut self, now: Time) {
        self.end(now, Exit::Success);
        if let Some(ending) = &mut self.ending {
            ending.flush_by = Some(now + self.wish.limits.flush_timeout);
        }
    }

    fn poll_dirty(&mut self) -> Option<ConnectionId> {
        self.peers.poll_dirty()
    }

    fn poll_output(&mut self, now: Time, connection: ConnectionId) -> Option<Output> {
        let output = self.peers.poll_output(now, connection, &mut NoData);
        self.handle_events(now);
        output
    }

    fn poll_connect(&mut self) -> Option<(ConnectionId, Target)> {
        self.peers.poll_connect()
    }

    fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        let flush = self.ending.as_ref().and_then(|ending| ending.flush_by);
        let own = [
            (self.next_attempt(), "patience"),
            (self.next_frame(), "frames that wait for others"),
            (self.report.poll_timeout(), "progress"),
            (flush, "the output's rest"),
        ];
        let own = own.into_iter().filter_map(|(at, what)| Some((at?, what)));
        own.chain(self.peers.poll_timeout()).min()
    }

    fn poll_exit(&mut self) -> Option<Exit> {
        self.ending.as_ref()?;
        if !self.peers.is_empty() || !self.is_output_over() {
            return None;
        }
        let totals = self.totals();
        let ending = self.ending.as_mut()?;
        if !std::mem::replace(&mut ending.is_reported, true) {
            self.report.finish(&totals);
        }
        Some(ending.exit.clone())
    }
}
