//! From a call to its answer.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use sdk::{Context, Fault, FaultKind, Plugin, Request, Unavailable, Value};

use crate::classic::{filesystem, manager, network, services, users};
use crate::config::Config;
use crate::machine::Machine;
use crate::watch::bus::Bus;
use crate::watch::{self, News};

/// What systemd's own programs ask for whether it is the first process (`sd_booted(3)`).
const BOOTED: &str = "/run/systemd/system";

/// The plugin.
#[derive(Default)]
pub(crate) struct System {
    machine: OnceLock<Arc<Machine>>,
    sampler: manager::Sampler,
}

impl Plugin for System {
    fn unavailable(&self, config: &Value) -> Vec<Unavailable> {
        let missing = |method: &str, action: Option<&str>, reason: &str| Unavailable {
            method: method.to_owned(),
            action: action.map(str::to_owned),
            reason: reason.to_owned(),
        };
        let mut list = Vec::new();
        if !has_systemd(&Config::read(config).unwrap_or_default()) {
            let reason = "systemd does not run here";
            list.push(missing("sysadm/services", None, reason));
            list.push(missing("system/services", None, reason));
            for action in ["halt", "reboot"] {
                list.push(missing("sysadm/systemmanager", Some(action), reason));
            }
        }
        if let Some(tool) = users::missing_tool() {
            for action in users::CHANGES {
                list.push(missing("sysadm/users", Some(action), &format!("{tool} is not there")));
            }
        }
        list
    }

    fn start(&self, ctx: &Context) -> Result<(), Fault> {
        let config = Config::read(ctx.config())?;
        let news = Arc::new(News::default());
        let bus = if has_systemd(&config) {
            let started = Bus::start(&config.bus, Arc::clone(&news));
            Some(started.map_err(|error| {
                Fault::new(FaultKind::Unavailable, format!("no connection can be made: {error}"))
            })?)
        } else {
            None
        };
        let machine = Arc::new(Machine::new(config, bus, news, ctx.state_dir()));
        machine.tell_what_is_left(ctx);
        watch::begin(&machine, ctx)?;
        // It starts once.
        self.machine.set(machine).ok();
        Ok(())
    }

    fn call(&self, ctx: &Context, request: &Request) -> Result<Value, Fault> {
        let machine = self
            .machine
            .get()
            .ok_or_else(|| Fault::new(FaultKind::Unavailable, "the plugin is still starting"))?;
        match request.method().as_str() {
            "system/state" => Ok(machine.state()),
            "system/conditions" => Ok(machine.conditions()),
            "system/disks" => Ok(machine.disks()),
            "system/services" => machine.bus().map(|_| machine.services()),
            "sysadm/systemmanager" => manager::answer(machine, &self.sampler, ctx, request),
            "sysadm/services" => services::answer(machine, ctx, request),
            "sysadm/fs" => filesystem::answer(request),
            "sysadm/users" => users::answer(ctx, request),
            "sysadm/network" => network::answer(request),
            _ => Err(sdk::unknown_method(request)),
        }
    }
}

/// Whether there is a systemd to ask: the configuration may name another bus than the system's.
fn has_systemd(config: &Config) -> bool {
    config.bus != Config::default().bus || Path::new(BOOTED).is_dir()
}
