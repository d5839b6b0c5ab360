//! Whole numbers as Go's flags take them: decimal, `0x…` and `0…` in octal.

/// Reads a number of zero or more; the error says what is needed.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let octal = digits.strip_prefix('0').filter(|rest| !rest.is_empty());
    let (digits, radix) = match (hex, octal) {
        (Some(hex), _) => (hex, 16),
        (None, Some(octal)) => (octal, 8),
        (None, None) => (digits, 10),
    };
    // A second sign would pass `from_str_radix`.
    if digits.starts_with(['+', '-']) {
        return Err("a whole number, not below zero, is needed".to_owned());
    }
    u64::from_str_radix(digits, radix)
        .map_err(|_| "a whole number, not below zero, is needed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_numbers_are_read() {
        for (text, number) in [("0", 0), ("42", 42), ("+5", 5), ("0x1F", 31), ("017", 15)] {
            assert_eq!(parse(text), Ok(number), "{text}");
        }
        assert_eq!(parse("18446744073709551615"), Ok(u64::MAX));
        for text in ["", "-1", "5s", "1.5", "0x", "08", "++1", "18446744073709551616", " 1"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
