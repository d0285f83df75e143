//! Published vectors, and what must not pass.

use proptest::prelude::*;

use super::*;

fn headers(of: &[(&'static str, &str)]) -> Headers {
    Headers(of.iter().map(|(name, value)| (*name, (*value).to_owned())).collect())
}

fn at(seconds: u64) -> Time {
    Time::from_micros(seconds * 1_000_000)
}

const GITHUB: &[u8] = b"It's a Secret to Everybody";
const GITHUB_TAG: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

/// The vector of GitHub's documentation.
#[test]
fn what_github_signs_is_taken() {
    let given = headers(&[("x-hub-signature-256", GITHUB_TAG)]);
    let taken = verify(Scheme::Github, GITHUB, &given, b"Hello, World!", at(0)).unwrap();
    assert_eq!(taken.remembered, REMEMBERED);
    let refused = |given: &Headers, body: &[u8]| verify(Scheme::Github, GITHUB, given, body, at(0));
    assert_eq!(refused(&given, b"Hello, World?"), Err(Objection::Wrong));
    assert_eq!(refused(&headers(&[]), b"Hello, World!"), Err(Objection::Missing));
    for wrong in ["", "sha256=", "sha256=7", "sha256=zz", "sha1=757107ea", &GITHUB_TAG[7..]] {
        let given = headers(&[("x-hub-signature-256", wrong)]);
        assert!(refused(&given, b"Hello, World!").is_err(), "{wrong}");
    }
    // The name of a delivery is not signed, so another name makes no other delivery.
    let renamed = headers(&[("x-hub-signature-256", GITHUB_TAG), ("x-github-delivery", "another")]);
    assert_eq!(refused(&renamed, b"Hello, World!").unwrap().key, taken.key);
}

const BODY: &[u8] = br#"{"test": 2432232314}"#;
const STANDARD_TAG: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

fn standard_headers(signature: &str) -> Headers {
    headers(&[
        ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", signature),
    ])
}

/// The vector of the specification of Standard Webhooks.
#[test]
fn what_standard_webhooks_sign_is_taken_while_it_is_new() {
    let secret = secret_bytes(Scheme::Standard, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let bare = secret_bytes(Scheme::Standard, "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    assert_eq!(secret, bare);
    let of = |given: &Headers, now| verify(Scheme::Standard, &secret, given, BODY, at(now));
    let given = standard_headers(STANDARD_TAG);
    for now in [1_614_265_330, 1_614_265_030, 1_614_265_630] {
        assert!(of(&given, now).is_ok(), "{now}");
    }
    for now in [1_614_265_029, 1_614_265_631, 0] {
        assert_eq!(of(&given, now), Err(Objection::Late), "{now}");
    }
    let several = standard_headers(&format!("v1,AAAA v2,x {STANDARD_TAG}"));
    assert!(of(&several, 1_614_265_330).is_ok());
    for wrong in ["", "v1,", "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", "v1,AAAA"] {
        assert!(of(&standard_headers(wrong), 1_614_265_330).is_err(), "{wrong}");
    }
    let many = standard_headers(&format!("{} {STANDARD_TAG}", "v1,AAAA ".repeat(8)));
    assert_eq!(of(&many, 1_614_265_330), Err(Objection::Wrong), "only so many are looked at");
}

#[test]
fn what_stripe_signs_is_taken_while_it_is_new() {
    let secret = b"whsec_test_secret_of_stripe";
    let key = Key::new(HMAC_SHA256, secret);
    let tag = hmac::sign(&key, b"1492774577.{}");
    let digit = |byte: u8| char::from_digit(u32::from(byte), 16).unwrap();
    let hex: String =
        tag.as_ref().iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
    let given = headers(&[("stripe-signature", &format!("t=1492774577,v0=00,v1=00,v1={hex}"))]);
    let of = |given: &Headers, now| verify(Scheme::Stripe, secret, given, b"{}", at(now));
    assert!(of(&given, 1_492_774_577).is_ok());
    assert_eq!(of(&given, 1_492_774_878), Err(Objection::Late));
    let other = headers(&[("stripe-signature", &format!("t=1492774578,v1={hex}"))]);
    assert_eq!(of(&other, 1_492_774_577), Err(Objection::Wrong), "the time is signed, too");
    for wrong in ["t=1492774577", "v1=00", "", "t=-1,v1=00"] {
        let given = headers(&[("stripe-signature", wrong)]);
        assert!(of(&given, 1_492_774_577).is_err(), "{wrong}");
    }
}

#[test]
fn the_token_of_gitlab_is_compared_whole() {
    let of = |given: &Headers| verify(Scheme::GitlabToken, b"a-token-of-gitlab", given, b"", at(0));
    assert_eq!(of(&headers(&[("x-gitlab-token", "a-token-of-gitlab")])).unwrap().key, None);
    let named = [("x-gitlab-token", "a-token-of-gitlab"), ("idempotency-key", "7")];
    assert!(of(&headers(&named)).unwrap().key.is_some());
    assert_eq!(of(&headers(&[("x-gitlab-token", "a-token-of-gitla")])), Err(Objection::Wrong));
    assert_eq!(of(&headers(&[])), Err(Objection::Missing));
}

#[test]
fn a_short_secret_is_none() {
    assert_eq!(secret_bytes(Scheme::Github, "short"), None);
    assert_eq!(secret_bytes(Scheme::Standard, "whsec_AAAA"), None);
    assert_eq!(secret_bytes(Scheme::Standard, "whsec_no base64 at all!"), None);
}

proptest! {
    #[test]
    fn nothing_passes_that_was_not_signed(
        scheme in prop_oneof![
            Just(Scheme::Github), Just(Scheme::Standard), Just(Scheme::Stripe), Just(Scheme::GitlabToken),
        ],
        values in proptest::collection::vec("[ -~]{0,60}", HEADERS.len()),
        body in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let given = Headers(HEADERS.into_iter().zip(values).collect());
        let now = at(1_614_265_330);
        prop_assert!(verify(scheme, b"a secret that nobody guesses", &given, &body, now).is_err());
        given.delivery();
    }

    #[test]
    fn one_changed_byte_is_noticed(place in 0usize..20, bit in 0u8..8) {
        let secret = secret_bytes(Scheme::Standard, "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let mut body = BODY.to_vec();
        body[place] ^= 1 << bit;
        let given = standard_headers(STANDARD_TAG);
        let refused = verify(Scheme::Standard, &secret, &given, &body, at(1_614_265_330));
        prop_assert_eq!(refused, Err(Objection::Wrong));
    }
}
