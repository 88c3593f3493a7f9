//! Where a client connects to: `moqt://host:port/path` for QUIC itself, `https://host:port/path` for WebTransport.

use std::fmt;
use std::net::IpAddr;

use fluent_uri::UriRef;

/// What carries the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `moqt://`: QUIC itself.
    Quic,
    /// `https://`: WebTransport over HTTP/3.
    WebTransport,
}

/// A server's address, as a user typed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    /// What carries the session.
    pub scheme: Scheme,
    /// Host name or address literal, an IPv6 one without brackets.
    pub host: String,
    /// UDP port; 443 unless the URL names one.
    pub port: u16,
    /// Host and port as they stand in the URL.
    pub authority: String,
    /// Path and query as they stand in the URL; `/` if it has none.
    pub path: String,
}

impl ServerUrl {
    /// Reads a URL.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong with which URL, and how a right one looks.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| {
            Err(format!(
                "'{text}' is no URL of a MoQT server: {what}; write it like https://localhost:9668/moq-relay or \
                 moqt://localhost:9668"
            ))
        };
        let Ok(url) = UriRef::parse(text) else {
            return wrong("it has characters or parts that no URL may have");
        };
        let scheme = match url
            .scheme()
            .map(|scheme| scheme.as_str().to_ascii_lowercase())
        {
            Some(scheme) if scheme == "moqt" => Scheme::Quic,
            Some(scheme) if scheme == "https" => Scheme::WebTransport,
            Some(_) => return wrong("its scheme is neither https nor moqt"),
            None => return wrong("it has no scheme"),
        };
        let Some(authority) = url.authority() else {
            return wrong("it names no host");
        };
        if authority.host().is_empty() {
            return wrong("its host is empty");
        }
        if authority.has_userinfo() {
            return wrong("a user name has no meaning here");
        }
        if url.has_fragment() {
            return wrong("a fragment (#…) has no meaning here");
        }
        let port = match authority.port().map(|port| port.as_str()) {
            None | Some("") => 443,
            Some(digits) => match digits.parse() {
                Ok(port) if port != 0 => port,
                _ => return wrong("its port is not between 1 and 65535"),
            },
        };
        let mut path = url.path().as_str().to_owned();
        if path.is_empty() {
            path.push('/');
        }
        if let Some(query) = url.query() {
            path.push('?');
            path.push_str(query.as_str());
        }
        Ok(Self {
            scheme,
            host: authority
                .host()
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned(),
            port,
            authority: authority.as_str().to_owned(),
            path,
        })
    }

    /// Whether the host is this machine.
    pub fn is_loopback(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost")
            || self
                .host
                .parse()
                .is_ok_and(|address: IpAddr| address.is_loopback())
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Quic => "moqt",
            Scheme::WebTransport => "https",
        };
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quick_starts_urls_are_understood() {
        let url = ServerUrl::parse("https://localhost:4433/moq-date").unwrap();
        assert_eq!(url.scheme, Scheme::WebTransport);
        assert_eq!((url.host.as_str(), url.port), ("localhost", 4433));
        assert_eq!(
            (url.authority.as_str(), url.path.as_str()),
            ("localhost:4433", "/moq-date")
        );
        assert!(url.is_loopback());
        assert_eq!(url.to_string(), "https://localhost:4433/moq-date");
    }

    // Rules: B157
    #[test]
    fn path_and_query_are_kept_and_the_port_defaults_to_443() {
        let url = ServerUrl::parse("moqt://h/a?b=c").unwrap();
        assert_eq!((url.port, url.path.as_str()), (443, "/a?b=c"));
        assert_eq!(url.authority, "h");
        assert!(!url.is_loopback());
        assert_eq!(ServerUrl::parse("moqt://h:1").unwrap().path, "/");
    }

    #[test]
    fn an_ipv6_host_loses_its_brackets() {
        let url = ServerUrl::parse("moqt://[::1]:4433").unwrap();
        assert_eq!(
            (url.host.as_str(), url.authority.as_str()),
            ("::1", "[::1]:4433")
        );
        assert!(url.is_loopback());
    }

    // Rules: B061, B063
    #[test]
    fn what_is_wrong_is_said() {
        for (text, complaint) in [
            ("", "no scheme"),
            ("localhost:4433", "scheme is neither"),
            ("ftp://localhost", "scheme is neither"),
            ("https:///x", "host is empty"),
            ("https:x", "names no host"),
            ("https://h:99999/", "port is not between"),
            ("https://h:0/", "port is not between"),
            ("https://me@h/", "user name"),
            ("https://h/#x", "fragment"),
            ("https://h h/", "characters"),
        ] {
            let error = ServerUrl::parse(text).unwrap_err();
            assert!(error.contains(complaint), "{text}: {error}");
            assert!(error.contains(&format!("'{text}'")), "{error}");
        }
    }
}
