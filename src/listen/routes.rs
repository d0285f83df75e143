//! Which face a path belongs to: pure.
//!
//! Every listener serves every face. What no other face takes is the `SysAdm` protocol's: its
//! clients open their websocket at any path, and over REST a path is a method. So the first segment
//! of another face's paths is a namespace that no plugin may have
//! ([`protocol::manifest::RESERVED_NAMESPACES`]).

/// A face, as far as HTTP has to tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// The websocket of `SysAdm` clients, and REST.
    SysAdm,
    /// JSON-RPC 2.0, as a websocket and by POST.
    JsonRpc,
    /// `CloudEvents`: a stream, batches, and events that are brought.
    CloudEvents,
    /// Consul's clients.
    Consul,
}

/// The face for a path.
pub(super) fn of(path: &str) -> Route {
    match path.split('/').nth(1) {
        Some("jsonrpc") => Route::JsonRpc,
        Some("cloudevents") => Route::CloudEvents,
        Some("v1") => Route::Consul,
        _ => Route::SysAdm,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_segment_decides() {
        for (path, route) in [
            ("/v1/event/list", Route::Consul),
            ("/v1", Route::Consul),
            ("/jsonrpc", Route::JsonRpc),
            ("/v10/x", Route::SysAdm),
            ("/", Route::SysAdm),
            ("*", Route::SysAdm),
        ] {
            assert_eq!(of(path), route, "{path}");
        }
    }
}
