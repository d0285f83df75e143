//! Replication on a real btrfs and a real ZFS, and killed everywhere. Needs root, btrfs-progs,
//! zfs-fuse and strace; without them it fails and says what to install. `tests/run` brings all of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test panics when it fails")]

#[path = "suite/bench.rs"]
mod bench;
#[path = "suite/cases.rs"]
mod cases;
#[path = "suite/killed.rs"]
mod killed;
#[path = "suite/remote.rs"]
mod remote;

mod ssh {
    use super::bench::{BtrfsBench, TreeBench, ZfsBench};
    use super::remote;

    #[test]
    fn directories_are_pushed_and_pulled() {
        remote::over_ssh(&TreeBench::new());
    }

    #[test]
    fn btrfs_is_pushed_and_pulled() {
        remote::over_ssh(&BtrfsBench::new());
    }

    #[test]
    fn zfs_is_pushed_and_pulled() {
        remote::over_ssh(&ZfsBench::new());
    }

    #[test]
    fn a_conversation_that_is_cut_leaves_no_half_directory() {
        remote::cut_at_every_frame(&TreeBench::new());
    }

    #[test]
    fn a_conversation_that_is_cut_leaves_no_half_subvolume() {
        remote::cut_at_every_frame(&BtrfsBench::new());
    }

    #[test]
    fn what_the_other_side_is_not_for_it_refuses() {
        remote::limits_hold(&TreeBench::new());
        remote::limits_hold(&BtrfsBench::new());
    }
}

mod tree {
    use super::bench::TreeBench;
    use super::killed;

    #[test]
    fn killed_in_a_first_copy() {
        killed::in_a_first_copy(&TreeBench::new());
    }

    #[test]
    fn killed_in_an_increment() {
        killed::in_an_increment(&TreeBench::new());
    }
}

mod btrfs {
    use std::fs;

    use kit::lab::must;
    use serde_json::json;

    use super::bench::{Bench, BtrfsBench, conflict, run, save};
    use super::killed;

    super::cases::suite!(BtrfsBench::new(), true);

    #[test]
    fn killed_in_a_first_copy() {
        killed::in_a_first_copy(&BtrfsBench::new());
    }

    #[test]
    fn killed_in_an_increment() {
        killed::in_an_increment(&BtrfsBench::new());
    }

    fn btrfs(args: &[&str]) -> String {
        must("btrfs", "btrfs-progs", args)
    }

    /// Case 23.
    #[test]
    fn a_base_that_was_writable_in_between_is_none() {
        let bench = BtrfsBench::new();
        let target = bench.target("backup");
        bench.snap("one", "first");
        let mut link = bench.plugin();
        let task = save(&mut link, &bench, &target, &json!({}));
        run(&mut link, &task);
        let id = bench.dataset().id;
        let one = bench.from.join(".sysadmd").join(id.as_str()).join("one");
        let one = one.to_str().unwrap();
        btrfs(&["property", "set", one, "ro", "false"]);
        fs::write(format!("{one}/file"), "changed behind our back").unwrap();
        btrfs(&["property", "set", one, "ro", "true"]);
        bench.snap("two", "second");
        let before = bench.copies(&target);
        assert_eq!(conflict(&mut link, &task), "base-changed");
        assert_eq!(bench.copies(&target), before);
        assert_eq!(bench.read(&target, "one", "file").as_deref(), Some("first"));
        link.close();
    }

    /// Case 25.
    #[test]
    fn a_name_that_is_taken_gives_way_and_nothing_is_nested() {
        let bench = BtrfsBench::new();
        let target = bench.target("backup");
        bench.snap("one", "first");
        let mut link = bench.plugin();
        let task = save(&mut link, &bench, &target, &json!({}));
        run(&mut link, &task);
        bench.foreign(&target, "two");
        // And one of the staging directory's.
        fs::create_dir_all(format!("{target}/.sysadm-incoming/theirs")).unwrap();
        bench.snap("two", "second");
        run(&mut link, &task);
        let copies = bench.copies(&target);
        assert!(["one", "two", "two-2"].iter().all(|name| copies.contains(&(*name).to_owned())));
        assert_eq!(bench.read(&target, "two", "theirs").as_deref(), Some("two"));
        assert_eq!(bench.read(&target, "two-2", "file").as_deref(), Some("second"));
        assert!(!BtrfsBench::place(&target).join("two/two").exists());
        assert_eq!(run(&mut link, &task)["steps_done"], 0, "it is known by what it is");
        link.close();
    }

    /// What only root can write to is trusted.
    #[test]
    fn a_target_that_others_can_write_to_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let bench = BtrfsBench::new();
        let target = bench.target("backup");
        bench.snap("one", "first");
        fs::set_permissions(&target, fs::Permissions::from_mode(0o777)).unwrap();
        let mut link = bench.plugin();
        let wish =
            json!({ "title": "t", "sources": [bench.dataset().id], "target": { "root": target } });
        let fault = link.call("replication/task_save", &json!({ "task": wish })).unwrap_err();
        assert!(fault["message"].as_str().unwrap().contains("others"), "{fault}");
        link.close();
    }
}

mod zfs {
    use std::fs;

    use serde_json::json;

    use super::bench::{Bench, ZfsBench, conflict, run, save, zfs};
    use super::killed;

    super::cases::suite!(ZfsBench::new(), false);

    #[test]
    fn killed_in_a_first_copy() {
        killed::in_a_first_copy(&ZfsBench::new());
    }

    #[test]
    fn killed_in_an_increment() {
        killed::in_an_increment(&ZfsBench::new());
    }

    /// Case 22.
    #[test]
    fn a_snapshot_of_the_same_name_and_another_guid_is_another_one() {
        let bench = ZfsBench::new();
        let target = bench.target("backup");
        bench.snap("one", "first");
        bench.snap("two", "second");
        let mut link = bench.plugin();
        let task = save(&mut link, &bench, &target, &json!({ "initial": "all" }));
        run(&mut link, &task);
        // At the target a `three` of its own, before ours of that name.
        zfs(&["set", "readonly=off", "there/backup/data"]);
        bench.foreign(&target, "three");
        bench.snap("three", "third");
        let before = bench.copies(&target);
        assert_eq!(conflict(&mut link, &task), "target-ahead");
        assert_eq!(bench.copies(&target), before);
        link.close();
    }

    #[test]
    fn files_that_were_changed_at_the_target_stay() {
        let bench = ZfsBench::new();
        let target = bench.target("backup");
        bench.snap("one", "first");
        let mut link = bench.plugin();
        let task = save(&mut link, &bench, &target, &json!({}));
        run(&mut link, &task);
        assert_eq!(
            zfs(&["get", "-H", "-o", "value", "readonly", "there/backup/data"]).trim(),
            "on"
        );
        assert_eq!(zfs(&["get", "-H", "-o", "value", "mounted", "there/backup/data"]).trim(), "no");
        zfs(&["set", "readonly=off", "there/backup/data"]);
        zfs(&["mount", "there/backup/data"]);
        let file = bench.dir().join("there/backup/data/file");
        fs::write(&file, "their work").unwrap();
        bench.snap("two", "second");
        assert_eq!(conflict(&mut link, &task), "target-modified");
        assert_eq!(fs::read_to_string(&file).unwrap(), "their work");
        assert_eq!(bench.copies(&target), ["one"]);
        link.close();
    }

    #[test]
    fn a_source_and_a_target_that_lie_in_each_other_are_refused() {
        let bench = ZfsBench::new();
        bench.snap("one", "first");
        let mut link = bench.plugin();
        for root in ["here", "here/data", "here/data/below", "there/-x", "nowhere/at all"] {
            let wish =
                json!({ "title": "t", "sources": ["here/data"], "target": { "root": root } });
            let refused = link.call("replication/task_save", &json!({ "task": wish }));
            assert!(refused.is_err(), "{root}");
        }
        link.close();
    }
}
