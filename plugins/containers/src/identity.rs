//! Stable names: UUIDs that look like version 4 (the clients of Docker Cloud insist on it) and are
//! the same after every restart. Pure.

use std::io;

use uuid::{Builder, Uuid};

/// One that nobody else has.
///
/// # Errors
/// When the kernel has no chance to give.
pub(crate) fn random() -> io::Result<Uuid> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(Builder::from_random_bytes(bytes).into_uuid())
}

/// A container's: the beginning of the engine's id, so that whoever knows the short id of `docker
/// ps` knows how it begins. An id that is none is hashed.
pub(crate) fn of_container(id: &str) -> Uuid {
    let mut bytes = [0; 16];
    for (place, byte) in bytes.iter_mut().enumerate() {
        let digits = id.get(2 * place..2 * place + 2);
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(read) => *byte = read,
            None => return hashed(&["container", id]),
        }
    }
    Builder::from_random_bytes(bytes).into_uuid()
}

/// What is named by these parts, in this order.
pub(crate) fn hashed(parts: &[&str]) -> Uuid {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        // Lengths keep `ab`, `c` apart from `a`, `bc`.
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    Builder::from_random_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Variant;

    use super::*;

    #[test]
    fn the_beginning_of_an_id_is_the_beginning_of_its_uuid() {
        let id = "8e19bc92173a1c3aa32145f69bf3ca1f0123456789abcdef0123456789abcdef";
        assert_eq!(of_container(id).to_string(), "8e19bc92-173a-4c3a-a321-45f69bf3ca1f");
    }

    fn is_shaped(uuid: Uuid) -> bool {
        uuid.get_version_num() == 4 && uuid.get_variant() == Variant::RFC4122
    }

    proptest! {
        #[test]
        fn each_has_the_shape_that_clients_insist_on(id in "[0-9a-f]{64}|.{0,40}") {
            prop_assert!(is_shaped(of_container(&id)));
            prop_assert_eq!(of_container(&id), of_container(&id));
        }

        #[test]
        fn parts_are_kept_apart(a in "[ab]{0,4}", b in "[ab]{0,4}", c in "[ab]{0,4}", d in "[ab]{0,4}") {
            prop_assert!(is_shaped(hashed(&[&a, &b])));
            prop_assert_eq!(hashed(&[&a, &b]) == hashed(&[&c, &d]), (a, b) == (c, d));
        }
    }
}
