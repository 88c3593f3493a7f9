//! The FLV receiver by itself: its output, its mistakes and its ends.

use std::fs;

use super::process::{Folder, Process};

/// Runs a receiver that must fail, and checks that its last word is a sentence with all of `parts`.
#[track_caller]
fn fails(flags: &str, parts: &[&str]) {
    let (status, _, log) = Process::start("moqflvreceiverclient", flags).end();
    assert_eq!(status.code(), Some(1), "{flags}: {log}");
    let sentence = log.lines().last().unwrap_or_default();
    for part in parts {
        assert!(
            sentence.contains(part),
            "{flags} does not say '{part}':\n{log}"
        );
    }
}

#[test]
fn mistakes_are_told_in_a_sentence() {
    fails("--flv_outpath=", &["--flv_outpath", "stdout"]);
    fails(
        "--flv_outpath x.flv --video_track_name= --audio_track_name=",
        &["--video_track_name", "--audio_track_name"],
    );
    fails(
        "--flv_outpath x.flv --connect_url ftp://localhost/",
        &["ftp://localhost/"],
    );
    let (status, _, log) = Process::start(
        "moqflvreceiverclient",
        "--flv_outpath x.flv --dejitter_buffer_size_ms 0",
    )
    .end();
    assert!(!status.success());
    assert!(log.contains("dejitter_buffer_size_ms"), "{log}");
}

#[test]
fn an_output_that_cannot_be_opened_is_named_before_anything_is_asked_for() {
    let path = "no/such/folder/out.flv";
    let flags = format!("--flv_outpath {path} --connect_url moqt://localhost:1/moq");
    fails(&flags, &["cannot open", path]);
}

#[test]
fn tracks_that_nobody_publishes_are_a_failure() {
    for runtime in super::process::RUNTIMES {
        let folder = Folder::new(&format!("receive-{runtime}"));
        let mut relay = Process::start("moqrelayserver", &format!("--runtime {runtime} --port 0"));
        let url = format!("localhost:{}/moq-relay", relay.port());
        let out = folder.path().join("out.flv");
        let flags = format!(
            "--runtime {runtime} --insecure --connect_timeout 20000 --connect_url https://{url} --flv_outpath {}",
            out.display()
        );
        fails(&flags, &["refused the subscription", "DOES_NOT_EXIST"]);
        assert_eq!(fs::read(&out).unwrap(), b"", "{runtime}");
    }
}
