//! A child process whose lines can be waited for.

use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// Far longer than anything here takes, so that only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(180);

/// The runtimes that the programs were built with.
pub(crate) const RUNTIMES: &[&str] = &[
    #[cfg(feature = "tokio")]
    "tokio",
    #[cfg(feature = "smol")]
    "smol",
];

/// How many threads a relay has unless a test says otherwise: one, or as many as `OXYMOQ_TEST_THREADS` says, so that every test
/// can be run with several. Never as many as there are processors, which is another number elsewhere.
pub(crate) fn threads() -> u8 {
    let told = std::env::var("OXYMOQ_TEST_THREADS");
    told.map_or(1, |number| number.parse().unwrap())
}

/// A running program. Killed when dropped.
pub(crate) struct Process {
    name: String,
    child: Child,
    out: Receiver<String>,
    err: Receiver<String>,
    /// Lines of stderr read so far.
    log: Vec<String>,
}

impl Process {
    /// Starts one of this package's programs with the flags in `line`.
    pub(crate) fn start(program: &str, line: &str) -> Self {
        Self::start_in(Path::new("."), program, line)
    }

    /// The same in another working directory.
    pub(crate) fn start_in(folder: &Path, program: &str, line: &str) -> Self {
        let path = match program {
            "moqrelayserver" => env!("CARGO_BIN_EXE_moqrelayserver"),
            "moqdateserver" => env!("CARGO_BIN_EXE_moqdateserver"),
            "moqtextclient" => env!("CARGO_BIN_EXE_moqtextclient"),
            "moqflvstreamerclient" => env!("CARGO_BIN_EXE_moqflvstreamerclient"),
            "moqflvreceiverclient" => env!("CARGO_BIN_EXE_moqflvreceiverclient"),
            other => panic!("no program {other}"),
        };
        let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        if program == "moqrelayserver" && !line.contains("--threads") {
            words.push(format!("--threads={}", threads()));
        }
        let mut child = Command::new(path)
            .args(words)
            .current_dir(folder)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            name: format!("{program} {line}"),
            out: lines(child.stdout.take().unwrap()),
            err: lines(child.stderr.take().unwrap()),
            child,
            log: Vec::new(),
        }
    }

    /// The next line on stdout.
    pub(crate) fn line(&mut self) -> String {
        match self.out.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(_) => self.give_up("printed no further line"),
        }
    }

    /// The next line on stderr that contains `text`.
    pub(crate) fn error_with(&mut self, text: &str) -> String {
        let start = Instant::now();
        while let Some(left) = PATIENCE.checked_sub(start.elapsed()) {
            let Ok(line) = self.err.recv_timeout(left) else {
                break;
            };
            self.log.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
        self.give_up(&format!("never said '{text}'"))
    }

    /// The UDP port that a server says it serves.
    pub(crate) fn port(&mut self) -> u16 {
        let line = self.error_with(" at https://localhost:");
        let (_, rest) = line.split_once("https://localhost:").unwrap();
        let (port, _) = rest.split_once('/').unwrap();
        port.parse().unwrap()
    }

    /// The number of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([format!("-{name}"), self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Waits for the end. Returns the exit status, all that was left on stdout, and all of stderr.
    pub(crate) fn end(mut self) -> (ExitStatus, Vec<String>, String) {
        let mut rest = Vec::new();
        loop {
            match self.out.recv_timeout(PATIENCE) {
                Ok(line) => rest.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => self.give_up("does not end"),
            }
        }
        let status = self.child.wait().unwrap();
        while let Ok(line) = self.err.recv_timeout(PATIENCE) {
            self.log.push(line);
        }
        (status, rest, self.log.join("\n"))
    }

    fn give_up(&mut self, what: &str) -> ! {
        self.log.extend(self.err.try_iter());
        panic!("{} {what}; stderr:\n{}", self.name, self.log.join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _already_over = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Reads lines in a thread, so that waiting for one can time out.
fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            let Ok(line) = line else { break };
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// A folder that is removed when dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// A new folder whose name begins with `name`.
    pub(crate) fn new(name: &str) -> Self {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("certs")).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Puts a certificate for localhost where `certs/create-server-certs.sh` does.
    pub(crate) fn add_certificate(&self) {
        let names = [
            "localhost".to_owned(),
            "127.0.0.1".to_owned(),
            "::1".to_owned(),
        ];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let certs = self.0.join("certs");
        fs::write(certs.join("certificate.pem"), made.cert.pem()).unwrap();
        fs::write(
            certs.join("certificate.key"),
            made.signing_key.serialize_pem(),
        )
        .unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _left_behind = fs::remove_dir_all(&self.0);
    }
}
