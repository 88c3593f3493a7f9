//! Whether a table and the comments of the tests say the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::comments::Claim;
use crate::table::{DRAFTS, Row, Table};

/// What all comments say, by rule.
#[derive(Default, Debug)]
pub(crate) struct Claims(BTreeMap<String, BTreeSet<Claim>>);

impl Claims {
    pub(crate) fn add(&mut self, claims: impl IntoIterator<Item = Claim>) {
        for claim in claims {
            self.0.entry(claim.rule.clone()).or_default().insert(claim);
        }
    }

    /// Forgets what is said of the rules of a table.
    pub(crate) fn remove(&mut self, table: &Table) {
        for row in table.rows() {
            self.0.remove(&row.rule);
        }
    }

    /// A sentence for each claim of a rule that no table has, once all tables are removed.
    pub(crate) fn unknown(&self) -> Vec<String> {
        let all = self.0.values().flatten();
        all.map(|claim| format!("{} names {}, which no table has", claim.test, claim.rule))
            .collect()
    }

    fn of(&self, row: &Row) -> impl Iterator<Item = &Claim> {
        self.0.get(&row.rule).into_iter().flatten()
    }

    /// The tests' part of the last column.
    fn column(&self, row: &Row) -> Vec<String> {
        let tests = self.of(row).map(|claim| match claim.only {
            Some(draft) => format!("`{}` ({draft})", claim.test),
            None => format!("`{}`", claim.test),
        });
        tests.collect()
    }

    fn is_tested(&self, row: &Row, draft: u8) -> bool {
        self.of(row)
            .any(|claim| claim.only.is_none_or(|only| only == draft))
    }
}

fn is_excused(row: &Row, draft: u8) -> bool {
    row.proof
        .reasons
        .iter()
        .any(|(only, _)| only.is_none_or(|only| only == draft))
}

/// Everything that is wrong, a sentence each.
pub(crate) fn faults(table: &Table, claims: &Claims, open_is_accepted: bool) -> Vec<String> {
    let mut faults = Vec::new();
    for row in table.rows() {
        let rule = &row.rule;
        if row.proof.open && !open_is_accepted {
            faults.push(format!("{rule} is still open"));
        }
        for draft in row.drafts() {
            if !claims.is_tested(row, draft) && !is_excused(row, draft) && !row.proof.open {
                faults.push(format!(
                    "{rule}: draft {draft} has neither a test nor a reason"
                ));
            }
        }
        for claim in claims.of(row) {
            if let Some(only) = claim
                .only
                .filter(|only| row.drafts().all(|draft| draft != *only))
            {
                let test = &claim.test;
                faults.push(format!(
                    "{test} proves {rule} for draft {only}, which has no such rule"
                ));
            }
        }
        for (only, why) in &row.proof.reasons {
            let mut excused = row
                .drafts()
                .filter(|draft| only.is_none_or(|only| only == *draft));
            if excused.all(|draft| claims.is_tested(row, draft)) {
                faults.push(format!("{rule} needs no reason, there are tests: {why}"));
            }
            if why.trim().is_empty() {
                faults.push(format!("{rule} has a reason without words"));
            }
        }
        if row.proof.tests != claims.column(row) {
            faults.push(format!(
                "{rule}: its tests are not those that name it; `OXYMOQ_BLESS=1` writes them anew"
            ));
        }
    }
    faults
}

/// Writes the tests' part of each row anew, and marks as open what is neither proved nor excused.
pub(crate) fn bless(table: &mut Table, claims: &Claims) {
    for row in table.rows_mut() {
        row.proof.tests = claims.column(row);
        let drafts: Vec<_> = row.drafts().collect();
        let untested = |only: Option<u8>| {
            let mut drafts = drafts
                .iter()
                .filter(|draft| only.is_none_or(|only| only == **draft));
            drafts.any(|draft| !claims.is_tested(row, *draft))
        };
        let mut reasons = row.proof.reasons.clone();
        reasons.retain(|(only, _)| untested(*only));
        row.proof.reasons = reasons;
        let bare = |draft: &u8| !claims.is_tested(row, *draft) && !is_excused(row, *draft);
        row.proof.open = drafts.iter().any(bare);
    }
}

/// How many rules one draft has, and how they stand.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Counts {
    pub(crate) rules: usize,
    pub(crate) tested: usize,
    pub(crate) excused: usize,
    pub(crate) open: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rules,
            tested,
            excused,
            open,
        } = self;
        write!(
            to,
            "{rules} rules, {tested} tested, {excused} excused, {open} open"
        )
    }
}

/// The counts of each draft.
pub(crate) fn counts(table: &Table, claims: &Claims) -> Vec<(u8, Counts)> {
    let mut all = Vec::new();
    for draft in DRAFTS {
        let mut counts = Counts::default();
        for row in table
            .rows()
            .filter(|row| row.drafts().any(|has| has == draft))
        {
            counts.rules += 1;
            if claims.is_tested(row, draft) {
                counts.tested += 1;
            } else if is_excused(row, draft) {
                counts.excused += 1;
            } else {
                counts.open += 1;
            }
        }
        all.push((draft, counts));
    }
    all
}
