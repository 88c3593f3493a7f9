//! SETUP (§ SETUP); CLIENT_SETUP and SERVER_SETUP in draft 16.

use bytes::Bytes;

use super::super::cursor::{Reader, Writer};
use super::super::kvp::{self, RawValue, TypeSum};
use super::super::param::Token;
use super::super::{Error, NotExpressible, Role};
use super::{Body, Origin};
use crate::draft::{RequestCredit, SetupModel};

const PATH: u64 = 0x01;
const MAX_REQUEST_ID: u64 = 0x02;
const AUTHORIZATION_TOKEN: u64 = 0x03;
const MAX_AUTH_TOKEN_CACHE_SIZE: u64 = 0x04;
const AUTHORITY: u64 = 0x05;
const MOQT_IMPLEMENTATION: u64 = 0x07;

/// SETUP: what each side says first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setup {
    /// PATH: by clients on raw QUIC only; the URL's path and query.
    pub path: Option<Bytes>,
    /// AUTHORITY: by clients on raw QUIC only; the URL's authority.
    pub authority: Option<Bytes>,
    /// MAX_REQUEST_ID: the peer's request ids stay below it; absent means 0. Up to draft 16.
    pub max_request_id: Option<u64>,
    /// MAX_AUTH_TOKEN_CACHE_SIZE in bytes; absent means 0: the peer registers no aliases.
    pub max_auth_token_cache_size: Option<u64>,
    /// AUTHORIZATION_TOKEN, in the order of appearance.
    pub authorization_tokens: Vec<Token>,
    /// MOQT_IMPLEMENTATION: the sender's name and version, for logs.
    pub implementation: Option<Bytes>,
}

impl Body for Setup {
    fn write(&self, origin: Origin, to: &mut Writer) -> Result<(), NotExpressible> {
        let has_credit = origin.profile.request_credit == RequestCredit::MaxRequestId;
        if self.max_request_id.is_some() && !has_credit {
            return Err(NotExpressible("MAX_REQUEST_ID"));
        }
        let mut options = Options {
            types: TypeSum::default(),
            count: 0,
            block: Writer::new(to.integers()),
        };
        options.bytes(PATH, self.path.as_ref())?;
        options.integer(MAX_REQUEST_ID, self.max_request_id)?;
        for token in &self.authorization_tokens {
            let mut value = Writer::new(to.integers());
            token.write(&mut value)?;
            options.bytes(AUTHORIZATION_TOKEN, Some(&value.freeze()))?;
        }
        options.integer(MAX_AUTH_TOKEN_CACHE_SIZE, self.max_auth_token_cache_size)?;
        options.bytes(AUTHORITY, self.authority.as_ref())?;
        options.bytes(MOQT_IMPLEMENTATION, self.implementation.as_ref())?;
        match origin.profile.setup {
            SetupModel::ClientThenServer => to.integer(options.count)?,
            SetupModel::Symmetric => {}
        }
        to.slice(&options.block.freeze());
        Ok(())
    }

    fn read(origin: Origin, from: &mut Reader<'_>) -> Result<Self, Error> {
        let mut setup = Self::default();
        let mut types = TypeSum::default();
        match origin.profile.setup {
            SetupModel::ClientThenServer => {
                let count = from.integer()?;
                for _ in 0..count {
                    setup.read_option(origin, &mut types, from)?;
                }
            }
            SetupModel::Symmetric => {
                while !from.is_empty() {
                    setup.read_option(origin, &mut types, from)?;
                }
            }
        }
        Ok(setup)
    }
}

impl Setup {
    /// Reads an option; an unknown one is passed over, however often it comes.
    fn read_option(
        &mut self,
        origin: Origin,
        types: &mut TypeSum,
        from: &mut Reader<'_>,
    ) -> Result<(), Error> {
        let number = types.read(from)?;
        let has_credit = origin.profile.request_credit == RequestCredit::MaxRequestId;
        match (number, kvp::read_value(number, from)?) {
            (PATH, RawValue::Bytes(bytes)) => set_bytes(&mut self.path, bytes),
            (AUTHORITY, RawValue::Bytes(bytes)) => set_bytes(&mut self.authority, bytes),
            (MOQT_IMPLEMENTATION, RawValue::Bytes(bytes)) => {
                set_bytes(&mut self.implementation, bytes)
            }
            (MAX_REQUEST_ID, RawValue::Integer(value)) if has_credit => {
                set(&mut self.max_request_id, value)
            }
            (MAX_AUTH_TOKEN_CACHE_SIZE, RawValue::Integer(value)) => {
                set(&mut self.max_auth_token_cache_size, value)
            }
            (AUTHORIZATION_TOKEN, RawValue::Bytes(bytes)) => {
                let token = Token::read(&mut Reader::new(bytes, from.integers()))?;
                let needs_cache = matches!(token, Token::Delete { .. } | Token::UseAlias { .. });
                if needs_cache && origin.sender == Role::Client {
                    return Err(Error::violation(
                        "V65: a token alias in the client's set-up",
                    ));
                }
                self.authorization_tokens.push(token);
                Ok(())
            }
            (_, RawValue::Integer(_) | RawValue::Bytes(_)) => Ok(()),
        }
    }
}

fn set<T>(option: &mut Option<T>, value: T) -> Result<(), Error> {
    if option.replace(value).is_some() {
        return Err(Error::violation("V13: repeated setup option"));
    }
    Ok(())
}

fn set_bytes(option: &mut Option<Bytes>, bytes: &[u8]) -> Result<(), Error> {
    set(option, Bytes::copy_from_slice(bytes))
}

/// Options being written.
struct Options {
    types: TypeSum,
    count: u64,
    block: Writer,
}

impl Options {
    fn bytes(&mut self, number: u64, value: Option<&Bytes>) -> Result<(), NotExpressible> {
        self.pair(number, value.map(|bytes| RawValue::Bytes(bytes)))
    }

    fn integer(&mut self, number: u64, value: Option<u64>) -> Result<(), NotExpressible> {
        self.pair(number, value.map(RawValue::Integer))
    }

    fn pair(&mut self, number: u64, value: Option<RawValue<'_>>) -> Result<(), NotExpressible> {
        let Some(value) = value else {
            return Ok(());
        };
        self.count += 1;
        kvp::write_pair(&mut self.types, number, value, &mut self.block)
    }
}
