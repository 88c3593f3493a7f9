//! Numbers as ratios need them, and as people read them.

/// A count as a floating point number; exact up to 2^53.
#[expect(
    clippy::as_conversions,
    reason = "there is no other way, and ratios need no more than 53 bits"
)]
pub const fn float(count: u64) -> f64 {
    count as f64
}

/// The whole part of a number; zero for what is negative or no number, the most for what is too large.
#[expect(
    clippy::as_conversions,
    reason = "there is no other way; the conversion saturates"
)]
pub const fn whole(number: f64) -> u64 {
    number as u64
}

/// The length of a slice.
pub fn length(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// `part / whole`, or `None` if that is nothing.
pub fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

/// Microseconds, with the unit that suits them.
pub fn span(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} us"),
        1_000..1_000_000 => format!("{:.2} ms", float(micros) / 1e3),
        1_000_000.. => format!("{:.2} s", float(micros) / 1e6),
    }
}

/// A number with the prefix that suits it, for a unit to follow.
pub fn scaled(number: f64) -> String {
    let (number, prefix) = match number {
        n if n >= 1e9 => (n / 1e9, "G"),
        n if n >= 1e6 => (n / 1e6, "M"),
        n if n >= 1e4 => (n / 1e3, "k"),
        n => (n, ""),
    };
    match number {
        n if n >= 100.0 || n.fract() == 0.0 => format!("{n:.0} {prefix}"),
        n => format!("{n:.2} {prefix}"),
    }
}

/// Bytes in kB or MB.
pub fn bytes(count: u64) -> String {
    match count {
        0..1_000_000 => format!("{:.1} kB", float(count) / 1e3),
        1_000_000.. => format!("{:.1} MB", float(count) / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_suit_the_numbers() {
        assert_eq!(span(999), "999 us");
        assert_eq!(span(1_500), "1.50 ms");
        assert_eq!(span(2_000_000), "2.00 s");
        assert_eq!(scaled(3000.0), "3000 ");
        assert_eq!(scaled(3.456), "3.46 ");
        assert_eq!(scaled(48_500_000.0), "48.50 M");
        assert_eq!(scaled(1.25e9), "1.25 G");
        assert_eq!(bytes(1_500), "1.5 kB");
        assert_eq!(bytes(2_500_000), "2.5 MB");
    }

    #[test]
    fn nothing_is_divided_by_nothing() {
        assert_eq!(ratio(1.0, 0.0), None);
        assert_eq!(ratio(1.0, 4.0), Some(0.25));
        assert_eq!(whole(-1.0), 0);
        assert_eq!(whole(f64::NAN), 0);
        assert_eq!(whole(2.9), 2);
    }
}
