//! Floor 1: what a call of a trigger must be like, and when a rule acts: pure.
//!
//! It knows the formats in which senders sign, which payload is meant, how often may be called and
//! whose turn it is. It must not know who calls, from where, nor what is done then: `dispatch` asks
//! it, with the time and what has been until now.

pub mod gate;
pub mod moments;
pub mod payload;
pub mod rule;
pub mod signature;
pub mod turns;

/// Where a trigger is: of a service, as Docker Cloud has it, or of nothing.
pub fn path(service: Option<&str>, secret: uuid::Uuid) -> String {
    match service {
        Some(service) => format!("/api/app/v1/service/{service}/trigger/{secret}/"),
        None => format!("/api/app/v1/trigger/{secret}/"),
    }
}

/// What `…/call/N/` says: a whole number from 1 to `most`, in plain digits.
///
/// # Errors
/// One sentence for whoever calls.
pub fn number(text: &str, most: u32) -> Result<u32, String> {
    let plain = (1..=9).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && !text.starts_with('0');
    let number = plain.then(|| text.parse().ok()).flatten();
    number
        .filter(|number| *number <= most)
        .ok_or_else(|| format!("the number at the end must be a whole one from 1 to {most}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_number_in_plain_digits_is_refused() {
        assert_eq!(number("1", 20), Ok(1));
        assert_eq!(number("20", 20), Ok(20));
        for wrong in [
            "0",
            "-1",
            "+1",
            "21",
            "01",
            "1.0",
            "1e1",
            "",
            "%32",
            "４",
            "99999999999999999999",
            "0x1",
            " 1",
        ] {
            assert!(number(wrong, 20).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_number_in_range_or_refused(text in ".{0,12}", most in 1u32..1_000) {
            if let Ok(number) = number(&text, most) {
                prop_assert!((1..=most).contains(&number));
                prop_assert_eq!(number.to_string(), text);
            }
        }
    }
}
