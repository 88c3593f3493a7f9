//! Which parameters belong to answers and updates of which request, and how ours are made to fit an older draft.

use super::close::Close;
use super::request::Kind;
use crate::draft::{Profile, Scope};
use crate::wire::param::Parameters;

/// Where the parameters of REQUEST_OK to a request stand.
pub(super) const fn ok_scope(kind: Kind) -> Scope {
    match kind {
        Kind::Subscribe => Scope::SUBSCRIBE_OK,
        Kind::Publish => Scope::PUBLISH_OK,
        Kind::Fetch => Scope::FETCH_OK,
        Kind::TrackStatus => Scope::TRACK_STATUS_OK,
        Kind::PublishNamespace | Kind::SubscribeNamespace | Kind::SubscribeTracks => {
            Scope::NAMESPACE_OK
        }
    }
}

/// Where the parameters of REQUEST_UPDATE of a request stand; `None`: it cannot be updated.
pub(super) const fn update_scope(kind: Kind) -> Option<Scope> {
    match kind {
        Kind::Subscribe | Kind::Publish => Some(Scope::UPDATE_SUBSCRIPTION),
        Kind::Fetch => Some(Scope::UPDATE_FETCH),
        Kind::PublishNamespace => Some(Scope::UPDATE_PUBLISH_NAMESPACE),
        Kind::SubscribeNamespace => Some(Scope::UPDATE_SUBSCRIBE_NAMESPACE),
        Kind::SubscribeTracks => Some(Scope::UPDATE_SUBSCRIBE_TRACKS),
        Kind::TrackStatus => None,
    }
}

/// Checks the parameters of an update from the peer. Here no draft lets misplaced ones pass (draft 16, § REQUEST_UPDATE).
pub(super) fn check_update(
    profile: &Profile,
    scope: Scope,
    parameters: &mut Parameters,
) -> Result<(), Close> {
    let received = parameters.clone();
    parameters.check_scope(profile, scope)?;
    if *parameters == received {
        Ok(())
    } else {
        Err(Close::violation(
            "V35: a parameter that this kind of request does not have",
        ))
    }
}

/// Leaves out of parameters to be sent what an older draft lacks and its peers can do without: timeouts. Where there is
/// one delivery timeout, it is the objects'; the time limits of rendezvous and of filling a FETCH are the sender's own to
/// keep. (A delivery timeout of zero is left to the encoder.)
pub(super) const fn fit(profile: &Profile, parameters: &mut Parameters) {
    if !profile.subgroup_delivery_timeout {
        parameters.subgroup_delivery_timeout = None;
        parameters.rendezvous_timeout = None;
        parameters.fill_timeout = None;
    }
}
