//! One function for each parser that reads from outside: any bytes in, a panic when a promise is
//! broken.
//!
//! `cargo test -p sysadmd-fuzz` replays the corpus and mutates it, anywhere; `tests/fuzz/run` drives
//! the same functions with libFuzzer.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a panic is how a target says that a promise is broken"
)]
#![allow(clippy::missing_panics_doc, reason = "to panic is what they are for")]

pub mod clients;
pub mod cloudevents;
pub mod consul;
pub mod containers;
pub mod ctl;
pub mod dockercloud;
pub mod files;
pub mod jobs;
pub mod jsonrpc;
pub mod logins;
pub mod machine;
pub mod mutate;
pub mod plugins;
pub mod replication;
pub mod snapshots;
pub mod words;

/// A fuzz target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The function's name, and its corpus'.
    pub name: &'static str,
    /// Takes any bytes.
    pub run: fn(&[u8]),
}

/// Hands every target, as `module::function`, to a macro.
#[macro_export]
macro_rules! each_target {
    ($with:ident) => {
        $with! {
            words::class words::cursor words::filter words::time
            clients::challenge_key clients::command_words clients::envelope clients::greeting clients::header clients::login
            clients::list clients::logs clients::origin clients::rest clients::sink_answer clients::subscribe clients::trail clients::websocket
            cloudevents::cloudevent cloudevents::cloudevent_binary cloudevents::cloudevents_query
            consul::consul_event consul::consul_pattern consul::consul_request
            dockercloud::dockercloud_request dockercloud::trigger_call
            containers::engine_events containers::engine_inspection
            jobs::job_asked jobs::job_kept jobs::job_log
            jsonrpc::jsonrpc
            plugins::alert plugins::frame plugins::hello plugins::lines plugins::manifest plugins::permission
            files::audit_page files::config files::event_row files::grants
            logins::certificate logins::pam_answer logins::pam_question logins::pem_files logins::redact logins::resource logins::scope
            machine::chosen_names machine::kernel_files machine::mount_table machine::process_files
            machine::tool_output machine::units
            replication::replication_frames replication::replication_journal replication::replication_words
            snapshots::dataset_args snapshots::escape snapshots::mounts snapshots::names
            snapshots::policy snapshots::policy_journal
            snapshots::records snapshots::tree_manifest snapshots::tree_stream snapshots::zfs_output
            ctl::connection ctl::lengths ctl::messages ctl::output ctl::plugin_output
        }
    };
}

macro_rules! table {
    ($($module:ident::$name:ident)*) => {
        &[$(Target { name: stringify!($name), run: $module::$name }),*]
    };
}

/// All of them.
pub const TARGETS: &[Target] = each_target!(table);

/// The bytes as text, for parsers whose callers have made sure of UTF-8.
fn utf8(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

/// Everything before the first line end, and everything behind it.
fn line_and_rest(data: &[u8]) -> (&[u8], &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n');
    end.map_or((data, &[]), |end| (&data[..end], &data[end + 1..]))
}
