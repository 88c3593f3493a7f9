//! The little of Structured Fields (RFC 9651) that protocol negotiation needs: lists of strings, and a string.

use bytes::Bytes;

/// Parses a List of Strings; `None` if it is anything else. Parameters are ignored.
pub(super) fn strings(field: &[u8]) -> Option<Vec<Bytes>> {
    let mut input = trim(field);
    let mut out = Vec::new();
    if input.is_empty() {
        return Some(out);
    }
    loop {
        out.push(string(&mut input)?);
        parameters(&mut input)?;
        skip(&mut input, b" \t");
        if input.is_empty() {
            return Some(out);
        }
        expect(&mut input, b',')?;
        skip(&mut input, b" \t");
    }
}

/// Parses an Item that is a String; `None` if it is anything else. Parameters are ignored.
pub(super) fn item(field: &[u8]) -> Option<Bytes> {
    let mut input = trim(field);
    let out = string(&mut input)?;
    parameters(&mut input)?;
    input.is_empty().then_some(out)
}

/// Writes a String; `None` if it has a character that strings cannot have.
pub(super) fn quoted(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = vec![b'"'];
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            0x20..=0x7e => out.push(byte),
            _ => return None,
        }
    }
    out.push(b'"');
    Some(out)
}

/// RFC 9651 § Parsing a String.
fn string(input: &mut &[u8]) -> Option<Bytes> {
    expect(input, b'"')?;
    let mut out = Vec::new();
    loop {
        match take(input)? {
            b'"' => return Some(out.into()),
            b'\\' => match take(input)? {
                escaped @ (b'"' | b'\\') => out.push(escaped),
                _ => return None,
            },
            byte @ 0x20..=0x7e => out.push(byte),
            _ => return None,
        }
    }
}

/// RFC 9651 § Parsing Parameters. Values are skipped without judging them closely.
fn parameters(input: &mut &[u8]) -> Option<()> {
    while input.first() == Some(&b';') {
        *input = input.get(1..)?;
        skip(input, b" ");
        let first = take(input)?;
        if !(first.is_ascii_lowercase() || first == b'*') {
            return None;
        }
        skip_while(input, |byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte)
        });
        if input.first() == Some(&b'=') {
            *input = input.get(1..)?;
            match *input.first()? {
                b'"' => drop(string(input)?),
                // A number, token, byte sequence, boolean or date: none contains a separator.
                _ => skip_while(input, |byte| {
                    byte.is_ascii_graphic() && !b",;\"".contains(&byte)
                }),
            }
        }
    }
    Some(())
}

fn take(input: &mut &[u8]) -> Option<u8> {
    let (&first, rest) = input.split_first()?;
    *input = rest;
    Some(first)
}

fn expect(input: &mut &[u8], byte: u8) -> Option<()> {
    (take(input)? == byte).then_some(())
}

fn skip(input: &mut &[u8], bytes: &[u8]) {
    skip_while(input, |byte| bytes.contains(&byte));
}

fn skip_while(input: &mut &[u8], wanted: impl Fn(u8) -> bool) {
    while let Some((_, rest)) = input.split_first().filter(|&(&first, _)| wanted(first)) {
        *input = rest;
    }
}

fn trim(field: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| *byte == b' ';
    let start = field.iter().take_while(|byte| is_space(byte)).count();
    let end = field.iter().rev().take_while(|byte| is_space(byte)).count();
    field
        .get(start..field.len().saturating_sub(end))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(field: &str) -> Option<Vec<String>> {
        let strings = strings(field.as_bytes())?;
        Some(
            strings
                .iter()
                .map(|text| String::from_utf8(text.to_vec()).unwrap())
                .collect(),
        )
    }

    #[test]
    fn lists_of_strings_parse() {
        let both = Some(vec!["moqt-18".to_owned(), "moqt-16".to_owned()]);
        assert_eq!(list(r#""moqt-18", "moqt-16""#), both);
        assert_eq!(list("  \"moqt-18\"\t,\t\"moqt-16\"  "), both);
        assert_eq!(list(r#""moqt-18";a;b=1;*c="x,;y", "moqt-16"; q=0.5"#), both);
        assert_eq!(list(r#""moqt-18";d=?1;e=:aGk=:;f=tok/en,"moqt-16""#), both);
        assert_eq!(list(r#""a\"b\\c""#), Some(vec![r#"a"b\c"#.to_owned()]));
        assert_eq!(list(""), Some(vec![]));
    }

    #[test]
    fn a_list_with_anything_else_is_no_list_of_strings() {
        for field in [
            "moqt-18",
            r#""moqt-18", moqt-16"#,
            r#""moqt-18", 16"#,
            r#"("moqt-18" "moqt-16")"#,
            r#""moqt-18","#,
            r#""moqt-18" "moqt-16""#,
            r#""moqt-18"#,
            r#""moqt\-18""#,
            "\"moqt\u{7f}\"",
            r#""moqt-18";A=1"#,
            r#""moqt-18";"#,
            r#""moqt-18";a="#,
            ",",
        ] {
            assert_eq!(list(field), None, "{field}");
        }
    }

    #[test]
    fn an_item_is_one_string() {
        assert_eq!(item(b"\"moqt-18\""), Some(Bytes::from_static(b"moqt-18")));
        assert_eq!(item(b" \"x\";p "), Some(Bytes::from_static(b"x")));
        assert_eq!(item(b"\"x\";p=1"), Some(Bytes::from_static(b"x")));
        assert_eq!(item(b"\"x\" y"), None);
        assert_eq!(item(b"moqt-18"), None);
        assert_eq!(item(b"\"a\", \"b\""), None);
        assert_eq!(item(b""), None);
    }

    proptest! {
        #[test]
        fn every_string_comes_back(text in "[ -~]{0,40}") {
            let quoted = quoted(text.as_bytes()).unwrap();
            let item = item(&quoted);
            prop_assert_eq!(item.as_deref(), Some(text.as_bytes()));
        }

        #[test]
        fn any_bytes_parse_or_not(field in prop::collection::vec(any::<u8>(), 0..60)) {
            let (_list, _item) = (strings(&field), item(&field));
        }
    }
}
