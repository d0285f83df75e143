//! The service manager of this machine, as far as a person is told to use it.

use std::path::Path;

/// The command that starts or restarts the service.
pub(super) fn command(action: &str) -> String {
    // OpenRC keeps its state there and nothing else does.
    if Path::new("/run/openrc").exists() {
        format!("rc-service sysadmd {action}")
    } else {
        format!("systemctl {action} sysadmd")
    }
}
