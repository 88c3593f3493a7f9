//! A date crosses the relay, and reaches clients without one.

use super::process::{Folder, Process};

/// The seconds that a client printed in a row, whatever else it printed in between.
fn seconds(client: &mut Process, count: usize) -> Vec<u64> {
    let mut seconds = Vec::new();
    while seconds.len() < count {
        let line = client.line();
        // Heads of minutes, their properties and their ends are not seconds.
        if let Ok(second) = line.parse() {
            seconds.push(second);
        }
    }
    seconds
}

#[track_caller]
pub(crate) fn assert_consecutive(seconds: &[u64]) {
    for pair in seconds.windows(2) {
        assert_eq!(
            pair[1],
            (pair[0] + 1) % 60,
            "a second is missing in {seconds:?}"
        );
    }
}

/// Every way to speak: transport and draft.
pub(crate) const WAYS: [(&str, &str); 4] = [
    ("https", "18"),
    ("https", "16"),
    ("moqt", "18"),
    ("moqt", "16"),
];

fn a_date_crosses_the_relay(runtime: &str) {
    let flags = format!("--runtime {runtime}");
    let mut relay = Process::start("moqrelayserver", &format!("{flags} --port 0"));
    let port = relay.port();
    let url = |scheme: &str| format!("{scheme}://localhost:{port}/moq-relay");
    let mut servers = Vec::new();
    for (scheme, draft) in WAYS {
        let ns = format!("date-{scheme}-{draft}");
        let mut server = Process::start(
            "moqdateserver",
            &format!(
                "{flags} --insecure --relay_url {} --versions {draft} --ns {ns} --relay_connect_timeout 20000",
                url(scheme)
            ),
        );
        server.error_with("announces");
        servers.push((server, ns));
    }
    let mut clients = Vec::new();
    for (_, ns) in &servers {
        for (scheme, draft) in WAYS {
            let line = format!(
                "{flags} --insecure --connect_url {} --versions {draft} --track_namespace {ns} --track_name date \
                 --connect_timeout 20000",
                url(scheme)
            );
            clients.push(Process::start("moqtextclient", &line));
        }
    }
    for client in &mut clients {
        assert_consecutive(&seconds(client, 3));
    }
    relay.signal("TERM");
    let (status, _, log) = relay.end();
    assert!(status.success(), "{log}");
}

#[cfg(feature = "tokio")]
#[test]
fn a_date_crosses_the_relay_in_all_sixteen_ways_on_tokio() {
    a_date_crosses_the_relay("tokio");
}

#[cfg(feature = "smol")]
#[test]
fn a_date_crosses_the_relay_in_all_sixteen_ways_on_smol() {
    a_date_crosses_the_relay("smol");
}

#[test]
fn the_first_instructions_work_as_they_were_written() {
    let folder = Folder::new("instructions");
    folder.add_certificate();
    let mut server = Process::start_in(
        folder.path(),
        "moqdateserver",
        "-port 0 -cert ./certs/certificate.pem -key ./certs/certificate.key --logging DBG1",
    );
    let port = server.port();
    let mut client = Process::start_in(
        folder.path(),
        "moqtextclient",
        &format!(
            "--connect_url https://localhost:{port}/moq-date --track_namespace moq-date --track_name /date \
             --connect_timeout 20000"
        ),
    );
    assert_consecutive(&seconds(&mut client, 2));
    let mut relay = Process::start_in(
        folder.path(),
        "moqrelayserver",
        "-port 0 -cert ./certs/certificate.pem -key ./certs/certificate.key -endpoint /moq --logging DBG",
    );
    relay.port();
    client.signal("INT");
    let (status, _, log) = client.end();
    assert!(status.success(), "{log}");
    server.signal("TERM");
    let (status, _, log) = server.end();
    assert!(status.success(), "{log}");
}

#[test]
fn every_mode_of_the_date_server_reaches_the_client() {
    for mode in ["spg", "spo", "datagram"] {
        let mut server = Process::start("moqdateserver", &format!("--port 0 --mode {mode}"));
        let port = server.port();
        let mut client = Process::start(
            "moqtextclient",
            &format!(
                "--insecure --connect_url moqt://localhost:{port} --track_namespace moq-date --track_name date \
                 --connect_timeout 20000"
            ),
        );
        assert_consecutive(&seconds(&mut client, 2));
    }
}

#[test]
fn a_client_unsubscribes_when_its_time_is_up() {
    let mut server = Process::start("moqdateserver", "--port 0");
    let port = server.port();
    let client = Process::start(
        "moqtextclient",
        &format!(
            "--insecure --connect_url https://localhost:{port}/moq-date --track_namespace moq-date --track_name date \
             --unsubscribe --unsubscribe_time 2 --connect_timeout 20000"
        ),
    );
    let (status, lines, log) = client.end();
    assert!(status.success(), "{log}");
    // Two seconds' worth; more only if the machine stood still meanwhile.
    assert!(!lines.is_empty() && lines.len() <= 30, "{lines:?}");
}

#[test]
fn subscribers_learn_that_the_track_has_ended() {
    let mut server = Process::start("moqdateserver", "--port 0");
    let port = server.port();
    let mut client = Process::start(
        "moqtextclient",
        &format!(
            "--insecure --connect_url https://localhost:{port}/moq-date --track_namespace moq-date --track_name date \
             --connect_timeout 20000"
        ),
    );
    seconds(&mut client, 1);
    server.signal("TERM");
    let (status, lines, log) = client.end();
    assert!(status.success(), "{log}");
    assert_eq!(
        lines.last().map(String::as_str),
        Some("onPublishDone"),
        "{log}"
    );
}

#[test]
fn a_date_server_says_that_its_relay_goes_away() {
    let mut relay = Process::start("moqrelayserver", "--port 0");
    let port = relay.port();
    let mut server = Process::start(
        "moqdateserver",
        &format!(
            "--insecure --relay_url https://localhost:{port}/moq --relay_connect_timeout 20000"
        ),
    );
    server.error_with("announces");
    relay.signal("TERM");
    let (status, _, log) = server.end();
    assert!(!status.success());
    assert!(log.contains("going away; start again"), "{log}");
    let (status, _, log) = relay.end();
    assert!(status.success(), "{log}");
}

#[test]
fn what_both_sides_say_is_written_to_the_mlog_file() {
    let folder = Folder::new("mlog");
    let mut server = Process::start_in(
        folder.path(),
        "moqdateserver",
        "--port 0 --mlog_path server.mlog",
    );
    let port = server.port();
    let mut client = Process::start_in(
        folder.path(),
        "moqtextclient",
        &format!(
            "--insecure --connect_url https://localhost:{port}/moq-date --track_namespace moq-date --track_name date \
             --connect_timeout 20000 --mlog_path client.mlog"
        ),
    );
    seconds(&mut client, 1);
    client.signal("INT");
    let (status, _, log) = client.end();
    assert!(status.success(), "{log}");
    server.signal("TERM");
    let (status, _, log) = server.end();
    assert!(status.success(), "{log}");
    for (file, sent, received) in [
        ("client.mlog", "Subscribe", "SubscribeOk"),
        ("server.mlog", "SubscribeOk", "Subscribe"),
    ] {
        let text = std::fs::read_to_string(folder.path().join(file)).unwrap();
        let events: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let has = |name: &str, kind: &str| {
            events
                .iter()
                .any(|event| event["name"] == name && event["data"]["type"] == kind)
        };
        assert!(has("moqt:control_message_created", sent), "{file}: {text}");
        assert!(
            has("moqt:control_message_parsed", received),
            "{file}: {text}"
        );
    }
}
