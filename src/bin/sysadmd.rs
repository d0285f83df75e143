//! The daemon.

use std::process::ExitCode;

fn main() -> ExitCode {
    sysadmd::daemon::main()
}
