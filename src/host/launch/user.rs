//! Who the process is: its user, its groups, its capabilities; and ending all that user has left.

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Pid, Uid, geteuid, setgroups, setresgid, setresuid};
use protocol::sandbox::Capability;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_keep_capabilities,
};

use super::policy::Policy;

/// Becomes the policy's user with no more than the policy's capabilities.
pub(super) fn become_it(policy: &Policy) -> Result<(), String> {
    let (had, kept) = keep(policy).map_err(|error| format!("cannot read capabilities: {error}"))?;
    bound(had, kept).map_err(|error| format!("cannot bound capabilities: {error}"))?;
    if had.contains(CapabilitySet::SETGID) {
        setgroups(&[]).map_err(|error| format!("cannot leave the daemon's groups: {error}"))?;
    }
    if let Some(uid) = policy.user {
        // What the user keeps is taken over and made effective below.
        set_keep_capabilities(!kept.is_empty())
            .map_err(|error| format!("cannot keep capabilities: {error}"))?;
        change_user(uid)?;
        if policy.end_others {
            end_others()?;
        }
    }
    hold(kept).map_err(|error| format!("cannot give up capabilities: {error}"))
}

/// Ends every process of a user, by becoming that user: the kernel then leaves all others alone.
pub(super) fn end_all(uid: u32) -> Result<(), String> {
    change_user(uid)?;
    end_others()
}

/// What there is, and what of it the policy leaves.
fn keep(policy: &Policy) -> rustix::io::Result<(CapabilitySet, CapabilitySet)> {
    let sets = capabilities(None)?;
    let wanted = CapabilitySet::from_bits_retain(policy.capabilities);
    Ok((sets.effective, sets.permitted & wanted))
}

/// Takes all others out of the bounding set, if we may. If not, there is nothing to be had from it
/// either: `no_new_privs` sees to that.
fn bound(had: CapabilitySet, kept: CapabilitySet) -> rustix::io::Result<()> {
    if !had.contains(CapabilitySet::SETPCAP) {
        return Ok(());
    }
    for capability in Capability::in_set(!kept.bits()) {
        let bit = CapabilitySet::from_bits_retain(capability.bit());
        match remove_capability_from_bounding_set(bit) {
            // A kernel that is older than the capability.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn change_user(uid: u32) -> Result<(), String> {
    if uid == 0 {
        return Err("root is nobody's own user".to_owned());
    }
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
    setgroups(&[])
        .and_then(|()| setresgid(group, group, group))
        .and_then(|()| setresuid(user, user, user))
        .map_err(|error| format!("cannot become user {uid}: {error}"))
}

/// Ends every other process of our user. Nothing of theirs can escape: the kernel goes through all
/// processes while none can be made.
fn end_others() -> Result<(), String> {
    let powers = capabilities(None).map_err(|error| error.to_string())?.effective;
    if geteuid().is_root() || !powers.is_empty() {
        return Err("refused to end everybody's processes".to_owned());
    }
    match kill(Pid::from_raw(-1), Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH | Errno::EPERM) => Ok(()),
        Err(error) => Err(format!("cannot end what is left: {error}")),
    }
}

/// Holds these capabilities and no others, and hands them to the program.
fn hold(kept: CapabilitySet) -> rustix::io::Result<()> {
    clear_ambient_capability_set().or_else(unless_unknown)?;
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: kept })?;
    for capability in Capability::in_set(kept.bits()) {
        let bit = CapabilitySet::from_bits_retain(capability.bit());
        configure_capability_in_ambient_set(bit, true)?;
    }
    Ok(())
}

/// Kernels before 4.3 have no ambient set.
fn unless_unknown(error: rustix::io::Errno) -> rustix::io::Result<()> {
    if error == rustix::io::Errno::INVAL { Ok(()) } else { Err(error) }
}
