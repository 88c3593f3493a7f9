//! The flags for every bound of a relay.
//!
//! One row for each flag; [`oxymoq_core::limits`] has the table for people. Both are compared by a test.

use std::time::Duration;

use clap::builder::ValueParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use jiff::SignedDuration;
use oxymoq_core::relay::Settings;

use crate::runtime::Runtime;

/// The heading of these flags in `--help`.
const HEADING: &str = "Limits";

/// No time limit is longer than this: 1000 days.
const LONGEST: Duration = Duration::from_secs(1000 * 24 * 3600);

/// What a flag's value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// A plain number.
    Count,
    /// Bytes, with K, M or G perhaps.
    Bytes,
    /// A time, with its unit; kept in microseconds.
    Time,
}

/// A bound that can be told on the command line.
struct Limit {
    unit: Unit,
    /// The smallest value that makes sense.
    least: u64,
    flag: &'static str,
    help: &'static str,
    get: fn(&Settings) -> u64,
    set: fn(&mut Settings, u64),
}

/// A field's type, as far as flags are concerned.
trait Amount {
    fn number(&self) -> u64;
    fn from_number(number: u64) -> Self;
}

impl Amount for u64 {
    fn number(&self) -> u64 {
        *self
    }

    fn from_number(number: u64) -> Self {
        number
    }
}

impl Amount for usize {
    fn number(&self) -> u64 {
        u64::try_from(*self).unwrap_or(u64::MAX)
    }

    fn from_number(number: u64) -> Self {
        Self::try_from(number).unwrap_or(Self::MAX)
    }
}

impl Amount for u8 {
    fn number(&self) -> u64 {
        u64::from(*self)
    }

    fn from_number(number: u64) -> Self {
        Self::try_from(number).unwrap_or(Self::MAX)
    }
}

impl Amount for Duration {
    fn number(&self) -> u64 {
        u64::try_from(self.as_micros()).unwrap_or(u64::MAX)
    }

    fn from_number(number: u64) -> Self {
        Self::from_micros(number)
    }
}

/// A row: unit, smallest value, flag, help, and the fields that it sets, the first of which has the default.
macro_rules! limit {
    ($unit:ident, $least:expr, $flag:literal, $help:literal, $first:ident.$field:ident $(, $more:ident.$other:ident)*) => {
        Limit {
            unit: Unit::$unit,
            least: $least,
            flag: $flag,
            help: $help,
            get: |settings| settings.$first.$field.number(),
            set: |settings, number| {
                settings.$first.$field = Amount::from_number(number);
                $(settings.$more.$other = Amount::from_number(number);)*
            },
        }
    };
}

/// Every limit that is a number or a time. Those that are a choice are flags of the relay's own.
#[rustfmt::skip] // One line for each.
const LIMITS: &[Limit] = &[
    Limit {
        unit: Unit::Bytes,
        least: 1 << 20,
        flag: "max_memory_bytes",
        help: "Memory in all: half for objects, half for connections",
        get: |settings| {
            let objects = settings.limits.max_object_bytes.number();
            objects.saturating_add(settings.limits.max_transport_bytes)
        },
        set: |settings, number| {
            settings.limits.max_object_bytes = Amount::from_number(number / 2);
            settings.limits.max_transport_bytes = number - number / 2;
        },
    },
    limit!(Count, 1, "max_connections", "Connections at once; further clients are refused", limits.max_connections),
    limit!(Bytes, 1, "max_name_bytes", "Names of namespaces and tracks that the relay holds", limits.max_name_bytes),
    limit!(Count, 0, "max_announcements", "Namespaces announced at once", limits.max_announcements),
    limit!(Count, 0, "max_learned", "Namespaces that peers tell of when asked", limits.max_learned),
    limit!(Count, 0, "max_redirects", "REDIRECTs of a publisher that are followed in a row", limits.max_redirects),
    limit!(Count, 0, "max_watches", "Prefixes that peers want to hear of at once", limits.max_watches),
    limit!(Count, 0, "max_track_watches", "Prefixes under which peers want to hear of tracks at once", limits.max_track_watches),
    limit!(Count, 1, "max_offers_per_watch", "Tracks offered under one prefix at once", limits.max_offers_per_watch),
    limit!(Count, 1, "max_statuses", "Questions about the status of tracks that wait for an answer", limits.max_statuses),
    limit!(Count, 1, "max_tracks", "Tracks subscribed to at once", limits.max_tracks, fanout.max_tracks),
    limit!(Count, 1, "max_publishers_per_track", "Publishers at which one track is subscribed to", limits.max_publishers_per_track, fanout.max_sources_per_track),
    limit!(Count, 1, "max_waiting", "Subscriptions to one track that wait for its publisher's answer", limits.max_waiting),
    limit!(Count, 0, "max_rendezvous", "Subscriptions that wait for a publisher to come", limits.max_rendezvous),
    limit!(Time, 1, "max_rendezvous_timeout", "How long a subscription may wait for a publisher to come", limits.max_rendezvous_timeout),
    limit!(Count, 0, "max_fetches", "FETCHes at once", limits.max_fetches, fetches.max_fetches),
    limit!(Count, 0, "max_fills", "FETCHes of the relay's own at once", limits.max_fills),
    limit!(Count, 1, "max_fills_per_track", "FETCHes of the relay's own for one track at once", limits.max_fills_per_track),
    limit!(Count, 1, "max_fills_ahead", "Holes for which one FETCH makes the relay ask at once", limits.max_fills_ahead),
    limit!(Count, 1, "max_fill_spans", "Intervals in which what one FETCH of the relay's own lost is remembered", limits.max_fill_spans),
    limit!(Bytes, 1, "max_fetch_ahead", "How far the relay's own FETCH may be ahead of those that it is for", limits.max_fetch_ahead),
    limit!(Time, 1, "fill_timeout", "How long a FETCH waits for publishers from which nothing comes", limits.fill_timeout),
    limit!(Count, 1, "cache_high_water", "Percentage of the memory for objects from which on the cache gives way", limits.cache_high_water),
    limit!(Time, 1, "answer_timeout", "How long a publisher may take to answer", limits.answer_timeout),
    limit!(Time, 0, "forward_linger", "How long a publisher goes on sending what nobody wants", limits.forward_linger),
    limit!(Time, 1, "max_pause", "How long a publisher waits for subscribers none of whom takes anything", limits.max_pause),
    limit!(Time, 0, "publisher_grace", "How long subscribers of a track that lost its publisher stay for another", limits.publisher_grace),
    limit!(Count, 1, "max_log_lines", "Lines about peers that are logged in ten seconds", limits.max_log_lines),
    limit!(Count, 1, "max_log_lines_per_peer", "Lines about one peer that are logged in ten seconds", limits.max_log_lines_per_peer),
    limit!(Time, 1, "shutdown_timeout", "How long peers have to leave at a shutdown", limits.drain_timeout),
    limit!(Count, 1, "max_requests", "Requests that a peer may have open", session.max_requests),
    limit!(Count, 1, "max_requests_sent", "Requests that may be open at one peer", session.max_requests_sent),
    limit!(Count, 1, "max_updates", "Updates of one request that wait for an answer", session.max_updates),
    limit!(Count, 1, "max_namespaces", "Namespaces told in answer to one request", session.max_namespaces),
    limit!(Bytes, 1, "max_request_name_bytes", "Names in requests that a peer has open", session.max_request_name_bytes),
    limit!(Bytes, 1, "max_namespace_bytes", "Namespaces told in answer to all requests of one session", session.max_namespace_bytes),
    limit!(Count, 1, "max_silent_streams", "Request streams of a peer on which it says nothing", session.max_silent_streams),
    limit!(Count, 1, "max_request_id_gaps", "Ranges of request ids that a peer skipped and may still use", session.max_request_id_gaps),
    limit!(Time, 1, "request_id_gap_timeout", "How long a skipped request id may take to arrive", session.request_id_gap_timeout),
    limit!(Count, 1, "max_tombstones", "Withdrawn requests of a peer that are remembered", session.max_tombstones),
    limit!(Count, 1, "max_event_backlog", "Events of one session that wait for the relay", session.max_event_backlog),
    limit!(Bytes, 1, "max_auth_token_cache_size", "Tokens that a peer may register", session.max_auth_token_cache_size),
    limit!(Bytes, 0, "max_registered_tokens", "Tokens that are registered with one peer, whatever it allows", session.max_registered_tokens),
    limit!(Count, 0, "max_early_streams", "Streams of a peer that wait for their track to be known", session.max_early_streams),
    limit!(Count, 0, "max_early_datagrams", "Datagrams of a peer that wait for their track to be known", session.max_early_datagrams),
    limit!(Time, 1, "early_data_timeout", "How long data waits for its track to be known", session.early_data_timeout),
    limit!(Count, 1, "max_paused_streams", "Streams of a publisher that may be left unread at once", session.max_paused_streams),
    limit!(Count, 1, "max_ended_aliases", "Aliases of ended subscriptions that are remembered", session.max_ended_aliases),
    limit!(Time, 1, "publish_done_timeout", "How long data may come after the end of a subscription was told", session.publish_done_timeout),
    limit!(Count, 1, "max_checked_groups", "Groups of a track in which contradictions are noticed", session.max_checked_groups),
    limit!(Count, 1, "max_checked_subgroups", "Subgroups of a group in which contradictions are noticed", session.max_checked_subgroups),
    limit!(Time, 1, "setup_timeout", "How long a peer may take for the set-up of its session", session.setup_timeout),
    limit!(Time, 1, "request_drain_timeout", "How long a peer may take to end the stream of a request that is over", session.drain_timeout),
    limit!(Bytes, 1, "max_control_backlog", "Control messages that wait for one peer", session.max_control_backlog),
    limit!(Bytes, 1, "max_unfinished_messages", "Control messages of a peer of which only a part arrived", session.max_unfinished_messages),
    limit!(Count, 1, "max_datagram_backlog", "Datagrams that wait for one peer", session.max_datagram_backlog),
    limit!(Count, 1, "max_open_data_streams", "Data streams open towards one peer", session.max_open_data_streams),
    limit!(Count, 1, "max_incoming_data_streams", "Data streams that a publisher may have open", session.max_incoming_data_streams),
    limit!(Bytes, 1, "read_size", "Bytes read from a stream at a time", session.read_size),
    limit!(Time, 1, "h3_handshake_timeout", "How long a WebTransport session may take until its CONNECT is answered", h3.handshake_timeout),
    limit!(Time, 1, "h3_close_timeout", "How long the end of a WebTransport session may take to reach the peer", h3.close_timeout),
    limit!(Count, 0, "max_h3_waiting_streams", "Streams that wait for the WebTransport session they name", h3.max_waiting_streams),
    limit!(Count, 0, "max_h3_waiting_datagrams", "Datagrams that wait for the WebTransport session they name", h3.max_waiting_datagrams),
    limit!(Count, 1, "max_h3_beginning_streams", "HTTP/3 streams whose first bytes did not arrive", h3.max_beginning_streams),
    limit!(Count, 1, "max_h3_requests", "HTTP/3 requests at once that are not the WebTransport session", h3.max_requests),
    limit!(Count, 1, "max_live_groups", "Groups of a track that are not through yet", fanout.max_live_groups),
    limit!(Count, 0, "remembered_groups", "Groups of a track whose objects are remembered", fanout.remembered_groups),
    limit!(Count, 0, "remembered_finales", "Subgroups of a group whose ends are remembered", fanout.remembered_finales),
    limit!(Count, 1, "max_subgroups_per_group", "Subgroups of a group in memory", fanout.max_subgroups_per_group),
    limit!(Count, 1, "max_streams_per_subgroup", "Streams that bring the same subgroup at once", fanout.max_streams_per_subgroup),
    limit!(Count, 1, "max_objects_per_subgroup", "Objects of a subgroup in memory", fanout.max_objects_per_subgroup),
    limit!(Count, 1, "max_ranges_per_group", "Intervals in which the objects received of a group are remembered", fanout.max_ranges_per_group),
    limit!(Count, 1, "max_datagrams_per_track", "Datagrams of a track in memory", fanout.max_datagrams_per_track),
    limit!(Count, 1, "max_subscriptions", "Subscriptions at once, of all peers", fanout.max_subscriptions),
    limit!(Bytes, 1, "max_subscriber_lag", "How far a subscriber may be behind", fanout.max_subscriber_lag),
    limit!(Bytes, 1, "max_backlog", "How far all subscribers of a track may be behind before its publishers have to wait", fanout.max_backlog),
    limit!(Bytes, 1, "max_backlog_under_pressure", "The same while memory is short", fanout.max_backlog_under_pressure),
    limit!(Time, 1, "range_end_linger", "How long a subscription that is past its range waits for stragglers", fanout.range_end_linger),
    limit!(Time, 1, "track_drain_timeout", "How long subscribers may take for the rest of a track that ended", fanout.drain_timeout),
    limit!(Count, 1, "max_notices", "Notices of the tracks that wait for the relay", fanout.max_notices),
    limit!(Count, 1, "max_facts", "Objects and gaps that wait to be taken into the cache", fanout.max_facts),
    limit!(Count, 0, "max_cached_tracks", "Tracks in the cache", cache.max_tracks),
    limit!(Count, 0, "max_cached_groups_per_track", "Groups of a track in the cache", cache.max_groups_per_track),
    limit!(Bytes, 1, "max_cache_bytes", "Objects in the cache", cache.max_bytes),
    limit!(Time, 1, "max_cache_age", "How long a group stays in the cache", cache.max_age),
    limit!(Count, 1, "max_cached_gaps_per_track", "Intervals in which a track's missing objects are remembered", cache.max_gaps_per_track),
    limit!(Count, 1, "max_fetches_per_connection", "FETCHes served to one peer at once", fetches.max_fetches_per_connection),
    limit!(Count, 1, "max_ahead_entries", "Objects of one FETCH that wait for the transport", fetches.max_ahead_entries),
    limit!(Bytes, 1, "max_ahead_bytes", "Bytes of one FETCH that wait for the transport", fetches.max_ahead_bytes),
    limit!(Time, 1, "idle_timeout", "Give up on a peer from which nothing came for so long", transport.idle_timeout),
    limit!(Time, 0, "keep_alive", "Say something after so long a silence; 0s: never", transport.keep_alive),
    limit!(Count, 1, "max_uni_streams", "Unidirectional streams that a peer may have open before it publishes", transport.max_uni_streams),
    limit!(Count, 1, "max_bidi_streams", "Bidirectional streams that a peer may have open at first", transport.max_bidi_streams),
    limit!(Bytes, 1, "receive_window", "Unread bytes of a peer, until it publishes", transport.receive_window),
    limit!(Bytes, 1, "publisher_window", "Unread bytes of a publisher", transport.publisher_window),
    limit!(Bytes, 1, "stream_window", "Unread bytes on one stream", transport.stream_window),
    limit!(Bytes, 1, "max_unacked", "Bytes sent to one peer and not acknowledged", transport.max_unacked),
    limit!(Bytes, 1, "datagram_receive_buffer", "Datagrams of one peer that wait to be looked at", transport.datagram_receive_buffer),
    limit!(Bytes, 1, "datagram_send_buffer", "Datagrams that wait to be sent to one peer", transport.datagram_send_buffer),
    limit!(Time, 1, "handshake_timeout", "How long a client may take for its handshake", transport.handshake_timeout),
    limit!(Count, 0, "retry_above", "Handshakes at once above which clients prove their address first", transport.retry_above),
    limit!(Count, 1, "max_handshakes", "Handshakes at once above which clients are refused", transport.max_handshakes),
    limit!(Bytes, 1, "socket_buffer", "Buffers of the UDP socket, each way", transport.socket_buffer),
];

/// What was told on the command line: a limit and its number.
#[derive(Clone, Debug, Default)]
pub struct LimitFlags(Vec<(&'static str, u64)>);

impl LimitFlags {
    /// Puts what was told in its place, and the rest as suits the runtime.
    ///
    /// # Errors
    ///
    /// A sentence that says which of the values do not go together.
    pub fn apply(&self, settings: &mut Settings, runtime: Runtime) -> Result<(), String> {
        settings.transport = runtime.prepare(settings.transport.clone());
        for (flag, number) in &self.0 {
            if let Some(limit) = LIMITS.iter().find(|limit| limit.flag == *flag) {
                (limit.set)(settings, *number);
            }
        }
        if !self.0.iter().any(|(flag, _)| *flag == "max_cache_bytes") {
            // The default suits the default of what it is a part of.
            let half = settings.limits.max_object_bytes.number() / 2;
            settings.cache.max_bytes = settings.cache.max_bytes.min(half);
        }
        check(settings)
    }
}

/// Whether values go together.
fn check(settings: &Settings) -> Result<(), String> {
    let transport = &settings.transport;
    if transport.keep_alive >= transport.idle_timeout {
        return Err(
            "--keep_alive must be shorter than --idle_timeout, or connections die of silence"
                .to_owned(),
        );
    }
    if transport.retry_above > transport.max_handshakes {
        return Err(
            "--retry_above must not be more than --max_handshakes, which refuses clients"
                .to_owned(),
        );
    }
    if transport.stream_window > transport.publisher_window {
        return Err("--stream_window must not be more than --publisher_window".to_owned());
    }
    if settings.cache.max_bytes > settings.limits.max_object_bytes.number() {
        return Err(format!(
            "--max_cache_bytes is more than the half of --max_memory_bytes that is for objects, {} bytes",
            settings.limits.max_object_bytes
        ));
    }
    if settings.limits.cache_high_water > 100 {
        return Err("--cache_high_water is a percentage: no more than 100".to_owned());
    }
    let reservations = oxymoq_core::reservations::Reservations::new(
        settings.limits.max_transport_bytes,
        transport,
        settings.session.max_incoming_data_streams,
    );
    if !reservations.has_room() {
        return Err(format!(
            "--max_memory_bytes leaves {} bytes for connections, and one alone needs {}; give it more, or less to \
             --receive_window",
            reservations.limit(),
            reservations.cost()
        ));
    }
    Ok(())
}

impl Limit {
    fn read(&self, text: &str) -> Result<u64, String> {
        let number = match self.unit {
            Unit::Count => read_count(text)?,
            Unit::Bytes => read_bytes(text)?,
            Unit::Time => read_time(text)?,
        };
        if number < self.least {
            return Err(format!("it must be at least {}", self.show(self.least)));
        }
        Ok(number)
    }

    fn show(&self, number: u64) -> String {
        match self.unit {
            Unit::Count => number.to_string(),
            Unit::Bytes => show_bytes(number),
            Unit::Time => format!("{:?}", Duration::from_micros(number)),
        }
    }

    fn argument(&'static self, defaults: &Settings) -> Arg {
        let value_name = match self.unit {
            Unit::Count => "N",
            Unit::Bytes => "BYTES",
            Unit::Time => "TIME",
        };
        let default = self.show((self.get)(defaults));
        Arg::new(self.flag)
            .long(self.flag)
            .value_name(value_name)
            .help(format!("{} [default: {default}]", self.help))
            .help_heading(HEADING)
            .allow_hyphen_values(true)
            .value_parser(ValueParser::from(|text: &str| self.read(text)))
    }
}

impl Args for LimitFlags {
    fn augment_args(command: Command) -> Command {
        let defaults = Settings::default();
        command.args(LIMITS.iter().map(|limit| limit.argument(&defaults)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for LimitFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let told = LIMITS.iter().filter_map(|limit| {
            let is_told = matches.value_source(limit.flag) == Some(ValueSource::CommandLine);
            let number = matches.get_one::<u64>(limit.flag).filter(|_| is_told)?;
            Some((limit.flag, *number))
        });
        Ok(Self(told.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.extend(Self::from_arg_matches(matches)?.0);
        Ok(())
    }
}

fn read_count(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| "write a whole number, like 1000".to_owned())
}

/// Bytes: a whole number, and by how many powers of 1024 it counts.
fn read_bytes(text: &str) -> Result<u64, String> {
    let wrong = || "write a number of bytes, like 4096, 256K, 64M or 1G".to_owned();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let shift = match unit {
        "" | "B" => 0,
        "K" | "k" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| "that is more than any machine has".to_owned())
}

fn show_bytes(bytes: u64) -> String {
    for (shift, unit) in [(30, "G"), (20, "M"), (10, "K")] {
        if bytes > 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// A time in microseconds.
fn read_time(text: &str) -> Result<u64, String> {
    let wrong = || "write a time with its unit, like 500ms, 10s, 5m or 1h".to_owned();
    let time: SignedDuration = text.parse().map_err(|_| wrong())?;
    let time = Duration::try_from(time).map_err(|_| "a time cannot be negative".to_owned())?;
    if time > LONGEST {
        return Err("it must be at most 1000 days".to_owned());
    }
    u64::try_from(time.as_micros()).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        limits: LimitFlags,
    }

    fn settings(line: &str) -> Result<Settings, String> {
        let words = std::iter::once("program").chain(line.split_whitespace());
        let program: Program = crate::cli::try_parse(words.map(Into::into))
            .map_err(|error: clap::Error| error.to_string())?;
        let mut settings = Settings::default();
        program.limits.apply(&mut settings, Runtime::default())?;
        Ok(settings)
    }

    #[test]
    fn nothing_told_is_the_default() {
        assert_eq!(settings("").unwrap().limits, Settings::default().limits);
        let default = Settings::default();
        let mut same = Settings::default();
        for limit in LIMITS {
            (limit.set)(&mut same, (limit.get)(&default));
            assert!((limit.get)(&default) >= limit.least, "{}", limit.flag);
        }
        assert_eq!(same.limits, default.limits);
        assert_eq!(same.session, default.session);
        assert_eq!(same.fanout, default.fanout);
        assert_eq!(same.cache, default.cache);
        assert_eq!(same.fetches, default.fetches);
        assert_eq!(same.transport, default.transport);
    }

    #[test]
    fn each_flag_changes_what_it_names_alone() {
        let default = Settings::default();
        for limit in LIMITS {
            let mut changed = default.clone();
            let number = (limit.get)(&default) + 2;
            (limit.set)(&mut changed, number);
            assert_eq!((limit.get)(&changed), number, "{}", limit.flag);
            for other in LIMITS.iter().filter(|other| other.flag != limit.flag) {
                let (before, after) = ((other.get)(&default), (other.get)(&changed));
                assert_eq!(before, after, "{} changes {}", limit.flag, other.flag);
            }
        }
    }

    #[test]
    fn values_are_told_in_units() {
        let told = settings(
            "--max_memory_bytes 100M --max_tracks=7 -answer_timeout 1500ms --idle-timeout 2m --stream_window 65536",
        )
        .unwrap();
        assert_eq!(told.limits.max_object_bytes, 50 << 20);
        assert_eq!(told.limits.max_transport_bytes, 50 << 20);
        assert_eq!((told.limits.max_tracks, told.fanout.max_tracks), (7, 7));
        assert_eq!(told.limits.answer_timeout, Duration::from_millis(1500));
        assert_eq!(told.transport.idle_timeout, Duration::from_secs(120));
        assert_eq!(told.transport.stream_window, 65_536);
        assert_eq!(
            told.cache.max_bytes,
            25 << 20,
            "half of what objects may have"
        );
    }

    #[test]
    fn nonsense_is_refused_with_a_sentence() {
        for (line, sentence) in [
            ("--max_tracks many", "whole number"),
            ("--max_tracks -1", "whole number"),
            ("--max_connections 0", "at least 1"),
            ("--max_memory_bytes 12X", "256K"),
            ("--max_memory_bytes 99999999999G", "any machine"),
            ("--max_memory_bytes 1K", "at least 1M"),
            (
                "--max_memory_bytes 1M --receive_window 1M",
                "one alone needs",
            ),
            ("--answer_timeout 10", "like 500ms"),
            ("--answer_timeout -10s", "negative"),
            ("--answer_timeout 9999999h", "1000 days"),
            ("--answer_timeout 0s", "at least"),
            ("--keep_alive 30s", "--idle_timeout"),
            ("--retry_above 2000", "--max_handshakes"),
            ("--stream_window 1G", "--publisher_window"),
            ("--max_cache_bytes 2G", "--max_memory_bytes"),
            ("--cache_high_water 101", "percentage"),
        ] {
            let error = settings(line).map(|_| ()).unwrap_err();
            assert!(error.contains(sentence), "{line}: {error}");
        }
    }

    #[test]
    fn sizes_are_shown_as_they_may_be_told() {
        for limit in LIMITS {
            let default = (limit.get)(&Settings::default());
            assert_eq!(
                limit.read(&limit.show(default)),
                Ok(default),
                "{}",
                limit.flag
            );
        }
    }

    #[test]
    fn no_flag_is_there_twice() {
        let flags: BTreeSet<&str> = LIMITS.iter().map(|limit| limit.flag).collect();
        assert_eq!(flags.len(), LIMITS.len());
    }
}
