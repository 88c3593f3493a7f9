//! Mistakes of users: one clear sentence on stderr, and a status that says that the job failed.

use std::fs;
use std::net::UdpSocket;

use super::process::{Folder, Process};

/// Runs a program that must fail, and checks that its last word is a sentence with all of `parts`.
#[track_caller]
fn fails(program: &str, line: &str, parts: &[&str]) {
    let (status, _, log) = Process::start(program, line).end();
    assert!(!status.success(), "{program} {line} succeeded:\n{log}");
    for part in parts {
        assert!(
            log.contains(part),
            "{program} {line} does not say '{part}':\n{log}"
        );
    }
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn an_unknown_flag_is_named() {
    for program in ["moqrelayserver", "moqdateserver", "moqtextclient"] {
        fails(program, "--prot 4433", &["--prot"]);
    }
}

#[test]
fn a_certificate_that_cannot_be_read_is_named() {
    for program in ["moqrelayserver", "moqdateserver"] {
        fails(
            program,
            "--cert no/such.pem --key no/such.key --port 0",
            &["no/such.pem", "cannot read"],
        );
    }
    fails("moqrelayserver", "--cert only.pem --port 0", &["--key"]);
}

#[test]
fn a_certificate_that_is_none_is_named() {
    let folder = Folder::new("no-certificate");
    for name in ["certificate.pem", "certificate.key"] {
        fs::write(
            folder.path().join("certs").join(name),
            "nothing of the kind",
        )
        .unwrap();
    }
    let relay = Process::start_in(
        folder.path(),
        "moqrelayserver",
        "--cert certs/certificate.pem --key certs/certificate.key --port 0",
    );
    let (status, _, log) = relay.end();
    assert!(!status.success());
    assert!(log.contains("certs/certificate.pem"), "{log}");
}

#[test]
fn a_port_in_use_is_named() {
    let taken = UdpSocket::bind("[::]:0")
        .or_else(|_| UdpSocket::bind("0.0.0.0:0"))
        .unwrap();
    let port = taken.local_addr().unwrap().port();
    let runtimes: &[&str] = &[
        #[cfg(feature = "tokio")]
        "tokio",
        #[cfg(feature = "smol")]
        "smol",
    ];
    for runtime in runtimes {
        fails(
            "moqrelayserver",
            &format!("--port {port} --runtime {runtime}"),
            &[&port.to_string(), "in use"],
        );
    }
}

#[test]
fn a_bad_url_is_quoted() {
    for url in ["localhost:4433", "ftp://localhost", "https://"] {
        fails(
            "moqtextclient",
            &format!("--connect_url {url}"),
            &[&format!("'{url}'")],
        );
    }
    fails("moqdateserver", "--relay_url nonsense", &["'nonsense'"]);
}

#[test]
fn a_server_that_is_not_there_is_given_up_within_the_connect_timeout() {
    // Bound, so that nobody else answers there, but silent.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let runtimes: &[&str] = &[
        #[cfg(feature = "tokio")]
        "tokio",
        #[cfg(feature = "smol")]
        "smol",
    ];
    for runtime in runtimes {
        let line = format!(
            "--runtime {runtime} --insecure --connect_url https://127.0.0.1:{port}/x --track_name t --connect_timeout 300"
        );
        fails(
            "moqtextclient",
            &line,
            &[&format!("https://127.0.0.1:{port}/x"), "could not connect"],
        );
    }
}

#[test]
fn an_unknown_track_is_refused_with_the_reason() {
    let mut relay = Process::start("moqrelayserver", "--port 0");
    let port = relay.port();
    for version in ["18", "16"] {
        let line = format!(
            "--insecure --connect_url https://localhost:{port}/moq --versions {version} --track_namespace nobody \
             --track_name nothing --connect_timeout 20000"
        );
        fails(
            "moqtextclient",
            &line,
            &["DOES_NOT_EXIST", "nobody--nothing"],
        );
    }
}

#[test]
fn a_path_that_is_not_served_is_refused() {
    let mut relay = Process::start("moqrelayserver", "--port 0 --endpoint /moq");
    let port = relay.port();
    let client = |url: &str| {
        format!(
            "--insecure --connect_url {url} --track_namespace a --track_name b --connect_timeout 20000"
        )
    };
    fails(
        "moqtextclient",
        &client(&format!("https://localhost:{port}/wrong")),
        &["404"],
    );
    fails(
        "moqtextclient",
        &client(&format!("moqt://localhost:{port}/wrong")),
        &["INVALID_PATH"],
    );
}

#[test]
fn no_common_draft_is_said_with_what_was_offered() {
    let mut relay = Process::start("moqrelayserver", "--port 0 --versions 16");
    let port = relay.port();
    let client = |url: &str| {
        format!(
            "--insecure --connect_url {url} --versions 18 --track_namespace a --track_name b --connect_timeout 20000"
        )
    };
    fails(
        "moqtextclient",
        &client(&format!("moqt://localhost:{port}/moq")),
        &["moqt-18"],
    );
    fails(
        "moqtextclient",
        &client(&format!("https://localhost:{port}/moq")),
        &["400"],
    );
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_not_believed() {
    let mut relay = Process::start("moqrelayserver", "--port 0");
    let port = relay.port();
    let folder = Folder::new("no-trust");
    let client = Process::start_in(
        folder.path(),
        "moqtextclient",
        &format!(
            "--connect_url https://localhost:{port}/moq --track_namespace a --track_name b --connect_timeout 20000"
        ),
    );
    let (status, _, log) = client.end();
    assert!(!status.success());
    assert!(log.contains("certificate"), "{log}");
}

#[test]
fn what_is_not_built_yet_is_said() {
    fails("moqrelayserver", "--qmux", &["--qmux is not built yet"]);
    fails(
        "moqtextclient",
        "--connect_url https://localhost/ --qmux",
        &["--qmux is not built yet"],
    );
    fails("moqdateserver", "--qmux", &["--qmux is not built yet"]);
}

#[test]
fn ranges_that_make_no_sense_are_refused_before_anything_is_sent() {
    let line = |rest: &str| format!("--connect_url https://localhost/ --track_name t {rest}");
    fails("moqtextclient", &line("--so 3"), &["--so needs --sg"]);
    fails(
        "moqtextclient",
        &line("--sg 5 --eg 4"),
        &["--eg 4 lies before --sg 5"],
    );
    fails(
        "moqtextclient",
        &line("--sg five"),
        &["'five' is no number"],
    );
}

#[test]
fn flags_that_do_not_go_together_are_named_before_anything_is_sent() {
    let line = |rest: &str| format!("--connect_url https://localhost/ --track_name t {rest}");
    let cases: [(&str, &[&str]); 7] = [
        ("--fetch", &["--fetch needs --sg"]),
        (
            "--fetch --sg 1 --jrfetch",
            &["--fetch", "--jrfetch", "exclude"],
        ),
        (
            "--jafetch --publish",
            &["--jafetch", "--publish", "exclude"],
        ),
        ("--jrfetch --sg 5", &["--join_start", "leave out --sg"]),
        ("--jafetch --sg 5", &["--join_start", "leave out --sg"]),
        ("--jafetch --noforward", &["leave out --noforward"]),
        ("--publish --sg 5", &["leave out --sg"]),
    ];
    for (flags, parts) in cases {
        fails("moqtextclient", &line(flags), parts);
    }
    fails(
        "moqdateserver",
        "--publish",
        &["--publish needs --relay_url"],
    );
}
