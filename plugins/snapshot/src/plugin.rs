//! The plugin: what it answers, and by which module.
//!
//! Knows methods, arguments and events. Must not know how a back end works. Called by the SDK, from
//! several threads at once.

mod classic;
pub(crate) mod config;
mod engine;
mod events;
mod faults;
mod native;

use std::sync::OnceLock;

use sdk::{Context, Fault, FaultKind, Plugin, Request, Value};

use engine::Engine;

/// The plugin. Its back ends are opened when the daemon has said where its state is.
#[derive(Default)]
pub(crate) struct Snapshots {
    engine: OnceLock<Engine>,
}

impl Plugin for Snapshots {
    fn start(&self, ctx: &Context) -> Result<(), Fault> {
        let config = config::read(ctx.config())?;
        let engine = Engine::open(ctx.state_dir(), config)
            .map_err(|error| faults::of(ctx, "open the store", &error))?;
        // The SDK calls this once.
        self.engine.get_or_init(|| engine);
        Ok(())
    }

    fn call(&self, ctx: &Context, request: &Request) -> Result<Value, Fault> {
        let Some(engine) = self.engine.get() else {
            return Err(Fault::new(FaultKind::Unavailable, "the plugin has not started yet"));
        };
        let method = request.method();
        match method.as_str() {
            "snapshot/backends" => native::backends(engine, request),
            "snapshot/datasets" => native::datasets(engine, ctx, request),
            "snapshot/list" => native::list(engine, ctx, request),
            "snapshot/create" => native::create(engine, ctx, request),
            "snapshot/destroy" => native::destroy(engine, ctx, request),
            "snapshot/register" => native::register(engine, ctx, request),
            "sysadm/lifepreserver" => classic::life_preserver(engine, ctx, request),
            "sysadm/zfs" => classic::zfs(engine, ctx, request),
            _ => Err(sdk::unknown_method(request)),
        }
    }
}
