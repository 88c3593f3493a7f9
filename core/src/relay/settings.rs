//! How a relay is set up, and its bounds.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;

use crate::cache;
use crate::draft::Draft;
use crate::fanout;
use crate::fetches;
use crate::h3;
use crate::ledger::Ledger;
use crate::reservations::Reserve;
use crate::runtime::TransportSettings;
use crate::session;

/// How a relay is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Drafts that it speaks, most wanted first.
    pub drafts: Vec<Draft>,
    /// Paths that clients may ask for. On QUIC itself an absent, empty or `/` path is accepted too.
    pub paths: Vec<Bytes>,
    /// The program's name and version, told to peers; empty: not told.
    pub implementation: Bytes,
    /// Whether peers are asked for their namespaces: some tell nobody unless they are asked.
    pub discover: bool,
    /// The bounds of the relay's own tables.
    pub limits: Limits,
    /// The bounds of each session's.
    pub session: session::Limits,
    /// The bounds of each WebTransport session's HTTP/3 connection.
    pub h3: h3::Limits,
    /// The bounds of the tracks in memory.
    pub fanout: fanout::Limits,
    /// The bounds of what is kept of the past.
    pub cache: cache::Limits,
    /// The bounds of the FETCHes that are served.
    pub fetches: fetches::Limits,
    /// How its adapter was told to treat connections: what one may cost at worst follows from that. If its stack cannot
    /// raise windows, `publisher_window` must be no more than `receive_window` here.
    pub transport: TransportSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            drafts: Draft::ALL.to_vec(),
            paths: vec![Bytes::from_static(b"/")],
            implementation: Bytes::new(),
            discover: true,
            limits: Limits::default(),
            session: session::Limits::default(),
            h3: h3::Limits::default(),
            fanout: fanout::Limits::default(),
            cache: cache::Limits::default(),
            fetches: fetches::Limits::default(),
            transport: TransportSettings::default(),
        }
    }
}

/// What one shard of a relay has in common with the others: the accounts of memory, names and connections.
///
/// Made once for all shards, and then handed to each, on whichever thread that runs.
#[derive(Debug)]
pub struct Shared {
    pub(super) ledger: Ledger,
    pub(super) names: Ledger,
    pub(super) reserve: Reserve,
    /// Whether one of them has said that the relay shuts down: the log is one for all.
    pub(super) said_shut_down: Arc<AtomicBool>,
}

impl Shared {
    /// For so many shards, at least one, of a relay that is set up like this: one for each.
    pub fn new(settings: &Settings, shards: usize) -> Vec<Self> {
        let reserve = Reserve::default();
        let said_shut_down = Arc::default();
        let ledgers = Ledger::shared(settings.limits.max_object_bytes, shards);
        let names = Ledger::shared(settings.limits.max_name_bytes, shards);
        let share = |(ledger, names)| Self {
            ledger,
            names,
            reserve: reserve.clone(),
            said_shut_down: Arc::clone(&said_shut_down),
        };
        ledgers.into_iter().zip(names).map(share).collect()
    }

    pub(super) fn one(settings: &Settings) -> Self {
        Self {
            ledger: Ledger::new(settings.limits.max_object_bytes),
            names: Ledger::new(settings.limits.max_name_bytes),
            reserve: Reserve::default(),
            said_shut_down: Arc::default(),
        }
    }
}

/// The bounds of a relay's tables, over all peers.
///
/// Units, defaults and the reason for each: [`limits`](crate::limits).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of objects in memory, those included that the transport still holds. At the limit the subgroup that found
    /// no room is given up, and the subscription that is furthest behind ends with TOO_FAR_BEHIND.
    pub max_object_bytes: usize,
    /// Bytes that connections may cost in the transport beside objects, if each of them makes the most of its windows and
    /// streams; see [`Reservations`](crate::reservations::Reservations). A client for which there is no room is asked to
    /// prove its address and come again, then refused; a publisher keeps the window of a subscriber.
    pub max_transport_bytes: u64,
    /// Connections at once; a further client is refused.
    pub max_connections: usize,
    /// Bytes of the names that the relay holds: of announcements, of namespaces it was told of, of prefixes, and of tracks
    /// that somebody subscribes to, waits for, publishes, is offered, fetches or asks about; each with 256 bytes for its
    /// places in tables and 128 for each field. What would need another one is refused with EXCESSIVE_LOAD; whoever would
    /// be offered a further track loses the request for offers; namespaces that the relay is told of are then not used.
    pub max_name_bytes: usize,
    /// Announced namespaces at once; a further one is refused with EXCESSIVE_LOAD.
    pub max_announcements: usize,
    /// Namespaces at once that peers told of when asked; further ones are not used.
    pub max_learned: usize,
    /// How often in a row a publisher's REDIRECT to another of its tracks is followed.
    pub max_redirects: usize,
    /// Prefixes that peers want to be told of at once; a further one is refused with EXCESSIVE_LOAD.
    pub max_watches: usize,
    /// Prefixes of which peers want to be offered the tracks at once; a further one is refused with EXCESSIVE_LOAD.
    pub max_track_watches: usize,
    /// Tracks that were offered for one prefix and still exist; whoever is to be offered a further one loses the request
    /// for offers (EXCESSIVE_LOAD), not the tracks.
    pub max_offers_per_watch: usize,
    /// TRACK_STATUSes that wait for a publisher's answer; a further one is refused with EXCESSIVE_LOAD.
    pub max_statuses: usize,
    /// Tracks subscribed to or published at once; a SUBSCRIBE to or PUBLISH of a further one is refused with
    /// EXCESSIVE_LOAD.
    pub max_tracks: usize,
    /// Publishers that one track is subscribed at; further ones are not asked, and their PUBLISH is refused with
    /// EXCESSIVE_LOAD.
    pub max_publishers_per_track: usize,
    /// Subscriptions of one track that wait for its publisher's answer; a further one is refused with EXCESSIVE_LOAD.
    pub max_waiting: usize,
    /// Subscriptions at once that wait for a publisher to come, since they asked to (RENDEZVOUS_TIMEOUT); a further one is
    /// answered at once.
    pub max_rendezvous: usize,
    /// How long a subscription may wait for a publisher to come, however long it is willing to.
    pub max_rendezvous_timeout: Duration,
    /// FETCHes at once, those that wait for a publisher's answer included; a further one is refused with EXCESSIVE_LOAD.
    pub max_fetches: usize,
    /// FETCHes of our own at publishers at once, with those whose objects were not read yet. Beyond it one that its
    /// readers hold back gives way and is asked for again later, or the new one waits.
    pub max_fills: usize,
    /// The same for one track.
    pub max_fills_per_track: usize,
    /// For how many holes in what is known one FETCH asks at once, those further on included.
    pub max_fills_ahead: usize,
    /// Intervals of what one publisher could not tell that are remembered for a FETCH, beyond which the oldest are asked
    /// for there again; and of what a fill left out before its FETCH_OK came, beyond which they are asked for again.
    pub max_fill_spans: usize,
    /// How far a fill may be ahead of the fastest FETCH that reads it, in bytes as the cache counts them. Then no more
    /// of it is read until half of that was taken; a last object, and what was read already, may go beyond it.
    pub max_fetch_ahead: u64,
    /// How long a FETCH waits for publishers without anything coming, before it tells what is missing as unknown
    /// (§ FILL TIMEOUT Parameter); also the longest that a FILL_TIMEOUT may ask for at a time.
    pub fill_timeout: Duration,
    /// Percentage of `max_object_bytes` from which on the cache is made smaller, so that it gives way before live objects
    /// do.
    pub cache_high_water: u8,
    /// How long a publisher may take to answer a SUBSCRIBE or FETCH before it is withdrawn.
    pub answer_timeout: Duration,
    /// How long publishers wait for subscribers none of whom takes anything, before their subscriptions end with
    /// TOO_FAR_BEHIND.
    pub max_pause: Duration,
    /// How long the subscribers of a track that lost its last publisher without an ordinary end stay for another, and what
    /// was cut off waits for the rest.
    pub publisher_grace: Duration,
    /// How long publishers go on sending objects that nobody wants before they are told to pause (Forward State 0). Not
    /// zero: they are also told to send from the beginning, whatever is wanted, as § Forward Handling recommends, since
    /// some publishers end the track when they are told of a change. Zero: the Forward State upstream is always what is
    /// wanted.
    pub forward_linger: Duration,
    /// Lines about peers that are logged in ten seconds; the others are counted.
    pub max_log_lines: usize,
    /// The same for each peer.
    pub max_log_lines_per_peer: usize,
    /// How long a shutdown waits for peers to leave by themselves.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_object_bytes: 512 << 20,
            max_transport_bytes: 512 << 20,
            max_connections: 10_000,
            max_name_bytes: 64 << 20,
            max_announcements: 65_536,
            max_learned: 65_536,
            max_redirects: 3,
            max_watches: 65_536,
            max_track_watches: 65_536,
            max_offers_per_watch: 4096,
            max_statuses: 4096,
            max_tracks: 65_536,
            max_publishers_per_track: 4,
            max_waiting: 4096,
            max_rendezvous: 16_384,
            max_rendezvous_timeout: Duration::from_secs(60),
            answer_timeout: Duration::from_secs(10),
            max_fetches: 16_384,
            max_fills: 1024,
            max_fills_per_track: 16,
            max_fills_ahead: 4,
            max_fill_spans: 64,
            max_fetch_ahead: 4 << 20,
            fill_timeout: Duration::from_secs(30),
            cache_high_water: 80,
            max_pause: Duration::from_secs(10),
            publisher_grace: Duration::from_secs(10),
            forward_linger: Duration::from_secs(10),
            max_log_lines: 1000,
            max_log_lines_per_peer: 100,
            drain_timeout: Duration::from_secs(2),
        }
    }
}
