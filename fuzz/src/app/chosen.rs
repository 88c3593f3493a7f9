//! Parameters, refusals and codes, chosen by the input.

use bytes::Bytes;
use oxymoq_core::code::{RequestCode, ResetCode};
use oxymoq_core::session::Refusal;
use oxymoq_core::wire::id::{GroupId, Location, Millis};
use oxymoq_core::wire::message::Retry;
use oxymoq_core::wire::param::{Filter, GroupOrder, Parameters, Token};

use crate::choices::Choices;
use crate::content;

pub(super) fn some_refusal(choices: &mut Choices<'_>) -> Refusal {
    let code = choices
        .one(RequestCode::ALL)
        .filter(|code| *code != RequestCode::Redirect);
    let mut refusal = Refusal::new(code.unwrap_or(RequestCode::DoesNotExist), "no");
    if choices.chance(2) {
        refusal.retry = Retry::After(Millis(u64::from(choices.byte())));
    }
    refusal
}

pub(super) fn some_reset(choices: &mut Choices<'_>) -> ResetCode {
    choices.one(ResetCode::ALL).unwrap_or(ResetCode::Cancelled)
}

/// What a request may carry, and now and then what it may not: the session refuses that.
pub(crate) fn some_parameters(choices: &mut Choices<'_>) -> Parameters {
    let mut parameters = Parameters::default();
    let which = choices.byte();
    if which & 1 != 0 {
        parameters.filter = some_filter(choices);
    }
    if which & 2 != 0 {
        parameters.forward = Some(choices.chance(2));
    }
    if which & 4 != 0 {
        parameters.subscriber_priority = Some(choices.byte());
    }
    if which & 8 != 0 {
        parameters.group_order = choices.one(&[GroupOrder::Ascending, GroupOrder::Descending]);
    }
    if which & 16 != 0 {
        let millis = Some(Millis(u64::from(choices.byte())));
        match choices.below(4) {
            0 => parameters.object_delivery_timeout = millis,
            1 => parameters.subgroup_delivery_timeout = millis,
            2 => parameters.rendezvous_timeout = millis,
            _ => parameters.fill_timeout = millis,
        }
    }
    if which & 32 != 0 {
        parameters.new_group_request = Some(u64::from(choices.byte()));
    }
    if which & 64 != 0 {
        let alias = u64::from(choices.byte() & 1);
        let (kind, value) = (0, Bytes::from_static(b"token"));
        parameters.authorization_tokens = vec![match choices.below(4) {
            0 => Token::Delete { alias },
            1 => Token::Register { alias, kind, value },
            2 => Token::UseAlias { alias },
            _ => Token::UseValue { kind, value },
        }];
    }
    parameters
}

pub(crate) fn some_update(choices: &mut Choices<'_>) -> Parameters {
    let mut parameters = some_parameters(choices);
    if choices.chance(4) {
        parameters = Parameters {
            track_namespace_prefix: Some(content::namespace(choices)),
            ..Parameters::default()
        };
    }
    parameters
}

fn some_filter(choices: &mut Choices<'_>) -> Option<Filter> {
    let start = Location::new(u64::from(choices.byte() % 5), u64::from(choices.byte() % 8));
    let end_group = GroupId(start.group.0 + u64::from(choices.byte() % 3));
    choices.one(&[
        Filter::NextGroupStart,
        Filter::LargestObject,
        Filter::AbsoluteStart(start),
        Filter::AbsoluteRange { start, end_group },
    ])
}
