//! The replication plugin as a program of its own, as a stranger's plugin would be. The daemon starts
//! the same thing with `sysadmd plugin replication`. With `serve` it is the other side, as
//! `sysadmd serve --stdio` is.

use std::process::ExitCode;

use replication::serve::Limits;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    if words.next().as_deref() != Some("serve") {
        return replication::run();
    }
    let mut limits = Limits::default();
    while let (Some(option), Some(value)) = (words.next(), words.next()) {
        match option.as_str() {
            "--root" => limits.roots.push(value),
            "--from" => limits.sources.push(value),
            _ => limits.store = value.into(),
        }
    }
    replication::serve_stdio(&limits)
}
