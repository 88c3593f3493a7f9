//! Limits told on the command line: what clients and operators see of them.

use super::process::Process;

/// Each runtime, and memory for one client.
const RUNTIMES: &[(&str, &str)] = &[
    #[cfg(feature = "tokio")]
    ("tokio", "1M"),
    #[cfg(feature = "smol")]
    ("smol", "2M"),
];

/// A relay with these flags turns away every client but the first one, and says so in a line with `words`.
#[track_caller]
fn takes_one(flags: &str, words: &[&str]) {
    let mut relay = Process::start("moqrelayserver", &format!("--port 0 {flags}"));
    let port = relay.port();
    let first = Process::start(
        "moqdateserver",
        &format!(
            "--insecure --relay_url https://localhost:{port}/moq --relay_connect_timeout 20000"
        ),
    );
    relay.error_with("announces moq");
    let client = || {
        let line = format!(
            "--insecure --connect_url https://localhost:{port}/moq --track_namespace nobody --track_name x \
             --connect_timeout 20000"
        );
        let (status, _, log) = Process::start("moqtextclient", &line).end();
        assert!(!status.success());
        log
    };
    let log = client();
    assert!(log.contains("could not connect"), "{log}");
    let line = relay.error_with("turned away");
    for word in words {
        assert!(line.contains(word), "{line}");
    }
    // There is room for another once the first has left.
    first.signal("TERM");
    let (status, _, log) = first.end();
    assert!(status.success(), "{log}");
    relay.error_with("no longer announces");
    let log = client();
    assert!(log.contains("DOES_NOT_EXIST"), "{log}");
}

#[test]
fn a_client_beyond_max_connections_is_turned_away() {
    for (runtime, _) in RUNTIMES {
        takes_one(
            &format!("--runtime {runtime} --max_connections 1"),
            &["1 connections are open", "--max_connections"],
        );
    }
}

#[test]
fn a_client_for_which_there_is_no_memory_is_turned_away() {
    for (runtime, memory) in RUNTIMES {
        takes_one(
            &format!("--runtime {runtime} --max_memory_bytes {memory}"),
            &["bytes for connections", "--max_memory_bytes"],
        );
    }
}

#[test]
fn limits_that_make_no_sense_are_refused_before_anything_is_served() {
    for (flags, sentence) in [
        ("--max_tracks many", "whole number"),
        ("--answer_timeout 10", "like 500ms"),
        ("--keep_alive 30s", "--keep_alive must be shorter"),
        (
            "--max_memory_bytes 1M --receive_window 1M",
            "one alone needs",
        ),
        ("--lag_policy wait", "possible values: end, skip"),
    ] {
        let (status, _, log) = Process::start("moqrelayserver", &format!("--port 0 {flags}")).end();
        assert!(!status.success(), "{flags}");
        assert!(log.contains(sentence), "{flags}: {log}");
        assert!(!log.contains("relaying at"), "{log}");
    }
}
