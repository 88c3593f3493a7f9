//! The request that opens a WebTransport session and its response, as header fields (WebTransport over HTTP/3 § Creating a
//! New Session, § Application Protocol Negotiation).

use bytes::Bytes;

use super::frame;
use super::qpack::{self, Field};
use super::structured;

/// What a WebTransport session was asked for with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Host and port that the client wanted, as in its URL. Not checked: it is visible ASCII, no more.
    pub authority: String,
    /// Path and query, beginning with `/`.
    pub path: String,
    /// The page that the request came from, if a browser sent it.
    pub origin: Option<String>,
    /// The protocol that was agreed on; `None` if nothing was negotiated and a default is spoken.
    pub protocol: Option<Bytes>,
}

impl Request {
    /// The path without its query.
    pub fn path_only(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }
}

/// A request for a session as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    /// The request, its protocol not chosen yet.
    pub(super) request: Request,
    /// The protocols offered, most wanted first; `None` if none were, or not properly.
    pub(super) protocols: Option<Vec<Bytes>>,
    /// The client speaks draft 02 and may want to read that the server does.
    pub(super) draft02: bool,
}

/// Why a request is not a request for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotAnOffer {
    /// It breaks the rules for requests (RFC 9114 § Malformed Requests and Responses).
    Malformed(&'static str),
    /// It is a fine request for something else; this status refuses it.
    Status(u16),
}

/// Pseudo-header fields and the regular fields that matter here.
#[derive(Debug, Default)]
struct Fields {
    method: Option<Bytes>,
    scheme: Option<Bytes>,
    authority: Option<Bytes>,
    path: Option<Bytes>,
    protocol: Option<Bytes>,
    status: Option<Bytes>,
    host: Option<Bytes>,
    origin: Option<Bytes>,
    available_protocols: Option<Vec<u8>>,
    chosen_protocol: Option<Vec<u8>>,
    draft02: bool,
}

impl Fields {
    /// Sorts a header section, checking what RFC 9114 § Malformed Requests and Responses asks to check.
    fn sort(fields: &[Field]) -> Result<Self, &'static str> {
        let mut sorted = Self::default();
        let mut regular_seen = false;
        for field in fields {
            check(field)?;
            let is_pseudo = field.name.starts_with(b":");
            if is_pseudo && regular_seen {
                return Err("pseudo-header field after a regular field");
            }
            regular_seen |= !is_pseudo;
            sorted.put(field)?;
        }
        Ok(sorted)
    }

    fn put(&mut self, field: &Field) -> Result<(), &'static str> {
        let slot = match &*field.name {
            b":method" => &mut self.method,
            b":scheme" => &mut self.scheme,
            b":authority" => &mut self.authority,
            b":path" => &mut self.path,
            b":protocol" => &mut self.protocol,
            b":status" => &mut self.status,
            b"host" => &mut self.host,
            b"origin" => &mut self.origin,
            b"wt-available-protocols" => {
                append(&mut self.available_protocols, &field.value);
                return Ok(());
            }
            b"wt-protocol" => {
                append(&mut self.chosen_protocol, &field.value);
                return Ok(());
            }
            b"sec-webtransport-http3-draft02" => {
                self.draft02 = &*field.value == b"1";
                return Ok(());
            }
            name if name.starts_with(b":") => return Err("unknown pseudo-header field"),
            _ => return Ok(()),
        };
        if slot.replace(field.value.clone()).is_some() {
            return Err("field that must be single appears twice");
        }
        Ok(())
    }
}

/// Several lines of a list field are one list (RFC 9110 § Field Lines and Combined Field Value).
fn append(list: &mut Option<Vec<u8>>, line: &[u8]) {
    match list {
        Some(list) => {
            list.extend_from_slice(b", ");
            list.extend_from_slice(line);
        }
        None => *list = Some(line.to_vec()),
    }
}

fn check(field: &Field) -> Result<(), &'static str> {
    let name = field.name.strip_prefix(b":").unwrap_or(&field.name);
    let is_token = |byte: &u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(byte)
    };
    if name.is_empty() || !name.iter().all(is_token) {
        return Err("field name with a character it must not have");
    }
    let value = &field.value;
    if value.iter().any(|byte| b"\0\r\n".contains(byte)) || value.trim_ascii().len() != value.len()
    {
        return Err("field value with a character it must not have");
    }
    match &*field.name {
        b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade" => {
            Err("field of HTTP/1.1 that HTTP/3 forbids")
        }
        b"te" if &**value != b"trailers" => Err("field of HTTP/1.1 that HTTP/3 forbids"),
        _ => Ok(()),
    }
}

/// A value that is to be shown and compared: visible ASCII.
fn visible(value: Option<Bytes>) -> Result<Option<String>, &'static str> {
    let Some(value) = value else { return Ok(None) };
    if value.is_empty() || !value.iter().all(u8::is_ascii_graphic) {
        return Err("authority, path or origin that is not visible ASCII");
    }
    Ok(String::from_utf8(value.to_vec()).ok())
}

impl Offer {
    /// Reads a request's header section.
    pub(super) fn parse(fields: &[Field]) -> Result<Self, NotAnOffer> {
        let fields = Fields::sort(fields).map_err(NotAnOffer::Malformed)?;
        let malformed = |rule| Err(NotAnOffer::Malformed(rule));
        if fields.status.is_some() {
            return malformed("request with a :status");
        }
        let Some(method) = fields.method else {
            return malformed("request without :method");
        };
        if &*method != b"CONNECT" {
            if fields.protocol.is_some() {
                return malformed(":protocol in a request that is not CONNECT");
            }
            return match (fields.scheme, fields.path) {
                (Some(_), Some(_)) => Err(NotAnOffer::Status(405)),
                _ => malformed("request without :scheme or :path"),
            };
        }
        let Some(protocol) = fields.protocol else {
            // A tunnel to somewhere else, which is not to be had here.
            return Err(NotAnOffer::Status(400));
        };
        let (Some(scheme), Some(path)) = (fields.scheme, fields.path) else {
            return malformed("extended CONNECT without :scheme or :path");
        };
        if let (Some(authority), Some(host)) = (&fields.authority, &fields.host)
            && authority != host
        {
            return malformed("Host differs from :authority");
        }
        let visible = |value| visible(value).map_err(NotAnOffer::Malformed);
        let authority = visible(fields.authority.or(fields.host))?;
        let path = visible(Some(path))?.unwrap_or_default();
        let Some(authority) = authority.filter(|authority| !authority.contains('@')) else {
            return malformed(
                "extended CONNECT without :authority, or with user information in it",
            );
        };
        // RFC 9220: a protocol that is not known is answered 501.
        if &*protocol != b"webtransport" && &*protocol != b"webtransport-h3" {
            return Err(NotAnOffer::Status(501));
        }
        if &*scheme != b"https" || !path.starts_with('/') {
            return Err(NotAnOffer::Status(400));
        }
        let protocols = fields
            .available_protocols
            .and_then(|list| structured::strings(&list))
            .filter(|protocols| !protocols.is_empty());
        Ok(Self {
            request: Request {
                authority,
                path,
                origin: visible(fields.origin)?,
                protocol: None,
            },
            protocols,
            draft02: fields.draft02,
        })
    }

    /// The HEADERS frame of this request; `token` is its `:protocol`.
    pub(super) fn encode(&self, token: &str) -> Vec<u8> {
        let list = self.protocols.iter().flatten();
        let list: Vec<Vec<u8>> = list.filter_map(|text| structured::quoted(text)).collect();
        let list = list.join(&b", "[..]);
        let mut fields = vec![
            (":method", &b"CONNECT"[..]),
            (":scheme", b"https"),
            (":authority", self.request.authority.as_bytes()),
            (":path", self.request.path.as_bytes()),
            (":protocol", token.as_bytes()),
        ];
        if self.draft02 {
            fields.push(("sec-webtransport-http3-draft02", b"1"));
        }
        if let Some(origin) = &self.request.origin {
            fields.push(("origin", origin.as_bytes()));
        }
        if !list.is_empty() {
            fields.push(("wt-available-protocols", &list));
        }
        frame::encode(frame::HEADERS, &qpack::encode(fields))
    }
}

/// A response's header section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Response {
    /// From 100 to 599.
    pub(super) status: u16,
    /// The protocol that the server chose, if it named one properly.
    pub(super) protocol: Option<Bytes>,
    /// The server speaks draft 02 (sent only; nothing depends on it when received).
    pub(super) draft02: bool,
}

impl Response {
    /// A response that says no more than this.
    pub(super) const fn refusal(status: u16) -> Self {
        Self {
            status,
            protocol: None,
            draft02: false,
        }
    }

    /// Reads a response's header section; the error says what is malformed.
    pub(super) fn parse(fields: &[Field]) -> Result<Self, &'static str> {
        let fields = Fields::sort(fields)?;
        let status = fields
            .status
            .filter(|status| status.len() == 3)
            .and_then(|status| std::str::from_utf8(&status).ok()?.parse().ok())
            .filter(|status| (100..600).contains(status))
            .ok_or("response without a valid :status")?;
        if [
            fields.method,
            fields.scheme,
            fields.authority,
            fields.path,
            fields.protocol,
        ]
        .iter()
        .any(Option::is_some)
        {
            return Err("response with a pseudo-header field of requests");
        }
        Ok(Self {
            status,
            protocol: fields
                .chosen_protocol
                .and_then(|item| structured::item(&item)),
            draft02: false,
        })
    }

    /// The HEADERS frame of this response.
    pub(super) fn encode(&self) -> Vec<u8> {
        let status = self.status.to_string();
        let protocol = self.protocol.as_deref().and_then(structured::quoted);
        let mut fields = vec![(":status", status.as_bytes())];
        if let Some(protocol) = &protocol {
            fields.push(("wt-protocol", protocol));
        }
        if self.draft02 {
            fields.push(("sec-webtransport-http3-draft", b"draft02"));
        }
        if self.status == 405 {
            // RFC 9110 § 405 Method Not Allowed: what is allowed must be said.
            fields.push(("allow", b"CONNECT"));
        }
        frame::encode(frame::HEADERS, &qpack::encode(fields))
    }
}

#[cfg(test)]
mod tests;
