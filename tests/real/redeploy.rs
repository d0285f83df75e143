//! Redeploy on a Docker Engine of the test's own: the new container takes over when it is well, and
//! whatever goes wrong, also a plugin that is killed at any step, leaves the old one or the new.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use kit::client::SysAdmClient;
use kit::lab::Lab;
use nix::mount::{MsFlags, mount, umount};
use serde_json::{Value, json};

use crate::containers::{CONTAINERS, ENDS_AT_ONCE, NODES, events, is, list};
use crate::engine::{Dockerd, IMAGE, settings};
use crate::it::harness::{Program, Site, until};
use crate::middleman::{Middleman, When};
use crate::run;

const QUICK: &str = "[plugins.config.containers.redeploy]\nstable_s = 1\nhealth_timeout_s = 3\n";
/// What ends when it is asked to, as an image's own command.
const APP: &str = "CMD [\"/bin/busybox\",\"sh\",\"-c\",\"trap 'exit 0' TERM; while :; do /bin/busybox sleep 0.1; done\"]";

async fn daemon(site: Site) -> (Program, SysAdmClient) {
    let program = site.spawn().await;
    program.ready("containers").await;
    let mut admin = program.admin().await;
    is(&mut admin, NODES, "lab", "Deployed").await;
    (program, admin)
}

fn site(socket: &Path) -> Site {
    let mut site = Site::new();
    (site.containers, site.settings) = (true, format!("{}{QUICK}", settings(socket)));
    site
}

fn wish(name: &str, order: &str) -> Value {
    json!({"container": name, "order": order, "pull": "never"})
}

/// Name, id and whether it runs, of every container but those of these names.
fn all(engine: &Dockerd, others: &[&str]) -> Vec<(String, String, bool)> {
    let format = "{{.Names}} {{.ID}} {{.State}}";
    let text = engine.must(&["ps", "-a", "--no-trunc", "--format", format]);
    let mut all: Vec<_> = text
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            (words[0].to_owned(), words[1].to_owned(), words[2] == "running")
        })
        .filter(|(name, ..)| !others.contains(&name.as_str()))
        .collect();
    all.sort_unstable();
    all
}

/// The id of the one container that there is, which has its name and runs.
fn alone(engine: &Dockerd, name: &str) -> String {
    let all = all(engine, &[]);
    assert!(matches!(&all[..], [(its, _, true)] if its == name), "{all:?}");
    all[0].1.clone()
}

#[test]
fn a_container_is_replaced_and_keeps_what_is_its_own() {
    let engine = Dockerd::up(&[]);
    engine.image("app:1", &[APP, "VOLUME /data", "ENV OF=old"]);
    engine.must(&["network", "create", "back"]);
    engine.must(&["network", "create", "front"]);
    run(async {
        let (program, mut admin) = daemon(site(&engine.socket())).await;
        let words = ["run", "-d", "--name", "web", "--network", "front", "--network-alias", "www"];
        let more = ["-e", "OWN=1", "--label", "own=yes", "--restart", "always", "app:1"];
        let old = engine.must(&[&words[..], &more[..]].concat());
        engine.must(&["network", "connect", "back", "web"]);
        engine.must(&["exec", "web", "/bin/busybox", "sh", "-c", "echo kept > /data/file"]);
        let side = ["run", "-d", "--name", "side", "--network", "container:web", IMAGE];
        let side = engine.must(&[&side[..], &ENDS_AT_ONCE[..]].concat());
        is(&mut admin, CONTAINERS, "side", "Running").await;
        engine.image("app:1", &[APP, "VOLUME /data", "ENV OF=new"]);

        let dry = json!({"container": "web", "dry_run": true});
        let plan = admin.call("containers", "redeploy", dry).await.expect("a plan");
        let row = &plan["containers"][0];
        assert_eq!((&row["order"], &row["dependants"]), (&json!("stop-first"), &json!(["side"])));
        assert!(
            row["why"].as_str().unwrap().contains("/data")
                && row["image"]["from"] != row["image"]["to"]
        );
        assert_eq!(all(&engine, &[]).len(), 2);

        let done =
            admin.call("containers", "redeploy", wish("web", "auto")).await.expect("it works");
        assert_eq!(done["changed"], 1, "{done}");
        let after = all(&engine, &[]);
        let names: Vec<(&str, bool)> = after.iter().map(|it| (it.0.as_str(), it.2)).collect();
        assert_eq!(names, [("side", true), ("web", true)]);
        assert!(after.iter().all(|it| it.1 != old && it.1 != side), "both are new");
        let environment =
            engine.must(&["inspect", "-f", "{{.Config.Env}} {{.Config.Labels}}", "web"]);
        assert!(environment.contains("OWN=1") && environment.contains("OF=new"), "{environment}");
        assert!(
            environment.contains("own:yes") && !environment.contains("OF=old"),
            "{environment}"
        );
        let kept = engine.must(&["exec", "web", "/bin/busybox", "cat", "/data/file"]);
        assert_eq!(kept, "kept");
        let networks = engine.must(&["inspect", "-f", "{{json .NetworkSettings.Networks}}", "web"]);
        assert!(networks.contains("\"front\"") && networks.contains("\"back\""), "{networks}");
        assert!(networks.contains("www") && !networks.contains(&old[..12]), "{networks}");
        let shared = engine.must(&["inspect", "-f", "{{.HostConfig.NetworkMode}}", "side"]);
        assert_eq!(shared, format!("container:{}", after[1].1));

        // The service is the same all the while, and nothing of it was an alarm.
        let again = json!({"service": "web", "if_changed": true, "pull": "never"});
        let same = admin.call("containers", "redeploy", again).await.expect("nothing to do");
        assert_eq!((&same["changed"], &same["containers"][0]["step"]), (&json!(0), &json!("none")));
        let alerts = admin.call("rpc", "alerts", json!({"action": "list"})).await.expect("alerts");
        assert_eq!(alerts["alerts"], json!([]));
        let told = events(&mut admin, "redeploy", "web").await;
        assert_eq!((told.len(), &told[0]["class"]), (1, &json!("redeploy.done")), "{told:?}");
        let services = list(&mut admin, "services", "services").await;
        let names: Vec<&Value> = services.iter().map(|it| &it["name"]).collect();
        assert_eq!(names, ["side", "web"]);
        drop(admin);
        program.stop().await;
    });
}

#[test]
fn what_is_not_well_does_not_take_over() {
    let engine = Dockerd::up(&[]);
    let middle = |engine: &Dockerd| Middleman::start(engine.socket());
    engine.image("app:1", &[APP]);
    run(async {
        let middleman = middle(&engine);
        let (program, mut admin) = daemon(site(&middleman.socket())).await;
        engine.must(&["run", "-d", "--name", "web", "app:1"]);
        is(&mut admin, CONTAINERS, "web", "Running").await;
        let old = alone(&engine, "web");
        let check = |probe: &str| format!("HEALTHCHECK --interval=200ms --retries=1 CMD {probe}");
        for (lines, named) in [
            (vec!["CMD [\"/bin/busybox\",\"sh\",\"-c\",\"exit 3\"]".to_owned()], "exit code 3"),
            (vec!["CMD [\"/nothing\"]".to_owned()], "cannot be started"),
            (vec![APP.to_owned(), check("/bin/busybox false")], "not well"),
            (vec![APP.to_owned(), check("/bin/busybox sleep 60")], "within 3 s"),
        ] {
            engine.image("app:1", &lines.iter().map(String::as_str).collect::<Vec<_>>());
            for order in ["start-first", "stop-first"] {
                let fault = admin.call("containers", "redeploy", wish("web", order)).await;
                let fault = fault.expect_err("it is not well").to_string();
                assert!(
                    fault.contains(named) && fault.contains("is as it was"),
                    "{order}: {fault}"
                );
                assert_eq!(alone(&engine, "web"), old, "{order} {named}");
            }
        }
        let told = events(&mut admin, "redeploy", "web").await;
        assert_eq!(told.len(), 8);
        let back = |it: &Value| it["class"] == "redeploy.rolled-back" && it["priority_num"] == 4;
        assert!(told.iter().all(back), "{told:?}");

        // Somebody takes the name in the moment in which nobody has it.
        engine.image("app:1", &[APP]);
        let engine = Arc::new(engine);
        let other = Arc::clone(&engine);
        middleman.at(4, When::Before, move |_| {
            other.must(&["create", "--name", "web", IMAGE]);
            true
        });
        let taken = admin.call("containers", "redeploy", wish("web", "start-first")).await;
        let taken = taken.expect_err("the name is taken");
        assert!(taken.to_string().contains("cannot be put back"), "{taken}");
        let told = events(&mut admin, "redeploy", "web").await;
        let last = told.last().expect("an event");
        assert_eq!((&last["class"], &last["priority_num"]), (&json!("redeploy.failed"), &json!(9)));
        // When the name is free again, the next start puts it back.
        engine.must(&["rm", "web"]);
        let restart = json!({"action": "restart", "id": "containers"});
        admin.call("rpc", "plugins", restart).await.expect("it restarts");
        until("it is put back", async || {
            matches!(&all(&engine, &[])[..], [(name, id, true)] if name == "web" && *id == old)
        })
        .await;
        aborted(&engine, &mut admin, &old).await;
        drop(admin);
        program.stop().await;
    });
}

/// A job that is aborted while the new container is not well yet.
async fn aborted(engine: &Dockerd, admin: &mut SysAdmClient, old: &str) {
    let check = "HEALTHCHECK --interval=200ms --retries=1 CMD /bin/busybox sleep 60";
    engine.image("app:1", &[APP, check]);
    is(admin, CONTAINERS, "web", "Running").await;
    let job = json!({"action": "run", "method": "containers/redeploy", "args": wish("web", "stop-first")});
    let made = admin.call("rpc", "jobs", job).await.expect("a job");
    let id = made["job"]["id"].clone();
    until("the new one is started", async || {
        all(engine, &[]).iter().filter(|it| it.2).any(|it| it.1 != old)
    })
    .await;
    let abort = json!({"action": "abort", "id": id});
    admin.call("rpc", "jobs", abort).await.expect("it is asked to end");
    let wait = json!({"action": "wait", "id": id});
    let ended = admin.call("rpc", "jobs", wait).await.expect("an end");
    assert_eq!(ended["job"]["state"], "aborted", "{ended}");
    assert_eq!(alone(engine, "web"), old);
}

#[test]
fn a_plugin_killed_at_any_step_leaves_the_old_one_or_the_new() {
    let engine = Dockerd::up(&[]);
    engine.image("app:1", &[APP]);
    run(async {
        let middleman = Middleman::start(engine.socket());
        let (program, mut admin) = daemon(site(&middleman.socket())).await;
        engine.must(&["run", "-d", "--name", "web", "app:1"]);
        is(&mut admin, CONTAINERS, "web", "Running").await;
        let journals = program.site().path().join("plugin-state/containers");
        for order in ["start-first", "stop-first"] {
            middleman.at(usize::MAX, When::Before, |_| true);
            admin.call("containers", "redeploy", wish("web", order)).await.expect("it works");
            let (asked, _) = middleman.asked();
            assert!(asked.len() >= 6, "{asked:?}");
            let mut ends = Vec::new();
            for number in 1..=asked.len() {
                for when in [When::Before, When::After] {
                    let before = alone(&engine, "web");
                    middleman.kill_at(number, when);
                    let cut = admin.call("containers", "redeploy", wish("web", order)).await;
                    cut.expect_err("the plugin was killed");
                    assert!(!middleman.asked().1, "{order} {number} {when:?}: nobody was killed");
                    recovers(&program, &mut admin, &journals).await;
                    let after = alone(&engine, "web");
                    ends.push((asked[number - 1].clone(), when, after == before));
                }
            }
            // Before it has taken over nothing is new, behind that everything is.
            let first_new = ends.iter().position(|(.., is_old)| !is_old).expect("some are new");
            assert!(
                first_new > 0 && ends[first_new..].iter().all(|(.., is_old)| !is_old),
                "{ends:?}"
            );
        }
        drop(admin);
        program.stop().await;
    });
}

/// Waits until the plugin runs again and has nothing left to do.
async fn recovers(program: &Program, admin: &mut SysAdmClient, journals: &Path) {
    let start = json!({"action": "start", "id": "containers"});
    until("nothing is left", async || {
        // One that is killed again and again is put into quarantine.
        admin.call("rpc", "plugins", start.clone()).await.ok();
        let files = fs::read_dir(journals).expect("a directory").flatten();
        !files
            .map(|file| file.path())
            .any(|path| path.extension().is_some_and(|it| it == "journal"))
    })
    .await;
    program.ready("containers").await;
    is(admin, CONTAINERS, "web", "Running").await;
}

#[test]
fn nothing_is_changed_that_cannot_be_written_down() {
    let _lab = Lab::enter("journal");
    let engine = Dockerd::up(&[]);
    engine.image("app:1", &[APP]);
    run(async {
        let site = site(&engine.socket());
        let dir = site.path().join("plugin-state/containers");
        fs::create_dir_all(&dir).expect("a directory");
        let none = None::<&str>;
        mount(none, &dir, Some("tmpfs"), MsFlags::empty(), Some("size=256k"))
            .expect("a small disk");
        let (program, mut admin) = daemon(site).await;
        engine.must(&["run", "-d", "--name", "web", "app:1"]);
        is(&mut admin, CONTAINERS, "web", "Running").await;
        let old = alone(&engine, "web");
        let filler = dir.join("filler");
        fs::write(&filler, vec![0; 512 * 1024]).expect_err("it is full");
        let fault = admin.call("containers", "redeploy", wish("web", "auto")).await;
        assert!(fault.expect_err("it is full").to_string().contains("disk"));
        assert_eq!(alone(&engine, "web"), old);
        fs::remove_file(&filler).expect("it was there");
        admin.call("containers", "redeploy", wish("web", "auto")).await.expect("there is room");
        assert_ne!(alone(&engine, "web"), old);
        drop(admin);
        program.stop().await;
        umount(&dir).expect("nobody uses it");
    });
}

#[test]
fn a_service_is_scaled_up_and_down() {
    let engine = Dockerd::up(&[]);
    engine.image("app:1", &[APP]);
    run(async {
        let (program, mut admin) = daemon(site(&engine.socket())).await;
        let labels = ["com.docker.compose.project=shop", "com.docker.compose.service=web"];
        let number = "com.docker.compose.container-number=1";
        let words =
            ["run", "-d", "--name", "shop_web_1", "--label", labels[0], "--label", labels[1]];
        engine.must(&[&words[..], &["--label", number, "app:1"]].concat());
        engine.must(&["run", "-d", "--name", "lone", "app:1"]);
        engine.must(&["run", "-d", "--name", "fixed", "-p", "127.0.0.1:8099:80", "app:1"]);
        is(&mut admin, CONTAINERS, "fixed", "Running").await;
        for service in ["web", "lone"] {
            let up = json!({"service": service, "to": 3});
            let scaled = admin.call("containers", "scale", up.clone()).await.expect("it grows");
            assert_eq!((&scaled["changed"], &scaled["total"]), (&json!(2), &json!(3)), "{scaled}");
            let again = admin.call("containers", "scale", up).await.expect("it is so");
            assert_eq!(again["changed"], 0);
            let row = is(&mut admin, ("services", "services"), service, "Running").await;
            assert_eq!((&row["total"], &row["running"]), (&json!(3), &json!(3)));
        }
        let names: Vec<String> = all(&engine, &["fixed"]).into_iter().map(|it| it.0).collect();
        let wanted = ["lone", "lone-2", "lone-3", "shop_web_1", "shop_web_2", "shop_web_3"];
        assert_eq!(names, wanted);
        let number = engine.must(&["inspect", "-f", "{{.Config.Labels}}", "shop_web_3"]);
        assert!(number.contains("container-number:3"), "{number}");
        for (args, code) in [
            (json!({"service": "fixed", "by": 1}), "409"),
            (json!({"service": "web", "to": 0}), "400"),
            (json!({"container": "lone", "to": 2}), "400"),
        ] {
            let fault = admin.call("containers", "scale", args.clone()).await;
            assert_eq!(fault.expect_err("it is refused")["code"], code, "{args}");
        }
        let down = json!({"service": "web", "by": -2});
        admin.call("containers", "scale", down).await.expect("it shrinks");
        let args = json!({"action": "scale", "service": "lone", "to": 1});
        admin.call("sysadm", "containers", args).await.expect("it shrinks");
        let names: Vec<String> = all(&engine, &["fixed"]).into_iter().map(|it| it.0).collect();
        assert_eq!(names, ["lone", "shop_web_1"]);
        let alerts = admin.call("rpc", "alerts", json!({"action": "list"})).await.expect("alerts");
        assert_eq!(alerts["alerts"], json!([]), "whoever goes was asked to");
        drop(admin);
        program.stop().await;
    });
}
