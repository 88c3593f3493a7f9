//! What went wrong, and how often.

use std::collections::BTreeMap;

use crate::report::Trouble;

/// Troubles told apart; further ones are counted together.
const MAX_KINDS: usize = 32;

/// A count for each thing that went wrong.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    kinds: BTreeMap<String, u64>,
    others: u64,
}

impl Troubles {
    /// Counts one.
    pub(super) fn add(&mut self, what: String) {
        if let Some(count) = self.kinds.get_mut(&what) {
            *count += 1;
        } else if self.kinds.len() < MAX_KINDS {
            log::debug!("{what}");
            self.kinds.insert(what, 1);
        } else {
            self.others += 1;
        }
    }

    /// The first in a few words, for a sentence about all.
    pub(super) fn example(&self) -> String {
        self.kinds
            .iter()
            .max_by_key(|(_, count)| **count)
            .map_or_else(
                || "the relay did not answer".to_owned(),
                |(what, _)| what.clone(),
            )
    }

    /// All of them.
    pub(super) fn list(&self) -> Vec<Trouble> {
        let mut list: Vec<Trouble> = self
            .kinds
            .iter()
            .map(|(what, count)| Trouble {
                what: what.clone(),
                count: *count,
            })
            .collect();
        if self.others > 0 {
            list.push(Trouble {
                what: "other troubles".to_owned(),
                count: self.others,
            });
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_trouble_is_counted_and_too_many_kinds_are_put_together() {
        let mut troubles = Troubles::default();
        assert_eq!(troubles.example(), "the relay did not answer");
        troubles.add("a".to_owned());
        for _ in 0..2 {
            for kind in 0..MAX_KINDS + 8 {
                troubles.add(format!("kind {kind:03}"));
            }
        }
        let list = troubles.list();
        assert_eq!(list.len(), MAX_KINDS + 1);
        assert_eq!(
            list[0],
            Trouble {
                what: "a".to_owned(),
                count: 1
            }
        );
        assert_eq!(list[1].count, 2);
        assert_eq!(list[MAX_KINDS].count, 2 * 9);
        assert_ne!(troubles.example(), "a");
    }
}
