//! The replication plugin as a program of its own, as a stranger's plugin would be. The daemon starts
//! the same thing with `sysadmd plugin replication`.

use std::process::ExitCode;

fn main() -> ExitCode {
    replication::run()
}
