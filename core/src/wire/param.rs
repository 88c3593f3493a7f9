//! Message parameters (§ Message Parameters), neutral to the draft.

use bytes::Bytes;

use super::cursor::{Reader, Writer};
use super::id::{GroupId, Location, Millis};
use super::kvp::{self, TypeSum};
use super::name::TrackNamespace;
use super::{Error, NotExpressible};
use crate::code::SessionCode;
use crate::draft::{
    FilterEnd, Misplaced, Parameter, ParameterRow, Profile, Scope, Shape, ZeroTimeout,
};

/// In which order groups are delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum GroupOrder {
    /// Lower group ids first.
    #[default]
    Ascending,
    /// Higher group ids first.
    Descending,
}

/// Which objects a subscription is for (§ Subscription Filters). An absent filter means all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Filter {
    /// From the start of the group after the largest one.
    NextGroupStart,
    /// From the object after the largest one.
    LargestObject,
    /// From this location on.
    AbsoluteStart(Location),
    /// From `start` to the end of group `end_group`.
    AbsoluteRange {
        /// The first location.
        start: Location,
        /// The last group, all of it. Draft 16 can name one before `start`: such a range is refused with INVALID_RANGE.
        end_group: GroupId,
    },
}

/// An authorization token as it stands in a message (§ AUTHORIZATION TOKEN).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Token {
    /// Forget the alias.
    Delete {
        /// Registered before by the same sender.
        alias: u64,
    },
    /// Use the value and remember it under the alias.
    Register {
        /// Chosen by the sender.
        alias: u64,
        /// What kind of token it is.
        kind: u64,
        /// The token itself.
        value: Bytes,
    },
    /// Use the value that was registered under the alias.
    UseAlias {
        /// Registered before by the same sender.
        alias: u64,
    },
    /// Use the value.
    UseValue {
        /// What kind of token it is.
        kind: u64,
        /// The token itself.
        value: Bytes,
    },
}

/// The parameters of a message. Which of them a message may carry depends on the message and the draft.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// AUTHORIZATION_TOKEN, in the order of appearance.
    pub authorization_tokens: Vec<Token>,
    /// OBJECT_DELIVERY_TIMEOUT (draft 16: DELIVERY_TIMEOUT); zero: none.
    pub object_delivery_timeout: Option<Millis>,
    /// SUBGROUP_DELIVERY_TIMEOUT; zero: none. From draft 18.
    pub subgroup_delivery_timeout: Option<Millis>,
    /// RENDEZVOUS_TIMEOUT. From draft 18.
    pub rendezvous_timeout: Option<Millis>,
    /// EXPIRES; zero: never, or not known.
    pub expires: Option<Millis>,
    /// LARGEST_OBJECT: the largest location published so far.
    pub largest_object: Option<Location>,
    /// FILL_TIMEOUT. From draft 18.
    pub fill_timeout: Option<Millis>,
    /// FORWARD: whether objects are to be sent; absent means yes, or unchanged in an update.
    pub forward: Option<bool>,
    /// SUBSCRIBER_PRIORITY: lower is more urgent; absent means 128, or unchanged in an update.
    pub subscriber_priority: Option<u8>,
    /// SUBSCRIPTION_FILTER; absent means everything, or unchanged in an update.
    pub filter: Option<Filter>,
    /// GROUP_ORDER; absent means the publisher's in a SUBSCRIBE, ascending in a FETCH.
    pub group_order: Option<GroupOrder>,
    /// NEW_GROUP_REQUEST: the subscriber wants a group after this one; zero: any new group.
    pub new_group_request: Option<u64>,
    /// TRACK_NAMESPACE_PREFIX: the new prefix in an update of SUBSCRIBE_NAMESPACE or SUBSCRIBE_TRACKS. From draft 18.
    pub track_namespace_prefix: Option<TrackNamespace>,
}

impl GroupOrder {
    /// The order that a number stands for.
    pub(crate) const fn from_wire(number: u64) -> Option<Self> {
        match number {
            1 => Some(Self::Ascending),
            2 => Some(Self::Descending),
            _ => None,
        }
    }

    const fn to_wire(self) -> u64 {
        match self {
            Self::Ascending => 1,
            Self::Descending => 2,
        }
    }
}

impl Filter {
    fn write(self, end: FilterEnd, to: &mut Writer) -> Result<(), NotExpressible> {
        match self {
            Self::NextGroupStart => to.integer(1),
            Self::LargestObject => to.integer(2),
            Self::AbsoluteStart(start) => {
                to.integer(3)?;
                start.write(to)
            }
            Self::AbsoluteRange { start, end_group } => {
                to.integer(4)?;
                start.write(to)?;
                to.integer(match end {
                    FilterEnd::Absolute => end_group.0,
                    FilterEnd::Delta => end_group
                        .0
                        .checked_sub(start.group.0)
                        .ok_or(NotExpressible("a filter that ends before it starts"))?,
                })
            }
        }
    }

    fn read(from: &mut Reader<'_>, end: FilterEnd) -> Result<Self, Error> {
        const WRONG_LENGTH: Error =
            Error::violation("V19: SUBSCRIPTION_FILTER does not match its length");
        let integer = |from: &mut Reader<'_>| from.integer().map_err(|_| WRONG_LENGTH);
        let location = |from: &mut Reader<'_>| Location::read(from).map_err(|_| WRONG_LENGTH);
        let filter = match integer(from)? {
            1 => Self::NextGroupStart,
            2 => Self::LargestObject,
            3 => Self::AbsoluteStart(location(from)?),
            4 => {
                let start = location(from)?;
                let last = integer(from)?;
                let end_group = GroupId(match end {
                    FilterEnd::Absolute => last,
                    FilterEnd::Delta => start.group.0.checked_add(last).ok_or(Error::violation(
                        "V42: a filter's last group exceeds 2^64 - 1",
                    ))?,
                });
                Self::AbsoluteRange { start, end_group }
            }
            _ => return Err(Error::violation("V41: unknown filter type")),
        };
        from.finish().map_err(|_| WRONG_LENGTH)?;
        Ok(filter)
    }
}

impl Token {
    pub(crate) fn write(&self, to: &mut Writer) -> Result<(), NotExpressible> {
        match self {
            Self::Delete { alias } => {
                to.integer(0)?;
                to.integer(*alias)
            }
            Self::Register { alias, kind, value } => {
                to.integer(1)?;
                to.integer(*alias)?;
                to.integer(*kind)?;
                to.slice(value);
                Ok(())
            }
            Self::UseAlias { alias } => {
                to.integer(2)?;
                to.integer(*alias)
            }
            Self::UseValue { kind, value } => {
                to.integer(3)?;
                to.integer(*kind)?;
                to.slice(value);
                Ok(())
            }
        }
    }

    /// Reads a token that fills what is left.
    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, Error> {
        const BAD: Error = Error {
            code: SessionCode::KeyValueFormattingError,
            rule: "V60: a token cannot be decoded",
        };
        let integer = |from: &mut Reader<'_>| from.integer().map_err(|_| BAD);
        let token = match integer(from)? {
            0 => Self::Delete {
                alias: integer(from)?,
            },
            1 => Self::Register {
                alias: integer(from)?,
                kind: integer(from)?,
                value: Bytes::copy_from_slice(from.take_rest()),
            },
            2 => Self::UseAlias {
                alias: integer(from)?,
            },
            3 => Self::UseValue {
                kind: integer(from)?,
                value: Bytes::copy_from_slice(from.take_rest()),
            },
            _ => return Err(BAD),
        };
        from.finish().map_err(|_| BAD)?;
        Ok(token)
    }
}

impl Parameters {
    /// Checks parameters of a REQUEST_OK or REQUEST_UPDATE once it is known what kind of request it is about: their messages
    /// alone tell only what may stand in any of them. Where the draft wants misplaced ones ignored, they are removed.
    ///
    /// # Errors
    /// V15 if one does not belong here.
    pub fn check_scope(&mut self, profile: &Profile, scope: Scope) -> Result<(), Error> {
        for row in profile.parameters {
            if !row.scope.meets(scope) && self.has(row.parameter) {
                match profile.misplaced_parameter {
                    Misplaced::Ignored => self.remove(row.parameter),
                    Misplaced::Violation => return Err(MISPLACED),
                }
            }
        }
        Ok(())
    }

    /// These parameters after a REQUEST_UPDATE: what the update does not name stays (§ REQUEST_UPDATE). Tokens are added.
    pub fn apply_update(&mut self, update: &Self) {
        fn replace<T: Clone>(old: &mut Option<T>, new: Option<&T>) {
            if let Some(new) = new {
                *old = Some(new.clone());
            }
        }
        let tokens = update.authorization_tokens.iter().cloned();
        self.authorization_tokens.extend(tokens);
        let Self {
            authorization_tokens: _,
            object_delivery_timeout,
            subgroup_delivery_timeout,
            rendezvous_timeout,
            expires,
            largest_object,
            fill_timeout,
            forward,
            subscriber_priority,
            filter,
            group_order,
            new_group_request,
            track_namespace_prefix,
        } = self;
        replace(
            object_delivery_timeout,
            update.object_delivery_timeout.as_ref(),
        );
        replace(
            subgroup_delivery_timeout,
            update.subgroup_delivery_timeout.as_ref(),
        );
        replace(rendezvous_timeout, update.rendezvous_timeout.as_ref());
        replace(expires, update.expires.as_ref());
        replace(largest_object, update.largest_object.as_ref());
        replace(fill_timeout, update.fill_timeout.as_ref());
        replace(forward, update.forward.as_ref());
        replace(subscriber_priority, update.subscriber_priority.as_ref());
        replace(filter, update.filter.as_ref());
        replace(group_order, update.group_order.as_ref());
        replace(new_group_request, update.new_group_request.as_ref());
        replace(
            track_namespace_prefix,
            update.track_namespace_prefix.as_ref(),
        );
    }

    /// Whether a peer of this draft understands all of these parameters in this place.
    ///
    /// # Errors
    /// Names the first one that it does not understand.
    pub fn expressible(&self, profile: &Profile, scope: Scope) -> Result<(), NotExpressible> {
        for parameter in ALL {
            let fits = |row: &ParameterRow| row.parameter == parameter && row.scope.meets(scope);
            if self.has(parameter) && !profile.parameters.iter().any(fits) {
                return Err(NotExpressible(name(parameter)));
            }
        }
        Ok(())
    }

    fn has(&self, parameter: Parameter) -> bool {
        match parameter {
            Parameter::ObjectDeliveryTimeout => self.object_delivery_timeout.is_some(),
            Parameter::AuthorizationToken => !self.authorization_tokens.is_empty(),
            Parameter::RendezvousTimeout => self.rendezvous_timeout.is_some(),
            Parameter::SubgroupDeliveryTimeout => self.subgroup_delivery_timeout.is_some(),
            Parameter::Expires => self.expires.is_some(),
            Parameter::LargestObject => self.largest_object.is_some(),
            Parameter::FillTimeout => self.fill_timeout.is_some(),
            Parameter::Forward => self.forward.is_some(),
            Parameter::SubscriberPriority => self.subscriber_priority.is_some(),
            Parameter::SubscriptionFilter => self.filter.is_some(),
            Parameter::GroupOrder => self.group_order.is_some(),
            Parameter::NewGroupRequest => self.new_group_request.is_some(),
            Parameter::TrackNamespacePrefix => self.track_namespace_prefix.is_some(),
        }
    }

    fn remove(&mut self, parameter: Parameter) {
        match parameter {
            Parameter::ObjectDeliveryTimeout => self.object_delivery_timeout = None,
            Parameter::AuthorizationToken => self.authorization_tokens.clear(),
            Parameter::RendezvousTimeout => self.rendezvous_timeout = None,
            Parameter::SubgroupDeliveryTimeout => self.subgroup_delivery_timeout = None,
            Parameter::Expires => self.expires = None,
            Parameter::LargestObject => self.largest_object = None,
            Parameter::FillTimeout => self.fill_timeout = None,
            Parameter::Forward => self.forward = None,
            Parameter::SubscriberPriority => self.subscriber_priority = None,
            Parameter::SubscriptionFilter => self.filter = None,
            Parameter::GroupOrder => self.group_order = None,
            Parameter::NewGroupRequest => self.new_group_request = None,
            Parameter::TrackNamespacePrefix => self.track_namespace_prefix = None,
        }
    }

    /// Writes the count and the parameters.
    ///
    /// A delivery timeout of zero is left out where the draft forbids it: absence means the same, except in an update, where
    /// it means "unchanged", and so cannot be said.
    pub(crate) fn write(
        &self,
        profile: &Profile,
        scope: Scope,
        to: &mut Writer,
    ) -> Result<(), NotExpressible> {
        self.expressible(profile, scope)?;
        let mut count = 0;
        let mut types = TypeSum::default();
        let mut block = Writer::new(to.integers());
        for row in profile.parameters {
            if !self.has(row.parameter) {
                continue;
            }
            if row.parameter == Parameter::AuthorizationToken {
                for token in &self.authorization_tokens {
                    types.write(row.number, &mut block)?;
                    block.with_length(|block| token.write(block))?;
                    count += 1;
                }
                continue;
            }
            if self.is_forbidden_zero(row.parameter, profile) {
                if scope.meets(Scope::ANY_UPDATE) {
                    return Err(NotExpressible("the removal of a delivery timeout"));
                }
                continue;
            }
            types.write(row.number, &mut block)?;
            self.write_value(row, profile, &mut block)?;
            count += 1;
        }
        to.integer(count)?;
        to.slice(&block.freeze());
        Ok(())
    }

    fn is_forbidden_zero(&self, parameter: Parameter, profile: &Profile) -> bool {
        parameter == Parameter::ObjectDeliveryTimeout
            && profile.zero_delivery_timeout == ZeroTimeout::Violation
            && self.object_delivery_timeout == Some(Millis(0))
    }

    fn write_value(
        &self,
        row: &ParameterRow,
        profile: &Profile,
        to: &mut Writer,
    ) -> Result<(), NotExpressible> {
        match row.shape {
            Shape::U8 => {
                let value = u8::try_from(self.number(row.parameter))
                    .map_err(|_| NotExpressible("a parameter above 255"))?;
                to.u8(value);
                Ok(())
            }
            Shape::Integer => to.integer(self.number(row.parameter)),
            Shape::Location => self.largest_object.unwrap_or_default().write(to),
            Shape::LengthPrefixed => to.with_length(|to| match (self.filter, row.parameter) {
                (Some(filter), Parameter::SubscriptionFilter) => {
                    filter.write(profile.filter_end, to)
                }
                _ => self.largest_object.unwrap_or_default().write(to),
            }),
            Shape::Namespace => match &self.track_namespace_prefix {
                Some(prefix) => prefix.write(to),
                None => Ok(()),
            },
        }
    }

    /// The value of a parameter that is a number, and present.
    fn number(&self, parameter: Parameter) -> u64 {
        let millis = |value: Option<Millis>| value.unwrap_or_default().0;
        match parameter {
            Parameter::ObjectDeliveryTimeout => millis(self.object_delivery_timeout),
            Parameter::RendezvousTimeout => millis(self.rendezvous_timeout),
            Parameter::SubgroupDeliveryTimeout => millis(self.subgroup_delivery_timeout),
            Parameter::Expires => millis(self.expires),
            Parameter::FillTimeout => millis(self.fill_timeout),
            Parameter::Forward => u64::from(self.forward.unwrap_or(true)),
            Parameter::SubscriberPriority => u64::from(self.subscriber_priority.unwrap_or(128)),
            Parameter::GroupOrder => self.group_order.unwrap_or_default().to_wire(),
            Parameter::NewGroupRequest => self.new_group_request.unwrap_or_default(),
            Parameter::AuthorizationToken
            | Parameter::LargestObject
            | Parameter::SubscriptionFilter
            | Parameter::TrackNamespacePrefix => 0,
        }
    }

    /// Reads the count and the parameters.
    pub(crate) fn read(
        from: &mut Reader<'_>,
        profile: &Profile,
        scope: Scope,
    ) -> Result<Self, Error> {
        let mut parameters = Self::default();
        let mut types = TypeSum::default();
        let count = from.integer()?;
        for _ in 0..count {
            let number = types.read(from)?;
            let row = profile
                .parameters
                .iter()
                .find(|row| row.number == number)
                .ok_or(Error::violation("V14: unknown message parameter"))?;
            if !row.scope.meets(scope) {
                match profile.misplaced_parameter {
                    // its value is not even looked at
                    Misplaced::Ignored => kvp::read_value(number, from)?,
                    Misplaced::Violation => return Err(MISPLACED),
                };
                continue;
            }
            if row.parameter != Parameter::AuthorizationToken && parameters.has(row.parameter) {
                return Err(Error::violation("V13: repeated message parameter"));
            }
            parameters.read_value(row, profile, from)?;
        }
        Ok(parameters)
    }

    fn read_value(
        &mut self,
        row: &ParameterRow,
        profile: &Profile,
        from: &mut Reader<'_>,
    ) -> Result<(), Error> {
        match row.shape {
            Shape::U8 => {
                let value = u64::from(from.u8()?);
                self.set_number(row.parameter, value, profile)
            }
            Shape::Integer => {
                let value = from.integer()?;
                self.set_number(row.parameter, value, profile)
            }
            Shape::Location => {
                self.largest_object = Some(Location::read(from)?);
                Ok(())
            }
            Shape::LengthPrefixed => {
                let kvp::RawValue::Bytes(bytes) = kvp::read_value(row.number, from)? else {
                    return Err(Error::violation("V18: a value does not suit its type"));
                };
                let mut value = Reader::new(bytes, from.integers());
                self.set_bytes(row.parameter, &mut value, profile)
            }
            Shape::Namespace => {
                self.track_namespace_prefix = Some(read_prefix(from)?);
                Ok(())
            }
        }
    }

    fn set_number(
        &mut self,
        parameter: Parameter,
        value: u64,
        profile: &Profile,
    ) -> Result<(), Error> {
        match parameter {
            Parameter::ObjectDeliveryTimeout => {
                if value == 0 && profile.zero_delivery_timeout == ZeroTimeout::Violation {
                    return Err(Error::violation("V47: DELIVERY_TIMEOUT is 0"));
                }
                self.object_delivery_timeout = Some(Millis(value));
            }
            Parameter::RendezvousTimeout => self.rendezvous_timeout = Some(Millis(value)),
            Parameter::SubgroupDeliveryTimeout => {
                self.subgroup_delivery_timeout = Some(Millis(value));
            }
            Parameter::Expires => self.expires = Some(Millis(value)),
            Parameter::FillTimeout => self.fill_timeout = Some(Millis(value)),
            Parameter::Forward => {
                self.forward = Some(match value {
                    0 => false,
                    1 => true,
                    _ => return Err(Error::violation("V43: FORWARD is neither 0 nor 1")),
                });
            }
            Parameter::SubscriberPriority => {
                let priority = u8::try_from(value)
                    .map_err(|_| Error::violation("V46: SUBSCRIBER_PRIORITY is above 255"))?;
                self.subscriber_priority = Some(priority);
            }
            Parameter::GroupOrder => {
                let order = GroupOrder::from_wire(value)
                    .ok_or(Error::violation("V44: GROUP_ORDER is neither 1 nor 2"))?;
                self.group_order = Some(order);
            }
            Parameter::NewGroupRequest => self.new_group_request = Some(value),
            Parameter::AuthorizationToken
            | Parameter::LargestObject
            | Parameter::SubscriptionFilter
            | Parameter::TrackNamespacePrefix => {}
        }
        Ok(())
    }

    /// Sets a parameter that is written as bytes, all of which `value` has.
    fn set_bytes(
        &mut self,
        parameter: Parameter,
        value: &mut Reader<'_>,
        profile: &Profile,
    ) -> Result<(), Error> {
        match parameter {
            Parameter::AuthorizationToken => {
                self.authorization_tokens.push(Token::read(value)?);
            }
            Parameter::SubscriptionFilter => {
                self.filter = Some(Filter::read(value, profile.filter_end)?);
            }
            Parameter::LargestObject => {
                let location =
                    Location::read(value).and_then(|location| value.finish().map(|()| location));
                self.largest_object = Some(location.map_err(|_| Error {
                    code: SessionCode::KeyValueFormattingError,
                    rule: "V18: LARGEST_OBJECT is not a location",
                })?);
            }
            Parameter::ObjectDeliveryTimeout
            | Parameter::RendezvousTimeout
            | Parameter::SubgroupDeliveryTimeout
            | Parameter::Expires
            | Parameter::FillTimeout
            | Parameter::Forward
            | Parameter::SubscriberPriority
            | Parameter::GroupOrder
            | Parameter::NewGroupRequest
            | Parameter::TrackNamespacePrefix => {}
        }
        Ok(())
    }
}

const MISPLACED: Error = Error::violation("V15: a message parameter in the wrong message");

/// Reads a TRACK_NAMESPACE_PREFIX: a namespace, and nothing after it, since it has the highest number and its message ends
/// with parameters. Some peers put a length in front, so that is tried if it does not fit without.
fn read_prefix(from: &mut Reader<'_>) -> Result<TrackNamespace, Error> {
    let mut bare = from.clone();
    let first =
        TrackNamespace::read(&mut bare, 0).and_then(|prefix| bare.finish().map(|()| prefix));
    let mut with_length = from.clone();
    let second = with_length.length_prefixed().and_then(|bytes| {
        let mut inner = Reader::new(bytes, from.integers());
        let prefix = TrackNamespace::read(&mut inner, 0)?;
        inner.finish()?;
        with_length.finish()?;
        Ok(prefix)
    });
    let prefix = first.or_else(|error| second.map_err(|_| error))?;
    from.take_rest();
    Ok(prefix)
}

const ALL: [Parameter; 13] = [
    Parameter::ObjectDeliveryTimeout,
    Parameter::AuthorizationToken,
    Parameter::RendezvousTimeout,
    Parameter::SubgroupDeliveryTimeout,
    Parameter::Expires,
    Parameter::LargestObject,
    Parameter::FillTimeout,
    Parameter::Forward,
    Parameter::SubscriberPriority,
    Parameter::SubscriptionFilter,
    Parameter::GroupOrder,
    Parameter::NewGroupRequest,
    Parameter::TrackNamespacePrefix,
];

const fn name(parameter: Parameter) -> &'static str {
    match parameter {
        Parameter::ObjectDeliveryTimeout => "OBJECT_DELIVERY_TIMEOUT here",
        Parameter::AuthorizationToken => "AUTHORIZATION_TOKEN here",
        Parameter::RendezvousTimeout => "RENDEZVOUS_TIMEOUT here",
        Parameter::SubgroupDeliveryTimeout => "SUBGROUP_DELIVERY_TIMEOUT here",
        Parameter::Expires => "EXPIRES here",
        Parameter::LargestObject => "LARGEST_OBJECT here",
        Parameter::FillTimeout => "FILL_TIMEOUT here",
        Parameter::Forward => "FORWARD here",
        Parameter::SubscriberPriority => "SUBSCRIBER_PRIORITY here",
        Parameter::SubscriptionFilter => "SUBSCRIPTION_FILTER here",
        Parameter::GroupOrder => "GROUP_ORDER here",
        Parameter::NewGroupRequest => "NEW_GROUP_REQUEST here",
        Parameter::TrackNamespacePrefix => "TRACK_NAMESPACE_PREFIX here",
    }
}
