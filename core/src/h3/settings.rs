//! SETTINGS (RFC 9114 § SETTINGS), with the identifiers of every WebTransport draft that peers speak.

use super::error::{H3_FRAME_ERROR, H3_SETTINGS_ERROR, Violation};
use super::frame;
use super::qpack::MAX_FIELD_SECTION;
use super::varint;

const QPACK_MAX_TABLE_CAPACITY: u64 = 0x1;
const MAX_FIELD_SECTION_SIZE: u64 = 0x6;
const QPACK_BLOCKED_STREAMS: u64 = 0x7;
const ENABLE_CONNECT_PROTOCOL: u64 = 0x8;
const H3_DATAGRAM: u64 = 0x33;
/// H3_DATAGRAM as the drafts before RFC 9297 had it.
const H3_DATAGRAM_DRAFT04: u64 = 0xff_d277;
/// Drafts 02 to 06, the one that browsers require.
const ENABLE_WEBTRANSPORT_DRAFT02: u64 = 0x2b60_3742;
/// How many sessions those drafts allow at once.
const MAX_SESSIONS_DRAFT02: u64 = 0x2b60_3743;
/// Drafts 07 to 12.
const MAX_SESSIONS_DRAFT07: u64 = 0xc671_706a;
/// Drafts 13 and 14.
const MAX_SESSIONS_DRAFT13: u64 = 0x14e9_cd29;
/// Drafts 15 and later.
const WT_ENABLED: u64 = 0x2c7c_f000;

/// Longest SETTINGS payload taken, in bytes; real ones have less than 100.
pub(super) const MAX_SETTINGS: u64 = 4096;

/// What the peer announced, as far as it matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    /// It takes extended CONNECT (RFC 9220). Servers must say so.
    pub(super) connect_protocol: bool,
    /// It takes datagrams.
    pub(super) datagram: bool,
    /// It speaks draft 02 of WebTransport.
    pub(super) draft02: bool,
    /// It speaks a draft from 02 to 14, where `:protocol` is `webtransport`.
    pub(super) before_draft15: bool,
    /// It speaks draft 15 or later, where `:protocol` is `webtransport-h3`.
    pub(super) draft15: bool,
}

impl Settings {
    /// Whether it speaks any draft of WebTransport.
    pub(super) const fn webtransport(self) -> bool {
        self.before_draft15 || self.draft15
    }

    /// Parses the payload of a SETTINGS frame.
    pub(super) fn parse(mut payload: &[u8]) -> Result<Self, Violation> {
        let mut settings = Self::default();
        let mut seen = Vec::new();
        while !payload.is_empty() {
            let cut_off = Violation::new(H3_FRAME_ERROR, "SETTINGS is cut off");
            let id = varint::take(&mut payload).ok_or(cut_off)?;
            let value = varint::take(&mut payload).ok_or(cut_off)?;
            seen.push(id);
            settings.set(id, value)?;
        }
        seen.sort_unstable();
        if seen.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err(Violation::new(
                H3_SETTINGS_ERROR,
                "SETTINGS has an identifier twice",
            ));
        }
        Ok(settings)
    }

    fn set(&mut self, id: u64, value: u64) -> Result<(), Violation> {
        match id {
            0x0 | 0x2..=0x5 => {
                return Err(Violation::new(
                    H3_SETTINGS_ERROR,
                    "SETTINGS has an identifier of HTTP/2",
                ));
            }
            ENABLE_CONNECT_PROTOCOL => self.connect_protocol = flag(value)?,
            // Both identifiers of datagrams mean the same.
            H3_DATAGRAM | H3_DATAGRAM_DRAFT04 => self.datagram |= flag(value)?,
            ENABLE_WEBTRANSPORT_DRAFT02 => {
                self.draft02 = value != 0;
                self.before_draft15 |= value != 0;
            }
            MAX_SESSIONS_DRAFT07 | MAX_SESSIONS_DRAFT13 => self.before_draft15 |= value != 0,
            WT_ENABLED => self.draft15 = flag(value)?,
            // Unknown ones, and those that do not matter without a dynamic table.
            _ => {}
        }
        Ok(())
    }
}

/// A setting that must be 0 or 1.
const fn flag(value: u64) -> Result<bool, Violation> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Violation::new(
            H3_SETTINGS_ERROR,
            "SETTINGS has a flag that is neither 0 nor 1",
        )),
    }
}

/// The SETTINGS frame that this side sends. Flow control within the session (drafts 13 and later) is left out, which
/// turns it off and limits the connection to one session.
pub(super) fn encode(is_server: bool) -> Vec<u8> {
    let field_section = u64::try_from(MAX_FIELD_SECTION).unwrap_or(varint::MAX);
    let mut payload = Vec::new();
    let mut put = |id, value| {
        varint::put(&mut payload, id);
        varint::put(&mut payload, value);
    };
    put(QPACK_MAX_TABLE_CAPACITY, 0);
    put(MAX_FIELD_SECTION_SIZE, field_section);
    put(QPACK_BLOCKED_STREAMS, 0);
    if is_server {
        put(ENABLE_CONNECT_PROTOCOL, 1);
    }
    put(H3_DATAGRAM, 1);
    put(H3_DATAGRAM_DRAFT04, 1);
    put(ENABLE_WEBTRANSPORT_DRAFT02, 1);
    put(MAX_SESSIONS_DRAFT02, 1);
    put(MAX_SESSIONS_DRAFT07, 1);
    put(MAX_SESSIONS_DRAFT13, 1);
    put(WT_ENABLED, 1);
    frame::encode(frame::SETTINGS, &payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(settings: &[(u64, u64)]) -> Vec<u8> {
        let mut out = Vec::new();
        for &(id, value) in settings {
            varint::put(&mut out, id);
            varint::put(&mut out, value);
        }
        out
    }

    #[test]
    fn the_settings_of_chromium_are_understood() {
        let grease = 0x1f * 1_000_000 + 0x21;
        let bytes = payload(&[
            (0x1, 65536),
            (0x6, 16384),
            (0x7, 100),
            (0x33, 1),
            (0xffd277, 1),
            (0x2b603742, 1),
            (grease, 1234),
        ]);
        assert_eq!(
            Settings::parse(&bytes),
            Ok(Settings {
                connect_protocol: false,
                datagram: true,
                draft02: true,
                before_draft15: true,
                draft15: false,
            })
        );
    }

    #[test]
    fn what_is_sent_names_every_draft_and_is_what_it_was() {
        let server = encode(true);
        let golden = [
            &[0x04, 0x2f][..],
            &[
                0x01, 0x00, 0x06, 0x80, 0x00, 0x40, 0x00, 0x07, 0x00, 0x08, 0x01, 0x33, 0x01,
            ],
            &[0x80, 0xff, 0xd2, 0x77, 0x01],
            &[0xab, 0x60, 0x37, 0x42, 0x01, 0xab, 0x60, 0x37, 0x43, 0x01],
            &[0xc0, 0, 0, 0, 0xc6, 0x71, 0x70, 0x6a, 0x01],
            &[0x94, 0xe9, 0xcd, 0x29, 0x01, 0xac, 0x7c, 0xf0, 0x00, 0x01],
        ]
        .concat();
        assert_eq!(server, golden);
        let settings = Settings::parse(&server[2..]).unwrap();
        assert!(settings.connect_protocol && settings.datagram && settings.draft02);
        assert!(settings.before_draft15 && settings.draft15);
        // Extended CONNECT is for servers to announce.
        let client = encode(false);
        assert!(!Settings::parse(&client[2..]).unwrap().connect_protocol);
    }

    #[test]
    fn a_duplicate_or_forbidden_setting_is_an_error() {
        let cases: [&[(u64, u64)]; 9] = [
            &[(0x33, 1), (0x6, 1), (0x33, 1)],
            &[(0x77, 1), (0x77, 2)],
            &[(0x0, 1)],
            &[(0x2, 1)],
            &[(0x3, 1)],
            &[(0x4, 1)],
            &[(0x5, 1)],
            &[(0x33, 2)],
            &[(0x2c7cf000, 2)],
        ];
        for settings in cases {
            let code = Settings::parse(&payload(settings)).map_err(|v| v.code);
            assert_eq!(code, Err(H3_SETTINGS_ERROR), "{settings:?}");
        }
    }

    #[test]
    fn a_cut_off_setting_is_a_frame_error() {
        for bytes in [&[0x33][..], &[0x40], &[0x33, 0x40]] {
            assert_eq!(
                Settings::parse(bytes).map_err(|v| v.code),
                Err(H3_FRAME_ERROR)
            );
        }
        assert_eq!(Settings::parse(&[]), Ok(Settings::default()));
    }
}
