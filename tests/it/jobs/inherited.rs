//! What a child inherits: its three standard streams, and no other file.

use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::path::Path;

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use serde_json::{Value, json};

use super::{end, jobs, start};
use crate::harness::Site;

/// Of each file that a process has open its number, what it is, and whether it is closed in what
/// the process starts.
fn open_files(pid: u32) -> Vec<(u32, String, bool)> {
    let dir = format!("/proc/{pid}/fd");
    let numbers = fs::read_dir(&dir).expect("its files").flatten();
    let numbers = numbers.filter_map(|file| file.file_name().to_str()?.parse::<u32>().ok());
    let seen = numbers.filter_map(|number| {
        // One that was closed meanwhile is nothing to this test.
        let name = fs::read_link(format!("{dir}/{number}")).ok()?;
        let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).ok()?;
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?.trim();
        let flags = i32::from_str_radix(flags, 8).ok()?;
        let is_closed = flags & OFlag::O_CLOEXEC.bits() != 0;
        Some((number, name.to_string_lossy().into_owned(), is_closed))
    });
    seen.collect()
}

#[tokio::test]
async fn no_file_reaches_a_command_or_a_plugin() {
    let site = Site::new().with_kit();
    let foreign = site.path().join("left-open");
    let file = File::create(&foreign).unwrap();
    // As a careless script that starts the daemon would leave one open.
    fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    let program = site.spawn().await;
    fcntl(&file, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
    program.ready("kit").await;
    let mut client = program.admin().await;
    let remote = program.remote(&program.token("viewer").await).await;
    let open = open_files(program.pid());
    let is_foreign = |name: &str| Path::new(name) == foreign;
    let theirs = open.iter().find(|(_, name, _)| is_foreign(name));
    let (number, _, is_closed) = theirs.expect("the daemon was started with it");
    assert_eq!((i64::from(*number), *is_closed), (i64::from(file.as_raw_fd()), false));
    // Of those of the daemon itself every single one ends with it.
    let own: Vec<_> = open.iter().filter(|(number, _, _)| *number > 2).collect();
    assert!(own.iter().any(|(_, name, _)| name.ends_with("sysadmd.db")), "{open:?}");
    assert!(own.iter().any(|(_, name, _)| name.starts_with("socket:")), "{open:?}");
    // The test may have been started with some, too, and hands them on.
    let is_handed_on = |number: u32, name: &str| {
        fs::read_link(format!("/proc/self/fd/{number}"))
            .is_ok_and(|of_test| of_test == Path::new(name))
    };
    let is_kept = |(number, name, is_closed): &&&(u32, String, bool)| {
        !is_closed && !is_handed_on(*number, name)
    };
    let kept: Vec<_> = own.iter().filter(is_kept).collect();
    assert!(kept.is_empty(), "{kept:?}");
    let list = json!({"commands": [["/bin/ls", "-l", "/proc/self/fd"]]});
    let id = start(&mut client, list).await;
    assert_eq!(end(&mut client, &id).await["job"]["state"], "done");
    let log = jobs(&mut client, "log", json!({"id": id})).await.unwrap();
    let listed: Vec<&str> = log["text"].as_str().unwrap().lines().collect();
    // What it lists them by is the fourth.
    let numbers: Vec<&str> = listed
        .iter()
        .filter_map(|line| line.split(" -> ").next()?.rsplit(' ').next())
        .skip(1)
        .collect();
    assert_eq!(numbers, ["0", "1", "2", "3"], "{listed:#?}");
    assert!(listed[1].ends_with("/dev/null") && listed[4].contains("/proc/"), "{listed:#?}");
    let about = client.call("kit", "self", json!({})).await.unwrap();
    let of_plugin: Vec<&str> =
        about["descriptors"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let alien = of_plugin.iter().filter(|file| file.contains("left-open") || file.contains(".db"));
    assert_eq!(alien.count(), 0, "{of_plugin:?}");
    drop((client, remote));
    program.stop().await;
}
