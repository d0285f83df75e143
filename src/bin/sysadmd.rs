//! The daemon.

use std::process::ExitCode;

fn main() -> ExitCode {
    sysadmd::names::look_up_in_files();
    sysadmd::daemon::main()
}
