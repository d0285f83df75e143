//! The number that a JSON-RPC error has for each kind of fault.

use jsonrpsee_types::ErrorCode;
use protocol::FaultKind;

/// The message is no JSON.
pub const PARSE_ERROR: i32 = ErrorCode::ParseError.code();
/// The message is JSON, but no request.
pub const INVALID_REQUEST: i32 = ErrorCode::InvalidRequest.code();

/// The code of a fault. The specification's own where one fits; otherwise the last two digits are
/// those of the nearest HTTP status, within the range it leaves to servers.
///
/// `is_method` says of a [`FaultKind::NotFound`] that it is the method that there is not.
pub const fn code(kind: FaultKind, is_method: bool) -> i32 {
    match kind {
        FaultKind::NotFound if is_method => ErrorCode::MethodNotFound.code(),
        _ => kind.json_rpc(),
    }
}

/// Every code that a fault of this kind can have, the usual one first.
pub fn fault_codes(kind: FaultKind) -> Vec<i32> {
    let usual = code(kind, false);
    match kind {
        FaultKind::BadRequest => vec![usual, INVALID_REQUEST, PARSE_ERROR],
        FaultKind::NotFound => vec![usual, code(kind, true)],
        _ => vec![usual],
    }
}
