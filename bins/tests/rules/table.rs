//! One of the tables: rows, and the lines between them as they are.

use std::collections::BTreeSet;
use std::fmt;

/// The drafts that the tables are about.
pub(crate) const DRAFTS: [u8; 2] = [16, 18];

/// A table with the text around it.
#[derive(Debug)]
pub(crate) struct Table {
    lines: Vec<Line>,
}

#[derive(Debug)]
enum Line {
    Text(String),
    Row(Row),
}

/// One rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Row {
    pub(crate) rule: String,
    /// What the columns of [`DRAFTS`] say.
    columns: [String; 2],
    what: String,
    pub(crate) proof: Proof,
}

/// The last column.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Proof {
    /// The tests, as they are written.
    pub(crate) tests: Vec<String>,
    /// Why there is none: for one draft, or for every draft that has no test.
    pub(crate) reasons: Vec<(Option<u8>, String)>,
    /// Nobody has looked yet.
    pub(crate) open: bool,
}

impl Table {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut seen = BTreeSet::new();
        let lines = text.lines().map(|line| {
            let Some(row) = Row::parse(line)? else {
                return Ok(Line::Text(line.to_owned()));
            };
            if seen.insert(row.rule.clone()) {
                Ok(Line::Row(row))
            } else {
                Err(format!("{} has two rows", row.rule))
            }
        });
        Ok(Self {
            lines: lines.collect::<Result<_, String>>()?,
        })
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.lines.iter().filter_map(|line| match line {
            Line::Row(row) => Some(row),
            Line::Text(_) => None,
        })
    }

    pub(crate) fn rows_mut(&mut self) -> impl Iterator<Item = &mut Row> {
        self.lines.iter_mut().filter_map(|line| match line {
            Line::Row(row) => Some(row),
            Line::Text(_) => None,
        })
    }
}

impl Row {
    /// `None` if the line is not one of a rule.
    fn parse(line: &str) -> Result<Option<Self>, String> {
        let Some(cells) = line
            .strip_prefix("| ")
            .and_then(|line| line.strip_suffix(" |"))
        else {
            return Ok(None);
        };
        let cells: Vec<_> = cells.split(" | ").map(str::trim).collect();
        let Some((rule, rest)) = cells.split_first() else {
            return Ok(None);
        };
        let is_rule =
            rule.starts_with(['B', 'V']) && rule.ends_with(|end: char| end.is_ascii_digit());
        if !is_rule {
            return Ok(None);
        }
        let [older, newer, what, proof] = rest else {
            return Err(format!(
                "the row of {rule} has {} columns, not 5",
                cells.len()
            ));
        };
        Ok(Some(Self {
            rule: (*rule).to_owned(),
            columns: [(*older).to_owned(), (*newer).to_owned()],
            what: (*what).to_owned(),
            proof: Proof::parse(proof).map_err(|fault| format!("{rule}: {fault}"))?,
        }))
    }

    /// The drafts that have this rule.
    pub(crate) fn drafts(&self) -> impl Iterator<Item = u8> {
        let pairs = DRAFTS.iter().zip(&self.columns);
        pairs
            .filter(|(_, column)| *column != "–")
            .map(|(draft, _)| *draft)
    }
}

impl Proof {
    fn parse(cell: &str) -> Result<Self, String> {
        let mut proof = Self::default();
        for part in cell.split("; ").filter(|part| !part.is_empty()) {
            let one = DRAFTS.iter().find_map(|draft| {
                part.strip_prefix(&format!("{draft} none: "))
                    .map(|why| (Some(*draft), why))
            });
            let reason = one.or_else(|| part.strip_prefix("none: ").map(|why| (None, why)));
            if let Some((only, why)) = reason {
                proof.reasons.push((only, why.to_owned()));
            } else if part == "open" {
                proof.open = true;
            } else if part.starts_with('`') && proof.tests.is_empty() {
                proof.tests = part.split(", ").map(str::to_owned).collect();
            } else if let Some((_, why)) = proof.reasons.last_mut() {
                // A reason may have a semicolon of its own.
                why.push_str("; ");
                why.push_str(part);
            } else {
                return Err(format!(
                    "`{part}` is neither a list of tests nor `none: why`"
                ));
            }
        }
        Ok(proof)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            match line {
                Line::Text(text) => writeln!(to, "{text}")?,
                Line::Row(row) => {
                    let [older, newer] = &row.columns;
                    let Row {
                        rule, what, proof, ..
                    } = row;
                    writeln!(to, "| {rule} | {older} | {newer} | {what} | {proof} |")?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if !self.tests.is_empty() {
            parts.push(self.tests.join(", "));
        }
        parts.extend(self.reasons.iter().map(|(only, why)| match only {
            Some(draft) => format!("{draft} none: {why}"),
            None => format!("none: {why}"),
        }));
        if self.open {
            parts.push("open".to_owned());
        }
        to.write_str(&parts.join("; "))
    }
}
