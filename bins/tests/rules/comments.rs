//! Reads the lines `// Rules: ...` of a source file, and which function each stands above.

use std::path::Path;

const MARK: &str = "// Rules:";

/// A test says that it proves a rule.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Claim {
    pub(crate) rule: String,
    /// The path of the function.
    pub(crate) test: String,
    /// The only draft for which it proves the rule, if it does not for all that have it.
    pub(crate) only: Option<u8>,
}

/// What the comments of one file say.
#[derive(PartialEq, Eq, Default, Debug)]
pub(crate) struct Found {
    pub(crate) claims: Vec<Claim>,
    /// What is wrong with them, in sentences.
    pub(crate) faults: Vec<String>,
}

/// `core/src/relay/tests/mod.rs` is `core::relay::tests`.
pub(crate) fn module_of(path: &Path) -> String {
    let parts = path.with_extension("");
    let names: Vec<_> = parts.iter().map(|part| part.to_string_lossy()).collect();
    let kept = names.iter().enumerate().filter(|(at, name)| {
        let is_last = at + 1 == names.len();
        let is_root = is_last && matches!(name.as_ref(), "mod" | "lib" | "main");
        !is_root && name.as_ref() != "src"
    });
    kept.map(|(_, name)| name.as_ref())
        .collect::<Vec<_>>()
        .join("::")
}

/// Every claim of `text`; `is_run` tells whether a function without `#[test]` is named by somebody who runs it.
pub(crate) fn claims_of(module: &str, text: &str, is_run: impl Fn(&str) -> bool) -> Found {
    let mut found = Found::default();
    let mut rules: Vec<(String, Option<u8>)> = Vec::new();
    let mut attributes = Attributes::default();
    let lines = text
        .lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line.trim()));
    for (number, line) in lines {
        let fault = |what: &str| format!("{module}, line {number}: {what}");
        if let Some(list) = line.strip_prefix(MARK) {
            match items(list) {
                Ok(more) => rules.extend(more),
                Err(what) => found.faults.push(fault(&what)),
            }
        } else if attributes.take(line) || line.starts_with("//") {
            continue;
        } else {
            let attributes = std::mem::take(&mut attributes);
            let rules = std::mem::take(&mut rules);
            if rules.is_empty() {
                continue;
            }
            let Some(name) = function_name(line) else {
                found
                    .faults
                    .push(fault("a list of rules stands above no function"));
                continue;
            };
            if attributes.ignored {
                found
                    .faults
                    .push(fault("a test that is ignored proves nothing"));
            }
            if !attributes.test && !is_run(name) {
                found
                    .faults
                    .push(fault("this function is no test, and nobody runs it"));
            }
            let test = format!("{module}::{name}");
            found
                .claims
                .extend(rules.into_iter().map(|(rule, only)| Claim {
                    rule,
                    test: test.clone(),
                    only,
                }));
        }
    }
    if !rules.is_empty() {
        found.faults.push(format!(
            "{module}, at its end: a list of rules stands above no function"
        ));
    }
    found
}

/// The rules of a list like ` B042, V17 (18)`.
fn items(list: &str) -> Result<Vec<(String, Option<u8>)>, String> {
    let items = list.trim().trim_end_matches(',').split(',');
    items.map(|item| rule_and_draft(item.trim())).collect()
}

fn rule_and_draft(item: &str) -> Result<(String, Option<u8>), String> {
    let (rule, only) = match item.split_once(' ') {
        None => (item, None),
        Some((rule, "(16)")) => (rule, Some(16)),
        Some((rule, "(18)")) => (rule, Some(18)),
        Some(_) => return Err(format!("`{item}` is no rule with (16) or (18)")),
    };
    let digits = rule.strip_prefix(['B', 'V']).unwrap_or_default();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("`{item}` is not the name of a rule"));
    }
    Ok((rule.to_owned(), only))
}

/// The attributes read since the last line of code.
#[derive(Default)]
struct Attributes {
    test: bool,
    ignored: bool,
    /// An attribute of several lines has not ended.
    open: bool,
}

impl Attributes {
    /// Whether the line belongs to an attribute.
    fn take(&mut self, line: &str) -> bool {
        if !self.open && !line.starts_with("#[") {
            return false;
        }
        self.test |= line == "#[test]" || line.starts_with("#[tokio::test");
        self.ignored |= line.starts_with("#[ignore");
        self.open = !line.ends_with(']');
        true
    }
}

/// The name of the function that a line begins.
fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let only_qualifiers = before.split_whitespace().all(|word| {
        matches!(
            word,
            "pub" | "pub(crate)" | "pub(super)" | "async" | "const"
        ) || word.starts_with("pub(in")
    });
    let end = after.find(|letter: char| !letter.is_alphanumeric() && letter != '_')?;
    let name = after.get(..end)?;
    (only_qualifiers && !name.is_empty()).then_some(name)
}
