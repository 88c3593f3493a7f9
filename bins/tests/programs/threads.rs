//! A relay on several threads: nobody notices which of them serves whom.
//!
//! Every test of the programs, and of hostile peers, can be run with such relays:
//! `OXYMOQ_TEST_THREADS=3 cargo test -p oxymoq --test programs --test hostile`

use super::process::{Process, RUNTIMES};

const THREADS: usize = 3;
/// All of them on one thread is one in 700 runs, and shows nothing then.
const CLIENTS: usize = 8;

/// The names of a process's threads.
fn threads(process: u32) -> Vec<String> {
    std::fs::read_dir(format!("/proc/{process}/task"))
        .unwrap()
        .map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap())
        .collect()
}

#[test]
fn all_hear_the_same_publisher_and_leave_when_the_relay_is_told_to_end() {
    for runtime in RUNTIMES {
        let flags = format!("--runtime {runtime} --port 0 --threads {THREADS}");
        let mut relay = Process::start("moqrelayserver", &flags);
        let url = format!("moqt://localhost:{}/moq-relay", relay.port());
        relay.error_with(&format!("serving on {THREADS} threads"));
        let flags = format!(
            "--runtime {runtime} --insecure --relay_url {url} --ns clock --relay_connect_timeout 20000"
        );
        let mut publisher = Process::start("moqdateserver", &flags);
        let flags = format!(
            "--runtime {runtime} --insecure --connect_url {url} --track_namespace clock --track_name date \
             --connect_timeout 20000"
        );
        publisher.error_with("announces");
        let mut clients: Vec<Process> = (0..CLIENTS)
            .map(|_| Process::start("moqtextclient", &flags))
            .collect();
        for client in &mut clients {
            client.line();
            client.line();
        }
        let names = threads(relay.id());
        for shard in 0..THREADS {
            let name = format!("shard {shard}\n");
            assert!(names.contains(&name), "{names:?}");
        }
        relay.signal("TERM");
        let (status, _, log) = relay.end();
        assert!(status.success(), "{status}: {log}");
        assert!(
            !log.contains(" ERROR ") && !log.contains("panicked"),
            "{log}"
        );
        for client in clients {
            // How it ends is for the track's end and the relay's to decide: it does.
            let (_status, _rest, log) = client.end();
            assert!(!log.contains("panicked"), "{log}");
        }
    }
}

#[test]
fn with_little_memory_there_are_fewer_threads_which_is_said() {
    let flags = "--port 0 --threads 4 --max_memory_bytes 40M";
    let mut relay = Process::start("moqrelayserver", flags);
    relay.error_with("2 instead of 4");
    relay.error_with("serving on 2 threads");
}
