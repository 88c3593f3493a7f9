//! Who publishes which namespaces, and who wants to be told of them.

use std::collections::{BTreeMap, BTreeSet};

use crate::transport::ConnectionId;
use crate::wire::id::RequestId;
use crate::wire::name::TrackNamespace;

/// A request of one peer: the announcement or the subscription that a route stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The peer.
    pub connection: ConnectionId,
    /// Its PUBLISH_NAMESPACE or SUBSCRIBE_NAMESPACE.
    pub request: RequestId,
}

/// The namespaces announced to a relay and the prefixes that its peers asked about.
///
/// Matching is by whole fields (§ Publishing Namespaces): `(a, b)` is under `(a)`, `(ab)` is not.
#[derive(Debug, Default)]
pub(super) struct Routes {
    publishers: BTreeMap<TrackNamespace, BTreeSet<Origin>>,
    /// What peers told only because they were asked; by our requests.
    learned: BTreeMap<TrackNamespace, BTreeSet<Origin>>,
    interests: BTreeMap<TrackNamespace, BTreeSet<Origin>>,
    /// Peers that are other shards of this relay: what one of them told is for no other (split horizon). With each, whether
    /// its shard comes after this one.
    links: BTreeMap<ConnectionId, bool>,
}

/// Whom to tell that a namespace is gone, and whom that it is there.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    pub(super) gone: Vec<Notice>,
    pub(super) come: Vec<Notice>,
}

/// What an announcement or its withdrawal changed for the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    /// The SUBSCRIBE_NAMESPACE to answer on.
    pub(super) to: Origin,
    /// What follows its prefix.
    pub(super) suffix: TrackNamespace,
}

impl Routes {
    /// A peer is another shard, which comes after this one or before it.
    pub(super) fn add_link(&mut self, connection: ConnectionId, is_after: bool) {
        self.links.insert(connection, is_after);
    }

    /// A link is over.
    pub(super) fn forget_link(&mut self, connection: ConnectionId) {
        self.links.remove(&connection);
    }

    /// Records an announcement. Returns whom to tell: nobody if somebody else announced the same namespace before.
    pub(super) fn announce(&mut self, namespace: &TrackNamespace, origin: Origin) -> Vec<Notice> {
        let mut news = self.interested(namespace);
        news.retain(|notice| !self.is_known_to(namespace, notice.to.connection));
        let publishers = self.publishers.entry(namespace.clone()).or_default();
        publishers.insert(origin);
        news
    }

    /// Forgets an announcement. Returns whom to tell: nobody while another publisher still announces the namespace.
    pub(super) fn withdraw(&mut self, namespace: &TrackNamespace, origin: Origin) -> Vec<Notice> {
        let Some(publishers) = self.publishers.get_mut(namespace) else {
            return Vec::new();
        };
        if !publishers.remove(&origin) || !publishers.is_empty() {
            return Vec::new();
        }
        self.publishers.remove(namespace);
        let mut news = self.interested(namespace);
        news.retain(|notice| !self.is_known_to(namespace, notice.to.connection));
        news
    }

    /// Records what a peer told when asked. Returns whom to tell: not the peer itself.
    pub(super) fn learn(&mut self, namespace: &TrackNamespace, asked: Origin) -> Vec<Notice> {
        let mut news = self.interested(namespace);
        news.retain(|notice| !self.is_known_to(namespace, notice.to.connection));
        let learned = self.learned.entry(namespace.clone()).or_default();
        learned.insert(asked);
        news.retain(|notice| self.is_known_to(namespace, notice.to.connection));
        news
    }

    /// Forgets what a peer told when asked.
    pub(super) fn unlearn(&mut self, namespace: &TrackNamespace, asked: Origin) -> News {
        let (mut gone, mut come): (Vec<_>, Vec<_>) = self
            .interested(namespace)
            .into_iter()
            .partition(|notice| self.is_known_to(namespace, notice.to.connection));
        if let Some(learned) = self.learned.get_mut(namespace) {
            learned.remove(&asked);
            if learned.is_empty() {
                self.learned.remove(namespace);
            }
        }
        gone.retain(|notice| !self.is_known_to(namespace, notice.to.connection));
        come.retain(|notice| self.is_known_to(namespace, notice.to.connection));
        News { gone, come }
    }

    /// Whether a peer is told of a namespace if it asks: not if it is the only one who told us.
    ///
    /// Nor if it told us, and but for it only shards that come after this one have it: else two shards that hear of a
    /// namespace at once, each from a peer of its own, would both take what their peer says for an echo of the other's.
    fn is_known_to(&self, namespace: &TrackNamespace, peer: ConnectionId) -> bool {
        if self.publishers.contains_key(namespace) {
            return true;
        }
        let Some(learned) = self.learned.get(namespace) else {
            return false;
        };
        let is_link = self.links.contains_key(&peer);
        let told_us = learned.iter().any(|asked| asked.connection == peer);
        learned
            .iter()
            .any(|asked| match self.links.get(&asked.connection) {
                Some(is_after) => !(is_link || told_us && *is_after),
                None => asked.connection != peer,
            })
    }

    /// Whether we have told a peer of a namespace.
    pub(super) fn is_told(&self, namespace: &TrackNamespace, peer: ConnectionId) -> bool {
        let mut watchers = self.interested(namespace).into_iter();
        watchers.any(|notice| notice.to.connection == peer) && self.is_known_to(namespace, peer)
    }

    /// Whether a peer announced a namespace that this is or is under.
    pub(super) fn is_announced_by(&self, namespace: &TrackNamespace, peer: ConnectionId) -> bool {
        let prefixes = namespace.prefixes();
        let publishers = prefixes.filter_map(|prefix| self.publishers.get(&prefix));
        publishers.flatten().any(|origin| origin.connection == peer)
    }

    /// Records who wants to be told of namespaces under `prefix`. Returns the suffixes of those announced already.
    pub(super) fn watch(&mut self, prefix: &TrackNamespace, origin: Origin) -> Vec<TrackNamespace> {
        self.interests
            .entry(prefix.clone())
            .or_default()
            .insert(origin);
        // Namespaces are ordered field by field, so those under a prefix follow it without a gap.
        let announced = self.publishers.range(prefix.clone()..);
        let learned = self.learned.range(prefix.clone()..);
        let mut known = BTreeSet::new();
        for table in [announced, learned] {
            known.extend(table.map_while(|(namespace, _)| {
                let suffix = namespace.strip_prefix(prefix)?;
                Some((suffix, namespace))
            }));
        }
        known
            .into_iter()
            .filter(|(_, namespace)| self.is_known_to(namespace, origin.connection))
            .map(|(suffix, _)| suffix)
            .collect()
    }

    /// Forgets an interest.
    pub(super) fn unwatch(&mut self, prefix: &TrackNamespace, origin: Origin) {
        if let Some(watchers) = self.interests.get_mut(prefix) {
            watchers.remove(&origin);
            if watchers.is_empty() {
                self.interests.remove(prefix);
            }
        }
    }

    /// Every announcement of a namespace that `namespace` is or is under, the most specific first. What was learned counts
    /// where nobody announced it, and what another shard told always does.
    pub(super) fn publishers_of(&self, namespace: &TrackNamespace) -> Vec<Origin> {
        namespace
            .prefixes()
            .rev()
            .flat_map(|prefix| {
                let announced = self.publishers.get(&prefix);
                let learned = self.learned.get(&prefix);
                let is_announced = announced.is_some();
                let counts = move |asked: &&Origin| {
                    !is_announced || self.links.contains_key(&asked.connection)
                };
                let learned = learned.into_iter().flatten().filter(counts);
                announced.into_iter().flatten().chain(learned)
            })
            .copied()
            .collect()
    }

    /// Whether nobody publishes anything.
    #[cfg(test)]
    pub(super) fn has_no_publishers(&self) -> bool {
        self.publishers.is_empty() && self.learned.is_empty()
    }

    /// Whether nobody announces or asks for anything.
    #[cfg(any(test, feature = "sim"))]
    pub(super) fn is_empty(&self) -> bool {
        let asking = self.interests.values().flatten();
        let is_asked = asking
            .into_iter()
            .any(|origin| !self.links.contains_key(&origin.connection));
        self.publishers.is_empty() && self.learned.is_empty() && !is_asked
    }

    fn interested(&self, namespace: &TrackNamespace) -> Vec<Notice> {
        let mut notices = Vec::new();
        for prefix in namespace.prefixes() {
            let Some(watchers) = self.interests.get(&prefix) else {
                continue;
            };
            let suffix = namespace.strip_prefix(&prefix).unwrap_or_default();
            notices.extend(watchers.iter().map(|to| Notice {
                to: *to,
                suffix: suffix.clone(),
            }));
        }
        notices
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(fields: &[&str]) -> TrackNamespace {
        TrackNamespace::new(fields.iter().map(|field| field.as_bytes().to_vec())).unwrap()
    }

    const fn origin(connection: u64, request: u64) -> Origin {
        Origin {
            connection: ConnectionId(connection),
            request: RequestId(request),
        }
    }

    #[test]
    fn b304_a_publisher_serves_what_is_under_its_namespace_field_by_field() {
        let mut routes = Routes::default();
        routes.announce(&namespace(&["foo"]), origin(1, 0));
        routes.announce(&namespace(&["foo", "bar"]), origin(2, 0));
        routes.announce(&namespace(&["foobar"]), origin(3, 0));
        assert_eq!(
            routes.publishers_of(&namespace(&["foo", "bar", "x"])),
            [origin(2, 0), origin(1, 0)]
        );
        assert_eq!(routes.publishers_of(&namespace(&["foo"])), [origin(1, 0)]);
        assert_eq!(routes.publishers_of(&namespace(&["fo"])), []);
        assert_eq!(routes.publishers_of(&namespace(&[])), []);
    }

    #[test]
    fn an_announcement_of_the_empty_namespace_serves_everything() {
        let mut routes = Routes::default();
        routes.announce(&namespace(&[]), origin(1, 0));
        assert_eq!(routes.publishers_of(&namespace(&["a"])), [origin(1, 0)]);
        assert_eq!(routes.publishers_of(&namespace(&[])), [origin(1, 0)]);
    }

    #[test]
    fn b305_every_watcher_of_a_prefix_is_told_once() {
        let mut routes = Routes::default();
        routes.watch(&namespace(&[]), origin(9, 1));
        routes.watch(&namespace(&["a"]), origin(8, 1));
        routes.watch(&namespace(&["b"]), origin(7, 1));
        let notices = routes.announce(&namespace(&["a", "b"]), origin(1, 0));
        assert_eq!(
            notices,
            [
                Notice {
                    to: origin(9, 1),
                    suffix: namespace(&["a", "b"])
                },
                Notice {
                    to: origin(8, 1),
                    suffix: namespace(&["b"])
                },
            ]
        );
        assert_eq!(routes.announce(&namespace(&["a", "b"]), origin(2, 0)), []);
        assert_eq!(routes.withdraw(&namespace(&["a", "b"]), origin(1, 0)), []);
        assert_eq!(
            routes.withdraw(&namespace(&["a", "b"]), origin(2, 0)).len(),
            2
        );
        assert_eq!(routes.withdraw(&namespace(&["a", "b"]), origin(2, 0)), []);
    }

    // Rules: B274
    #[test]
    fn b274_a_new_watcher_learns_what_exists() {
        let mut routes = Routes::default();
        for fields in [&["a"][..], &["a", "b"], &["a", "c"], &["ab"], &["b"]] {
            routes.announce(&namespace(fields), origin(1, 0));
        }
        assert_eq!(
            routes.watch(&namespace(&["a"]), origin(2, 0)),
            [namespace(&[]), namespace(&["b"]), namespace(&["c"])]
        );
        assert_eq!(routes.watch(&namespace(&[]), origin(2, 2)).len(), 5);
        routes.unwatch(&namespace(&["a"]), origin(2, 0));
        routes.unwatch(&namespace(&[]), origin(2, 2));
        assert_eq!(routes.announce(&namespace(&["a", "z"]), origin(1, 0)), []);
        assert!(routes.interests.is_empty(), "nothing is left behind");
    }

    #[test]
    fn a_peer_that_told_us_is_told_what_an_earlier_shard_has_and_not_what_a_later_one_has() {
        let live = namespace(&["live"]);
        let (peer, link) = (origin(1, 1), origin(2, 1));
        for is_after in [false, true] {
            let mut routes = Routes::default();
            routes.add_link(link.connection, is_after);
            routes.watch(&namespace(&[]), origin(1, 0));
            routes.learn(&live, peer);
            let to_peer = vec![Notice {
                to: origin(1, 0),
                suffix: live.clone(),
            }];
            let told = routes.learn(&live, link);
            assert_eq!(told, if is_after { vec![] } else { to_peer.clone() });
            assert_eq!(routes.is_told(&live, peer.connection), !is_after);
            // It takes it back, and hears of the other shard's at last.
            let news = routes.unlearn(&live, peer);
            let come = if is_after { to_peer } else { vec![] };
            assert_eq!(news, News { gone: vec![], come });
        }
    }
}
