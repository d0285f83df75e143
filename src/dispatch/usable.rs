//! What somebody may ever use, on whatever resource: `rpc/query` lists it and `rpc/discover`
//! describes it, so they cannot disagree.

use super::{Builtin, Dispatch, Needs};
use crate::access::{Principal, Wish};
use crate::host::DeclaredMethod;

/// Whether they may ever call this method of the daemon's own.
pub(super) fn is_usable(own: &Builtin, principal: &Principal) -> bool {
    match own.needs {
        Needs::Nothing | Needs::Login => true,
        Needs::Role(least) => {
            let Builtin { method, action, resource, .. } = *own;
            principal.rights.may_ever_call(&Wish { method, action, least, resource })
        }
    }
}

impl Dispatch {
    /// The methods of plugins that take calls now, as far as they may ever call them.
    pub(super) fn usable_of_plugins(&self, principal: &Principal) -> Vec<DeclaredMethod> {
        let may = |DeclaredMethod { method, .. }: &DeclaredMethod| {
            principal.rights.may_ever_call(&Wish {
                method: &method.method,
                action: method.action.as_deref(),
                least: method.role,
                resource: method.resource.as_deref(),
            })
        };
        let methods = self.0.host.methods().into_iter();
        methods.filter(|declared| declared.ready && may(declared)).collect()
    }
}
