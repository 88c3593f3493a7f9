//! A small FLV file: five pictures to a group of H.264, and AAC. Its frames are not pictures, but look like them.

/// `avcC`: 320x200, baseline, 30 frames per second.
pub(crate) const AVCC: [u8; 43] = [
    0x01, 0x42, 0xc0, 0x0d, 0xff, 0xe1, 0x00, 0x1c, 0x67, 0x42, 0xc0, 0x0d, 0xda, 0x05, 0x06, 0xfe,
    0x5c, 0x05, 0xa8, 0x10, 0x10, 0x2a, 0x00, 0x00, 0x03, 0x00, 0x02, 0x00, 0x00, 0x03, 0x00, 0x78,
    0x1e, 0x28, 0x55, 0x40, 0x01, 0x00, 0x04, 0x68, 0xce, 0x3c, 0x80,
];

/// `AudioSpecificConfig`: AAC-LC, 48 kHz, one channel.
pub(crate) const ASC: [u8; 2] = [0x11, 0x88];

/// Milliseconds between pictures, and between blocks of sound.
pub(crate) const INTERVAL: u32 = 20;
/// Pictures in a group.
pub(crate) const GROUP: u32 = 5;

/// Builds a file.
#[derive(Clone, Default)]
pub(crate) struct Flv(pub(crate) Vec<u8>);

impl Flv {
    /// With the file's header.
    pub(crate) fn new() -> Self {
        Self(b"FLV\x01\x05\0\0\0\x09\0\0\0\0".to_vec())
    }

    /// With headers and configurations.
    pub(crate) fn configured() -> Self {
        Self::new()
            .video_configuration(&AVCC, 0)
            .audio_configuration(0)
    }

    /// So many pictures from the first one on, and a block of sound with each.
    pub(crate) fn frames(mut self, count: u32) -> Self {
        for number in 0..count {
            self = self.picture(number).sound(number);
        }
        self
    }

    /// Picture `number`.
    pub(crate) fn picture(self, number: u32) -> Self {
        let is_key = number.is_multiple_of(GROUP);
        let mut body = vec![if is_key { 0x17 } else { 0x27 }, 1, 0, 0, 0];
        body.extend(picture(number));
        self.tag(9, number * INTERVAL, &body)
    }

    /// Block `number` of sound.
    pub(crate) fn sound(self, number: u32) -> Self {
        let body = [&[0xaf, 1][..], &sound(number)].concat();
        self.tag(8, number * INTERVAL, &body)
    }

    pub(crate) fn video_configuration(self, record: &[u8], at: u32) -> Self {
        self.tag(9, at, &[&[0x17, 0, 0, 0, 0], record].concat())
    }

    pub(crate) fn audio_configuration(self, at: u32) -> Self {
        self.tag(8, at, &[&[0xaf, 0][..], &ASC].concat())
    }

    pub(crate) fn tag(mut self, kind: u8, at: u32, body: &[u8]) -> Self {
        let size = u32::try_from(body.len()).unwrap();
        let [high, time @ ..] = at.to_be_bytes();
        self.0.push(kind);
        self.0.extend(&size.to_be_bytes()[1..]);
        self.0.extend(time);
        self.0.extend([high, 0, 0, 0]);
        self.0.extend(body);
        self.0.extend((size + 11).to_be_bytes());
        self
    }
}

/// The payload of picture `number`: one unit, of an IDR picture or not, larger if it is one.
pub(crate) fn picture(number: u32) -> Vec<u8> {
    let is_key = number.is_multiple_of(GROUP);
    let mut unit = vec![if is_key { 0x65 } else { 0x41 }, 0x9a];
    unit.extend(number.to_be_bytes().map(|byte| byte | 0x80));
    unit.resize(if is_key { 400 } else { 100 }, 0x55);
    let length = u32::try_from(unit.len()).unwrap();
    [&length.to_be_bytes()[..], &unit].concat()
}

/// Block `number` of sound.
pub(crate) fn sound(number: u32) -> Vec<u8> {
    let mut block = vec![0x01, 0x40];
    block.extend(number.to_be_bytes());
    block.resize(60, 0x2d);
    block
}
