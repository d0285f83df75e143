//! Which system calls are refused: seccomp (seccomp(2)).
//!
//! Everything that reaches beyond the process or into the kernel's less tried corners and that no
//! plugin needs. A call that a capability is about is refused unless the plugin has the
//! capability. What this list does not know (calls newer than it) does not exist.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{Eq, MaskedEq, Ne};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCondition, SeccompFilter, SeccompRule, apply_filter,
    sock_filter,
};

use super::policy::Policy;

/// The newest call of this list: `removexattrat` of Linux 6.13. New calls have the same number
/// everywhere.
const NEWEST: u32 = 466;

/// Calls that are refused unless the plugin has the capability they are about.
const GOVERNED: [(&str, &[libc::c_long]); 11] = [
    (
        "SYS_ADMIN",
        &[
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_pivot_root,
            libc::SYS_open_tree,
            libc::SYS_move_mount,
            libc::SYS_fsopen,
            libc::SYS_fsconfig,
            libc::SYS_fsmount,
            libc::SYS_fspick,
            libc::SYS_mount_setattr,
            libc::SYS_swapon,
            libc::SYS_swapoff,
            libc::SYS_quotactl,
            libc::SYS_quotactl_fd,
            libc::SYS_setns,
            libc::SYS_unshare,
            libc::SYS_sethostname,
            libc::SYS_setdomainname,
            libc::SYS_fanotify_init,
        ],
    ),
    ("DAC_READ_SEARCH", &[libc::SYS_open_by_handle_at]),
    ("SYS_MODULE", &[libc::SYS_init_module, libc::SYS_finit_module, libc::SYS_delete_module]),
    ("SYS_BOOT", &[libc::SYS_reboot, libc::SYS_kexec_load]),
    (
        "SYS_PTRACE",
        &[
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_process_madvise,
            libc::SYS_pidfd_getfd,
            libc::SYS_kcmp,
        ],
    ),
    (
        "SYS_TIME",
        &[
            libc::SYS_settimeofday,
            libc::SYS_clock_settime,
            libc::SYS_clock_adjtime,
            libc::SYS_adjtimex,
        ],
    ),
    ("SYS_PACCT", &[libc::SYS_acct]),
    ("SYS_CHROOT", &[libc::SYS_chroot]),
    ("SYSLOG", &[libc::SYS_syslog]),
    ("BPF", &[libc::SYS_bpf]),
    ("PERFMON", &[libc::SYS_perf_event_open]),
];

/// Calls that no capability opens: keys that other processes of the user hold, page faults served
/// by hand, rings that make other calls unseen by this filter, and memory that no limit counts.
const NEVER: [libc::c_long; 9] = [
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_memfd_create,
    libc::SYS_shmget,
];

/// The same of one architecture.
#[cfg(target_arch = "x86_64")]
const NEVER_HERE: [libc::c_long; 4] =
    [libc::SYS_kexec_file_load, libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt];
#[cfg(not(target_arch = "x86_64"))]
const NEVER_HERE: [libc::c_long; 0] = [];

/// Calls that change a file by its name in ways Landlock has no say in. By an open file they remain.
const BY_NAME: [libc::c_long; 9] = [
    libc::SYS_fchmodat,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    // `fchmodat2`, `setxattrat`, `removexattrat`.
    452,
    463,
    466,
];
/// The same of one architecture.
#[cfg(target_arch = "x86_64")]
const BY_NAME_HERE: [libc::c_long; 6] = [
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
];
#[cfg(not(target_arch = "x86_64"))]
const BY_NAME_HERE: [libc::c_long; 0] = [];

/// Calls that any process of the user may do to any other, and which argument names the other: 0 is
/// the caller itself.
const TO_OTHERS: [(libc::c_long, u8); 7] = [
    (libc::SYS_prlimit64, 0),
    (libc::SYS_sched_setaffinity, 0),
    (libc::SYS_sched_setscheduler, 0),
    (libc::SYS_sched_setparam, 0),
    (libc::SYS_sched_setattr, 0),
    (libc::SYS_setpriority, 1),
    (libc::SYS_ioprio_set, 1),
];

/// New namespaces.
const NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Refuses them from now on.
pub(super) fn close(policy: &Policy) -> Result<(), String> {
    if !policy.filter {
        return Ok(());
    }
    let refused = refused(policy).map_err(|error| error.to_string());
    let filters = refused.and_then(|refused| {
        apply_filter(&unknown()).and_then(|()| apply_filter(&refused)).map_err(|e| e.to_string())
    });
    filters.map_err(|error| {
        format!(
            "system calls cannot be filtered here ({error}); who trusts the plugin all the same \
             gives it `syscalls = \"any\"` in its manifest and its grant"
        )
    })
}

fn refused(policy: &Policy) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules = Rules::new();
    let closed = GOVERNED.iter().filter(|(capability, _)| !policy.has(capability));
    for call in closed.flat_map(|(_, calls)| calls.iter()).chain(&NEVER).chain(&NEVER_HERE) {
        // No rule means: whatever its arguments.
        rules.insert(number(*call), Vec::new());
    }
    if !policy.has("SYS_ADMIN") {
        let in_namespace = |flag: &libc::c_int| {
            let flag = u64::from(flag.unsigned_abs());
            SeccompRule::new(vec![SeccompCondition::new(0, Qword, MaskedEq(flag), flag)?])
        };
        let clone = NAMESPACES.iter().map(in_namespace).collect::<Result<_, _>>()?;
        rules.insert(number(libc::SYS_clone), clone);
    }
    // Memory that is shared with nobody's file is not counted in RLIMIT_DATA.
    let shared = u64::from((libc::MAP_SHARED | libc::MAP_ANONYMOUS).unsigned_abs());
    let shared = SeccompCondition::new(3, Dword, MaskedEq(shared), shared)?;
    rules.insert(number(libc::SYS_mmap), vec![SeccompRule::new(vec![shared])?]);
    sockets(policy, &mut rules)?;
    if policy.user.is_none() {
        shared_user(policy, &mut rules)?;
    }
    let arch = std::env::consts::ARCH.try_into()?;
    let refusal = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    SeccompFilter::new(rules, SeccompAction::Allow, refusal, arch)?.try_into()
}

/// Sockets by their family: those that are granted, and no others.
fn sockets(policy: &Policy, rules: &mut Rules) -> Result<(), seccompiler::BackendError> {
    let family = |op, value: libc::c_int| {
        SeccompCondition::new(0, Dword, op, u64::from(value.unsigned_abs()))
    };
    let mut allowed = Vec::new();
    if policy.unix_sockets {
        allowed.push(libc::AF_UNIX);
    }
    // Resolvers ask the kernel for its addresses, and tools that change accounts tell it of that.
    let mut netlink = Vec::new();
    if policy.network {
        allowed.extend([libc::AF_INET, libc::AF_INET6]);
        netlink.push(libc::NETLINK_ROUTE);
    }
    if policy.has("AUDIT_WRITE") {
        netlink.push(libc::NETLINK_AUDIT);
    }
    if !netlink.is_empty() {
        allowed.push(libc::AF_NETLINK);
    }
    let others =
        allowed.iter().map(|allowed| family(Ne, *allowed)).collect::<Result<Vec<_>, _>>()?;
    let mut socket = Vec::new();
    if !others.is_empty() {
        socket.push(SeccompRule::new(others)?);
    }
    if !netlink.is_empty() {
        let mut foreign = vec![family(Eq, libc::AF_NETLINK)?];
        for subsystem in netlink {
            let subsystem = u64::from(subsystem.unsigned_abs());
            foreign.push(SeccompCondition::new(2, Dword, Ne, subsystem)?);
        }
        socket.push(SeccompRule::new(foreign)?);
    }
    rules.insert(number(libc::SYS_socket), socket);
    let mut pair = vec![SeccompRule::new(vec![family(Ne, libc::AF_UNIX)?])?];
    if !policy.unix_sockets {
        // A datagram socket of a pair can be turned to any other address. Raw ones are the same.
        for kind in [libc::SOCK_DGRAM, libc::SOCK_RAW] {
            let kind = u64::from(kind.unsigned_abs());
            pair.push(SeccompRule::new(vec![SeccompCondition::new(
                1,
                Dword,
                MaskedEq(0xf),
                kind,
            )?])?);
        }
    }
    rules.insert(number(libc::SYS_socketpair), pair);
    Ok(())
}

/// What a process can do to others of its user, when that user is not the plugin's alone.
fn shared_user(policy: &Policy, rules: &mut Rules) -> Result<(), seccompiler::BackendError> {
    let unless_zero =
        |argument, width| SeccompRule::new(vec![SeccompCondition::new(argument, width, Ne, 0)?]);
    for (call, argument) in TO_OTHERS {
        rules.insert(number(call), vec![unless_zero(argument, Dword)?]);
    }
    for call in [libc::SYS_setpriority, libc::SYS_ioprio_set] {
        // All of the group or of the user, which are never named by a 0 of `PRIO_PROCESS` and
        // `IOPRIO_WHO_PROCESS`.
        let process = u64::from(call == libc::SYS_ioprio_set);
        let others = SeccompCondition::new(0, Dword, Ne, process)?;
        rules.entry(number(call)).or_default().push(SeccompRule::new(vec![others])?);
    }
    if policy.write.is_some() {
        for call in BY_NAME.iter().chain(&BY_NAME_HERE) {
            rules.insert(number(*call), Vec::new());
        }
        // Without a name it is about an open file.
        rules.insert(number(libc::SYS_utimensat), vec![unless_zero(1, Qword)?]);
    }
    Ok(())
}

/// Calls beyond [`NEWEST`] do not exist, nor do those of the x32 ABI, whose numbers begin far
/// above; nor `clone3`, whose flags lie in memory where no filter sees them. Programs then do
/// without, as on an older kernel.
fn unknown() -> BpfProgram {
    // The instructions of linux/bpf_common.h: load a word at an absolute offset, jump if at least,
    // jump if equal, return a constant.
    const LOAD: u16 = 0x20;
    const JUMP_IF_AT_LEAST: u16 = 0x35;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let clone3 = u32::try_from(libc::SYS_clone3).unwrap_or_default();
    let refusal = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    vec![
        // The number is the first word of `struct seccomp_data`.
        sock_filter { code: LOAD, jt: 0, jf: 0, k: 0 },
        sock_filter { code: JUMP_IF_AT_LEAST, jt: 1, jf: 0, k: NEWEST + 1 },
        sock_filter { code: JUMP_IF_EQUAL, jt: 0, jf: 1, k: clone3 },
        sock_filter { code: RETURN, jt: 0, jf: 0, k: refusal },
        sock_filter { code: RETURN, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW },
    ]
}

#[expect(clippy::useless_conversion, reason = "c_long is not 64 bits wide everywhere")]
fn number(call: libc::c_long) -> i64 {
    i64::from(call)
}
