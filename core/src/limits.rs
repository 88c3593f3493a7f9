#![doc = include_str!("limits.md")]

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Debug;

    use crate::relay::Settings;
    use crate::{cache, fetches};

    const PAGE: &str = include_str!("limits.md");

    /// The table's rows: a field each, with its default.
    fn rows() -> Vec<(&'static str, &'static str)> {
        let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| `"));
        rows.map(|row| {
            let (field, rest) = row.split_once("` | ").expect(row);
            let columns: Vec<&str> = rest.trim_end_matches(" |").split(" | ").collect();
            let [_unit, default, _why, _flag] = columns.as_slice() else {
                panic!("{field} has not four columns more: {columns:?}");
            };
            (field, *default)
        })
        .collect()
    }

    /// Every field of a struct, as `Debug` tells.
    fn fields(label: &str, limits: &impl Debug) -> Vec<(String, String)> {
        let text = format!("{limits:?}");
        let (_, fields) = text.split_once(" { ").unwrap();
        let fields = fields.trim_end_matches(" }").split(", ");
        fields
            .map(|field| {
                let (name, value) = field.split_once(": ").unwrap();
                (format!("{label}.{name}"), value.to_owned())
            })
            .collect()
    }

    /// A number with its unit, as a number of bytes, microseconds, or whatever it counts; other words as they are.
    fn amount(text: &str) -> String {
        let text = text.replace([' ', '_'], "");
        let end = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (digits, unit) = text.split_at(end);
        let Ok(number) = digits.parse::<u128>() else {
            return match text.as_str() {
                "true" => "on".to_owned(),
                other => other.trim_matches('`').to_lowercase(),
            };
        };
        let factor = match unit {
            "" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "ms" => 1_000,
            "s" => 1_000_000,
            "h" => 3_600_000_000,
            other => panic!("'{other}' is no unit"),
        };
        (number * factor).to_string()
    }

    #[test]
    fn every_limit_has_a_row_with_its_default_and_every_row_a_limit() {
        let settings = Settings::default();
        let mut expected = fields("relay", &settings.limits);
        expected.extend(fields("session", &settings.session));
        expected.extend(fields("h3", &settings.h3));
        expected.extend(fields("fanout", &settings.fanout));
        expected.extend(fields("cache", &cache::Limits::default()));
        expected.extend(fields("fetches", &fetches::Limits::default()));
        expected.extend(fields("transport", &settings.transport));
        let rows = rows();
        let told: BTreeMap<&str, &str> = rows.iter().copied().collect();
        assert_eq!(told.len(), rows.len(), "a field has two rows");
        for (field, default) in &expected {
            let Some(row) = told.get(field.as_str()) else {
                panic!("limits.md has no row for {field}, which is {default}");
            };
            assert_eq!(amount(row), amount(default), "{field}");
        }
        assert_eq!(rows.len(), expected.len(), "a row is about nothing");
    }
}
