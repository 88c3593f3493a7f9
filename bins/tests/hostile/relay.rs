//! The relay under attack: a process, and what the system says of it.

use std::fs;

use crate::process::Process;

/// `--max_memory_bytes` of every relay here: half for objects, half for what connections cost in the transport.
pub(crate) const MEMORY: u64 = 48 << 20;

/// A relay that runs.
pub(crate) struct Relay {
    process: Process,
    pub(crate) port: u16,
}

/// What the relay uses, as the system tells it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Bytes in memory.
    pub(crate) resident: u64,
    /// The most that there ever were.
    pub(crate) peak: u64,
    /// Those of them that are the program itself, which comes into memory as it is used.
    pub(crate) program: u64,
    /// Hundredths of a second.
    pub(crate) cpu: u64,
    /// Open files and sockets.
    pub(crate) descriptors: usize,
}

impl Relay {
    pub(crate) fn start(runtime: &str, flags: &str) -> Self {
        let line = format!("--runtime {runtime} --port 0 --max_memory_bytes {MEMORY} {flags}");
        let mut process = Process::start("moqrelayserver", &line);
        let port = process.port();
        Self { process, port }
    }

    pub(crate) fn usage(&self) -> Usage {
        let process = self.process.id();
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let field = |name: &str| -> u64 {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            let kilobytes = line.split_whitespace().nth(1).unwrap();
            kilobytes.parse::<u64>().unwrap() << 10
        };
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
        // The name, in parentheses, may hold spaces; time in user and in kernel mode follow as 14th and 15th field.
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let times = fields.split_whitespace().skip(11).take(2);
        Usage {
            resident: field("VmRSS:"),
            peak: field("VmHWM:"),
            program: field("RssFile:"),
            cpu: times.map(|time| time.parse::<u64>().unwrap()).sum(),
            descriptors: fs::read_dir(format!("/proc/{process}/fd")).unwrap().count(),
        }
    }

    /// Ends it. Returns what it said on stderr.
    pub(crate) fn end(self) -> String {
        self.process.signal("TERM");
        let (status, rest, log) = self.process.end();
        assert!(status.success(), "{status}: {log}");
        assert!(rest.is_empty(), "{rest:?}");
        log
    }
}
