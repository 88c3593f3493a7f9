//! What was published before a client came: fetched alone, joined, or in a range; directly and through the relay.

use std::time::{SystemTime, UNIX_EPOCH};

use super::dates::{WAYS, assert_consecutive};
use super::process::Process;

/// A minute of the year 1971.
const LONG_AGO: u64 = 1_000_000;

/// A server of the date, and what it needs: a relay or nothing.
struct Place {
    url: String,
    /// Killed when dropped.
    _programs: Vec<Process>,
}

impl Place {
    fn direct(runtime: &str) -> Self {
        let flags = format!("--runtime {runtime} --port 0 --insecure");
        let mut server = Process::start("moqdateserver", &flags);
        let url = format!("localhost:{}/moq-date", server.port());
        Self {
            url,
            _programs: vec![server],
        }
    }

    /// With more flags of the date server's.
    fn relayed(runtime: &str, more: &str) -> Self {
        let flags = format!("--runtime {runtime}");
        let mut relay = Process::start("moqrelayserver", &format!("{flags} --port 0"));
        let url = format!("localhost:{}/moq-relay", relay.port());
        let mut server = Process::start(
            "moqdateserver",
            &format!(
                "{flags} --insecure --relay_url https://{url} --relay_connect_timeout 20000 {more}"
            ),
        );
        server.error_with("announces");
        Self {
            url,
            _programs: vec![relay, server],
        }
    }

    /// A client for each way to connect.
    fn clients(&self, runtime: &str, flags: &str) -> Vec<Process> {
        let line = |(scheme, draft): (&str, &str)| {
            format!(
                "--runtime {runtime} --insecure --connect_url {scheme}://{} --versions {draft} --connect_timeout 20000 \
                 --track_namespace moq-date {flags}",
                self.url
            )
        };
        WAYS.map(|way| Process::start("moqtextclient", &line(way)))
            .into_iter()
            .collect()
    }
}

/// The minute that it is now.
fn this_minute() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_secs() / 60
}

/// Reads lines up to the end of what was fetched.
fn fetched(client: &mut Process) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        match client.line() {
            end if end == "onEndOfStream" => return lines,
            line => lines.push(line),
        }
    }
}

/// The seconds among lines: heads of minutes, their properties and their ends are none.
fn seconds(lines: &[String]) -> Vec<u64> {
    lines.iter().filter_map(|line| line.parse().ok()).collect()
}

/// A client that joined: what it fetched begins with a head, and live seconds follow without a gap.
#[track_caller]
fn assert_joined(client: &mut Process, at_least: usize) {
    let past = fetched(client);
    assert_eq!(
        past[..2],
        ["data extension=AQIDBAU=", "int extension=1977"],
        "{past:?}"
    );
    assert_eq!(past[2].len(), 17, "{past:?}");
    let mut all = seconds(&past);
    assert_eq!(all[0], 0);
    assert!(all.len() >= at_least, "{all:?}");
    let fetched = all.len();
    while all.len() < fetched + 3 {
        all.extend(seconds(&[client.line()]));
    }
    assert_consecutive(&all);
}

fn a_past_minute(place: &Place, runtime: &str) {
    let flags = format!(
        "--track_name date --fetch --sg {LONG_AGO} --so 59 --eg {}",
        LONG_AGO + 1
    );
    for client in place.clients(runtime, &flags) {
        let (status, lines, log) = client.end();
        assert!(status.success(), "{log}");
        let (head, rest) = lines.split_at(4);
        assert_eq!(head[..2], ["58", "59"]);
        assert_eq!(head[2..], ["data extension=AQIDBAU=", "int extension=1977"]);
        assert!(rest[0].ends_with(':'), "{rest:?}");
        assert_eq!(rest.len(), 62, "{rest:?}");
        assert_eq!(rest[61], "onEndOfStream");
        assert_consecutive(&seconds(&lines));
    }
}

fn joins(place: &Place, runtime: &str) {
    let back = "--track_name date --jrfetch --join_start 1".to_owned();
    let at = format!(
        "--track_name date --jafetch --join_start {}",
        this_minute() - 2
    );
    let now = "--track_name date --jrfetch".to_owned();
    for (flags, at_least) in [(back, 60), (at, 120), (now, 0)] {
        for mut client in place.clients(runtime, &flags) {
            assert_joined(&mut client, at_least);
            client.signal("INT");
            let (status, _, log) = client.end();
            assert!(status.success(), "{log}");
        }
    }
}

fn ranges(place: &Place, runtime: &str) {
    let minute = this_minute();
    let open = format!("--track_name date --sg {} --so 30", minute - 1);
    for mut client in place.clients(runtime, &open) {
        let mut all = seconds(&fetched(&mut client));
        assert_eq!(all[0], 29);
        let fetched = all.len();
        while all.len() < fetched + 2 {
            all.extend(seconds(&[client.line()]));
        }
        assert_consecutive(&all);
    }
    let past = format!("--track_name date --sg {} --eg {}", minute - 4, minute - 3);
    for client in place.clients(runtime, &past) {
        let (status, lines, log) = client.end();
        assert!(status.success(), "{log}");
        assert_eq!(lines.last().unwrap(), "onEndOfStream");
        assert_eq!(seconds(&lines).len(), 120);
        assert_consecutive(&seconds(&lines));
    }
}

fn futures(place: &Place, runtime: &str) {
    let future = format!("--track_name date --fetch --sg {}", this_minute() + 10);
    for client in place.clients(runtime, &future) {
        let (status, _, log) = client.end();
        assert!(!status.success());
        assert!(log.contains("INVALID_RANGE"), "{log}");
        assert!(log.contains("ask for an earlier start"), "{log}");
    }
}

fn limited(place: &Place, runtime: &str) {
    let flags = "--track_name date --delivery_timeout 900 --unsubscribe --unsubscribe_time 2";
    for client in place.clients(runtime, flags) {
        let (status, lines, log) = client.end();
        assert!(status.success(), "{log}");
        let seconds = seconds(&lines);
        assert!(!seconds.is_empty(), "{log}");
        assert_consecutive(&seconds);
    }
}

/// Every flag, at a date server on this machine.
fn everything_at_the_date_server(runtime: &str) {
    let place = Place::direct(runtime);
    a_past_minute(&place, runtime);
    joins(&place, runtime);
    ranges(&place, runtime);
    futures(&place, runtime);
    limited(&place, runtime);
    for name in ["--track_name date", ""] {
        for mut client in place.clients(runtime, &format!("--publish {name}")) {
            assert_consecutive(&live(&mut client, 2));
        }
    }
}

/// Every flag, through the relay.
fn everything_through_the_relay(runtime: &str) {
    let place = Place::relayed(runtime, "");
    a_past_minute(&place, runtime);
    joins(&place, runtime);
    ranges(&place, runtime);
    futures(&place, runtime);
    limited(&place, runtime);
}

fn the_date_is_published_to_the_relay(runtime: &str) {
    let place = Place::relayed(runtime, "--publish");
    for mut client in place.clients(runtime, "--track_name date --jrfetch --join_start 1") {
        assert_joined(&mut client, 60);
    }
    for flags in ["--track_name date", "--publish"] {
        for mut client in place.clients(runtime, flags) {
            assert_consecutive(&live(&mut client, 2));
        }
    }
}

fn live(client: &mut Process, count: usize) -> Vec<u64> {
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(seconds(&[client.line()]));
    }
    all
}

fn a_client_may_come_before_the_publisher(runtime: &str) {
    let mut relay = Process::start("moqrelayserver", &format!("--runtime {runtime} --port 0"));
    let url = format!("localhost:{}/moq-relay", relay.port());
    let mut client = Process::start(
        "moqtextclient",
        &format!(
            "--runtime {runtime} --insecure --connect_url moqt://{url} --versions 18 --connect_timeout 20000 \
             --track_namespace moq-date --track_name date --rendezvous_timeout 50000 --logging INFO"
        ),
    );
    client.error_with("connected to");
    let _server = Process::start(
        "moqdateserver",
        &format!(
            "--runtime {runtime} --insecure --relay_url https://{url} --relay_connect_timeout 20000"
        ),
    );
    assert_consecutive(&live(&mut client, 2));
}

macro_rules! on_both_runtimes {
    ($($scenario:ident: $tokio:ident, $smol:ident;)*) => {$(
        #[cfg(feature = "tokio")]
        #[test]
        fn $tokio() {
            $scenario("tokio");
        }

        #[cfg(feature = "smol")]
        #[test]
        fn $smol() {
            $scenario("smol");
        }
    )*};
}

on_both_runtimes! {
    everything_at_the_date_server:
        every_flag_works_at_the_date_server_on_tokio,
        every_flag_works_at_the_date_server_on_smol;
    everything_through_the_relay:
        every_flag_works_through_the_relay_on_tokio,
        every_flag_works_through_the_relay_on_smol;
    the_date_is_published_to_the_relay:
        a_date_that_is_published_crosses_the_relay_on_tokio,
        a_date_that_is_published_crosses_the_relay_on_smol;
    a_client_may_come_before_the_publisher:
        a_client_waits_for_the_publisher_on_tokio,
        a_client_waits_for_the_publisher_on_smol;
}
