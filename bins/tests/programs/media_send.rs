//! Media from a file and from a fifo crosses the relay.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use crate::process::{Folder, Process};

#[path = "../../src/tests/flv_sample.rs"]
mod flv_sample;

use flv_sample::Flv;

/// Frames in every file here.
const FRAMES: u32 = 8;

fn relay(flags: &str) -> (Process, u16) {
    let mut relay = Process::start("moqrelayserver", &format!("{flags} --port 0"));
    let port = relay.port();
    (relay, port)
}

fn streamer(folder: &Path, port: u16, flags: &str) -> Process {
    let line = format!(
        "--insecure --connect_url https://localhost:{port}/moq-relay --connect_timeout 20000 {flags}"
    );
    Process::start_in(folder, "moqflvstreamerclient", &line)
}

fn listener(port: u16, flags: &str, track: &str) -> Process {
    let line = format!(
        "--insecure --connect_url https://localhost:{port}/moq-relay --connect_timeout 20000 \
         --track_namespace flvstreamer --track_name {track} {flags}"
    );
    Process::start("moqtextclient", &line)
}

/// The blocks of sound that were printed, among properties and ends of groups.
fn blocks(lines: &[String]) -> usize {
    let block = |number| String::from_utf8(flv_sample::sound(number)).unwrap();
    let all: Vec<String> = (0..FRAMES).map(block).collect();
    let printed: Vec<&String> = lines.iter().filter(|line| all.contains(line)).collect();
    assert!(
        printed.iter().copied().eq(&all[..printed.len()]),
        "{lines:?}"
    );
    printed.len()
}

fn media_of_a_file_crosses_the_relay(runtime: &str) {
    let flags = format!("--runtime {runtime}");
    let folder = Folder::new(&format!("media-{runtime}"));
    let flv = Flv::configured().frames(FRAMES).0;
    fs::write(folder.path().join("short.flv"), &flv).unwrap();
    let (relay, port) = relay(&flags);
    let line = format!("{flags} --input_flv_file short.flv --await_subscriber");
    let mut streamer = streamer(folder.path(), port, &line);
    streamer.error_with("announces");
    let sound = listener(port, &flags, "audio0");
    let (status, lines, log) = sound.end();
    assert!(status.success(), "{log}");
    assert_eq!(blocks(&lines), 8, "{lines:?}\n{log}");
    assert_eq!(lines.last().map(String::as_str), Some("onPublishDone"));
    let (status, _, log) = streamer.end();
    assert!(status.success(), "{log}");
    assert!(log.contains("audio 8 in 8"), "{log}");
    relay.signal("TERM");
    let (status, _, log) = relay.end();
    assert!(status.success(), "{log}");
}

#[cfg(feature = "tokio")]
#[test]
fn media_of_a_file_crosses_the_relay_on_tokio() {
    media_of_a_file_crosses_the_relay("tokio");
}

#[cfg(feature = "smol")]
#[test]
fn media_of_a_file_crosses_the_relay_on_smol() {
    media_of_a_file_crosses_the_relay("smol");
}

#[test]
fn a_fifo_is_read_as_long_as_somebody_writes_and_again_if_told_so() {
    let folder = Folder::new("fifo");
    let fifo = folder.path().join("live.flv");
    let made = Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    let (_relay, port) = relay("");
    let mut streamer = streamer(folder.path(), port, "--input_flv_file live.flv --loop");
    streamer.error_with("announces");
    let mut catalogs = listener(port, "", "catalog");
    catalogs.error_with("subscribed");
    // Each opening waits for the streamer's.
    for level in [0x0d, 0x1e] {
        let mut record = flv_sample::AVCC;
        (record[3], record[11]) = (level, level);
        let flv = Flv::new().video_configuration(&record, 0);
        let flv = flv.audio_configuration(0).frames(FRAMES).0;
        File::create(&fifo).unwrap().write_all(&flv).unwrap();
        streamer.error_with(&format!("video0 is avc1.42C0{level:02X}"));
        // A writer that opened it before that would only continue what the one before has written.
        streamer.error_with("the writer of the input is gone");
    }
    let document = catalogs.line();
    assert!(document.contains("\"codec\":\"mp4a.40.2\""), "{document}");
    streamer.signal("INT");
    let (status, _, log) = streamer.end();
    assert!(status.success(), "{log}");
    let (status, lines, log) = catalogs.end();
    assert!(status.success(), "{log}");
    assert!(
        lines
            .iter()
            .any(|line| line.contains("\"isComplete\":true")),
        "{lines:?}"
    );
}

#[test]
fn inputs_that_break_off_are_told_apart_from_such_as_never_began() {
    let folder = Folder::new("inputs");
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    let whole = Flv::configured().frames(FRAMES).0;
    write("cut.flv", &whole[..whole.len() - 30]);
    write("picture.gif", b"GIF89a, and so on and so on");
    let (_relay, port) = relay("");
    let stream = |file: &str| {
        let line = format!("--input_flv_file {file}");
        streamer(folder.path(), port, &line).end()
    };
    let (status, _, log) = stream("cut.flv");
    assert!(status.success(), "{log}");
    assert!(
        log.contains("at byte") && log.contains("audio 7 in 7"),
        "{log}"
    );
    let (status, _, log) = stream("picture.gif");
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("no FLV"), "{log}");
    let (status, _, log) = stream("missing.flv");
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("cannot read 'missing.flv'"), "{log}");
}
