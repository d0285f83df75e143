//! The plugin: what it answers, and by which module.
//!
//! Knows methods, arguments and events. Must not know how a back end works. Called by the SDK, from
//! several threads at once.

mod classic;
pub(crate) mod config;
mod engine;
mod events;
mod faults;
mod keeper;
mod native;
mod policies;
mod prune;
mod told;

use std::sync::{Arc, OnceLock};

use sdk::{Context, Fault, FaultKind, Plugin, Request, Value};

use engine::Engine;
use keeper::Keeper;

/// The plugin. Its back ends and policies are opened when the daemon has said where its state is.
#[derive(Default)]
pub(crate) struct Snapshots {
    keeper: OnceLock<Arc<Keeper>>,
}

impl Plugin for Snapshots {
    fn start(&self, ctx: &Context) -> Result<(), Fault> {
        let config = config::read(ctx.config())?;
        let engine = Engine::open(ctx.state_dir(), config)
            .map_err(|error| faults::of(ctx, "open the store", &error))?;
        let keeper = Keeper::open(ctx, engine)
            .map_err(|error| faults::of(ctx, "open the policies", &error))?;
        // The SDK calls this once.
        let keeper = self.keeper.get_or_init(|| Arc::new(keeper));
        keeper::start(ctx, keeper)
    }

    fn call(&self, ctx: &Context, request: &Request) -> Result<Value, Fault> {
        let Some(keeper) = self.keeper.get() else {
            return Err(Fault::new(FaultKind::Unavailable, "the plugin has not started yet"));
        };
        let engine = &keeper.engine;
        let method = request.method();
        match method.as_str() {
            "snapshot/backends" => native::backends(engine, request),
            "snapshot/datasets" => native::datasets(engine, ctx, request),
            "snapshot/list" => native::list(engine, ctx, request),
            "snapshot/create" => native::create(engine, ctx, request),
            "snapshot/destroy" => native::destroy(engine, ctx, request),
            "snapshot/register" => native::register(engine, ctx, request),
            "snapshot/policy_list" => policies::list(keeper, ctx, request),
            "snapshot/policy_save" => policies::save(keeper, ctx, request),
            "snapshot/policy_remove" => policies::remove(keeper, ctx, request),
            "snapshot/policy_run" => policies::run(keeper, ctx, request),
            "snapshot/prune_plan" => policies::prune_plan(keeper, ctx, request),
            "snapshot/prune" => policies::prune(keeper, ctx, request),
            "sysadm/lifepreserver" => classic::life_preserver(engine, ctx, request),
            "sysadm/zfs" => classic::zfs(engine, ctx, request),
            _ => Err(sdk::unknown_method(request)),
        }
    }
}
