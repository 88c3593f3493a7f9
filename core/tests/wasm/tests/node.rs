//! Everything happens inside WebAssembly as it does outside: the same hashes over sessions, a relay's network and the
//! conformance list.
//!
//! Needs `node` and the target `wasm32-unknown-unknown`. Where one of them is missing the test says so, loudly, and passes.
#![expect(
    clippy::unwrap_used,
    reason = "a test that meets something unexpected should stop there"
)]

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-unknown-unknown";

#[test]
fn the_core_does_the_same_inside_wasm() {
    let module = match build() {
        Ok(module) => module,
        Err(missing) => return skip(missing),
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("call.mjs");
    let mut node = Command::new("node");
    node.arg(script).arg(module);
    let output = match node.args(["sessions", "relay", "conformance"]).output() {
        Ok(output) => output,
        Err(_) => return skip("node"),
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let expected = [
        format!("sessions {}", oxymoq_wasm::sessions()),
        format!("relay {}", oxymoq_wasm::relay()),
        format!("conformance {}", oxymoq_wasm::conformance()),
    ];
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
}

/// Builds this package as a WebAssembly module.
fn build() -> Result<PathBuf, &'static str> {
    let mut rustc = Command::new("rustc");
    let libraries = rustc.args(["--print", "target-libdir", "--target", TARGET]);
    let libraries = libraries.output().unwrap().stdout;
    let libraries = String::from_utf8(libraries).unwrap();
    if !Path::new(libraries.trim()).exists() {
        return Err("the target; run `rustup target add wasm32-unknown-unknown`");
    }
    // A folder of its own: the other one may be in use.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wasm");
    let mut cargo = Command::new(env!("CARGO"));
    let build = cargo
        .args(["rustc", "--locked", "--lib", "--crate-type", "cdylib"])
        .args(["--package", env!("CARGO_PKG_NAME"), "--target", TARGET])
        .arg("--target-dir")
        .arg(&folder)
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = build.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    Ok(folder.join(TARGET).join("debug/oxymoq_wasm.wasm"))
}

/// Says that the test did not run, past the test harness, which hides what tests that pass print.
fn skip(missing: &str) {
    let line = format!("\n!!! SKIPPED: the core inside WebAssembly, for want of {missing}\n\n");
    io::stderr().lock().write_all(line.as_bytes()).unwrap();
}
