//! Whether a relay asks its peers what they publish.

use super::process::{Folder, Process};

/// What a date server wrote to its log of messages, once a relay with these flags has taken its announcement.
#[track_caller]
fn asked(flags: &str) -> bool {
    let folder = Folder::new("discovery");
    let mut relay = Process::start("moqrelayserver", &format!("--port 0 {flags}"));
    let port = relay.port();
    let server = Process::start_in(
        folder.path(),
        "moqdateserver",
        &format!(
            "--insecure --relay_url moqt://localhost:{port} --relay_connect_timeout 20000 --mlog_path server.mlog"
        ),
    );
    relay.error_with("announces moq");
    // What the relay asks leaves before its answer to this: the client is only served when that has arrived.
    let line = format!(
        "--insecure --connect_url moqt://localhost:{port} --track_namespace moq-date --track_name date \
         --connect_timeout 20000"
    );
    let mut client = Process::start("moqtextclient", &line);
    let _first_second = client.line();
    client.signal("INT");
    let (status, _, log) = client.end();
    assert!(status.success(), "{log}");
    server.signal("TERM");
    let (status, _, log) = server.end();
    assert!(status.success(), "{log}");
    let written = std::fs::read_to_string(folder.path().join("server.mlog")).unwrap();
    assert!(written.contains("\"type\":\"Subscribe\""), "{written}");
    written.contains("\"type\":\"SubscribeNamespace\"")
}

#[test]
fn a_relay_asks_its_peers_for_their_namespaces_unless_told_not_to() {
    assert!(asked(""));
    assert!(!asked("--nodiscover"));
    assert!(!asked("--discover=false"));
}
