//! Where a conversation is had: a daemon that has what the conversation needs, or a script.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};

use kit::transcript::{Names, Needs, Prove};
use nix::unistd::{Group, User, getegid, geteuid};
use serde_json::json;
use tempfile::TempDir;

use super::talk::Ways;
use crate::harness::{Door, Running, Site};
use crate::keys::Key;

/// The plugin `system` never gets at systemd here: nothing that is said can end this machine.
const NO_BUS: &str = "\n[plugins.config.system]\nbus = \"unix:path=/nowhere/bus\"\n";

/// Who plays the server.
pub(super) enum World {
    /// A daemon.
    Daemon(Door),
    /// `replay-server`.
    Script,
}

/// Everything around a conversation.
pub(super) struct Stage {
    pub(super) world: World,
    pub(super) ways: Ways,
    pub(super) names: Names,
    /// The daemon, when it is for this conversation alone.
    own: Option<Running>,
    keys: BTreeMap<String, Key>,
    /// Kept until the end.
    _dirs: Vec<TempDir>,
}

impl Stage {
    /// On a daemon that others use too, or on one of its own.
    pub(super) async fn set(shared: &Door, needs: &Needs) -> Self {
        let mut names = Names::default();
        names.set("ME", &whoever_runs_this());
        names.set("GROUP", &their_group());
        let own = if needs.own_daemon { Some(start(needs, &names).await) } else { None };
        let door = own.as_ref().map_or(shared, |own| own).clone();
        names.set("TOKEN", &door.token("admin").await);
        for (name, args) in &needs.tokens {
            let mut args = args.clone();
            if args.get("name").is_none() {
                args["name"] = json!(name.to_lowercase());
            }
            let made = door.make_token(args).await;
            names.set(name, made["token"].as_str().unwrap_or_default());
            names.set(&format!("{name}_ID"), made["id"].as_str().unwrap_or_default());
        }
        Self::dress(World::Daemon(door.clone()), ways(&door), names, needs).having(own)
    }

    /// Before a script that serves at this address and has given these names.
    pub(super) fn script(address: SocketAddr, names: Names, needs: &Needs) -> Self {
        let ways = Ways { tcp: address, unix: None, source: Ipv4Addr::LOCALHOST };
        Self::dress(World::Script, ways, names, needs)
    }

    fn dress(world: World, ways: Ways, mut names: Names, needs: &Needs) -> Self {
        let mut keys = BTreeMap::new();
        for name in &needs.keys {
            let key = Key::new();
            names.set(name, &key.encoded());
            keys.insert(name.clone(), key);
        }
        let mut dirs = Vec::new();
        for (name, files) in &needs.dirs {
            let dir = tempfile::Builder::new().prefix("sysadmd-it-").tempdir();
            let dir = dir.expect("a directory for temporary files");
            for (file, text) in files {
                std::fs::write(dir.path().join(file), text).expect("a file is written");
            }
            if !names.all().contains_key(name) {
                names.set(name, &dir.path().to_string_lossy());
            }
            dirs.push(dir);
        }
        Self { world, ways, names, own: None, keys, _dirs: dirs }
    }

    fn having(self, own: Option<Running>) -> Self {
        Self { own, ..self }
    }

    /// Stops its own daemon.
    pub(super) async fn clear(self) {
        if let Some(own) = self.own {
            own.stop().await;
        }
    }

    /// Stops its own daemon and starts it again.
    pub(super) async fn restart(&mut self) -> Result<(), String> {
        if let World::Script = self.world {
            return Ok(());
        }
        let own = self.own.take().ok_or("only a daemon of one's own can be restarted")?;
        let own = own.restart().await;
        own.ready("kit").await;
        let door = Door::clone(&own);
        self.ways = Ways { source: self.ways.source, ..ways(&door) };
        self.world = World::Daemon(door);
        self.own = Some(own);
        Ok(())
    }

    /// Answers the question of `rpc/auth_ssl`.
    pub(super) fn prove(&mut self, prove: &Prove) -> Result<(), String> {
        let key = self.keys.get(&prove.key).ok_or(format!("there is no key {:?}", prove.key))?;
        let answer = key.answer(&self.names.fill(&prove.question));
        self.names.set(&prove.name, &answer);
        Ok(())
    }
}

/// A daemon with the kit's plugin and with what is needed.
pub(super) async fn start(needs: &Needs, names: &Names) -> Running {
    let mut site = Site::new().with_kit();
    site.settings = names.fill(&needs.settings);
    site.built_in = needs.built_in;
    site.system = needs.system;
    if needs.system {
        site.settings.push_str(NO_BUS);
    }
    let running = site.start().await;
    running.ready("kit").await;
    for (plugin, wanted) in [("snapshot", needs.built_in), ("system", needs.system)] {
        if wanted {
            running.ready(plugin).await;
        }
    }
    running
}

fn whoever_runs_this() -> String {
    User::from_uid(geteuid()).unwrap().expect("an account").name
}

fn their_group() -> String {
    Group::from_gid(getegid()).unwrap().expect("a group").name
}

/// The ways into a daemon, from an address that no other conversation has.
fn ways(door: &Door) -> Ways {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let source = Ipv4Addr::new(127, 1, high, low);
    Ways { tcp: door.tls(), unix: Some(door.socket.clone()), source }
}
