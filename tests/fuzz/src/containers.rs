//! What the containers plugin reads: an engine's events and inspections.

use containers::fuzzing;
use uuid::Variant;

use crate::utf8;

/// Events, one a line.
pub fn engine_events(data: &[u8]) {
    let Some(text) = utf8(data) else { return };
    let (known, told, longest) = fuzzing::events(text);
    // Each event makes one container and tells three things of it at most.
    let lines = text.lines().count();
    assert!(known <= lines && told <= 3 * lines && longest <= 512);
}

/// The answer to an inspection.
pub fn engine_inspection(data: &[u8]) {
    let Some(text) = utf8(data) else { return };
    if let Some((uuid, state)) = fuzzing::inspection(text) {
        assert_eq!((uuid.get_version_num(), uuid.get_variant()), (4, Variant::RFC4122));
        assert!(!state.is_empty());
    }
}
