//! The snapshot plugin as a program of its own, as a stranger's plugin would be. The daemon starts
//! the same thing with `sysadmd plugin snapshot`.

use std::process::ExitCode;

fn main() -> ExitCode {
    snapshot::run()
}
