//! Replication of directories, which needs no rights: the plugin on its link.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test panics when it fails")]
#![allow(dead_code, reason = "the benches of real file systems are for another program")]

#[path = "suite/bench.rs"]
mod bench;
#[path = "suite/cases.rs"]
mod cases;

mod tree {
    use std::fs;
    use std::path::Path;

    use serde_json::json;
    use snapshot::backend::Backend as _;
    use snapshot::backend::tree::Tree;

    use super::bench::{Bench, TreeBench, run, save};

    super::cases::suite!(TreeBench::new(), true);

    #[test]
    fn a_wrong_task_is_refused_and_nothing_is_made() {
        let bench = TreeBench::new();
        bench.snap("one", "first");
        let mut link = bench.plugin();
        let full = bench.dir().join("full");
        fs::create_dir(&full).unwrap();
        fs::write(full.join("theirs"), "x").unwrap();
        let id = bench.dataset().id;
        for (sources, root, word) in [
            (json!([id]), json!("relative"), "absolute"),
            (json!([id]), json!(bench.store()), "already"),
            (json!(["/nowhere"]), json!("/tmp/x"), "no dataset"),
            (json!([]), json!("/tmp/x"), "sources"),
        ] {
            let wish = json!({ "title": "t", "sources": sources, "target": { "root": root } });
            let fault = link.call("replication/task_save", &json!({ "task": wish })).unwrap_err();
            assert!(fault["message"].as_str().unwrap().contains(word), "{fault}");
        }
        assert_eq!(link.call("replication/task_list", &json!({})).unwrap()["tasks"], json!([]));
        // What holds other things is found out when the first copy is to be made there.
        let task = save(&mut link, &bench, full.to_str().unwrap(), &json!({}));
        let fault = link.call("replication/run", &json!({ "task": task })).unwrap_err();
        assert!(fault["message"].as_str().unwrap().contains("other things"), "{fault}");
        assert_eq!(fs::read_dir(&full).unwrap().count(), 1);
        link.close();
    }

    #[test]
    fn a_run_can_be_cancelled_and_goes_on_later() {
        let bench = TreeBench::new();
        let target = bench.target("backup");
        fs::write(bench.files().join("large"), vec![7; 2 << 20]).unwrap();
        bench.take("large");
        let mut link = bench.plugin();
        let task = save(&mut link, &bench, &target, &json!({ "rate_bytes_per_s": 200_000 }));
        link.send("replication/run", &json!({ "task": task }));
        // Progress is told while it moves.
        let told = loop {
            let frame = link.hear().unwrap();
            if frame["method"] == "progress" {
                break frame["params"].clone();
            }
        };
        assert_eq!(told["unit"], "bytes");
        assert!(told["total"].as_u64().unwrap() > 2 << 20, "{told}");
        let runs = link.call("replication/runs", &json!({})).unwrap();
        let id = runs["runs"][0]["id"].clone();
        assert_eq!(runs["runs"][0]["basis"], "exact");
        link.call("replication/cancel", &json!({ "run": id })).unwrap();
        kit::lab::wait_for("the run to end", || {
            let run = link.call("replication/run_get", &json!({ "run": id })).unwrap();
            run["run"]["state"] == "cancelled"
        });
        assert_eq!(bench.copies(&target), [""; 0]);
        assert!(bench.leftovers(&target).is_empty());
        let wish = json!({ "id": task, "rate_bytes_per_s": null });
        save(&mut link, &bench, &target, &wish);
        run(&mut link, &task);
        assert_eq!(bench.copies(&target), ["large"]);
        link.close();
    }

    #[test]
    fn a_copy_is_a_store_that_the_snapshot_plugin_can_open() {
        let bench = TreeBench::new();
        let target = bench.target("backup");
        bench.snap("one", "first");
        let mut link = bench.plugin();
        let task = save(&mut link, &bench, &target, &json!({}));
        run(&mut link, &task);
        link.close();
        let there = Tree::open(Path::new(&target), Vec::new()).unwrap();
        let datasets = there.datasets().unwrap();
        assert_eq!(datasets.len(), 1);
        assert_eq!(datasets[0].id, bench.dataset().id);
        assert_eq!(datasets[0].name, bench.dataset().name);
        let here = bench.backend().list(&bench.dataset().id).unwrap();
        assert_eq!(there.list(&bench.dataset().id).unwrap(), here);
    }
}
