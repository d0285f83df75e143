//! Docker Cloud's own client library, as `tests/run` installs it, against the daemon and an engine of
//! the test's own.

use std::path::Path;

use crate::containers::ENDS_AT_ONCE;
use crate::engine::{Dockerd, IMAGE};
use crate::it::harness::Site;
use crate::run;
use crate::scripts::{has_checked, script};

#[test]
fn the_python_client_lists_fetches_follows_and_changes() {
    let engine = Dockerd::up(&[]);
    let labels = ["com.docker.compose.project=shop", "com.docker.compose.service=web"];
    engine.run("shop_web_1", &["--label", labels[0], "--label", labels[1]], &ENDS_AT_ONCE);
    for number in 0..30 {
        engine.must(&["create", "--name", &format!("idle-{number}"), IMAGE]);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    run(async {
        let mut site = Site::new();
        (site.containers, site.plain, site.settings) = (true, true, engine.settings());
        site.settings.push_str("[plugins.config.containers.redeploy]\nstable_s = 1\n");
        let daemon = site.spawn().await;
        daemon.ready("containers").await;
        let token = daemon.token("viewer").await;
        let port = daemon.addresses[1].port().to_string();
        let python = root.join("target/clients/python/bin/python");
        let mut script = script(&python, "py_dockercloud.py", &port, &token);
        script.arg(engine.socket()).arg(daemon.token("operator").await);
        has_checked(script).await;
        daemon.stop().await;
    });
}
