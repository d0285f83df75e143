//! The plugin: what it answers, and what it says about what happened.
//!
//! Knows methods, arguments, events and alerts. Must not know how storage works.

mod args;
mod config;
mod events;
mod faults;
mod native;
mod tasks;
pub(crate) mod words;
mod work;

use std::sync::{Arc, OnceLock};

use sdk::{Context, Fault, FaultKind, Plugin, Request, Value};

use crate::engine::Engine;

/// The plugin. Its state is opened when the daemon has said where that is.
#[derive(Default)]
pub(crate) struct Replication {
    engine: OnceLock<Arc<Engine>>,
}

impl Plugin for Replication {
    fn start(&self, ctx: &Context) -> Result<(), Fault> {
        let config = config::read(ctx.config())?;
        let store = config.store.unwrap_or_else(|| {
            let siblings = ctx.state_dir().parent().unwrap_or(ctx.state_dir());
            siblings.join("snapshot/store")
        });
        let (engine, cut, damaged) = Engine::open(ctx.state_dir(), &store).map_err(|cause| {
            let sentence = format!("the state of replication cannot be opened: {cause}");
            Fault::new(FaultKind::Unavailable, sentence)
        })?;
        for path in damaged {
            let line = format!("{} is no task and is left alone", path.display());
            ctx.log(sdk::Level::Error, &line);
        }
        let engine = Arc::new(engine);
        work::begin(&engine, ctx, &cut)?;
        // The SDK calls this once.
        self.engine.set(engine).ok();
        Ok(())
    }

    fn call(&self, ctx: &Context, request: &Request) -> Result<Value, Fault> {
        let Some(engine) = self.engine.get() else {
            return Err(Fault::new(FaultKind::Unavailable, "the plugin has not started yet"));
        };
        match request.method().as_str() {
            "replication/task_list" => tasks::list(engine, request),
            "replication/task_save" => tasks::save(engine, ctx, request),
            "replication/task_remove" => tasks::remove(engine, ctx, request),
            "replication/task_enable" => tasks::enable(engine, ctx, request),
            "replication/plan" => native::plan(engine, ctx, request),
            "replication/run" => work::run(engine, ctx, request),
            "replication/cancel" => native::cancel(engine, request),
            "replication/runs" => native::runs(engine, request),
            "replication/run_get" => native::run_get(engine, request),
            "replication/conflicts" => native::conflicts(engine, request),
            "replication/resolve" => tasks::resolve(engine, ctx, request),
            "replication/holds" => native::holds(engine, request),
            "replication/release" => native::release(engine, ctx, request),
            _ => Err(sdk::unknown_method(request)),
        }
    }

    fn shutdown(&self, _ctx: &Context) {
        if let Some(engine) = self.engine.get() {
            engine.cancel_all();
        }
    }
}
