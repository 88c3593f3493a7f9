//! What a session is told before it starts.

use std::time::Duration;

use bytes::Bytes;

pub use crate::wire::Role;
use crate::wire::param::Token;

/// What carries the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Underlay {
    /// QUIC itself: path and authority are told in SETUP.
    RawQuic,
    /// WebTransport: path and authority were told in its CONNECT.
    WebTransport,
}

/// How a session begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Which side this is.
    pub role: Role,
    /// What carries it.
    pub underlay: Underlay,
    /// Client on raw QUIC: the URL's path and query, sent as PATH. Empty: not sent.
    pub path: Bytes,
    /// Client on raw QUIC: the URL's authority, sent as AUTHORITY. Empty: not sent.
    pub authority: Bytes,
    /// Server on raw QUIC: the paths that are served. An absent, empty or `/` PATH is always accepted.
    pub accepted_paths: Vec<Bytes>,
    /// This program's name and version, told to the peer. Empty: not sent.
    pub implementation: Bytes,
    /// Tokens sent in SETUP.
    pub authorization_tokens: Vec<Token>,
    /// Bounds of every table and queue.
    pub limits: Limits,
}

impl Settings {
    /// A session on raw QUIC that tells nothing of itself and serves only the root path, with the default limits.
    pub fn new(role: Role) -> Self {
        Self {
            role,
            underlay: Underlay::RawQuic,
            path: Bytes::new(),
            authority: Bytes::new(),
            accepted_paths: Vec::new(),
            implementation: Bytes::new(),
            authorization_tokens: Vec::new(),
            limits: Limits::default(),
        }
    }
}

/// The bounds of one session's tables and queues.
///
/// Units, defaults and the reason for each: [`limits`](crate::limits).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many requests of the peer may be open at once. Draft 16: the credit given by MAX_REQUEST_ID.
    pub max_requests: u64,
    /// How many requests of ours may be open at once, unanswered updates not counted; beyond it
    /// [`Misuse::Blocked`](super::Misuse::Blocked).
    pub max_requests_sent: u64,
    /// How many updates of one request may wait for their answer, on either side; a peer that sends more loses the
    /// request.
    pub max_updates: usize,
    /// Bytes of names in requests of the peer that are open, and of tracks whose ended alias is remembered; each with 256
    /// bytes for its places in tables and 128 for each field. What would need another one is refused with
    /// EXCESSIVE_LOAD.
    pub max_request_name_bytes: usize,
    /// How many namespaces may be told in answer to one SUBSCRIBE_NAMESPACE, on either side; beyond it ours is withdrawn,
    /// and for the peer's [`Misuse::Blocked`](super::Misuse::Blocked).
    pub max_namespaces: usize,
    /// Bytes of the namespaces that are told in answer to all requests of a session, on either side, counted as those in
    /// requests; beyond it the same happens.
    pub max_namespace_bytes: usize,
    /// Request streams on which the peer says nothing; beyond it the oldest is abandoned.
    pub max_silent_streams: usize,
    /// Ranges of request ids that the peer skipped and may still use; beyond it the oldest range is given up.
    pub max_request_id_gaps: usize,
    /// Draft 16: how long a skipped request id may take to arrive on another stream.
    pub request_id_gap_timeout: Duration,
    /// Draft 16: requests that were withdrawn while messages about them may be on their way; beyond it the oldest are
    /// forgotten, and such messages about them are let pass.
    pub max_tombstones: usize,
    /// Events that wait for [`poll_event`](super::Session::poll_event); beyond it nothing is read from the peer.
    pub max_event_backlog: usize,
    /// Bytes of tokens that the peer may register under aliases, counted as the draft counts them.
    pub max_auth_token_cache_size: u64,
    /// Bytes of tokens that we register with the peer, counted as the draft counts them, whatever it allows; beyond it
    /// tokens go by value.
    pub max_registered_tokens: u64,
    /// Data streams that wait for their track alias to become known; beyond it the newest is stopped.
    pub max_early_streams: usize,
    /// Datagrams that wait for their track alias to become known; beyond it the oldest is dropped.
    pub max_early_datagrams: usize,
    /// How long data waits for its track alias.
    pub early_data_timeout: Duration,
    /// Data streams that may be paused at once; beyond it the least urgent is stopped. Each may hold back a stream's whole
    /// receive window, so this many windows should be no more than half of the connection's: control needs it too.
    pub max_paused_streams: usize,
    /// Track aliases of ended subscriptions that are remembered, of the peer's to discard what arrives late, of ours to give
    /// them to no other track while the peer may not know of the end; beyond it the oldest is forgotten.
    pub max_ended_aliases: usize,
    /// How long data may arrive after a PUBLISH_DONE that promised more, or did not tell; longer if the subscription has a
    /// longer delivery timeout.
    pub publish_done_timeout: Duration,
    /// Groups of a track that are remembered to notice contradictions; beyond it the one with the lowest id is forgotten.
    pub max_checked_groups: usize,
    /// Subgroups of a group that are remembered to notice contradictions; further ones are not checked.
    pub max_checked_subgroups: usize,
    /// How long the peer may take to complete the set-up.
    pub setup_timeout: Duration,
    /// How long the peer may take to end its direction of a request stream that is over.
    pub drain_timeout: Duration,
    /// Bytes of control messages that wait for the transport on all streams; beyond it the session ends.
    pub max_control_backlog: usize,
    /// Bytes of control messages of the peer that are not complete yet, on all streams; beyond it the session ends.
    pub max_unfinished_messages: usize,
    /// Datagrams that wait for the transport; beyond it the oldest is dropped.
    pub max_datagram_backlog: usize,
    /// Data streams open for sending at once; beyond it a new one must wait.
    pub max_open_data_streams: usize,
    /// Data streams of the peer that may be open at once.
    pub max_incoming_data_streams: u64,
    /// Bytes read from a data stream at a time.
    pub read_size: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_requests: 1024,
            max_requests_sent: 16_384,
            max_updates: 64,
            max_request_name_bytes: 2 << 20,
            max_namespaces: 4096,
            max_namespace_bytes: 4 << 20,
            max_silent_streams: 1024,
            max_request_id_gaps: 1024,
            request_id_gap_timeout: Duration::from_secs(5),
            max_tombstones: 1024,
            max_event_backlog: 4096,
            max_auth_token_cache_size: 4096,
            max_registered_tokens: 64 << 10,
            max_early_streams: 32,
            max_early_datagrams: 64,
            early_data_timeout: Duration::from_secs(2),
            max_paused_streams: 8,
            max_ended_aliases: 256,
            publish_done_timeout: Duration::from_secs(2),
            max_checked_groups: 8,
            max_checked_subgroups: 32,
            setup_timeout: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(10),
            max_control_backlog: 1 << 20,
            max_unfinished_messages: 1 << 20,
            max_datagram_backlog: 128,
            max_open_data_streams: 256,
            max_incoming_data_streams: 1024,
            read_size: 64 << 10,
        }
    }
}
