//! Users of this machine: which roles their groups give them.

use std::collections::BTreeMap;
use std::ffi::CString;

use nix::unistd::{Gid, Group, Uid, User, geteuid, getgrouplist};
use protocol::{Fault, Role};
use tokio::task::spawn_blocking;

use super::principal::Principal;
use super::roles::Roles;

/// Group members and their roles. Looking them up may ask a directory server, so it never happens on
/// the runtime's own threads.
#[derive(Debug, Clone)]
pub(super) struct Accounts {
    /// Role to groups.
    groups: BTreeMap<String, Vec<String>>,
    roles: Roles,
}

impl Accounts {
    pub(super) fn new(groups: BTreeMap<String, Vec<String>>, roles: Roles) -> Self {
        Self { groups, roles }
    }

    /// The user with this name as a principal; `None` when there is none or no role is theirs.
    pub(super) async fn by_name(&self, name: &str) -> Result<Option<Principal>, Fault> {
        let (accounts, name) = (self.clone(), name.to_owned());
        look_up(move || {
            let user = User::from_name(&name).ok().flatten()?;
            accounts.principal("user", &user)
        })
        .await
    }

    /// The user with this number as the kernel names them on the unix socket. The daemon's own user
    /// is an administrator of the daemon.
    pub(super) async fn by_uid(&self, uid: u32) -> Result<Option<Principal>, Fault> {
        let accounts = self.clone();
        look_up(move || {
            let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
            if uid == 0 || uid == geteuid().as_raw() {
                let name = user.map_or_else(|| uid.to_string(), |user| user.name);
                return Some(Principal::of_role(format!("local:{name}"), Role::Admin));
            }
            accounts.principal("local", &user?)
        })
        .await
    }

    /// The user whom the kernel has named so on the unix socket, or by a number where there was no
    /// name.
    pub(super) async fn by_local_name(&self, name: &str) -> Result<Option<Principal>, Fault> {
        let named = name.to_owned();
        let uid = look_up(move || User::from_name(&named).ok().flatten()).await?;
        match uid.map(|user| user.uid.as_raw()).or_else(|| name.parse().ok()) {
            Some(uid) => self.by_uid(uid).await,
            None => Ok(None),
        }
    }

    fn principal(&self, kind: &str, user: &User) -> Option<Principal> {
        let name = format!("{kind}:{}", user.name);
        if user.uid.is_root() {
            return Some(Principal::of_role(name, Role::Admin));
        }
        let own = groups_of(user);
        let is_member = |group: &String| {
            let group = Group::from_name(group).ok().flatten();
            group.is_some_and(|group| own.contains(&group.gid))
        };
        let mut roles = self.groups.iter().filter(|(_, groups)| groups.iter().any(is_member));
        let first = roles.next()?.0;
        let names: Vec<&str> =
            std::iter::once(first).chain(roles.map(|(role, _)| role)).map(String::as_str).collect();
        let rights = self.roles.rights_of(&names)?;
        Some(Principal::new(name, names.join("+"), rights))
    }
}

fn groups_of(user: &User) -> Vec<Gid> {
    let name = CString::new(user.name.as_str()).ok();
    let listed = name.and_then(|name| getgrouplist(&name, user.gid).ok());
    listed.unwrap_or_else(|| vec![user.gid])
}

async fn look_up<T: Send + 'static>(look: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
    spawn_blocking(look).await.map_err(|error| {
        tracing::error!(%error, "a user could not be looked up");
        Fault::internal()
    })
}
