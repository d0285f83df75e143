//! Against what the `openssl` program made once: keys with `genpkey`, answers with
//! `rsautl -sign -pkcs`, the refused signature with `dgst -sha256 -sign`. The private halves are
//! gone.

use super::*;

const TEXT: &str = include_str!("vectors/text");
const RSA_1024: &str = include_str!("vectors/rsa-1024.pem");
const RSA_2048: &str = include_str!("vectors/rsa-2048.pem");
const RSA_2048_OTHER: &str = include_str!("vectors/rsa-2048-other.pem");
const RSA_3072: &str = include_str!("vectors/rsa-3072.pem");
const P_256: &str = include_str!("vectors/p-256.pem");
const ANSWER_2048: &str = include_str!("vectors/answer-2048.b64");
const ANSWER_3072: &str = include_str!("vectors/answer-3072.b64");
const SHA256_2048: &str = include_str!("vectors/sha256-2048.b64");

const MADE: Time = Time::from_micros(1_800_000_000_000_000);

fn key(pem: &str) -> PublicKey {
    PublicKey::parse(&STANDARD.encode(pem)).unwrap()
}

fn refused(pem: &str) -> Fault {
    PublicKey::parse(&STANDARD.encode(pem)).unwrap_err()
}

/// As it was when the answers were made.
fn challenge() -> Challenge {
    Challenge { text: TEXT.to_owned(), made: MADE }
}

fn answered(answer: &str, keys: &[PublicKey]) -> Option<usize> {
    challenge().answered_by(answer, keys.iter(), MADE)
}

fn after(seconds: u64) -> Time {
    Time::from_micros(MADE.micros() + seconds * 1_000_000)
}

#[test]
fn the_key_that_answered_is_found() {
    let keys = [key(RSA_2048_OTHER), key(RSA_2048), key(RSA_3072)];
    assert_eq!(answered(ANSWER_2048, &keys), Some(1));
    assert_eq!(answered(ANSWER_3072, &keys), Some(2));
}

#[test]
fn another_key_has_not_answered() {
    assert_eq!(answered(ANSWER_2048, &[key(RSA_2048_OTHER), key(RSA_3072)]), None);
    assert_eq!(answered(ANSWER_2048, &[]), None);
}

#[test]
fn an_answer_is_worth_nothing_to_the_next_challenge() {
    let next = Challenge::new(MADE).unwrap();
    assert_eq!(next.answered_by(ANSWER_2048, [key(RSA_2048)].iter(), MADE), None);
}

#[test]
fn an_answer_comes_within_30_seconds() {
    let keys = [key(RSA_2048)];
    let answered_at = |now| challenge().answered_by(ANSWER_2048, keys.iter(), now);
    assert_eq!(answered_at(after(30)), Some(0));
    assert_eq!(answered_at(after(31)), None);
    assert_eq!(answered_at(Time::from_micros(MADE.micros() - 1)), None, "the clock was set back");
}

#[test]
fn a_signature_of_a_hash_is_refused() {
    assert_eq!(answered(SHA256_2048, &[key(RSA_2048)]), None);
}

#[test]
fn a_broken_answer_is_refused() {
    let keys = [key(RSA_2048)];
    let bytes = STANDARD.decode(ANSWER_2048).unwrap();
    let mut flipped = bytes.clone();
    flipped[100] ^= 1;
    let longer = [&bytes[..], &[0]].concat();
    let zeros = vec![0; bytes.len()];
    let one = [vec![0; bytes.len() - 1], vec![1]].concat();
    for bytes in [&flipped, &longer, &zeros, &one, &vec![0xff; bytes.len()], &bytes[1..].to_vec()] {
        assert_eq!(answered(&STANDARD.encode(bytes), &keys), None);
    }
    let long = "A".repeat(ANSWER_MAX + 1);
    for text in ["", "=", "not base64!", &format!("{ANSWER_2048}?"), TEXT, &long] {
        assert_eq!(answered(text, &keys), None, "{text:.20}");
    }
}

#[test]
fn white_space_and_missing_padding_in_base64_do_not_matter() {
    let (front, back) = ANSWER_2048.split_at(64);
    let wrapped = format!(" {front}\r\n{}\n", back.trim_end_matches('='));
    assert_eq!(answered(&wrapped, &[key(RSA_2048)]), Some(0));
    let encoded = STANDARD.encode(RSA_2048);
    let (front, back) = encoded.split_at(76);
    let wrapped = format!("{front}\n{}\t", back.trim_end_matches('='));
    assert_eq!(PublicKey::parse(&wrapped).unwrap(), key(RSA_2048));
}

#[test]
fn only_so_many_keys_are_tried() {
    let (other, right) = (key(RSA_2048_OTHER), key(RSA_2048));
    let keys = |others| std::iter::repeat_n(&other, others).chain([&right]);
    let answered = |others| challenge().answered_by(ANSWER_2048, keys(others), MADE);
    assert_eq!(answered(KEYS_MAX - 1), Some(KEYS_MAX - 1));
    assert_eq!(answered(KEYS_MAX), None);
}

#[test]
fn a_key_is_written_as_openssl_writes_it() {
    let key = key(RSA_2048);
    assert_eq!(key.pem(), RSA_2048);
    assert_eq!(key.encoded(), STANDARD.encode(RSA_2048));
    // From `openssl dgst -md5 -binary rsa-2048.pem | base64`.
    assert_eq!(key.checksum(), "ssuiS4p92k1UZaHhv48bgQ==");
}

#[test]
fn the_same_key_is_the_same_however_it_is_written() {
    let dos = RSA_2048.replace('\n', "\r\n");
    for written in [dos.as_str(), RSA_2048.trim_end(), &format!("\n{RSA_2048}\n\n")] {
        assert_eq!(key(written), key(RSA_2048));
        assert_eq!(key(written).checksum(), key(RSA_2048).checksum());
    }
    assert_ne!(key(RSA_2048), key(RSA_2048_OTHER));
}

#[test]
fn a_key_that_cannot_be_used_is_refused_with_the_reason() {
    assert!(refused(RSA_1024).message.contains("has 1024 bits"));
    assert!(refused(P_256).message.contains("not an RSA key"));
    let private = RSA_2048.replace("PUBLIC", "PRIVATE");
    assert!(refused(&private).message.contains("private key"));
    let certificate = RSA_2048.replace("PUBLIC KEY", "CERTIFICATE");
    assert!(refused(&certificate).message.contains("certificate"));
    assert!(refused("ssh-rsa AAAA").message.contains("BEGIN PUBLIC KEY"));
    let damaged = RSA_2048.replacen("MIIB", "MIIC", 1);
    assert!(refused(&damaged).message.contains("damaged"));
    for text in ["", "%%%", "/w=="] {
        assert_eq!(PublicKey::parse(text).unwrap_err().kind, FaultKind::BadRequest, "{text}");
    }
    let long = PublicKey::parse(&"A".repeat(ENCODED_KEY_MAX + 1)).unwrap_err();
    assert_eq!(long.kind, FaultKind::TooLarge);
}

#[test]
fn a_challenge_fits_every_key_and_no_two_are_equal() {
    let (one, two) = (Challenge::new(MADE).unwrap(), Challenge::new(MADE).unwrap());
    assert_ne!(one.text(), two.text());
    for challenge in [one, two] {
        assert!((128..=245).contains(&challenge.text().len()));
        assert!(challenge.text().bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }
}
