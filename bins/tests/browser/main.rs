//! The pages of `web` in headless Chromium: what one publishes the other shows, through a relay.
//!
//! Whether nothing is ever too late depends on the machine, so only what arrives is checked.
//!
//! Needs `chromium`, `node`, and what `npm ci` puts beside this file. Where one of them is missing the test says so, loudly,
//! and passes.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

#[expect(dead_code, reason = "other tests use the rest of it")]
#[path = "../programs/process.rs"]
mod process;

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::ValueEnum as _;
use oxymoq::runtime::Runtime;
use process::Process;
use serde_json::{Value, json};

/// Seconds in which a page has to get anywhere; far more than it needs.
const PATIENCE: u64 = 60;

/// A page to open, and the least that its figures must reach.
struct Page {
    name: &'static str,
    query: String,
    until: Value,
}

/// The browser and its driver.
struct Browser {
    chromium: PathBuf,
    node: PathBuf,
}

impl Browser {
    /// What is on this machine, or which part is missing.
    fn find() -> Result<Self, &'static str> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
        if !folder.join("node_modules/playwright-core").exists() {
            return Err("playwright-core; run `npm ci --prefix bins/tests/browser`");
        }
        Ok(Self {
            chromium: program("chromium").ok_or("chromium; on Debian, `apt install chromium`")?,
            node: program("node").ok_or("node")?,
        })
    }

    /// Opens the pages at `origin` one after the other; returns the figures that each had in the end.
    fn open(&self, origin: &str, pages: &[Page]) -> BTreeMap<String, Value> {
        let pages: Vec<_> = pages
            .iter()
            .map(|Page { name, query, until }| {
                json!({ "name": name, "url": format!("{origin}{name}.html?start&{query}"), "until": until })
            })
            .collect();
        let steps = json!({ "chromium": self.chromium, "seconds": PATIENCE, "pages": pages });
        let mut driver = Command::new(&self.node)
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/browser/drive.mjs"
            ))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = driver.stdin.take().unwrap();
        stdin.write_all(steps.to_string().as_bytes()).unwrap();
        drop(stdin);
        let output = driver.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let lines = String::from_utf8(output.stdout).unwrap();
        lines
            .lines()
            .map(|line| {
                let told: Value = serde_json::from_str(line).unwrap();
                let name = told["name"].as_str().unwrap().to_owned();
                (name, told["figures"].clone())
            })
            .collect()
    }
}

/// Where a program lies that is named without a path.
fn program(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// What `--runtime` calls it.
fn name(runtime: Runtime) -> String {
    runtime.to_possible_value().unwrap().get_name().to_owned()
}

/// A relay that hands out the pages, where, and its port.
fn relay(runtime: Runtime) -> (Process, String, u16) {
    let flags = format!("--port 0 --web_port 0 --runtime {}", name(runtime));
    let mut relay = Process::start("moqrelayserver", &flags);
    let port = relay.port();
    let line = relay.error_with("in a browser: ");
    let (_, origin) = line.split_once("in a browser: ").unwrap();
    (relay, origin.to_owned(), port)
}

/// Says that a test did not run, past the test harness, which hides what tests that pass print.
fn skip(test: &str, missing: &str) {
    let line = format!("\n!!! SKIPPED: {test}, for want of {missing}\n\n");
    io::stderr().lock().write_all(line.as_bytes()).unwrap();
}

#[test]
fn the_pages_parts_work_by_themselves() {
    let Some(node) = program("node") else {
        return skip("the tests of the pages' scripts", "node");
    };
    let output = Command::new(node)
        .args([
            "--test",
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/pages.test.mjs"),
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
}

#[test]
fn what_the_streamer_publishes_a_page_shows() {
    let browser = match Browser::find() {
        Ok(browser) => browser,
        Err(missing) => return skip("the browser test of the streamer", missing),
    };
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../core/src/media/flv/samples/base.flv"
    );
    for runtime in Runtime::value_variants() {
        let (mut relay, origin, port) = relay(*runtime);
        let runtime = name(*runtime);
        let _streamer = Process::start(
            "moqflvstreamerclient",
            &format!(
                "--insecure --connect_url https://127.0.0.1:{port}/moq --runtime {runtime} --input_flv_file {file} --loop"
            ),
        );
        relay.error_with("announces flvstreamer");
        let play = Page {
            name: "play",
            query: String::new(),
            until: json!({ "pictures shown": 30, "sounds played": 50 }),
        };
        browser.open(&origin, &[play]);
    }
}

#[test]
fn what_one_page_publishes_another_shows() {
    let browser = match Browser::find() {
        Ok(browser) => browser,
        Err(missing) => return skip("the browser test", missing),
    };
    for runtime in Runtime::value_variants() {
        let (_relay, origin, _) = relay(*runtime);
        let publish = Page {
            name: "publish",
            query: "namespace=room/camera".to_owned(),
            until: json!({ "video frames": 5, "audio frames": 5 }),
        };
        let play = Page {
            name: "play",
            query: "namespace=room/camera".to_owned(),
            until: json!({ "pictures shown": 30, "sounds played": 50 }),
        };
        let figures = browser.open(&origin, &[publish, play]);
        let publish = &figures["publish"];
        for subscribers in ["video subscribers", "audio subscribers"] {
            assert_eq!(publish[subscribers], 1, "{runtime:?}: {figures:#?}");
        }
    }
}
