//! Triggers on a Docker Engine of the test's own: whoever has the URL makes a service's containers
//! anew, or gives it more.

use serde_json::{Value, json};

use crate::containers::{CONTAINERS, NODES, is};
use crate::engine::{Dockerd, settings};
use crate::it::harness::{Program, Site};
use crate::it::http;
use crate::run;

const QUICK: &str = "[plugins.config.containers.redeploy]\nstable_s = 1\npull = \"never\"\n";
/// What ends when it is asked to, as an image's own command.
const APP: &str = "CMD [\"/bin/busybox\",\"sh\",\"-c\",\"trap 'exit 0' TERM; while :; do /bin/busybox sleep 0.1; done\"]";

async fn post(program: &Program, path: &str, login: &[String], body: &str) -> http::Reply {
    http::over_tls(program.tls(), &http::request("POST", path, login, body)).await
}

/// The ids of what runs.
fn running(engine: &Dockerd) -> Vec<String> {
    let ids = engine.must(&["ps", "-q", "--no-trunc"]);
    ids.lines().map(str::to_owned).collect()
}

#[test]
fn a_url_makes_a_service_anew_and_gives_it_more() {
    let engine = Dockerd::up(&[]);
    engine.image("app:1", &[APP]);
    run(async {
        let mut site = Site::new();
        (site.containers, site.settings) = (true, format!("{}{QUICK}", settings(&engine.socket())));
        let program = site.spawn().await;
        program.ready("containers").await;
        let mut admin = program.admin().await;
        is(&mut admin, NODES, "lab", "Deployed").await;
        let label = |name: &str, value: &str| format!("com.docker.compose.{name}={value}");
        let labels = [
            label("project", "shop"),
            label("service", "web"),
            label("container-number", "1"),
            label("oneoff", "False"),
        ];
        let mut words = vec!["run", "-d", "--name", "shop_web_1"];
        for label in &labels {
            words.extend(["--label", label.as_str()]);
        }
        words.push("app:1");
        let old = engine.must(&words);
        let row = is(&mut admin, CONTAINERS, "shop_web_1", "Running").await;
        let service = row["service"]["uuid"].as_str().expect("a service").to_owned();

        let token = program.token("operator").await;
        let login = [format!("Authorization: Bearer {token}")];
        let at = format!("/api/app/v1/service/{service}/trigger/");
        let redeploy = post(&program, &at, &login, "").await.json();
        let url = redeploy["url"].as_str().expect("a URL");
        let reply = post(&program, &format!("{url}?wait=60"), &[], "").await;
        assert_eq!(
            (reply.status, &reply.json()["action"]["state"]),
            (200, &json!("Success")),
            "{reply:?}"
        );
        let anew = running(&engine);
        assert!(anew.len() == 1 && anew[0] != old, "{anew:?}");

        let wanted = json!({"operation": "SCALEUP", "name": "more"}).to_string();
        let more = post(&program, &at, &login, &wanted).await.json();
        let url = more["url"].as_str().expect("a URL");
        let reply = post(&program, &format!("{url}2/?wait=60"), &[], "").await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(running(&engine).len(), 3);
        let reply = post(&program, &format!("{url}?wait=60"), &[], "").await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(running(&engine).len(), 4);
        let jobs = admin.call("rpc", "jobs", json!({"action": "list"})).await.expect("jobs");
        let done: Vec<&Value> = jobs["jobs"].as_array().expect("a list").iter().collect();
        assert!(done.len() == 3 && done.iter().all(|job| job["state"] == "done"), "{jobs}");
        drop(admin);
        program.stop().await;
    });
}
