//! Every rule of the drafts has a test that names it, or a reason: the tables beside this file and the tests agree.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod agree;
mod comments;
mod table;
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

use agree::{Claims, Counts};
use table::Table;

/// Whether a row may still be marked `open`: neither proved nor excused.
const OPEN_IS_ACCEPTED: bool = false;

// Rules: B077
#[test]
fn every_rule_of_the_drafts_is_proved_or_excused() {
    let sources = sources();
    let mut claims = Claims::default();
    let mut faults = Vec::new();
    for (module, text) in &sources {
        let found = comments::claims_of(module, text, |name| is_named_elsewhere(&sources, name));
        faults.extend(found.faults);
        claims.add(found.claims);
    }
    let bless = std::env::var_os("OXYMOQ_BLESS").is_some();
    for (name, title) in [("rules.md", "rules"), ("violations.md", "violations")] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/rules")
            .join(name);
        let text = fs::read_to_string(&path).unwrap();
        let mut table = Table::parse(&text).unwrap_or_else(|fault| panic!("{name}: {fault}"));
        if bless {
            agree::bless(&mut table, &claims);
            fs::write(&path, table.to_string()).unwrap();
        }
        faults.extend(agree::faults(&table, &claims, OPEN_IS_ACCEPTED));
        tell(title, &agree::counts(&table, &claims));
        claims.remove(&table);
    }
    faults.extend(claims.unknown());
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

#[expect(
    clippy::print_stdout,
    reason = "the counts are for those who run this with --nocapture"
)]
fn tell(title: &str, counts: &[(u8, Counts)]) {
    for (draft, counts) in counts {
        println!("draft {draft}, {title}: {counts}");
    }
}

/// The text of every Rust file of the workspace, with the path of its module, in a fixed order.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for entry in fs::read_dir(&root).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if matches!(name.as_str(), "core" | "bins" | "fuzz") || name.starts_with("runtime-") {
            walk(&path, &mut files);
        }
    }
    files.sort();
    files
        .into_iter()
        .map(|file| {
            let text = fs::read_to_string(&file).unwrap();
            (comments::module_of(file.strip_prefix(&root).unwrap()), text)
        })
        .collect()
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = entry.path();
        let name = entry.file_name();
        if entry.file_type().unwrap().is_dir() {
            let skipped = ["target", "node_modules", "corpus", "artifacts"];
            if !skipped.iter().any(|skip| name == *skip) {
                walk(&path, files);
            }
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
}

/// Whether `name` stands anywhere but where it is defined: a scenario that no list names would never run.
fn is_named_elsewhere(sources: &[(String, String)], name: &str) -> bool {
    let definition = format!("fn {name}");
    sources
        .iter()
        .flat_map(|(_, text)| text.lines())
        .any(|line| {
            line.contains(name)
                && !line.contains(&definition)
                && !line.trim_start().starts_with("//")
        })
}
