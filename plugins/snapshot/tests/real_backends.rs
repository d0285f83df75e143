//! The suite every back end must pass, on a real btrfs and a real ZFS. Needs root, btrfs-progs and
//! zfs-fuse; without them it fails and says what to install. `tests/run` brings all of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test panics when it fails")]

#[path = "suite/cases.rs"]
mod cases;
#[path = "suite/kills.rs"]
mod kills;
#[allow(dead_code, reason = "what only the tests of the plugin's methods need")]
#[path = "suite/link.rs"]
mod link;
#[path = "suite/real.rs"]
mod real;

mod btrfs {
    use std::ffi::OsStr;
    use std::fs;

    use kit::lab::{Lab, must};
    use snapshot::backend::btrfs::Btrfs;
    use snapshot::backend::{Backend, NewSnapshot};

    use super::cases::{self, Bench, named, new};
    use super::kills;
    use super::real::BtrfsBench;

    cases::suite!(BtrfsBench::new());

    #[test]
    fn what_create_and_destroy_report_survives_a_power_cut() {
        let mut lab = Lab::enter("btrfs-cut");
        let mount = lab.btrfs_to_cut("fs");
        let data = mount.join("data");
        must("btrfs", "btrfs-progs", &["subvolume", "create", data.to_str().unwrap()]);
        fs::write(data.join("file"), "x".repeat(100_000)).unwrap();
        let datasets = Btrfs.datasets().unwrap();
        let id = &datasets.iter().find(|d| d.mount.as_ref() == Some(&data)).unwrap().id;
        let made = Btrfs.create(id, &named("kept")).unwrap().remove(0);
        let copy = lab.power_cut("fs");
        let dir = copy.join(".sysadmd").join(id.as_str());
        assert_eq!(fs::read(dir.join("kept/file")).unwrap(), "x".repeat(100_000).as_bytes());
        let note = copy.join(".sysadmd/ledger").join(format!("{}.json", made.id.identity));
        assert!(fs::read_to_string(note).unwrap().contains("manual"));

        Btrfs.destroy(&made.id).unwrap();
        let copy = lab.power_cut("fs");
        assert!(!copy.join(".sysadmd").join(id.as_str()).join("kept").exists());
        assert!(copy.join("data/file").exists());
    }

    #[test]
    fn what_a_killed_snapshot_left_is_not_listed_and_goes_with_the_next() {
        let bench = BtrfsBench::new();
        let place = bench.fresh("data");
        let first = Btrfs.create(&place.id, &new("manual")).unwrap().remove(0);
        // A kill between the kernel's snapshot and the ledger's note.
        let dir = bench.mount.join(".sysadmd").join(place.id.as_str());
        let left = dir.join(".new-sysadm-left");
        let (from, to) = (place.dir.to_str().unwrap(), left.to_str().unwrap());
        must("btrfs", "btrfs-progs", &["subvolume", "snapshot", "-r", from, to]);
        assert_eq!(Btrfs.list(&place.id).unwrap(), std::slice::from_ref(&first));
        let second = Btrfs.create(&place.id, &new("manual")).unwrap().remove(0);
        assert_eq!(Btrfs.list(&place.id).unwrap(), [first, second]);
        assert!(!left.exists());
    }

    #[test]
    fn killed_anywhere_a_policy_takes_each_slot_once() {
        let bench = BtrfsBench::new();
        let place = bench.fresh("data");
        kills::taking(&place.id, &|_, work| work(&Btrfs));
    }

    #[test]
    fn killed_anywhere_pruning_destroys_what_it_should_and_nothing_else() {
        let bench = BtrfsBench::new();
        let place = bench.fresh("data");
        bench.foreign(&place, "theirs");
        kills::pruning(&place.id, &|_, work| work(&Btrfs));
    }

    #[test]
    fn an_idle_subvolume_is_called_unchanged() {
        let bench = BtrfsBench::new();
        let place = bench.fresh("data");
        fs::write(place.dir.join("file"), "content").unwrap();
        let made = Btrfs.create(&place.id, &new("manual")).unwrap().remove(0);
        assert_eq!(Btrfs.unchanged_since(&place.id, &made).unwrap(), Some(true));
        // What happens elsewhere on the file system does not matter.
        fs::write(bench.fresh("other").dir.join("file"), "content").unwrap();
        assert_eq!(Btrfs.unchanged_since(&place.id, &made).unwrap(), Some(true));
        fs::write(place.dir.join("file"), "changed").unwrap();
        assert_eq!(Btrfs.unchanged_since(&place.id, &made).unwrap(), Some(false));
    }

    #[test]
    fn a_recursive_snapshot_that_fails_leaves_nothing() {
        let bench = BtrfsBench::new();
        let place = bench.fresh("data");
        let child = bench.child(&place, "child");
        Btrfs.create(&child.id, &named("taken")).unwrap();
        let before = bench.inventory();
        let all = NewSnapshot { recursive: true, ..named("taken") };
        Btrfs.create(&place.id, &all).unwrap_err();
        assert_eq!(bench.inventory(), before);
        assert_eq!(Btrfs.list(&place.id).unwrap(), []);
    }

    #[test]
    fn a_home_that_others_can_write_is_not_trusted() {
        let bench = BtrfsBench::new();
        let place = bench.fresh("data");
        let home = bench.mount.join(".sysadmd");
        let made = Btrfs.create(&place.id, &new("manual")).unwrap().remove(0);
        must("chmod", "coreutils", &["0777", home.to_str().unwrap()]);
        let listed = Btrfs.list(&place.id).unwrap();
        assert_eq!(listed[0].owner, snapshot::backend::Owner::Foreign);
        Btrfs.create(&place.id, &new("manual")).unwrap_err();
        Btrfs.destroy(&made.id).unwrap_err();
        assert_eq!(made.id, listed[0].id);
        assert_eq!(home.file_name(), Some(OsStr::new(".sysadmd")));
    }
}

mod zfs {
    use std::collections::BTreeSet;
    use std::fs;

    use kit::lab::{command, must};
    use serde_json::{Value, json};
    use snapshot::backend::zfs::Zfs;
    use snapshot::backend::{Backend, NewSnapshot};
    use uuid::Uuid;

    use super::cases::{self, Bench, new};
    use super::kills;
    use super::link::Link;
    use super::real::{ZfsBench, zfs_when_idle};

    cases::suite!(ZfsBench::new());

    /// The snapshots that a plan would destroy, and the plan.
    fn condemned(link: &mut Link, id: Uuid) -> (BTreeSet<String>, Value) {
        let plan = link.call("snapshot/prune_plan", &json!({ "id": id })).unwrap();
        let rows = plan["snapshots"].as_array().unwrap();
        let gone = rows.iter().filter(|row| row["keep"] == false);
        (gone.map(|row| row["snapshot"].as_str().unwrap().to_owned()).collect(), plan)
    }

    #[test]
    fn a_listing_that_is_cut_or_fails_destroys_nothing_it_should_not() {
        let bench = ZfsBench::new();
        let place = bench.fresh("data");
        bench.foreign(&place, "theirs");
        let (mut link, id) = kills::aged(&Zfs, &place.id, &[5, 4, 3, 2, 1], &json!({ "last": 1 }));
        let (expected, whole) = condemned(&mut link, id);
        assert_eq!(expected.len(), 4);
        let (real, path) = (link.dir.join("zfs.real"), command("zfs", "zfs-fuse"));
        let path = fs::canonicalize(path.get_program()).unwrap();
        fs::copy(&path, &real).unwrap();
        let mut refused = 0;
        // What the list of snapshots consists of, cut behind each line, and said to be all or not.
        for (lines, code) in (0..60).map(|lines| (lines, 0)).chain([(30, 1), (0, 255)]) {
            let fake = link.dir.join("zfs");
            let real = real.display();
            let script = format!(
                "#!/bin/sh\ncase \"$*\" in *createtxg*) {real} \"$@\" | head -n {lines}; \
                 exit {code};; esac\nexec {real} \"$@\"\n"
            );
            fs::write(&fake, script).unwrap();
            must("chmod", "coreutils", &["0755", fake.to_str().unwrap()]);
            let [fake, over] = [&fake, &path].map(|path| path.to_str().unwrap());
            must("mount", "mount", &["--bind", fake, over]);
            let (cut, plan) = condemned(&mut link, id);
            must("umount", "mount", &[over]);
            assert!(cut.is_subset(&expected), "{lines} lines: {plan}");
            if plan["problems"] != json!([]) {
                assert_eq!(cut.len(), 0, "{plan}");
                refused += 1;
            }
        }
        assert!(refused > 10, "{refused}");
        let prune = json!({ "id": id, "plan": whole["plan"] });
        assert_eq!(link.call("snapshot/prune", &prune).unwrap()["destroyed"], 4);
        assert!(bench.inventory().iter().any(|name| name.ends_with("@theirs")));
    }

    #[test]
    fn what_is_in_use_or_held_stays_and_goes_later() {
        let bench = ZfsBench::new();
        let place = bench.fresh("data");
        let (mut link, id) = kills::aged(&Zfs, &place.id, &[4, 3, 2, 1], &json!({ "last": 1 }));
        let (gone, _) = condemned(&mut link, id);
        let named = Zfs.list(&place.id).unwrap();
        let full = |at: usize| format!("lab/data@{}", named[at].name);
        must("zfs", "zfs-fuse", &["clone", &full(0), "lab/clone"]);
        must("zfs", "zfs-fuse", &["hold", "somebody", &full(1)]);
        let (without, plan) = condemned(&mut link, id);
        assert_eq!((gone.len(), without.len()), (3, 2));
        assert!(plan["snapshots"][1]["why"].as_str().unwrap().contains("1 holds of ZFS"));
        let prune = json!({ "id": id, "plan": plan["plan"] });
        let answer = link.call("snapshot/prune", &prune).unwrap();
        assert_eq!(answer["destroyed"], 1);
        let left = answer["left"].as_array().unwrap();
        assert_eq!(left.len(), 1, "{answer}");
        assert!(left[0]["message"].as_str().unwrap().len() > 10, "{answer}");
        zfs_when_idle(&["destroy", "lab/clone"]);
        must("zfs", "zfs-fuse", &["release", "somebody", &full(1)]);
        let (_, plan) = condemned(&mut link, id);
        let prune = json!({ "id": id, "plan": plan["plan"] });
        assert_eq!(link.call("snapshot/prune", &prune).unwrap()["destroyed"], 2);
    }

    #[test]
    fn killed_anywhere_a_policy_takes_each_slot_once() {
        let bench = ZfsBench::new();
        let place = bench.fresh("data");
        kills::taking(&place.id, &|_, work| work(&Zfs));
    }

    #[test]
    fn killed_anywhere_pruning_destroys_what_it_should_and_nothing_else() {
        let bench = ZfsBench::new();
        let place = bench.fresh("data");
        bench.foreign(&place, "theirs");
        kills::pruning(&place.id, &|_, work| work(&Zfs));
    }

    #[test]
    fn what_create_and_destroy_report_survives_a_power_cut() {
        let mut bench = ZfsBench::new();
        let place = bench.fresh("data");
        fs::write(place.dir.join("file"), "content").unwrap();
        let kept = Zfs.create(&place.id, &new("kept")).unwrap().remove(0);
        let gone = Zfs.create(&place.id, &new("gone")).unwrap().remove(0);
        Zfs.destroy(&gone.id).unwrap();
        bench.host.power_cut();
        assert_eq!(Zfs.list(&place.id).unwrap(), [kept]);
    }

    #[test]
    fn a_recursive_snapshot_is_of_one_transaction() {
        let bench = ZfsBench::new();
        let place = bench.fresh("data");
        let child = bench.child(&place, "child");
        let all = NewSnapshot { recursive: true, ..new("manual") };
        let made = Zfs.create(&place.id, &all).unwrap();
        assert_eq!(made.len(), 2);
        assert_eq!((made[0].order, &made[1].dataset), (made[1].order, &child.id));
    }

    #[test]
    fn the_tools_tell_what_they_can() {
        let bench = ZfsBench::new();
        let found = bench.backend().capabilities();
        assert!(found.available, "{found:?}");
        assert!(found.features.contains(&"send:R".to_owned()), "{found:?}");
        let pools = Zfs.pools().unwrap();
        assert_eq!((pools.len(), pools[0].name.as_str()), (1, "lab"));
        assert!(pools[0].size > 200 << 20 && pools[0].health == "ONLINE", "{pools:?}");
    }
}

mod tree {
    use std::fs;

    use kit::lab::{Lab, must};
    use snapshot::backend::tree::Tree;
    use snapshot::backend::{Backend, NewSnapshot};

    use super::cases::new;

    /// On xfs files are cloned, not copied; what is mounted below belongs to a recursive snapshot
    /// only, and what shows the kernel to none.
    #[test]
    fn files_are_cloned_and_mounts_below_are_entered_when_asked() {
        let mut lab = Lab::enter("tree");
        let xfs = lab.xfs("fs");
        let data = xfs.join("data");
        let (below, proc) = (data.join("below"), data.join("proc"));
        fs::create_dir_all(&below).unwrap();
        fs::create_dir_all(&proc).unwrap();
        fs::write(data.join("big"), vec![7; 64 << 20]).unwrap();
        must("mount", "mount", &["-t", "tmpfs", "none", below.to_str().unwrap()]);
        must("mount", "mount", &["-t", "proc", "none", proc.to_str().unwrap()]);
        fs::write(below.join("file"), "below").unwrap();
        let tree = Tree::open(&xfs.join("store"), Vec::new()).unwrap();
        let id = tree.register(&data).unwrap().id;
        let free = || rustix::fs::statvfs(&xfs).map(|s| s.f_bfree * s.f_frsize).unwrap();
        must("sync", "coreutils", &["-f", xfs.to_str().unwrap()]);
        let before = free();
        let (alone, effort) = tree.take(&id, &new("manual")).unwrap();
        assert!(before < free() + (8 << 20), "the files were copied");
        // The directory, the file and the two mount points.
        assert_eq!((effort.entries, effort.copied), (4, 1));
        let all = NewSnapshot { recursive: true, ..new("manual") };
        let (whole, effort) = tree.take(&id, &all).unwrap();
        assert_eq!((effort.entries, effort.unread), (5, 0));
        assert_eq!(tree.list(&id).unwrap(), [alone, whole]);
        for point in [below, proc] {
            must("umount", "mount", &[point.to_str().unwrap()]);
        }
    }
}

mod plugin {
    use std::fs;

    use kit::lab::{Lab, must};
    use serde_json::{Value, json};

    use super::link::Link;

    /// One path each: the best back end that can do it is found without being named.
    #[test]
    fn a_path_finds_its_back_end() {
        let mut lab = Lab::enter("plugin");
        let btrfs = lab.btrfs("fs");
        let mut zfs = lab.zfs();
        let pool = zfs.pool("tank");
        let subvolume = btrfs.join("home");
        let text = subvolume.to_str().unwrap();
        must("btrfs", "btrfs-progs", &["subvolume", "create", text]);
        fs::create_dir(subvolume.join("plain")).unwrap();
        let mut link = Link::start(&Value::Null);
        for (path, backend) in [
            (subvolume.clone(), "btrfs"),
            (btrfs.clone(), "btrfs"),
            (pool.clone(), "zfs"),
            (subvolume.join("plain"), "tree"),
        ] {
            let made = link.call("snapshot/create", &json!({ "dataset": path })).unwrap();
            assert_eq!(made["dataset"]["backend"], backend, "{}", path.display());
            let event = link.event();
            assert_eq!(event["class"], "snapshot.created", "{event}");
            assert_eq!(event["data"]["backend"], backend);
        }
        // A ZFS dataset by name, and as a classic pool.
        link.call("snapshot/create", &json!({ "dataset": "tank", "name": "by-name" })).unwrap();
        let listed = link
            .call("sysadm/lifepreserver", &json!({ "action": "listsnap", "pool": "tank" }))
            .unwrap();
        assert!(listed["listsnap"].get("tank@by-name").is_some(), "{listed}");
        let pools = link.call("sysadm/zfs", &json!({ "action": "list_pools" })).unwrap();
        assert_eq!(pools["list_pools"]["tank"]["health"], "ONLINE");
        assert!(pools["list_pools"].get(btrfs.to_str().unwrap()).is_some(), "{pools}");
        let rows =
            link.call("sysadm/zfs", &json!({ "action": "datasets", "zpool": "tank" })).unwrap();
        assert_eq!(rows["datasets"]["tank"]["mountpoint"], *pool.to_str().unwrap());
        let backends = link.call("snapshot/backends", &json!({})).unwrap();
        let backends = backends["backends"].as_array().unwrap();
        assert!(backends.iter().all(|backend| backend["available"] == true), "{backends:?}");
        assert_eq!(link.close(), Some(0));
    }
}
