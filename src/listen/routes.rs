//! Which face a path belongs to: pure.
//!
//! Every listener serves every face. What no other face takes is the `SysAdm` protocol's: its
//! clients open their websocket at any path, and over REST a path is a method. So the first segment
//! of another face's paths is a namespace that no plugin may have
//! ([`protocol::manifest::RESERVED_NAMESPACES`]).

use crate::description::Form;

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
    /// What the daemon says of itself: `/openrpc.json` and its like.
    Document(Form),
}

/// The face for a path.
pub(super) fn of(path: &str) -> Route {
    match path.split('/').nth(1) {
        Some("jsonrpc") => Route::JsonRpc,
        Some("cloudevents") => Route::CloudEvents,
        Some("v1") => Route::Consul,
        _ => document(path).map_or(Route::SysAdm, Route::Document),
    }
}

/// The form of which a path is the document.
fn document(path: &str) -> Option<Form> {
    let name = path.strip_prefix('/')?.strip_suffix(".json")?;
    Form::ALL.into_iter().find(|form| form.as_str() == name)
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

    #[test]
    fn a_document_has_one_path() {
        assert_eq!(of("/openrpc.json"), Route::Document(Form::OpenRpc));
        assert_eq!(of("/asyncapi.json"), Route::Document(Form::AsyncApi));
        let others =
            ["/", "/openrpc", "/openrpc.json/", "/x/openrpc.json", "/OpenRPC.json", "/.json"];
        for other in others {
            assert_eq!(of(other), Route::SysAdm, "{other}");
        }
    }
}
