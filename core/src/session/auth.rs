//! Token aliases (§ AUTHORIZATION TOKEN Parameter): the peer's that we remember, and ours that the peer remembers.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::close::{Close, Misuse};
use crate::code::SessionCode;
use crate::wire::id::RequestId;
use crate::wire::param::Token;

/// What a registered token costs besides its value, in bytes (§ MAX_AUTH_TOKEN_CACHE_SIZE).
const ENTRY_COST: u64 = 16;

fn cost(value: &Bytes) -> u64 {
    ENTRY_COST.saturating_add(u64::try_from(value.len()).unwrap_or(u64::MAX))
}

/// The tokens that the peer registered, bounded by the cache size that we told it.
#[derive(Debug)]
pub(super) struct TokenCache {
    limit: u64,
    used: u64,
    tokens: BTreeMap<u64, (u64, Bytes)>,
}

/// What resolving the tokens of a message came to, if they were not a reason to end the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resolved {
    /// Only values are left in the list.
    Valid,
    /// The same value appears twice: the message is to be refused.
    Repeated,
}

impl TokenCache {
    pub(super) const fn new(limit: u64) -> Self {
        Self {
            limit,
            used: 0,
            tokens: BTreeMap::new(),
        }
    }

    /// Carries out what the tokens of a message ask for and leaves only values in the list.
    ///
    /// In a SETUP a token that does not fit is used once instead of registered, and a server accepts no reference.
    pub(super) fn resolve(
        &mut self,
        tokens: &mut Vec<Token>,
        place: Place,
    ) -> Result<Resolved, Close> {
        let mut values: Vec<(u64, Bytes)> = Vec::with_capacity(tokens.len());
        for token in tokens.drain(..) {
            if let Some(value) = self.receive(token, place)? {
                values.push(value);
            }
        }
        let mut result = Resolved::Valid;
        for (index, value) in values.iter().enumerate() {
            if values.iter().skip(index + 1).any(|other| other == value) {
                result = Resolved::Repeated;
            }
        }
        tokens.extend(
            values
                .into_iter()
                .map(|(kind, value)| Token::UseValue { kind, value }),
        );
        Ok(result)
    }

    fn receive(&mut self, token: Token, place: Place) -> Result<Option<(u64, Bytes)>, Close> {
        match token {
            Token::Delete { .. } | Token::UseAlias { .. } if place == Place::SetupOfClient => Err(
                Close::violation("V65: a client's SETUP refers to a token alias"),
            ),
            Token::Delete { alias } => {
                let (_, value) = self.tokens.remove(&alias).ok_or(UNKNOWN_ALIAS)?;
                self.used = self.used.saturating_sub(cost(&value));
                Ok(None)
            }
            Token::UseAlias { alias } => {
                let token = self.tokens.get(&alias).ok_or(UNKNOWN_ALIAS)?;
                Ok(Some(token.clone()))
            }
            Token::UseValue { kind, value } => Ok(Some((kind, value))),
            Token::Register { alias, kind, value } => {
                if self.tokens.contains_key(&alias) {
                    return Err(Close::new(
                        SessionCode::DuplicateAuthTokenAlias,
                        "V61: a token alias is registered twice",
                    ));
                }
                let used = self.used.saturating_add(cost(&value));
                if used <= self.limit {
                    self.used = used;
                    self.tokens.insert(alias, (kind, value.clone()));
                } else if place == Place::Message {
                    return Err(Close::new(
                        SessionCode::AuthTokenCacheOverflow,
                        "V63: more tokens are registered than allowed",
                    ));
                }
                Ok(Some((kind, value)))
            }
        }
    }
}

const UNKNOWN_ALIAS: Close = Close::new(
    SessionCode::UnknownAuthTokenAlias,
    "V62: a token alias that is not registered",
);

/// Where a token stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A SETUP that a server receives.
    SetupOfClient,
    /// A SETUP that a client receives.
    SetupOfServer,
    /// Any other message.
    Message,
}

/// The tokens that we registered with the peer. What the peer cannot hold is sent by value each time, so that callers
/// need not know the peer's limit.
#[derive(Clone, Debug, Default)]
pub(super) struct TokenBook {
    limit: u64,
    used: u64,
    tokens: BTreeMap<u64, Registered>,
    /// Aliases of which the peer may or may not remember something, so that they are not said again; what each costs there,
    /// and the unanswered message that deletes it, if its answer would tell.
    doubtful: BTreeMap<u64, (u64, Option<RequestId>)>,
}

#[derive(Clone, Debug)]
struct Registered {
    kind: u64,
    value: Bytes,
    /// Whether the peer remembers it; otherwise it goes by value.
    held: bool,
    /// The request and the unanswered message that register it; until that is answered the alias is good on the
    /// request's stream only.
    registering: Option<(RequestId, RequestId)>,
    /// Unanswered messages that refer to the alias.
    used_by: Vec<RequestId>,
    /// A message that refers to the alias was withdrawn, and may yet arrive after one that deletes it.
    is_lingering: bool,
}

impl Registered {
    /// Whether the peer has heard of it when it reads a message of this request.
    fn is_known_to(&self, request: RequestId, carrier: Carrier) -> bool {
        self.registering
            .is_none_or(|(registering, _)| match carrier {
                Carrier::Shared => true,
                Carrier::Beside => false,
                Carrier::Own => registering == request,
            })
    }
}

/// What tells whether two messages travel on the same stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    /// The stream that carries all requests but a few: what was registered there earlier is known.
    Shared,
    /// The stream of one of those few, which what is on the shared one may overtake, and the other way round.
    Beside,
    /// Each request has its own stream.
    Own,
}

impl TokenBook {
    /// Remembers what our own SETUP registers, before the peer's limit is known.
    pub(super) fn sent_in_setup(&mut self, tokens: &[Token]) {
        for token in tokens {
            if let Token::Register { alias, kind, value } = token {
                self.insert(*alias, *kind, value.clone(), true, None);
            }
        }
    }

    /// Learns the peer's limit; what it could not register in our SETUP is sent by value from now on.
    pub(super) fn peer_limit(&mut self, limit: u64) {
        self.limit = limit;
        self.used = 0;
        for token in self.tokens.values_mut() {
            let used = self.used.saturating_add(cost(&token.value));
            token.held = used <= limit;
            if token.held {
                self.used = used;
            }
        }
    }

    /// Checks and rewrites the tokens of a message that is about to be sent as `message`, which starts or updates the
    /// request `request`. Nothing is changed if it fails.
    pub(super) fn send(
        &mut self,
        tokens: &[Token],
        request: RequestId,
        message: RequestId,
        carrier: Carrier,
    ) -> Result<Vec<Token>, Misuse> {
        self.check(tokens)?;
        let mut sent = Vec::with_capacity(tokens.len());
        for token in tokens {
            match token {
                Token::UseValue { .. } => sent.push(token.clone()),
                Token::Register { alias, kind, value } => {
                    let used = self.used.saturating_add(cost(value));
                    let held = used <= self.limit
                        && carrier != Carrier::Beside
                        && !self.doubtful.contains_key(alias);
                    if held {
                        self.used = used;
                    }
                    self.insert(*alias, *kind, value.clone(), held, Some((request, message)));
                    sent.push(if held {
                        token.clone()
                    } else {
                        Token::UseValue {
                            kind: *kind,
                            value: value.clone(),
                        }
                    });
                }
                Token::UseAlias { alias } => {
                    sent.extend(self.refer(*alias, request, message, carrier));
                }
                Token::Delete { alias } => {
                    if let Some(token) = self.tokens.remove(alias)
                        && token.held
                    {
                        sent.extend(self.delete(*alias, &token, request, message, carrier));
                    }
                }
            }
        }
        Ok(sent)
    }

    /// What to say so that the peer forgets the alias, if it surely has it and needs it no more. On a stream of its own that may overtake others,
    /// and come to nothing, until it is answered.
    fn delete(
        &mut self,
        alias: u64,
        token: &Registered,
        request: RequestId,
        message: RequestId,
        carrier: Carrier,
    ) -> Option<Token> {
        let cost = cost(&token.value);
        let is_known = !token.is_lingering && token.is_known_to(request, carrier);
        if is_known && carrier == Carrier::Shared {
            self.used = self.used.saturating_sub(cost);
            return Some(Token::Delete { alias });
        }
        let deleting = is_known.then_some(message);
        self.doubtful.insert(alias, (cost, deleting));
        is_known.then_some(Token::Delete { alias })
    }

    fn check(&self, tokens: &[Token]) -> Result<(), Misuse> {
        let mut known: BTreeMap<u64, bool> = BTreeMap::new();
        for token in tokens {
            let is_known = |alias: &u64| {
                known
                    .get(alias)
                    .copied()
                    .unwrap_or_else(|| self.tokens.contains_key(alias))
            };
            match token {
                Token::UseValue { .. } => {}
                Token::Register { alias, .. } => {
                    if is_known(alias) {
                        return Err(Misuse::Token("this token alias is registered already"));
                    }
                    known.insert(*alias, true);
                }
                Token::UseAlias { alias } => {
                    if !is_known(alias) {
                        return Err(Misuse::Token("this token alias is not registered"));
                    }
                }
                Token::Delete { alias } => {
                    if !is_known(alias) {
                        return Err(Misuse::Token("this token alias is not registered"));
                    }
                    if self
                        .tokens
                        .get(alias)
                        .is_some_and(|token| !token.used_by.is_empty())
                    {
                        return Err(Misuse::Token("an unanswered message uses this token alias"));
                    }
                    known.insert(*alias, false);
                }
            }
        }
        Ok(())
    }

    /// A reference to the alias where the peer surely knows it, the value elsewhere.
    fn refer(
        &mut self,
        alias: u64,
        request: RequestId,
        message: RequestId,
        carrier: Carrier,
    ) -> Option<Token> {
        let token = self.tokens.get_mut(&alias)?;
        if token.held && token.is_known_to(request, carrier) {
            token.used_by.push(message);
            Some(Token::UseAlias { alias })
        } else {
            Some(Token::UseValue {
                kind: token.kind,
                value: token.value.clone(),
            })
        }
    }

    /// The peer will never answer a message of ours, which it may not have seen, if it had a stream of its own.
    pub(super) fn unanswered(&mut self, message: RequestId, carrier: Carrier) {
        if carrier != Carrier::Shared {
            for (alias, token) in &mut self.tokens {
                token.is_lingering |= token.used_by.contains(&message);
                let registering = token.registering.is_some_and(|(_, it)| it == message);
                if registering && token.held {
                    token.held = false;
                    self.doubtful.insert(*alias, (cost(&token.value), None));
                }
            }
            for (_, deleting) in self.doubtful.values_mut() {
                if *deleting == Some(message) {
                    *deleting = None;
                }
            }
        }
        self.answered(message);
    }

    /// The peer answered a message of ours.
    pub(super) fn answered(&mut self, message: RequestId) {
        let used = &mut self.used;
        self.doubtful.retain(|_, (cost, deleting)| {
            let is_gone = *deleting == Some(message);
            if is_gone {
                *used = used.saturating_sub(*cost);
            }
            !is_gone
        });
        for token in self.tokens.values_mut() {
            if token
                .registering
                .is_some_and(|(_, registering)| registering == message)
            {
                token.registering = None;
            }
            token.used_by.retain(|user| *user != message);
        }
    }

    fn insert(
        &mut self,
        alias: u64,
        kind: u64,
        value: Bytes,
        held: bool,
        registering: Option<(RequestId, RequestId)>,
    ) {
        self.tokens.insert(
            alias,
            Registered {
                kind,
                value,
                held,
                registering,
                used_by: Vec::new(),
                is_lingering: false,
            },
        );
    }
}
