//! A `moqbench` process: started, waited for, killed, and its report read.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use oxymoq_bench::report::Report;

/// A running `moqbench`. Killed when dropped.
pub(crate) struct Bench {
    child: Child,
    json: PathBuf,
}

/// How one ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
    /// What it wrote with `--json`, if it wrote anything.
    pub(crate) report: Option<Report>,
}

impl Bench {
    /// Starts one with the flags in `line`; `name` is of this run only.
    pub(crate) fn start(name: &str, line: &str) -> Self {
        let json = file(name, "json");
        let child = Command::new(env!("CARGO_BIN_EXE_moqbench"))
            .args(line.split_whitespace())
            .arg("--json")
            .arg(&json)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, json }
    }

    /// Runs one to its end.
    pub(crate) fn run(name: &str, line: &str) -> Ended {
        Self::start(name, line).end()
    }

    /// Waits until it says `text` on stderr; it must be logging that.
    pub(crate) fn says(&mut self, text: &str) {
        let err = self.child.stderr.as_mut().unwrap();
        let mut seen = String::new();
        for line in BufReader::new(err).lines() {
            let line = line.unwrap();
            if line.contains(text) {
                return;
            }
            seen += &line;
            seen += "\n";
        }
        panic!("it never said '{text}':\n{seen}");
    }

    /// Sends it a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([format!("-{name}"), self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Where it writes its report. Only [`Bench::wait`] leaves it there.
    pub(crate) fn json(&self) -> &Path {
        &self.json
    }

    /// Waits for its end, and removes its report.
    pub(crate) fn end(self) -> Ended {
        let json = self.json.clone();
        let ended = self.wait();
        let _there_may_be_none = fs::remove_file(json);
        ended
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> Ended {
        let read = |mut from: Box<dyn std::io::Read>| {
            let mut text = String::new();
            from.read_to_string(&mut text).unwrap();
            text
        };
        let out = read(Box::new(self.child.stdout.take().unwrap()));
        let err = read(Box::new(self.child.stderr.take().unwrap()));
        let status = self.child.wait().unwrap();
        let report = self
            .json
            .exists()
            .then(|| Report::read(&self.json).unwrap());
        Ended {
            status,
            out,
            err,
            report,
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _already_over = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Ended {
    /// The report of one that succeeded.
    pub(crate) fn report(self) -> Report {
        assert!(self.status.success(), "{}\n{}", self.out, self.err);
        self.report.unwrap()
    }
}

/// A file of this test run only.
pub(crate) fn file(name: &str, extension: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    folder.join(format!(
        "moqbench-{}-{name}.{extension}",
        std::process::id()
    ))
}
