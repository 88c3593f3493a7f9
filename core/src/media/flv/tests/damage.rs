//! Files that are cut off or damaged, and bounds.

use super::builder::{AVCC, File, Read, idr, pieces, read};
use crate::media::flv::{Demuxer, Fault, Item, Limits, Warning};

fn good() -> File {
    File::configured().idr(0, 1).aac(5, 2).delta(40, 3)
}

#[test]
fn what_is_not_flv_is_refused() {
    for bytes in [
        &b""[..],
        b"F",
        b"FLX",
        b"\0\0\0\x18ftypmp42",
        b"RIFF",
        b"FL",
    ] {
        let read = read(bytes);
        assert_eq!(
            read.warnings(),
            [Warning {
                offset: 0,
                what: Fault::NotFlv
            }]
        );
        assert!(read.faults()[0].is_fatal());
    }
    let later = File::configured().idr(0, 1);
    let read = read(&[b"#EXTM3U\n", &later.bytes[..]].concat());
    assert_eq!(read.items.len(), 1, "nothing else is read");
}

#[test]
fn a_header_alone_is_a_file() {
    for length in [9, 11, 13] {
        let read = read(&File::new().bytes[..length]);
        assert_eq!(read.items, [], "{length}");
    }
    let cut = read(b"FLV\x01\x05");
    assert_eq!(cut.faults(), [Fault::Truncated(5)]);
}

#[test]
fn whatever_is_cut_off_leaves_what_is_whole() {
    let file = good();
    let whole = file.read();
    let mut ends = vec![13];
    while let Some(header) = file
        .bytes
        .get(ends[ends.len() - 1]..)
        .and_then(|it| it.first_chunk::<4>())
    {
        let size = u32::from_be_bytes([0, header[1], header[2], header[3]]);
        ends.push(ends[ends.len() - 1] + usize::try_from(size).unwrap() + 15);
    }
    for cut in 13..file.bytes.len() {
        let read = read(&file.bytes[..cut]);
        // the size behind a tag may be missing
        let tags = ends.iter().skip(1).filter(|end| **end - 4 <= cut).count();
        let items: Vec<_> = read
            .items
            .iter()
            .filter(|item| !matches!(item, Item::Warning(_)))
            .collect();
        assert_eq!(
            items,
            whole.items[..tags].iter().collect::<Vec<_>>(),
            "{cut}"
        );
        let begun = cut - ends.iter().filter(|end| **end <= cut).max().unwrap();
        let warnings = read.warnings();
        let expected = match warnings[..] {
            [] => {
                assert!(begun == 0 || ends.iter().any(|end| (end - 4..*end).contains(&cut)));
                continue;
            }
            [warning] => warning,
            _ => panic!("{warnings:?}"),
        };
        let start = u64::try_from(cut - begun).unwrap();
        let lost = u64::try_from(begun).unwrap();
        assert_eq!(
            expected,
            Warning {
                offset: start,
                what: Fault::Truncated(lost)
            }
        );
    }
}

#[test]
fn tags_after_damage_are_found_again() {
    let before = good().bytes.len();
    let file = good().idr(80, 4).delta(120, 5).aac(125, 6);
    let (tag, offset) = (26, u64::try_from(before).unwrap());
    let after = |bytes: Vec<u8>| {
        let read = read(&bytes);
        (read.marks(), read.warnings())
    };
    let damaged = |what| vec![Warning { offset, what }];
    // the header of the tag with mark 4 is overwritten, one field after another
    for (at, byte) in [(0, 0xff), (0, 0), (1, 1), (2, 1), (3, 1), (3, 0xff)] {
        let mut bytes = file.bytes.clone();
        bytes[before + at] = byte;
        let expected = (vec![1, 2, 3, 5, 6], damaged(Fault::Damaged(tag)));
        assert_eq!(after(bytes), expected, "{at} {byte}");
    }
    // the stream's number is wrong, but the size behind the tag confirms it
    let mut bytes = file.bytes.clone();
    bytes[before + 8] = 9;
    assert_eq!(after(bytes), (vec![1, 2, 3, 4, 5, 6], vec![]));
    // all of it
    let mut bytes = file.bytes.clone();
    bytes[before..before + 26].fill(0);
    assert_eq!(
        after(bytes),
        (vec![1, 2, 3, 5, 6], damaged(Fault::Damaged(tag)))
    );
    // bytes are missing, or too many
    let mut bytes = file.bytes.clone();
    bytes.drain(before + 13..before + 16);
    assert_eq!(
        after(bytes),
        (vec![1, 2, 3, 5, 6], damaged(Fault::Damaged(tag - 3)))
    );
    let mut bytes = file.bytes.clone();
    bytes.splice(before..before, [0xee; 100]);
    assert_eq!(
        after(bytes),
        (vec![1, 2, 3, 4, 5, 6], damaged(Fault::Damaged(100)))
    );
    // nothing but rubbish follows
    let mut bytes = file.bytes[..before].to_vec();
    bytes.extend([0xee; 100]);
    assert_eq!(after(bytes), (vec![1, 2, 3], damaged(Fault::Damaged(100))));
}

#[test]
fn a_tag_that_swallows_the_rest_is_found_out_at_the_end() {
    let file = good();
    let offset = file.len();
    let mut file = file.idr(80, 4).delta(120, 5).aac(125, 6);
    file.bytes[good().bytes.len() + 1] = 0x7f; // 8 MiB
    let read = file.read();
    assert_eq!(read.marks(), [1, 2, 3, 5, 6]);
    assert_eq!(
        read.warnings(),
        [Warning {
            offset,
            what: Fault::Damaged(26)
        }]
    );
}

#[test]
fn what_looks_like_a_large_tag_of_another_time_is_not_waited_for() {
    // a header of 8 MiB, ten days later
    let looks_like_it = [9, 0x80, 0, 0, 0x80, 0, 0, 0x33, 0, 0, 0];
    let file = good().raw(&[0xee; 20]).raw(&looks_like_it).raw(&[0xee; 20]);
    let file = file.idr(80, 4).delta(120, 5);
    let mut demuxer = Demuxer::new();
    demuxer.push(&file.bytes);
    let items: Vec<_> = std::iter::from_fn(|| demuxer.poll()).collect();
    let read = Read { items };
    assert_eq!(read.marks(), [1, 2, 3, 4, 5], "without an end");
    assert_eq!(read.faults(), [Fault::Damaged(51)]);
    // a small one of another time is
    let file = good().raw(&[0xee; 20]).idr(0x3300_0000, 4);
    assert_eq!(file.read().marks(), [1, 2, 3, 4]);
}

#[test]
fn damage_where_sizes_are_always_wrong() {
    let body = |mark| [&[0x17, 1, 0, 0, 0], &idr(mark)[..]].concat();
    let mut file = File::new().tag_sized(9, 0, &[&[0x17, 0, 0, 0, 0], AVCC].concat(), 0);
    for mark in 1..7_u8 {
        if mark == 4 {
            file = file.raw(&[0xee; 50]);
        }
        file = file.tag_sized(9, 0, &body(mark), 0);
    }
    let read = file.read();
    assert_eq!(read.marks(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(read.faults(), [Fault::PreviousTagSize, Fault::Damaged(50)]);
}

#[test]
fn another_file_in_the_same_pipe() {
    let second = File::configured().idr(0, 4).delta(40, 5);
    let file = good().raw(&second.bytes);
    let read = file.read();
    assert_eq!(read.marks(), [1, 2, 3, 4, 5]);
    assert_eq!(
        read.warnings(),
        [Warning {
            offset: good().len(),
            what: Fault::Restarted
        }]
    );
    let times: Vec<_> = read.frames().iter().map(|frame| frame.dts).collect();
    assert_eq!(times, [0, 5, 40, 80, 120]);
    assert_eq!(read.configurations().len(), 2, "they are the same");
    // the first one was cut off
    let read = good().without_last(6).raw(&second.bytes).read();
    assert_eq!(read.marks(), [1, 2, 4, 5]);
    assert!(matches!(
        read.faults()[..],
        [Fault::Damaged(_), Fault::Restarted]
    ));
}

#[test]
fn a_tag_above_the_limit_is_passed_over() {
    let limits = Limits {
        max_tag: 100,
        ..Limits::default()
    };
    let large = [&[0x17, 1, 0, 0, 0, 0, 0, 0, 92][..], &[0x65; 92]].concat();
    let file = good().video(80, &large[..100]);
    let offset = file.len();
    let file = file.video(80, &large).idr(120, 4);
    let mut demuxer = Demuxer::with_limits(limits);
    let mut items = Vec::new();
    for byte in &file.bytes {
        demuxer.push(&[*byte]);
        items.extend(std::iter::from_fn(|| demuxer.poll()));
        assert!(demuxer.buffered() < 100 + 11 + 4 + 11);
    }
    demuxer.finish();
    items.extend(std::iter::from_fn(|| demuxer.poll()));
    assert_eq!(pieces(&file.bytes, 1000, limits), items);
    let read = Read { items };
    // the first has its 100 bytes, and NAL units with a wrong length
    assert_eq!(read.marks(), [1, 2, 3, 0x65, 4]);
    let malformed = Fault::Malformed("a NAL unit is longer than its frame");
    assert_eq!(read.faults(), [malformed, Fault::TagTooLarge(101)]);
    assert_eq!(read.warnings()[1].offset, offset);
}

#[test]
fn limits_of_scripts() {
    let limits = Limits {
        max_script_depth: 1,
        max_script_values: 4,
        ..Limits::default()
    };
    let script = |content: &[u8]| {
        let body = [b"\x02\x00\x0aonMetaData\x03", content].concat();
        let read = Read {
            items: pieces(&File::new().script(&body).bytes, 1000, limits),
        };
        (read.items.len(), read.faults().len())
    };
    let member = b"\0\x01a\x05";
    assert_eq!(
        script(&[&member.repeat(3)[..], b"\0\0\x09"].concat()),
        (1, 0)
    );
    assert_eq!(
        script(&[&member.repeat(4)[..], b"\0\0\x09"].concat()),
        (2, 1)
    );
    assert_eq!(script(b"\0\x01a\x03\0\0\x09\0\0\x09"), (1, 0));
    assert_eq!(
        script(b"\0\x01a\x03\0\x01a\x03\0\0\x09\0\0\x09\0\0\x09"),
        (2, 1)
    );
}

#[test]
fn a_large_tag_byte_by_byte_takes_no_longer_than_its_bytes() {
    let body = [
        &[0x17, 1, 0, 0, 0, 0, 0x0f, 0xff, 0xfc],
        &vec![0x65; 0xf_fffc][..],
    ]
    .concat();
    let file = File::configured()
        .video(0, &body)
        .raw(&[8; 300_000])
        .idr(40, 1);
    let mut demuxer = Demuxer::new();
    let mut frames = 0;
    for byte in &file.bytes {
        demuxer.push(&[*byte]);
        while let Some(item) = demuxer.poll() {
            frames += usize::from(matches!(item, Item::Frame(_)));
        }
    }
    demuxer.finish();
    frames += std::iter::from_fn(|| demuxer.poll())
        .filter(|item| matches!(item, Item::Frame(_)))
        .count();
    assert_eq!(frames, 2);
}
