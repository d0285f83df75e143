//! `sysadm/lifepreserver` and `sysadm/zfs` on a real pool, in the shapes that classic clients know.

use serde_json::{Value, json};

use crate::place::{DATASET, Places, daemon, text, zfs_snapshots};
use crate::run;

#[test]
fn classic_clients_take_list_and_remove_snapshots_and_see_the_pools() {
    let places = Places::new("classic");
    run(async {
        let program = daemon().await;
        let mut client = program.admin().await;
        let mut say = async |name: &str, args: Value| -> Value {
            client.call("sysadm", name, args).await.unwrap_or_else(|no| panic!("{name}: {no:#}"))
        };

        let named = json!({"dataset": DATASET, "snap": "manual-1"});
        let mut asked = named.clone();
        (asked["action"], asked["comment"]) = ("createsnap".into(), "before".into());
        let made = say("lifepreserver", asked.clone()).await;
        let echo = json!({"dataset": DATASET, "snap": "manual-1", "comment": "before"});
        assert_eq!(made, json!({"createsnap": echo}));
        assert_eq!(zfs_snapshots(), [format!("{DATASET}@manual-1")]);
        let again = say("lifepreserver", asked).await;
        assert!(again["createsnap"]["error"].is_string(), "{again}");
        let keys = say("lifepreserver", json!({"action": "createsnap"})).await;
        assert_eq!(keys["createsnap"]["error"], "Requires dataset and snap keys");

        let listed = say("lifepreserver", json!({"action": "listsnap", "pool": DATASET})).await;
        let rows = json!({format!("{DATASET}@manual-1"): {"comment": "before"}});
        assert_eq!(listed, json!({"listsnap": rows}));

        let mut removed = named.clone();
        removed["action"] = "removesnap".into();
        assert_eq!(say("lifepreserver", removed.clone()).await, json!({"removesnap": named}));
        assert!(zfs_snapshots().is_empty());
        let gone = say("lifepreserver", removed).await;
        assert!(gone["removesnap"]["error"].is_string(), "{gone}");

        let pools = say("zfs", json!({"action": "list_pools"})).await;
        let tank = &pools["list_pools"]["tank"];
        assert_eq!(tank["health"], "ONLINE", "{pools:#}");
        assert_texts(
            tank,
            &[
                "alloc", "altroot", "capacity", "dedup", "expandsz", "frag", "free", "health",
                "size",
            ],
        );
        let datasets = say("zfs", json!({"action": "datasets", "zpool": "tank"})).await;
        let data = &datasets["datasets"][DATASET];
        assert_eq!(data["mountpoint"], text(&places.dataset));
        assert_texts(data, &["avail", "mountpoint", "refer", "used"]);
        let none = say("zfs", json!({"action": "datasets", "zpool": "nowhere"})).await;
        assert!(none["datasets"]["error"].is_string(), "{none}");
        drop(client);
        program.stop().await;
    });
}

/// An object with these members and no others, all of them texts.
fn assert_texts(object: &Value, members: &[&str]) {
    let found = object.as_object().unwrap_or_else(|| panic!("no object: {object}"));
    assert_eq!(found.keys().collect::<Vec<_>>(), members);
    assert!(found.values().all(Value::is_string), "{object}");
}
