//! Floor 0: how names of users, groups and hosts are looked up in programs that are linked statically.
//!
//! Both programs call [`look_up_in_files`] before anything else; `packaging/build tar` links such ones.
#![allow(unsafe_code, reason = "glibc's __nss_configure_lookup has no safe wrapper in any crate")]

/// Has them looked up in the machine's files, and names of hosts by DNS too, whatever
/// `/etc/nsswitch.conf` says. In a program linked with the machine's libraries nothing changes.
///
/// glibc loads a module for every other way when it is asked, and a module of another glibc than the
/// one a program was linked with may do anything, ending the program included
/// (nsswitch.conf(5); glibc's manual, "System Databases and Name Service Switch").
pub fn look_up_in_files() {
    #[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
    for (database, services) in [
        (c"passwd", c"files"),
        (c"group", c"files"),
        (c"initgroups", c"files"),
        (c"hosts", c"files dns"),
    ] {
        // SAFETY: both are C strings that live as long as the program, which glibc asks for, and no
        // other thread runs yet.
        let told = unsafe { __nss_configure_lookup(database.as_ptr(), services.as_ptr()) };
        debug_assert_eq!(told, 0, "glibc knows these databases and services");
    }
}

#[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
unsafe extern "C" {
    /// From `<nss.h>`, "for use by programs that need to override the configuration".
    fn __nss_configure_lookup(
        database: *const core::ffi::c_char,
        services: *const core::ffi::c_char,
    ) -> core::ffi::c_int;
}
