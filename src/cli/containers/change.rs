//! What changes containers, services and stacks: the same verbs for each.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::super::client::Client;
use super::super::exit::{Exit, Failure};
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
    /// Replace them by new ones of their images as they are now; go back when one is not well
    Redeploy {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        grace: Grace,
        #[command(flatten)]
        how: How,
    },
}

/// How they are replaced.
#[derive(Debug, Args)]
pub(crate) struct How {
    /// Whether the new one is started before the old one is stopped [default: as configured]
    #[arg(long, value_parser = ["auto", "start-first", "stop-first"])]
    order: Option<String>,
    /// Whether the registry is asked for a newer image [default: as configured]
    #[arg(long, value_parser = ["try", "always", "missing", "never"])]
    pull: Option<String>,
    /// Only those whose image is another by now
    #[arg(long)]
    if_changed: bool,
    /// With new volumes instead of those without a name
    #[arg(long)]
    new_volumes: bool,
}

/// How many containers a service is to have.
#[derive(Debug, Args)]
pub(crate) struct Scale {
    /// Its name or uuid
    service: String,
    /// So many in all; with a sign so many more, or fewer
    #[arg(allow_negative_numbers = true)]
    count: String,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
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
            Self::Redeploy { which, grace, how } => {
                let mut args = timed(grace);
                for (name, word) in [("order", how.order), ("pull", how.pull)] {
                    if let Some(word) = word {
                        args[name] = word.into();
                    }
                }
                args["if_changed"] = how.if_changed.into();
                args["reuse_volumes"] = (!how.new_volumes).into();
                ("redeploy", which, args)
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

/// Brings a service to a number of containers.
pub(crate) async fn scale(client: &mut Client, scale: Scale, style: Style) -> Result<(), Failure> {
    let number: i32 = scale.count.parse().map_err(|_| {
        Failure::new(Exit::Usage, format!("{:?} is no number of containers", scale.count))
            .with_hint("3 is three in all, +1 one more, -1 one fewer")
    })?;
    let is_change = scale.count.starts_with(['+', '-']);
    let mut args = json!({ "service": scale.service, "dry_run": scale.dry_run });
    args[if is_change { "by" } else { "to" }] = number.into();
    let answer: Value = client.call("containers", "scale", args).await?;
    tell(style, "scale", &answer)
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

    #[tokio::test]
    async fn a_sign_means_more_or_fewer() {
        let fake = Fake::new();
        let script = async {
            let mut visitor = fake.accept().await;
            for wanted in [json!({"to": 3}), json!({"by": 1}), json!({"by": -2})] {
                let request = visitor.request("containers/scale").await;
                for name in ["to", "by"] {
                    assert_eq!(request["args"].get(name), wanted.get(name));
                }
                visitor.answer(&request, json!({"dry_run": false, "containers": []})).await;
            }
        };
        let target = fake.target();
        let ask = async {
            let (mut client, _) = Client::open(&target).await.unwrap();
            let style = Style::of_stdout(false);
            for count in ["3", "+1", "-2"] {
                let (service, count) = ("web".to_owned(), count.to_owned());
                let wanted = Scale { service, count, dry_run: false };
                scale(&mut client, wanted, style).await.unwrap();
            }
            let (service, count) = ("web".to_owned(), "many".to_owned());
            let wrong = Scale { service, count, dry_run: false };
            scale(&mut client, wrong, style).await.unwrap_err();
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
