//! WebTransport over HTTP/3.
