//! A configuration that is read again while the daemon runs.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};

use kit::client::{SysAdmClient, Target};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{Program, Site, until};

/// An address on which nobody listens.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
    listener.local_addr().expect("an address")
}

/// Puts this before the rest of the configuration and has it read.
fn change(program: &Program, settings: &str) {
    let file = program.site().path().join("sysadmd.toml");
    fs::write(file, format!("{settings}\n{}", program.site().toml())).expect("it is written");
    program.signal(Signal::SIGHUP);
}

/// The data of the newest event about the configuration, once there are so many.
async fn told(client: &mut SysAdmClient, count: usize) -> Value {
    let mut events = Value::Null;
    until("it is told", async || {
        let args = json!({"filter": {"classes": ["daemon.configuration"]}});
        events = client.call("events", "list", args).await.expect("a list")["events"].take();
        events.as_array().is_some_and(|events| events.len() >= count)
    })
    .await;
    let newest = events.as_array().and_then(|events| events.last()).expect("an event");
    newest["data"].clone()
}

#[tokio::test]
async fn addresses_are_taken_at_once_and_the_rest_is_said_to_wait() {
    let program = Site::new().spawn().await;
    let socket = Target::Unix(program.site().socket());
    let mut admin = SysAdmClient::connect(socket).await.expect("root is let in");
    let (first, second) = (free_address(), free_address());
    change(&program, &format!("listen_plain = [\"{first}\"]"));
    let data = told(&mut admin, 1).await;
    assert_eq!(data, json!({"state": "taken", "taken": ["listen_plain"], "at_restart": []}));
    assert!(TcpStream::connect(first).is_ok());
    change(&program, &format!("listen_plain = [\"{second}\"]\n[audit]\nmax_age_days = 9\n"));
    let data = told(&mut admin, 2).await;
    assert_eq!(data["at_restart"], json!(["audit"]));
    assert!(TcpStream::connect(second).is_ok());
    until("the first is closed", async || TcpStream::connect(first).is_err()).await;
    admin.call("rpc", "query", json!({})).await.expect("nobody was cut off");
    program.stop().await;
}

#[tokio::test]
async fn a_configuration_that_cannot_be_used_changes_nothing_and_tells_nobody_its_lines() {
    let program = Site::new().spawn().await;
    let socket = Target::Unix(program.site().socket());
    let mut admin = SysAdmClient::connect(socket).await.expect("root is let in");
    let (kept, taken) = (free_address(), TcpListener::bind("127.0.0.1:0").expect("an address"));
    change(&program, &format!("listen_plain = [\"{kept}\"]"));
    told(&mut admin, 1).await;
    let occupied = taken.local_addr().expect("an address");
    let wrong = [
        "hunter2 = true".to_owned(),
        "= hunter2".to_owned(),
        "listen_plain = [\"192.0.2.1:1\"]".to_owned(),
        format!("listen_plain = [\"{}\", \"{occupied}\"]", free_address()),
    ];
    for (number, settings) in wrong.iter().enumerate() {
        change(&program, settings);
        let data = told(&mut admin, number + 2).await;
        assert_eq!(data, json!({"state": "refused"}), "{settings}");
        assert!(TcpStream::connect(kept).is_ok(), "{settings}");
    }
    let all = admin.call("events", "list", json!({})).await.expect("a list").to_string();
    assert!(!all.contains("hunter2"), "a line of the file is in an event");
    assert!(!program.log().contains("hunter2"), "a line of the file is in the log");
    assert!(program.log().contains("--check says why"));
    program.stop().await;
}
