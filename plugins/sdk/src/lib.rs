//! Write a `sysadmd` plugin in Rust: one trait, one function.
//!
//! A plugin is a program that the daemon starts, that answers calls and publishes events, one JSON
//! object a line on standard input and output (`docs/protocols/plugin.md`). This crate speaks that
//! protocol; it blocks, uses plain threads and brings no async runtime, so that a small plugin costs
//! some two megabytes. It knows nothing of what plugins do.
//!
//! The whole of a plugin:
//!
//! ```no_run
//! use sdk::{Context, Draft, Fault, Plugin, Request, Value, json};
//!
//! struct Hello;
//!
//! impl Plugin for Hello {
//!     fn call(&self, ctx: &Context, request: &Request) -> Result<Value, Fault> {
//!         match request.method().as_str() {
//!             "hello/say" => say(ctx, request),
//!             _ => Err(sdk::unknown_method(request)),
//!         }
//!     }
//! }
//!
//! fn say(ctx: &Context, request: &Request) -> Result<Value, Fault> {
//!     let Some(to) = request.args["to"].as_str() else {
//!         return Err(Fault::bad_request("`to` is missing: expected whom to greet, as a text"));
//!     };
//!     let greeting = format!("hello, {to}");
//!     let mut said = Draft::new(sdk::class("hello.said")?);
//!     said.message = greeting.clone();
//!     ctx.publish(&said)?; // returns once the event would survive a crash
//!     Ok(json!({ "greeting": greeting }))
//! }
//!
//! const MANIFEST: &str = r#"{
//!     "manifest_version": 1,
//!     "id": "hello",
//!     "version": "1.0.0",
//!     "exec": ["./hello"],
//!     "methods": [{ "method": "hello/say", "kind": "query", "role": "viewer" }],
//!     "events": [{ "class": "hello.said", "role": "viewer", "priority_max": 2 }]
//! }"#;
//!
//! fn main() -> std::process::ExitCode {
//!     sdk::serve(MANIFEST, Hello)
//! }
//! ```
//!
//! What the crate does without being asked: it moves the link away from standard input and output,
//! so that a stray `println!` or a child program cannot disturb it; it runs each call on a thread of
//! a pool as wide as the manifest's `limits.calls`; it turns a panic into a fault for that caller
//! only; it waits while the daemon wants no more events; it never writes a line that is too long;
//! and it ends when the daemon does.

mod call;
mod context;
mod link;
mod pool;
mod serve;

pub use context::{Context, Level};
pub use protocol::alert::{ALERT_TEXT_BYTES_MAX, Clear, Raise, SUBJECT_BYTES_MAX, SYNC_MAX};
pub use protocol::link::{Alerted, Published, Unavailable};
pub use protocol::manifest::Limits;
pub use protocol::{Class, Draft, Fault, FaultKind, Json, Manifest, Priority, Request, Role};
pub use serde_json::{Value, json};
pub use serve::serve;

/// What a plugin is. Every method may be called from several threads at once.
pub trait Plugin: Send + Sync + 'static {
    /// Answers one call. It runs on its own thread and may block; it should look at
    /// [`Context::cancelled`] now and then if it takes longer than a second.
    ///
    /// # Errors
    /// The fault goes to the caller as it is: write the sentence for that person, and put the cause
    /// into [`Context::log`].
    fn call(&self, ctx: &Context, request: &Request) -> Result<Value, Fault>;

    /// Which methods of the manifest do not work on this machine, and why. Asked once, within the
    /// handshake: `rpc/query` does not list them, and whoever calls one is told the reason.
    fn unavailable(&self, config: &Value) -> Vec<Unavailable> {
        let _ = config;
        Vec::new()
    }

    /// Runs once after the handshake and before the first call; calls wait until it returns. To
    /// watch something for ever, start a thread here with a clone of the context.
    ///
    /// # Errors
    /// A fault is logged and ends the plugin, which the daemon then starts again, later and later.
    fn start(&self, ctx: &Context) -> Result<(), Fault> {
        let _ = ctx;
        Ok(())
    }

    /// Answers the daemon's question whether all is well. It must return within the manifest's
    /// `health.timeout_ms`.
    ///
    /// # Errors
    /// A fault is logged and the question stays unanswered; two of them in a row restart the plugin.
    fn health(&self, ctx: &Context) -> Result<Value, Fault> {
        let _ = ctx;
        Ok(Value::Null)
    }

    /// Runs once after the last call when the daemon asks the plugin to end. It does not run when
    /// the daemon has died or the plugin is killed, so nothing may depend on it.
    fn shutdown(&self, ctx: &Context) {
        let _ = ctx;
    }
}

/// The fault for a method that the plugin does not have: the last arm of every `match`.
pub fn unknown_method(request: &Request) -> Fault {
    Fault::not_found(format!("there is no method {}", request.method()))
        .with_hint("the plugin's manifest lists its methods")
}

/// An event class from its text.
///
/// # Errors
/// An internal fault when the text is no class, which is a defect of the plugin.
pub fn class(text: &str) -> Result<Class, Fault> {
    Class::parse(text).map_err(|error| Fault::new(FaultKind::Internal, error.to_string()))
}
