//! What changes containers, services and stacks: the same verbs for each.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::super::client::Client;
use super::super::exit::Failure;
use super::super::output::{self, Style};

/// What is to be changed: the argument of the call that names it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Container,
    Service,
    Stack,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Service => "service",
            Self::Stack => "stack",
        }
    }
}

/// What can be done to each of them.
#[derive(Debug, Subcommand)]
pub(crate) enum ChangeCommand {
    /// Start them, each behind what it needs
    Start(Which),
    /// Stop them, each before what it needs
    Stop {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        grace: Grace,
    },
    /// Restart them
    Restart {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        grace: Grace,
    },
    /// Send them a signal
    Kill {
        #[command(flatten)]
        which: Which,
        /// Which signal, such as HUP
        #[arg(long, default_value = "KILL")]
        signal: String,
    },
    /// Have their processes stand still
    Pause(Which),
    /// Have their processes go on
    Unpause(Which),
    /// Remove them, which cannot be undone
    Remove {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        grace: Grace,
        /// Also what runs; it is stopped before
        #[arg(long)]
        force: bool,
        /// Also their volumes without a name
        #[arg(long)]
        volumes: bool,
    },
}

/// Which ones.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Their names or uuids, as `list` shows them
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Have it done as a job, and do not wait for its end
    #[arg(long, conflicts_with = "dry_run")]
    detach: bool,
}

/// How long they are given to end.
#[derive(Debug, Args)]
pub(crate) struct Grace {
    /// Seconds until they are killed [default: as long as they say of themselves, usually 10]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(..=3600))]
    timeout: Option<u32>,
}

impl ChangeCommand {
    /// The verb, whom it is about, and the arguments beside that.
    fn parts(self) -> (&'static str, Which, Value) {
        let timed = |grace: Grace| grace.timeout.map_or(json!({}), |s| json!({ "timeout_s": s }));
        match self {
            Self::Start(which) => ("start", which, json!({})),
            Self::Stop { which, grace } => ("stop", which, timed(grace)),
            Self::Restart { which, grace } => ("restart", which, timed(grace)),
            Self::Kill { which, signal } => ("kill", which, json!({ "signal": signal })),
            Self::Pause(which) => ("pause", which, json!({})),
            Self::Unpause(which) => ("unpause", which, json!({})),
            Self::Remove { which, grace, force, volumes } => {
                let mut args = timed(grace);
                args["force"] = force.into();
                args["volumes"] = volumes.into();
                ("remove", which, args)
            }
        }
    }
}

/// One after the other, and each said as soon as it is done.
pub(crate) async fn run(
    client: &mut Client,
    kind: Kind,
    command: ChangeCommand,
    style: Style,
) -> Result<(), Failure> {
    let (verb, which, args) = command.parts();
    for name in which.names {
        let mut args = args.clone();
        args[kind.as_str()] = name.into();
        if which.detach {
            let method = format!("containers/{verb}");
            let job = json!({ "action": "run", "method": method, "args": args });
            let made: Value = client.call("rpc", "jobs", job).await?;
            if style.json {
                output::value(style, &made)?;
            } else {
                output::line(&output::clean(&output::text(&made["job"]["id"])))?;
            }
            continue;
        }
        args["dry_run"] = which.dry_run.into();
        let answer: Value = client.call("containers", verb, args).await?;
        tell(style, verb, &answer)?;
    }
    Ok(())
}

fn tell(style: Style, verb: &str, answer: &Value) -> Result<(), Failure> {
    if style.json {
        return output::value(style, answer);
    }
    for line in lines(verb, answer) {
        output::line(&output::clean(&line))?;
    }
    Ok(())
}

/// A line for each container.
fn lines(verb: &str, answer: &Value) -> Vec<String> {
    let rows = answer["containers"].as_array().into_iter().flatten();
    let line = |row: &Value| {
        let name = output::text(&row["name"]);
        match (row["step"].as_str(), answer["dry_run"] == true) {
            (Some("none"), _) => format!("{name}: nothing to do"),
            (step, true) => format!("{name}: would {}", step.unwrap_or(verb)),
            (step, false) => format!("{name}: {} done", step.unwrap_or(verb)),
        }
    };
    rows.map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fake::Fake;

    fn which(names: &[&str], detach: bool) -> Which {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Which { names, dry_run: false, detach }
    }

    #[tokio::test]
    async fn each_is_asked_for_by_itself_and_a_job_where_that_is_wanted() {
        let fake = Fake::new();
        let script = async {
            let mut visitor = fake.accept().await;
            for name in ["web", "db"] {
                let request = visitor.request("containers/stop").await;
                let wanted = json!({"service": name, "timeout_s": 3, "dry_run": false});
                assert_eq!(request["args"], wanted);
                visitor.answer(&request, json!({"dry_run": false, "containers": []})).await;
            }
            let request = visitor.request("rpc/jobs").await;
            let args = json!({"container": "web", "force": true, "volumes": false});
            let wanted = json!({"action": "run", "method": "containers/remove", "args": args});
            assert_eq!(request["args"], wanted);
            visitor.answer(&request, json!({"job": {"id": "j"}})).await;
        };
        let target = fake.target();
        let style = Style::of_stdout(false);
        let ask = async {
            let (mut client, _) = Client::open(&target).await.unwrap();
            let grace = Grace { timeout: Some(3) };
            let stop = ChangeCommand::Stop { which: which(&["web", "db"], false), grace };
            run(&mut client, Kind::Service, stop, style).await.unwrap();
            let (grace, force, volumes) = (Grace { timeout: None }, true, false);
            let which = which(&["web"], true);
            let remove = ChangeCommand::Remove { which, grace, force, volumes };
            run(&mut client, Kind::Container, remove, style).await.unwrap();
        };
        tokio::join!(script, ask);
    }

    #[test]
    fn it_is_said_what_was_done_and_what_would_be() {
        let rows = json!([{"name": "web-1", "step": "stop"}, {"name": "web-2", "step": "none"}]);
        let done = lines("stop", &json!({"dry_run": false, "containers": rows}));
        assert_eq!(done, ["web-1: stop done", "web-2: nothing to do"]);
        let would = lines("stop", &json!({"dry_run": true, "containers": rows}));
        assert_eq!(would[0], "web-1: would stop");
    }
}
