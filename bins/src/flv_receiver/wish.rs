//! What the receiver is to get, and how.

use std::time::Duration;

use bytes::Bytes;
use oxymoq_core::wire::id::Millis;
use oxymoq_core::wire::name::FullTrackName;
use oxymoq_core::wire::param::{Filter, GroupOrder, Parameters, Token};

use super::limits::Limits;

/// Nothing but its bytes says what the token is.
const OUT_OF_BAND: u64 = 0;

/// Which tracks, how, and for how long.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The tracks.
    pub tracks: Tracks,
    /// Begin with what there is of the current group of pictures, rather than with the next one.
    pub fetch: bool,
    /// What proves that we may have the tracks; empty: nothing.
    pub token: Bytes,
    /// Give up an object so long after it was published.
    pub delivery_timeout: Option<Millis>,
    /// How long the server may take to answer.
    pub transaction_timeout: Duration,
    /// How long to try to get on with a server that was lost.
    pub reconnect: Duration,
    /// What may be kept.
    pub limits: Limits,
}

/// Which tracks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tracks {
    /// These; `None`: none of the kind.
    Named {
        /// Pictures.
        video: Option<FullTrackName>,
        /// Sound.
        audio: Option<FullTrackName>,
    },
    /// The first of each kind that this track, a catalog, offers and FLV can carry.
    OfCatalog(FullTrackName),
}

impl Wish {
    /// Of a SUBSCRIBE or, with fewer of them, a FETCH.
    pub(super) fn parameters(&self, is_fetch: bool) -> Parameters {
        let token = Some(self.token.clone()).filter(|token| !token.is_empty());
        let tokens = token.map(|value| Token::UseValue {
            kind: OUT_OF_BAND,
            value,
        });
        let fetch = Parameters {
            authorization_tokens: tokens.into_iter().collect(),
            subscriber_priority: Some(128),
            group_order: Some(GroupOrder::Ascending),
            ..Parameters::default()
        };
        if is_fetch {
            return fetch;
        }
        Parameters {
            filter: Some(Filter::LargestObject),
            forward: Some(true),
            object_delivery_timeout: self.delivery_timeout,
            ..fetch
        }
    }
}
